"""Decides the next attempt at a compilation from the newest job, without calling AWS."""

from __future__ import annotations

from enum import StrEnum
from typing import NamedTuple

from dda_core.compilation.job import CompilationJob
from dda_core.compilation.status import CompilationStatus
from dda_core.failures import explain


class StepKind(StrEnum):
    """The next action for a compilation."""

    CREATE = "create"
    JOIN = "join"
    ADOPT = "adopt"
    GIVE_UP = "give-up"


class Attempts(NamedTuple):
    """The attempts that a run may make.

    ``first`` is the number of its first, ``extra`` how many it may make after that. With ``force`` a COMPLETED job
    before ``first`` is not adopted.
    """

    first: int
    extra: int = 0
    force: bool = False


class NextStep(NamedTuple):
    """What to do next.

    ``attempt`` is the number of the job concerned; ``retry`` counts this run's attempts after the first. ``job`` is the
    newest job: for CREATE the previous attempt, else the job to join, adopt or give up on.
    """

    kind: StepKind
    attempt: int
    job: CompilationJob | None = None
    retry: int = 0


def first_attempt(newest: CompilationJob | None, *, force: bool = False, floor: int | None = None) -> int:
    """The first attempt that counts for a run that starts now.

    ``floor`` is this function's result when the run first started: a forced run that is retried adopts COMPLETED jobs
    from that attempt on as its own.
    """
    if newest is None:
        return 1
    if newest.status is CompilationStatus.COMPLETED:
        recompile = force and (floor is None or newest.attempt < floor)
        return newest.attempt + 1 if recompile else newest.attempt
    return newest.attempt if newest.status.active else newest.attempt + 1


def next_step(newest: CompilationJob | None, attempts: Attempts) -> NextStep:
    """The next step of a run with these attempts, given the newest job."""
    if newest is None:
        return NextStep(StepKind.CREATE, 1)
    attempt, status = newest.attempt, newest.status
    # A STOPPING job may still complete, so the next attempt must not be created before it has ended.
    if status.active or status is CompilationStatus.STOPPING:
        return NextStep(StepKind.JOIN, attempt, newest)
    # A forced run adopts only jobs that it created itself, such as before a crash.
    if status is CompilationStatus.COMPLETED:
        if attempt >= attempts.first or not attempts.force:
            return NextStep(StepKind.ADOPT, attempt, newest)
        return NextStep(StepKind.CREATE, attempt + 1, newest)
    # An earlier run's failure does not count: this run has not tried yet.
    if attempt < attempts.first:
        return NextStep(StepKind.CREATE, attempt + 1, newest)
    # Only a transient failure is worth another attempt; a job that a person stopped stays stopped.
    is_transient = status is CompilationStatus.FAILED and explain(newest.reason or "").retry == "backoff"
    if is_transient and attempt < attempts.first + attempts.extra:
        return NextStep(StepKind.CREATE, attempt + 1, newest, retry=attempt + 1 - attempts.first)
    return NextStep(StepKind.GIVE_UP, attempt, newest)
