"""The next attempt at a compilation."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dda_core.compilation.attempts import Attempts, NextStep, StepKind, first_attempt, next_step
from dda_core.compilation.job import CompilationJob
from dda_core.compilation.status import CompilationStatus

PASSING = "ServerError: There was an internal server error during the compilation job, please try again"
LASTING = "ClientError: No pth file found for PyTorch model"


def job(attempt: int, status: CompilationStatus, reason: str | None = None) -> CompilationJob:
    return CompilationJob(
        name=f"lid-7-x86cuda-0a1b2c3d-{attempt}", attempt=attempt, arn="", status=status, reason=reason
    )


S = CompilationStatus


@pytest.mark.parametrize(
    ("newest", "force", "expected"),
    [
        (None, False, 1),
        (None, True, 1),
        (job(3, S.STARTING), False, 3),
        (job(3, S.INPROGRESS), True, 3),
        (job(3, S.STOPPING), False, 4),
        (job(3, S.COMPLETED), False, 3),
        (job(3, S.COMPLETED), True, 4),
        (job(3, S.FAILED, LASTING), False, 4),
        (job(3, S.STOPPED), True, 4),
    ],
)
def test_first_attempt(newest: CompilationJob | None, force: bool, expected: int) -> None:
    assert first_attempt(newest, force=force) == expected


def test_a_retried_forced_run_adopts_what_it_completed_itself() -> None:
    assert first_attempt(job(4, S.COMPLETED), force=True, floor=4) == 4
    assert first_attempt(job(3, S.COMPLETED), force=True, floor=4) == 4


@pytest.mark.parametrize(
    ("newest", "first", "force", "expected"),
    [
        (None, 1, False, NextStep(StepKind.CREATE, 1)),
        (job(1, S.STARTING), 1, True, NextStep(StepKind.JOIN, 1)),
        (job(1, S.STOPPING), 2, False, NextStep(StepKind.JOIN, 1)),
        (job(1, S.STOPPED), 2, False, NextStep(StepKind.CREATE, 2)),
        (job(1, S.STOPPED), 1, False, NextStep(StepKind.GIVE_UP, 1)),
        (job(1, S.COMPLETED), 1, False, NextStep(StepKind.ADOPT, 1)),
        (job(1, S.COMPLETED), 2, True, NextStep(StepKind.CREATE, 2)),
        (job(2, S.COMPLETED), 2, True, NextStep(StepKind.ADOPT, 2)),
        (job(1, S.FAILED, LASTING), 2, False, NextStep(StepKind.CREATE, 2)),
        (job(1, S.FAILED, LASTING), 1, False, NextStep(StepKind.GIVE_UP, 1)),
        (job(1, S.FAILED, PASSING), 1, False, NextStep(StepKind.CREATE, 2, retry=1)),
        (job(2, S.FAILED, PASSING), 1, False, NextStep(StepKind.CREATE, 3, retry=2)),
        (job(3, S.FAILED, PASSING), 1, False, NextStep(StepKind.GIVE_UP, 3)),
    ],
)
def test_next_step(newest: CompilationJob | None, first: int, force: bool, expected: NextStep) -> None:
    assert next_step(newest, Attempts(first, 2, force)) == expected._replace(job=newest)


ENDS = st.sampled_from([(S.COMPLETED, None), (S.FAILED, PASSING), (S.FAILED, LASTING), (S.STOPPED, None)])


@settings(max_examples=300)
@given(before=st.lists(ENDS, max_size=4), ends=st.lists(ENDS, min_size=3, max_size=3), force=st.booleans())
def test_a_run_makes_at_most_three_jobs_and_a_restart_makes_none(
    before: list[tuple[CompilationStatus, str | None]], ends: list[tuple[CompilationStatus, str | None]], force: bool
) -> None:
    jobs = [job(number, *end) for number, end in enumerate(before, 1)]
    first = first_attempt(jobs[-1] if jobs else None, force=force)

    def to_the_end() -> NextStep:
        while True:
            step = next_step(jobs[-1] if jobs else None, Attempts(first, 2, force))
            if step.kind in (StepKind.ADOPT, StepKind.GIVE_UP):
                return step
            assert step.kind is StepKind.CREATE
            assert step.attempt == len(jobs) + 1
            jobs.append(job(step.attempt, *ends[len(jobs) - len(before)]))

    end = to_the_end()
    assert len(jobs) - len(before) <= 3
    assert end.attempt == len(jobs)
    made = len(jobs)
    assert to_the_end() == end
    assert len(jobs) == made, "a restart of the same run goes by the same first attempt"
