from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dda_core.runs.liveness import (
    CRASHED,
    IN_PROGRESS,
    RESTARTED_WITHIN,
    Action,
    Limits,
    Liveness,
    Process,
    judge,
    wait_before_restart,
)

NOW = datetime(2026, 11, 20, 12, tzinfo=UTC)
LIMITS = Limits(silence=timedelta(seconds=300), pending=timedelta(seconds=600), max_restarts=3)
WAITING = ("SCHEDULED", "PAUSED", "COMPLETED", "FAILED", "CANCELLED")

ages = st.timedeltas(min_value=timedelta(0), max_value=timedelta(days=30))
signs = st.builds(
    Liveness,
    state=st.sampled_from([*IN_PROGRESS, CRASHED, *WAITING]),
    since=ages.map(lambda age: NOW - age),
    last_seen=st.none() | ages.map(lambda age: NOW - age),
    process=st.sampled_from(Process),
    crashes=st.integers(0, 9),
    restartable=st.booleans(),
    followed=st.booleans(),
)
limits = st.builds(
    Limits,
    silence=st.timedeltas(min_value=timedelta(seconds=1), max_value=timedelta(hours=1)),
    pending=st.timedeltas(min_value=timedelta(seconds=1), max_value=timedelta(hours=1)),
    max_restarts=st.integers(0, 9),
    ended_before=st.none() | ages.map(lambda age: NOW - age),
)


def run(state: str = "RUNNING", seconds: float = 10, **fields: object) -> Liveness:
    return Liveness.model_validate({"state": state, "since": NOW - timedelta(seconds=seconds), **fields})


@settings(max_examples=300, deadline=None)
@given(signs, limits)
def test_a_live_run_is_never_touched(found: Liveness, limits: Limits) -> None:
    """**Feature: compilation-job-visibility, Property 30: A run with a living process is never crashed.**"""
    alive = found.model_copy(update={"process": Process.ALIVE})
    if found.state in IN_PROGRESS:
        assert judge(alive, limits, NOW).action is Action.LEAVE


@settings(max_examples=300, deadline=None)
@given(signs.filter(lambda found: found.state in WAITING), limits)
def test_a_run_that_waits_is_never_touched(found: Liveness, limits: Limits) -> None:
    """**Feature: compilation-job-visibility, Property 31: Suspended, paused, scheduled and ended runs stay.**"""
    assert judge(found, limits, NOW).action is Action.LEAVE


@settings(max_examples=300, deadline=None)
@given(signs, limits)
def test_restarts_are_bounded(found: Liveness, limits: Limits) -> None:
    """**Feature: compilation-job-visibility, Property 32: Nothing is restarted beyond the limit, or by nobody.**"""
    if judge(found, limits, NOW).action is Action.RESTART:
        assert found.crashes <= limits.max_restarts
        assert found.restartable
        assert not (found.state == CRASHED and found.followed)


@settings(max_examples=300, deadline=None)
@given(signs, limits)
def test_missing_evidence_is_never_certain(found: Liveness, limits: Limits) -> None:
    """**Feature: compilation-job-visibility, Property 33: Only the end of the whole stack needs no second look.**"""
    verdict = judge(found, limits, NOW)
    if verdict.action is not Action.LEAVE and found.state != CRASHED:
        assert verdict.certain == (limits.ended_before is not None)
        assert verdict.evidence


@settings(max_examples=300, deadline=None)
@given(signs, limits)
def test_a_run_of_the_new_stack_is_never_touched(found: Liveness, limits: Limits) -> None:
    """**Feature: compilation-job-visibility, Property 34: What began after the stack did is alive.**"""
    began = limits.model_copy(update={"ended_before": found.since})
    if found.state in IN_PROGRESS:
        assert judge(found, began, NOW).action is Action.LEAVE


@pytest.mark.parametrize("state", IN_PROGRESS)
def test_every_run_from_before_the_stack_ended_is_dead(state: str) -> None:
    ended = LIMITS.model_copy(update={"ended_before": NOW})
    verdict = judge(run(state, crashes=3), ended, NOW)
    assert verdict.action is (Action.CANCEL if state == "CANCELLING" else Action.RESTART)
    assert verdict.evidence.startswith("All processes of the stack ended")


