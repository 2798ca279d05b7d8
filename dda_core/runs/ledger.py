"""The ledger of a run: the status of each of its targets, changed only by named, typed transitions.

It does no I/O: the clock is a parameter, and watchers store its changes. Two functions decide what a transition may
change: ``advanced`` for a target, ``Attempt.ending`` for an attempt.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable, Mapping
from datetime import UTC, datetime
from typing import NamedTuple, TypedDict, TypeVar, Unpack

from dda_core.runs.history import Attempt, AttemptStatus, CompilationFacts, Phase, TargetLine
from dda_core.runs.status import TargetRecord, TargetStatus

Record = TypeVar("Record", bound=TargetRecord)


class Installable(NamedTuple):
    """A component version that devices can already install, and what it was made from."""

    component: str
    version: str
    arn: str
    package: str | None = None
    compilation_job: str | None = None
    attempt: int | None = None
    compiled_artifact: str | None = None


class Failure(NamedTuple):
    """Why a target ended: the original reason, and the failure catalogue's cause and remedy."""

    reason: str
    cause: str | None = None
    remedy: str | None = None


class Fields(TypedDict, total=False):
    """The fields of a record that a transition may change besides its status."""

    attempt: int | None
    compilation_job: str | None
    compiled_artifact: str | None
    package: str | None
    component: str | None
    version: str | None
    arn: str | None
    reason: str | None
    cause: str | None
    remedy: str | None


def advanced(record: Record, status: TargetStatus | None = None, **fields: Unpack[Fields]) -> Record:
    """The record after a transition.

    An end and its reason are final; a status never returns to an earlier phase.

    Raises:
        pydantic.ValidationError: a field's value has the wrong type.
    """
    if record.status.ended:
        return record
    # Steps may report late, and a restarted run repeats its first steps: keep their findings, ignore their phase.
    if status is None or status.phase < record.status.phase:
        status = record.status
    # ``model_copy`` would accept any name and value.
    return type(record).model_validate({**dict(record), **fields, "status": status}, strict=True)


def utc_now() -> datetime:
    """The time, in UTC."""
    return datetime.now(UTC)


