"""The statuses of a target and a run, and a target's record.

These words and keys are a contract for the command line, the artifacts and other programs.
"""

from __future__ import annotations

from collections.abc import Mapping
from enum import StrEnum

from pydantic import BaseModel, ConfigDict


class TargetStatus(StrEnum):
    """The status of one target. It moves forward through the first five, or ends in one of the last three."""

    NOT_STARTED = "not-started"
    COMPILING = "compiling"
    PACKAGING = "packaging"
    PUBLISHING = "publishing"
    DEPLOYABLE = "deployable"
    FAILED = "failed"
    STOPPED = "stopped"
    SKIPPED = "skipped"

    @property
    def ended(self) -> bool:
        """No later status follows in the same run."""
        return self in _ENDED

    @property
    def good(self) -> bool:
        """Devices can install the component, made by this run or earlier (``skipped``)."""
        return self in (TargetStatus.DEPLOYABLE, TargetStatus.SKIPPED)

    @property
    def phase(self) -> int:
        """The index in the order of phases; all ends come after all phases in progress."""
        return _PHASES.index(self) if self in _PHASES else len(_PHASES)


_PHASES = (
    TargetStatus.NOT_STARTED,
    TargetStatus.COMPILING,
    TargetStatus.PACKAGING,
    TargetStatus.PUBLISHING,
)
_ENDED = frozenset(TargetStatus) - frozenset(_PHASES)


class RunStatus(StrEnum):
    """The status of a flow run, or of all runs of one training job."""

    NOT_STARTED = "not-started"
    IN_PROGRESS = "in-progress"
    COMPLETED = "completed"
    PARTIAL = "partial"
    FAILED = "failed"


class TargetRecord(BaseModel):
    """The record of one target of one run. Values that are not known yet are None.

    ``seconds`` is the wall time from the target's start to its end (or to now); ``reason`` is AWS's text, ``cause``
    and ``remedy`` are the failure catalogue's.
    """

    model_config = ConfigDict(frozen=True, extra="ignore")

    status: TargetStatus = TargetStatus.NOT_STARTED
    attempt: int | None = None
    compilation_job: str | None = None
    compiled_artifact: str | None = None
    package: str | None = None
    component: str | None = None
    version: str | None = None
    arn: str | None = None
    seconds: float | None = None
    reason: str | None = None
    cause: str | None = None
    remedy: str | None = None


def run_status(records: Mapping[str, TargetRecord]) -> RunStatus:
    """The run's status, derived from its targets."""
    statuses = [record.status for record in records.values()]
    if not statuses or all(status is TargetStatus.NOT_STARTED for status in statuses):
        return RunStatus.NOT_STARTED
    if not all(status.ended for status in statuses):
        return RunStatus.IN_PROGRESS
    good = sum(status.good for status in statuses)
    if good == len(statuses):
        return RunStatus.COMPLETED
    return RunStatus.PARTIAL if good else RunStatus.FAILED


def run_message(records: Mapping[str, TargetRecord]) -> str:
    """The run's final message: ``3/4 targets deployable; failed: x86_64-cuda: <cause>``."""
    good = sum(record.status.good for record in records.values())
    message = f"{good}/{len(records)} targets deployable"
    bad = [
        f"{target}: {record.cause or record.reason or 'no reason was given'}"
        for target, record in records.items()
        if not record.status.good
    ]
    return f"{message}; failed: {'; '.join(bad)}" if bad else message