@pytest.mark.parametrize(
    ("found", "action"),
    [
        (run(process=Process.GONE), Action.RESTART),
        (run(process=Process.GONE, restartable=False), Action.CRASH),
        (run(process=Process.GONE, crashes=3), Action.CRASH),
        (run("CANCELLING", process=Process.GONE), Action.CANCEL),
        (run(seconds=299), Action.LEAVE),
        (run(seconds=301), Action.RESTART),
        (run(seconds=9999, last_seen=NOW - timedelta(seconds=299)), Action.LEAVE),
        (run(seconds=9999, last_seen=NOW - timedelta(seconds=301)), Action.RESTART),
        # A worker takes a while from claiming a run to starting its process.
        (run("PENDING", seconds=599, process=Process.GONE), Action.LEAVE),
        (run("PENDING", seconds=601, process=Process.GONE), Action.RESTART),
        (run("PENDING", seconds=601, process=Process.ALIVE), Action.LEAVE),
        (run(CRASHED, seconds=0, crashes=1), Action.RESTART),
        (run(CRASHED, seconds=29, crashes=2), Action.LEAVE),
        (run(CRASHED, seconds=31, crashes=2), Action.RESTART),
        (run(CRASHED, seconds=9999, crashes=4), Action.LEAVE),
        (run(CRASHED, crashes=1, followed=True), Action.LEAVE),
        (run(CRASHED, crashes=1, seconds=RESTARTED_WITHIN.total_seconds() + 1), Action.LEAVE),
        # At the limit itself.
        (run(seconds=300), Action.LEAVE),
        (run("PENDING", seconds=600), Action.LEAVE),
        (run(process=Process.GONE, crashes=2), Action.RESTART),
        (run(CRASHED, seconds=30, crashes=2), Action.RESTART),
        (run(CRASHED, seconds=9999, crashes=3), Action.RESTART),
        (run(CRASHED, crashes=1, seconds=RESTARTED_WITHIN.total_seconds()), Action.RESTART),
        (run(CRASHED, crashes=1, restartable=False), Action.LEAVE),
    ],
)
def test_the_action_for_each_case(found: Liveness, action: Action) -> None:
    assert judge(found, LIMITS, NOW).action is action


def test_restarts_slow_down() -> None:
    assert [wait_before_restart(crashes).total_seconds() for crashes in range(6)] == [0, 0, 30, 60, 120, 240]


def test_restarts_slow_down_to_a_few_hours_at_most() -> None:
    assert (
        wait_before_restart(12) == wait_before_restart(13) == wait_before_restart(999) == timedelta(seconds=30 * 1024)
    )
    assert wait_before_restart(11) == timedelta(seconds=30 * 512)


@pytest.mark.parametrize(
    ("found", "evidence"),
    [
        (run("PENDING", seconds=601), "It was pending for 601 s without a process."),
        (run(process=Process.GONE), "Its process no longer exists on its machine."),
        (run(seconds=360), "It has been silent for 360 s, since 11:54:00 UTC."),
        (run(CRASHED, crashes=1), "It had crashed."),
        (run(), ""),
    ],
)
def test_the_evidence_is_a_sentence(found: Liveness, evidence: str) -> None:
    verdict = judge(found, LIMITS, NOW)
    assert verdict.evidence == evidence
    assert verdict.certain == (verdict.action is Action.LEAVE or found.state == CRASHED)


def test_the_end_of_the_stack_is_not_the_runs_own_crash() -> None:
    ended = LIMITS.model_copy(update={"ended_before": NOW})
    assert judge(run(crashes=3), ended, NOW).action is Action.RESTART
    assert judge(run(crashes=4), ended, NOW).action is Action.CRASH
    # Nor does a crashed one have to wait.
    assert judge(run(CRASHED, seconds=1, crashes=3), ended, NOW).action is Action.RESTART
    verdict = judge(run("PENDING"), ended, NOW)
    assert (verdict.evidence, verdict.certain) == (
        "All processes of the stack ended while it was pending.",
        True,
    )