class Ledger:
    """The status of one run's targets, with phases and attempts.

    All methods are thread-safe. An unknown target raises KeyError.
    """

    def __init__(self, clock: Callable[[], datetime] = utc_now) -> None:
        self._clock = clock
        self._lock = threading.Lock()
        self._lines: dict[str, TargetLine] = {}
        self._earlier_jobs: dict[str, int] = {}
        self._watchers: list[Callable[[], None]] = []

    @property
    def targets(self) -> Mapping[str, TargetLine]:
        """The current lines by target, in display order."""
        with self._lock:
            return dict(self._lines)

    def watch(self, changed: Callable[[], None]) -> None:
        """Call ``changed`` after every transition, in the thread that made it."""
        self._watchers.append(changed)

    # --- The start of the run ----------------------------------------------------------------------------------------

    def expect(self, targets: Iterable[str], earlier: Mapping[str, TargetLine] | None = None) -> None:
        """Set the run's targets, in display order; those in ``earlier`` resume from that line."""
        with self._lock:
            self._lines = {target: (earlier or {}).get(target) or TargetLine(target=target) for target in targets}
        self._changed()

    def keep(self, line: TargetLine) -> None:
        """Keep a target's line from an earlier process of the run."""
        self._change(line.target, lambda before, now: before if before.status.ended else line)

    def created_before(self, jobs: Mapping[str, int]) -> None:
        """Set the compilation jobs that earlier processes of the run created, each with the retry it was in."""
        with self._lock:
            self._earlier_jobs = dict(jobs)

    # --- The steps of a target ---------------------------------------------------------------------------------------

    def compiling(self, target: str, *, component: str) -> None:
        """The target has started; ``component`` is what it is to become."""
        self._advance(target, TargetStatus.COMPILING, component=component)

    def waiting(self, target: str, why: str | None) -> None:
        """The target waits for something; None when the wait is over."""
        self._change(target, lambda line, now: line if line.status.ended else _with(line, waiting=why))

    def job_seen(self, target: str, job: str, attempt: int) -> None:
        """The target uses this compilation job."""
        self._advance(target, compilation_job=job, attempt=attempt)

    def attempt_ended(self, target: str, job: str, attempt: int, status: AttemptStatus, reason: str) -> None:
        """The attempt's job ended without a model. The target may still make another attempt."""

        def change(line: TargetLine, now: datetime) -> TargetLine:
            line = _noted(line, advanced(line, compilation_job=job, attempt=attempt), now)
            if not line.attempts or line.attempts[-1].attempt != attempt:
                return line
            *earlier, last = line.attempts
            return _with(line, attempts=(*earlier, last.ending(status, now, reason)))

        self._change(target, change)

    def packaging(self, target: str, *, compilation_job: str, attempt: int, compiled_artifact: str) -> None:
        """The target is compiled; ``compiled_artifact`` is the ``s3://`` URI of the job's archive."""
        self._advance(
            target,
            TargetStatus.PACKAGING,
            compilation_job=compilation_job,
            attempt=attempt,
            compiled_artifact=compiled_artifact,
        )

    def packaged(self, target: str, *, package: str, size: int) -> None:
        """The package is stored at its ``s3://`` URI; ``size`` is in bytes."""
        self.learned(target, CompilationFacts(package_bytes=size))
        self._advance(target, package=package)

    def publishing(self, target: str) -> None:
        """The target's component version is created next."""
        self._advance(target, TargetStatus.PUBLISHING)

    def published(self, target: str, *, version: str, arn: str) -> None:
        """The component version exists; devices cannot install it yet."""
        self._advance(target, version=version, arn=arn)

    # --- The end of a target -----------------------------------------------------------------------------------------

    def deployable(self, target: str, made: Installable | None = None) -> None:
        """Devices can install what this run made; ``made`` adds what the ledger may not know."""
        self._advance(target, TargetStatus.DEPLOYABLE, **_fields(made))

    def skipped(self, target: str, made: Installable) -> None:
        """Devices could already install the component, so the target has no attempt in this run."""

        def change(line: TargetLine, now: datetime) -> TargetLine:
            skipped = advanced(line, TargetStatus.SKIPPED, **_fields(made))
            return line if skipped is line else _with(skipped, phases=(Phase(status=skipped.status, at=now),))

        self._change(target, change)

    def failed(self, target: str, failure: Failure) -> None:
        """The target did not become deployable."""
        self._end(target, TargetStatus.FAILED, failure)

    def stopped(self, target: str, failure: Failure) -> None:
        """The target was stopped, by a person or by its job's time limit."""
        self._end(target, TargetStatus.STOPPED, failure)

    # --- Facts, at any time ------------------------------------------------------------------------------------------

    def learned(self, target: str, facts: CompilationFacts) -> None:
        """Add to the facts about a target's compilation."""
        self._change(target, lambda line, now: _with(line, facts=line.facts.model_copy(update=facts.known())))

    def made_by(self, target: str, flow_run_id: str) -> None:
        """Another run made what this one joined, adopted or skipped."""
        self._change(target, lambda line, now: line if line.status.ended else _with(line, by_flow_run=flow_run_id))

    def own_jobs(self) -> dict[str, int]:
        """The compilation jobs that any process of the run created, each with the retry it was in."""
        with self._lock:
            return self._own_jobs()

    def claim_job(self, target: str, job: str, retry: int) -> bool:
        """Record that the run creates this compilation job; False if already recorded."""
        with self._lock:
            # Check and change under one lock: only one thread may win the claim.
            if job in self._own_jobs():
                return False
            line = self._lines[target]
            self._lines[target] = _with(line, own_jobs={**line.own_jobs, job: retry})
        self._changed()
        return True

    def disclaim_job(self, target: str, job: str) -> None:
        """Record that the run did not create the job after all."""

        def change(line: TargetLine, now: datetime) -> TargetLine:
            return _with(line, own_jobs={name: retry for name, retry in line.own_jobs.items() if name != job})

        self._change(target, change)

    def age(self) -> None:
        """Update ``seconds`` of the targets in progress. This is not a transition, so watchers are not called."""
        with self._lock:
            now = self._clock()
            self._lines = {
                target: line if line.status.ended else _aged(line, now) for target, line in self._lines.items()
            }

    # --- Implementation ----------------------------------------------------------------------------------------------

    def _own_jobs(self) -> dict[str, int]:
        noted = {name: retry for line in self._lines.values() for name, retry in line.own_jobs.items()}
        return {**self._earlier_jobs, **noted}

    def _advance(self, target: str, status: TargetStatus | None = None, **fields: Unpack[Fields]) -> None:
        self._change(target, lambda line, now: _noted(line, advanced(line, status, **fields), now))

    def _end(self, target: str, status: TargetStatus, failure: Failure) -> None:
        self._advance(target, status, reason=failure.reason, cause=failure.cause, remedy=failure.remedy)

    def _change(self, target: str, change: Callable[[TargetLine, datetime], TargetLine]) -> None:
        with self._lock:
            self._lines[target] = change(self._lines[target], self._clock())
        self._changed()

    def _changed(self) -> None:
        for changed in self._watchers:
            changed()


