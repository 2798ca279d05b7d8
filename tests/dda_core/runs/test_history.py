from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest

from dda_core.runs.history import Attempt, AttemptStatus, merged
from dda_core.runs.status import TargetRecord, TargetStatus

BEGAN = datetime(2026, 1, 1, tzinfo=UTC)


def record(status: str, attempt: int | None = None) -> TargetRecord:
    return TargetRecord(status=TargetStatus(status), attempt=attempt)


def test_the_latest_entry_of_each_target_counts() -> None:
    first = {"a": record("failed", 1), "b": record("deployable", 1)}
    second = {"a": record("deployable", 2)}
    assert merged([first, second]) == {"a": record("deployable", 2), "b": record("deployable", 1)}


def test_a_skipped_target_keeps_what_the_earlier_run_made() -> None:
    assert merged([{"a": record("deployable", 1)}, {"a": record("skipped", 1)}]) == {"a": record("deployable", 1)}


def test_a_target_that_was_only_ever_skipped_is_shown_as_skipped() -> None:
    assert merged([{"a": record("skipped", 1)}]) == {"a": record("skipped", 1)}


@pytest.mark.parametrize("end", ["failed", "stopped"])
def test_a_target_that_is_deployable_after_all_is_shown_as_skipped(end: str) -> None:
    """For example, a run was cancelled while AWS created its component, and the next run found it deployable."""
    assert merged([{"a": record(end, 1)}, {"a": record("skipped", 1)}]) == {"a": record("skipped", 1)}
    assert merged([{"a": record("skipped", 1)}, {"a": record(end, 2)}]) == {"a": record(end, 2)}
    assert merged([{"a": record("publishing", 1)}, {"a": record("skipped", 1)}]) == {"a": record("publishing", 1)}


def test_a_failure_after_a_success_is_the_latest() -> None:
    """With force a target is compiled again, which may fail."""
    assert merged([{"a": record("deployable", 1)}, {"a": record("failed", 2)}])["a"].status is TargetStatus.FAILED


def test_a_run_in_progress_shows_its_targets() -> None:
    assert merged([{"a": record("failed", 1)}, {"a": record("compiling", 2)}]) == {"a": record("compiling", 2)}


def test_an_attempt_ends_once() -> None:
    attempt = Attempt(attempt=1, status=AttemptStatus.COMPILING, started=BEGAN)
    ended = attempt.ending(AttemptStatus.FAILED, BEGAN + timedelta(seconds=12.34), "ClientError")
    assert (ended.status, ended.seconds, ended.reason) == (AttemptStatus.FAILED, 12.3, "ClientError")
    assert ended.ending(AttemptStatus.CRASHED, BEGAN, "other") == ended


@pytest.mark.parametrize("status", ["deployable", "failed", "stopped", "crashed"])
def test_what_ends_an_attempt(status: str) -> None:
    assert AttemptStatus(status).ended
