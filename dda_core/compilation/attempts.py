"""Which attempt at a compilation comes next: decided from the newest job alone, without a call of AWS."""

from __future__ import annotations

from enum import StrEnum
from typing import NamedTuple

from dda_core.compilation.job import CompilationJob
from dda_core.compilation.status import CompilationStatus
from dda_core.failures import explain


class StepKind(StrEnum):
    """What to do next about a compilation."""

    CREATE = "create"
    FOLLOW = "follow"
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

    ``attempt`` is the number of the job that it is done with, ``retry`` counts this run's attempts after the first.
    ``job`` is the newest job: to CREATE, the one before; else the one to follow, to adopt or to give up on.
    """

    kind: StepKind
    attempt: int
    job: CompilationJob | None = None
    retry: int = 0


def first_attempt(newest: CompilationJob | None, *, force: bool = False, floor: int | None = None) -> int:
    """The first attempt that counts for a run that begins now.

    ``floor`` is what this function said when the run began for the first time: a forced run that is retried takes
    the COMPLETED jobs from there on for its own.
    """
    if newest is None:
        return 1
    if newest.status is CompilationStatus.COMPLETED:
        anew = force and (floor is None or newest.attempt < floor)
        return newest.attempt + 1 if anew else newest.attempt
    return newest.attempt if newest.status.active else newest.attempt + 1


def next_step(newest: CompilationJob | None, attempts: Attempts) -> NextStep:
    """What a run that may make these attempts does, given the newest job."""
    if newest is None:
        return NextStep(StepKind.CREATE, 1)
    attempt, status = newest.attempt, newest.status
    # A job that is being stopped may still complete, and the name of the next attempt must not be used before it ends.
    if status.active or status is CompilationStatus.STOPPING:
        return NextStep(StepKind.FOLLOW, attempt, newest)
    # A forced run does not adopt what was there before it, but does adopt what it made itself before a crash.
    if status is CompilationStatus.COMPLETED:
        if attempt >= attempts.first or not attempts.force:
            return NextStep(StepKind.ADOPT, attempt, newest)
        return NextStep(StepKind.CREATE, attempt + 1, newest)
    # An earlier run's failure is no reason to give up: this run has not tried yet.
    if attempt < attempts.first:
        return NextStep(StepKind.CREATE, attempt + 1, newest)
    # Only a failure that may pass is worth another attempt; a job that somebody stopped stays stopped.
    may_pass = status is CompilationStatus.FAILED and explain(newest.reason or "").retry == "backoff"
    if may_pass and attempt < attempts.first + attempts.extra:
        return NextStep(StepKind.CREATE, attempt + 1, newest, retry=attempt + 1 - attempts.first)
    return NextStep(StepKind.GIVE_UP, attempt, newest)