class _LineFields(TypedDict, total=False):
    phases: tuple[Phase, ...]
    attempts: tuple[Attempt, ...]
    facts: CompilationFacts
    by_flow_run: str | None
    waiting: str | None
    own_jobs: dict[str, int]
    seconds: float | None


def _with(line: TargetLine, **fields: Unpack[_LineFields]) -> TargetLine:
    """The line with changed fields other than the status."""
    return TargetLine.model_validate({**dict(line), **fields}, strict=True)


def _fields(made: Installable | None) -> Fields:
    """The known fields; those that AWS does not report leave the ledger's values unchanged."""
    if made is None:
        return Fields()
    fields = Fields(component=made.component, version=made.version, arn=made.arn)
    if made.package is not None:
        fields["package"] = made.package
    if made.compilation_job is not None:
        fields["compilation_job"] = made.compilation_job
    if made.attempt is not None:
        fields["attempt"] = made.attempt
    if made.compiled_artifact is not None:
        fields["compiled_artifact"] = made.compiled_artifact
    return fields


def _noted(before: TargetLine, line: TargetLine, now: datetime) -> TargetLine:
    """The advanced line with its phases, attempts and age updated."""
    if line is before:
        return before
    if before.by_flow_run and line.attempt is not None and line.attempt < (before.attempt or 0):
        # A restarted run uses its persisted result and drops later attempts, which other runs made.
        kept = tuple(each for each in line.attempts if each.attempt is None or each.attempt <= line.attempt)
        line = _with(line, attempts=kept, by_flow_run=None)
    if line.status is not before.status:
        line = _with(line, phases=(*before.phases, Phase(status=line.status, at=now)))
    return _aged(_with(line, attempts=_attempts(before.status, line, now)), now)


def _aged(line: TargetLine, now: datetime) -> TargetLine:
    """The line with ``seconds`` since its first phase."""
    if not line.phases:
        return line
    return _with(line, seconds=round((now - line.phases[0].at).total_seconds(), 1))


def _attempts(before: TargetStatus, line: TargetLine, now: datetime) -> tuple[Attempt, ...]:
    """The attempts after a transition. A new number starts an attempt; ended attempts never change."""
    attempts = list(line.attempts)
    if line.attempt is not None and (not attempts or attempts[-1].attempt != line.attempt):
        if attempts:
            # A next attempt implies that the last one failed, even if that was not reported.
            attempts[-1] = attempts[-1].ending(AttemptStatus.FAILED, now)
        attempts.append(Attempt(attempt=line.attempt, status=AttemptStatus.COMPILING, started=now))
    if not attempts or attempts[-1].status.ended:
        return tuple(attempts)
    last = attempts[-1].model_copy(
        update={"compilation_job": line.compilation_job, "component": line.component, "version": line.version}
    )
    if line.status.ended:
        last = last.ending(AttemptStatus(line.status.value), now, line.reason)
    elif line.status is not before:
        last = last.model_copy(update={"status": AttemptStatus(line.status.value)})
    return (*attempts[:-1], last)
