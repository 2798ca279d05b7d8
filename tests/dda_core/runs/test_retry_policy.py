from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from dda_core.pages.retries import retries_page
from dda_core.runs.retry_class import RetryClass
from dda_core.runs.retry_policy import (
    FailedTarget,
    RetryDecision,
    decide,
    summary,
    wait_after,
)
from dda_core.settings import Settings

NOW = datetime(2026, 5, 4, 12, 0, tzinfo=UTC)
SETTINGS = Settings()
OPERATORS = "ClientError: OperatorNotImplemented:('The following operators are not implemented: [aten::nms]',)"


def failed(kind: RetryClass = RetryClass.BACKOFF, **fields: Any) -> FailedTarget:
    given = {
        "training_job": "lid-7",
        "use_case": "local",
        "flow_run_id": "run-1",
        "state_id": "state-1",
        "target": "arm64-cpu",
        "retry_class": kind,
        "attempts": 1,
        "ended": NOW - timedelta(days=1),
        "reason": OPERATORS,
        **fields,
    }
    return FailedTarget(**given)


def alone(target: FailedTarget, **options: bool) -> RetryDecision:
    [decision] = decide([target], NOW, SETTINGS, **options)
    return decision


def test_a_certain_failure_is_left_alone_with_the_reason() -> None:
    decision = alone(failed(RetryClass.NEVER))
    assert (decision.retry, decision.not_before) == (False, None)
    assert decision.why.startswith("never: The model uses operators that SageMaker Neo cannot compile")


def test_what_a_person_stopped_is_left_alone() -> None:
    assert alone(failed(RetryClass.STOPPED)).why == "stopped by a person"


def test_a_sweep_waits_and_reports_until_when() -> None:
    decision = alone(failed(attempts=2, ended=NOW - timedelta(minutes=19)))
    assert not decision.retry
    assert decision.not_before == NOW + timedelta(minutes=1)
    assert decision.why == "backoff: attempt 3 of 4, not before 2026-05-04 12:01 UTC"
    due = alone(failed(attempts=2, ended=NOW - timedelta(minutes=20)))
    assert (due.retry, due.why, due.not_before) == (True, "backoff: attempt 3 of 4", None)


def test_a_person_does_not_wait() -> None:
    assert alone(failed(ended=NOW), by_hand=True).retry


@pytest.mark.parametrize("by_hand", [False, True])
def test_the_maximum_ends_it(by_hand: bool) -> None:
    decision = alone(failed(attempts=4), by_hand=by_hand)
    assert (decision.retry, decision.why) == (False, "backoff: the maximum of 4 attempts is reached")


@pytest.mark.parametrize("kind", [RetryClass.NEVER, RetryClass.STOPPED, RetryClass.BACKOFF])
def test_force_overrides_class_and_maximum_but_no_obstacle(kind: RetryClass) -> None:
    assert alone(failed(kind, attempts=9), by_hand=True, force=True).retry
    decision = alone(failed(kind, obstacle="its run is in progress (Running)"), by_hand=True, force=True)
    assert (decision.retry, decision.why) == (False, "its run is in progress (Running)")


def test_the_budget_goes_to_those_that_waited_longest() -> None:
    settings = SETTINGS.model_copy(update={"retry_budget": 1})
    targets = [failed(target=name, ended=NOW - timedelta(hours=age)) for name, age in (("a", 2), ("b", 3))]
    decisions = decide([*targets, failed(RetryClass.NEVER, target="c")], NOW, settings)
    assert {each.target: each.retry for each in decisions} == {"a": False, "b": True, "c": False}
    assert next(each for each in decisions if each.target == "a").why == ("the budget of this sweep (1) is used up")
    assert sum(each.retry for each in decide(targets, NOW, settings, by_hand=True)) == 2


