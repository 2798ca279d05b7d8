"""The view of a run, or of all runs of a training job, for people and programs."""

from __future__ import annotations

from datetime import datetime

from pydantic import BaseModel, ConfigDict, Field

from dda_core.runs.history import TargetLine
from dda_core.runs.status import RunStatus, TargetRecord


class RunView(BaseModel):
    """One flow run, or all runs of a training job together, as the command line shows it.

    The keys and words are a contract. ``flow_run_id`` and ``state`` are those of the newest run, None if there is
    none. ``lines`` are its targets in full, and ``began`` is its actual or expected start; neither is part of the
    contract.
    """

    model_config = ConfigDict(frozen=True)

    training_job: str
    flow_run_id: str | None
    state: str | None
    status: RunStatus
    targets: dict[str, TargetRecord]
    lines: tuple[TargetLine, ...] = Field((), exclude=True)
    began: datetime | None = Field(None, exclude=True)

    @property
    def ended(self) -> bool:
        """Whether nothing will change."""
        return self.status not in (RunStatus.NOT_STARTED, RunStatus.IN_PROGRESS)

    @property
    def made_by(self) -> dict[str, str]:
        """The flow runs that made what the newest run skipped or joined, by target."""
        return {line.target: line.by_flow_run for line in self.lines if line.by_flow_run}

    @property
    def waiting(self) -> dict[str, str]:
        """What the newest run's targets wait for, in words."""
        return {line.target: line.waiting for line in self.lines if line.waiting and not line.status.ended}
