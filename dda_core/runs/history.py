"""The history of a training job's targets: every attempt of every run, and their combined result."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from datetime import datetime
from enum import StrEnum
from typing import Any

from pydantic import BaseModel, ConfigDict, Field

from dda_core.runs.retry_class import RetryClass
from dda_core.runs.status import TargetRecord, TargetStatus


class AttemptStatus(StrEnum):
    """The status of one attempt: a target's statuses, and ``crashed`` if its run's process died."""

    NOT_STARTED = "not-started"
    COMPILING = "compiling"
    PACKAGING = "packaging"
    PUBLISHING = "publishing"
    DEPLOYABLE = "deployable"
    FAILED = "failed"
    STOPPED = "stopped"
    CRASHED = "crashed"

    @property
    def ended(self) -> bool:
        """Whether the attempt has ended."""
        return self in (self.DEPLOYABLE, self.FAILED, self.STOPPED, self.CRASHED)


class Attempt(BaseModel):
    """One attempt at one target, as one run saw it. ``attempt`` is the number in the compilation job's name.

    It is None if the target ended before there was a job. ``seconds`` is from ``started`` to ``ended``.
    """

    model_config = ConfigDict(frozen=True, extra="ignore")

    attempt: int | None
    status: AttemptStatus
    started: datetime
    ended: datetime | None = None
    seconds: float | None = None
    compilation_job: str | None = None
    component: str | None = None
    version: str | None = None
    reason: str | None = None

    def ending(self, status: AttemptStatus, at: datetime | None, reason: str | None = None) -> Attempt:
        """The attempt with its end; an attempt that has already ended is unchanged."""
        if self.status.ended:
            return self
        seconds = round((at - self.started).total_seconds(), 1) if at else None
        return self.model_copy(
            update={"status": status, "ended": at, "seconds": seconds, "reason": self.reason or reason}
        )


class _OfTarget(BaseModel):
    # A separate class, because keys of the first base come last: this prints ``target`` first.
    target: str


class HistoryRow(Attempt, _OfTarget):
    """An attempt in a training job's history, with its run and the run's trigger. Keys and words are a contract."""

    flow_run_id: str
    trigger: str


class CompilationFacts(BaseModel):
    """What AWS reports about a target's compilation. Times are in seconds, sizes in bytes.

    ``retry_class`` is set for a target that failed or was stopped; ``will_retry_help`` is the same as a sentence.
    """

    model_config = ConfigDict(frozen=True, extra="ignore")

    queue_seconds: float | None = None
    compile_seconds: float | None = None
    bytes_in: int | None = None
    bytes_out: int | None = None
    package_bytes: int | None = None
    inference_image: str | None = None
    model_digest: str | None = None
    log_uri: str | None = None
    log_tail: tuple[str, ...] = ()
    will_retry_help: str | None = None
    retry_class: RetryClass | None = None

    def known(self) -> dict[str, Any]:
        """The fields that are set."""
        return self.model_dump(exclude_defaults=True)


class Phase(BaseModel):
    """When a target's status became ``status``."""

    model_config = ConfigDict(frozen=True)

    status: TargetStatus
    at: datetime


class TargetLine(TargetRecord):
    """A target's line in a run's record: its status, with phases, attempts and facts.

    ``by_flow_run`` is the run that made what this one skipped or joined; ``waiting`` is what the target waits for,
    such as a quota slot. ``own_jobs`` are the compilation jobs that the run created, each with the retry it was in.
    """

    target: str
    phases: tuple[Phase, ...] = ()
    attempts: tuple[Attempt, ...] = ()
    facts: CompilationFacts = CompilationFacts()
    by_flow_run: str | None = None
    waiting: str | None = None
    own_jobs: dict[str, int] = Field(default_factory=dict)

    def record(self) -> TargetRecord:
        """The target record alone, as programs see it."""
        return TargetRecord.model_validate(self.model_dump())


def merged(runs: Iterable[Mapping[str, TargetRecord]]) -> dict[str, TargetRecord]:
    """Per target, the latest entry that is not ``skipped``, over the runs of one training job, oldest first.

    If that entry ended badly, a later ``skipped`` counts: devices can install what it found, such as the component of
    a run that was cancelled while AWS was still creating it.
    """
    result: dict[str, TargetRecord] = {}
    for records in runs:
        for target, record in records.items():
            before = result.get(target)
            bad = before is None or (before.status.ended and not before.status.good)
            if bad or record.status is not TargetStatus.SKIPPED:
                result[target] = record
    return result