def test_the_keys_are_a_contract() -> None:
    assert list(alone(failed()).model_dump()) == [
        "training_job",
        "use_case",
        "target",
        "retry",
        "why",
        "retry_class",
        "attempts",
        "maximum",
        "not_before",
        "reason",
        "flow_run_id",
    ]


def test_the_summary_counts_decisions() -> None:
    decisions = decide([failed(), failed(RetryClass.NEVER), failed(RetryClass.NEVER), failed(ended=NOW)], NOW, SETTINGS)
    assert summary(decisions) == "1 retried, 3 left alone (2 never, 1 waiting)"
    assert summary([]) == "0 retried, 0 left alone"


def test_the_page_escapes_untrusted_texts() -> None:
    page = retries_page(decide([failed(reason="a | <b>")], NOW, SETTINGS), NOW, lambda run: f"http://ui/{run}")
    assert "| 🔁 | [lid-7](http://ui/run-1) | local | arm64-cpu | backoff: attempt 2 of 4 | a \\| &lt;b&gt; |" in page


def test_a_page_with_thousands_of_rows_is_truncated_with_a_note() -> None:
    page = retries_page(decide([failed(target=str(each)) for each in range(501)], NOW, SETTINGS), NOW, str)
    assert page.count("[lid-7]") == 500
    assert "The first 500 are shown" in page


def test_the_wait_is_capped_however_often_it_failed() -> None:
    assert wait_after(1, SETTINGS) == timedelta(seconds=600)
    assert wait_after(10**6, SETTINGS) == timedelta(hours=4)


def test_the_wait_doubles_with_every_attempt() -> None:
    assert [wait_after(attempts, SETTINGS).total_seconds() for attempts in (1, 2, 3, 4)] == [600, 1200, 2400, 4800]


def test_a_class_has_the_maximum_of_its_own_setting() -> None:
    settings = Settings(
        retry_attempts_backoff=11,
        retry_attempts_quota=12,
        retry_attempts_reconcile=13,
        retry_attempts_crashed=14,
        retry_attempts_timed_out=15,
    )
    assert {str(kind): kind.maximum(settings) for kind in RetryClass} == {
        "never": 1,
        "backoff": 11,
        "quota": 12,
        "reconcile": 13,
        "crashed": 14,
        "timed-out": 15,
        "stopped": 1,
    }


def test_a_decision_carries_its_targets_data() -> None:
    target = failed(RetryClass.QUOTA, attempts=2, flow_run_id="run-9", state_id="state-9", use_case="lids")
    decision = alone(target)
    for name in (
        "training_job",
        "use_case",
        "target",
        "retry_class",
        "attempts",
        "reason",
        "flow_run_id",
        "state_id",
    ):
        assert getattr(decision, name) == getattr(target, name), name
    assert (decision.maximum, decision.why) == (6, "quota: attempt 3 of 6")


def test_the_longest_overdue_comes_first() -> None:
    """The due time is the end plus the wait for its attempts."""
    early, late = (
        failed(target=name, attempts=attempts, ended=NOW - timedelta(hours=age))
        for name, attempts, age in (("early", 1, 2), ("late", 3, 2.2))
    )
    assert [each.target for each in decide([late, early], NOW, SETTINGS)] == ["early", "late"]


def test_the_page_shows_what_is_retried_first_then_what_waits() -> None:
    targets = [failed(RetryClass.NEVER, target="never"), failed(ended=NOW, target="waits"), failed(target=None)]
    page = retries_page(decide(targets, NOW, SETTINGS), NOW, str)
    rows = [line for line in page.splitlines() if line.startswith(("| 🔁", "| ⏳", "| ⏸"))]
    assert [row.split(" | ")[0] for row in rows] == ["| 🔁", "| ⏳", "| ⏸"]
    assert "| (whole run) |" in rows[0]
    assert "# Retries\n\n1 retried, 2 left alone (1 never, 1 waiting). Decided 2026-05-04 12:00 UTC.\n\n" in page
