"""Limits of a sweep of scheduled retries, whatever failed and however often it runs."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from dda_core.exceptions import CompilationFailed, CompilationStopped
from dda_core.failures import catalogue
from dda_core.runs.earlier_records import target_line
from dda_core.runs.retry_class import RetryClass, retry_class_of
from dda_core.runs.retry_policy import FailedTarget, decide, wait_after
from dda_core.settings import Settings

NOW = datetime(2026, 5, 4, 12, 0, tzinfo=UTC)
NUMBERS = st.integers(1, 6)
LIMITS = st.builds(
    Settings,
    retry_backoff_seconds=st.floats(1, 5000),
    retry_backoff_cap_seconds=st.floats(1, 50_000),
    retry_budget=NUMBERS,
    retry_attempts_backoff=NUMBERS,
    retry_attempts_quota=NUMBERS,
    retry_attempts_reconcile=NUMBERS,
    retry_attempts_crashed=NUMBERS,
    retry_attempts_timed_out=NUMBERS,
)
CLASSES = st.sampled_from(RetryClass)


def target(name: str, kind: RetryClass, attempts: int, ended: datetime, **fields: Any) -> FailedTarget:
    return FailedTarget(
        training_job="lid-7",
        use_case="local",
        flow_run_id="run",
        state_id="state",
        target=name,
        retry_class=kind,
        attempts=attempts,
        ended=ended,
        **fields,
    )


@st.composite
def failures(draw: st.DrawFn) -> list[FailedTarget]:
    ages = st.integers(0, 100_000).map(lambda seconds: NOW - timedelta(seconds=seconds))
    drawn = draw(st.lists(st.tuples(CLASSES, st.integers(1, 9), ages, st.booleans()), max_size=12))
    return [
        target(str(number), kind, attempts, ended, obstacle="its run is in progress" if blocked else None)
        for number, (kind, attempts, ended, blocked) in enumerate(drawn)
    ]


@settings(max_examples=200)
@given(failures(), LIMITS, st.booleans())
def test_never_and_stopped_are_never_retried(failed: list[FailedTarget], limits: Settings, by_hand: bool) -> None:
    """**Feature: compilation-job-visibility, Property 30: No retry where it cannot help**

    For any failed targets, neither a sweep nor a person retries those that would certainly fail again, that a person
    stopped, that have reached the maximum, or that have an obstacle; each target gets one decision with a reason.
    """
    decisions = {each.target: each for each in decide(failed, NOW, limits, by_hand=by_hand)}
    assert decisions.keys() == {each.target for each in failed}
    for each in failed:
        decision = decisions[each.target]
        assert decision.why
        if decision.retry:
            assert each.retry_class not in (RetryClass.NEVER, RetryClass.STOPPED)
            assert each.attempts < each.retry_class.maximum(limits)
            assert each.obstacle is None
            assert by_hand or each.ended + wait_after(each.attempts, limits) <= NOW


@settings(max_examples=200)
@given(failures(), LIMITS)
def test_a_sweep_uses_its_budget_and_stays_within_it(failed: list[FailedTarget], limits: Settings) -> None:
    """**Feature: compilation-job-visibility, Property 31: The budget of a sweep**

    For any failed targets, a sweep retries as many as possible within its budget, and never more.
    """
    free = limits.model_copy(update={"retry_budget": 1000})
    wanted = sum(each.retry for each in decide(failed, NOW, free))
    assert sum(each.retry for each in decide(failed, NOW, limits)) == min(wanted, limits.retry_budget)


@settings(max_examples=150, deadline=None)
@given(st.lists(CLASSES, min_size=1, max_size=6), LIMITS, st.lists(st.integers(60, 40_000), max_size=60), st.data())
def test_no_sequence_of_sweeps_exceeds_the_maximum(
    kinds: list[RetryClass], limits: Settings, pauses: list[int], data: st.DataObject
) -> None:
    """**Feature: compilation-job-visibility, Property 32: The maximum over all sweeps**

    For any sequence of sweeps over targets that fail again or become deployable, no target is started more often than
    the maximum of its class, the waits between its attempts never shrink, and a deployable target is never retried.
    """
    now = NOW
    state = {str(number): target(str(number), kind, 1, now) for number, kind in enumerate(kinds)}
    begun = dict.fromkeys(state, 1)
    waited: dict[str, list[timedelta]] = {name: [] for name in state}
    deployable: set[str] = set()
    for pause in pauses:
        now += timedelta(seconds=pause)
        decisions = decide([each for name, each in state.items() if name not in deployable], now, limits)
        for decision in decisions:
            name = str(decision.target)
            assert name not in deployable
            if decision.retry:
                begun[name] += 1
                waited[name].append(wait_after(state[name].attempts, limits))
                assert now - state[name].ended >= waited[name][-1]
                if data.draw(st.booleans(), label="deployable"):
                    deployable.add(name)
                state[name] = state[name].model_copy(update={"attempts": begun[name], "ended": now})
    for name, each in state.items():
        assert begun[name] <= max(each.retry_class.maximum(limits), 1)
        assert waited[name] == sorted(waited[name])


@settings(max_examples=150)
@given(LIMITS, st.integers(1, 200))
def test_the_wait_doubles_up_to_the_cap(limits: Settings, attempts: int) -> None:
    """**Feature: compilation-job-visibility, Property 33: The wait grows**

    For any settings, the wait after another failure is twice as long, up to the cap.
    """
    cap = timedelta(seconds=limits.retry_backoff_cap_seconds)
    shorter, longer = wait_after(attempts, limits), wait_after(attempts + 1, limits)
    assert shorter <= longer <= cap
    assert longer == cap or abs(longer - 2 * shorter) < timedelta(milliseconds=1)


@settings(max_examples=150)
@given(
    st.sampled_from(catalogue().rows).flatmap(lambda row: st.sampled_from(row.match)),
    st.text(max_size=30),
    st.booleans(),
)
def test_every_failure_of_the_catalogue_has_a_class(fragments: tuple[str, ...], before: str, at_limit: bool) -> None:
    """**Feature: compilation-job-visibility, Property 34: Every failure has a retry class**

    For any text in the catalogue, a failed target has an error's class, and one stopped other than by its time limit
    counts as stopped by a person; a row of an earlier version, which only has texts, also gets a class.
    """
    text = " ".join([before, *fragments])
    of_errors = {RetryClass.NEVER, RetryClass.BACKOFF, RetryClass.QUOTA, RetryClass.RECONCILE}
    assert retry_class_of(CompilationFailed(text)) in of_errors
    stopped = retry_class_of(CompilationStopped(text, time_limit_reached=at_limit))
    assert stopped is (RetryClass.TIMED_OUT if at_limit else RetryClass.STOPPED)
    failed = target_line({"target": "arm64-cpu", "status": "failed", "reason": text}).facts.retry_class
    assert failed in of_errors | {RetryClass.TIMED_OUT}
    ended = target_line({"target": "arm64-cpu", "status": "stopped", "reason": text}).facts.retry_class
    assert ended is (RetryClass.TIMED_OUT if "MaxRuntimeInSeconds" in text else RetryClass.STOPPED)
