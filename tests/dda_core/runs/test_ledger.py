"""Non-obvious transitions of a run's ledger."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from itertools import count
from threading import Barrier, Thread
from typing import Any

import pytest
from pydantic import ValidationError

from dda_core.runs.history import Attempt, AttemptStatus, CompilationFacts, TargetLine
from dda_core.runs.ledger import Failure, Installable, Ledger, advanced
from dda_core.runs.status import TargetRecord, TargetStatus

BEGAN = datetime(2026, 1, 1, tzinfo=UTC)
TARGET = "arm64-cpu"
PACKAGING = {"compilation_job": "job-1", "attempt": 1, "compiled_artifact": "s3://b/a"}
MADE = Installable(component="model-a", version="1.0.0", arn="arn", compilation_job="job-1", attempt=1)


@pytest.fixture
def ledger() -> Ledger:
    """A ledger of one target; a second passes with each transition."""
    seconds = count()
    ledger = Ledger(clock=lambda: BEGAN + timedelta(seconds=next(seconds)))
    ledger.expect([TARGET])
    return ledger


def job(attempt: int) -> str:
    return f"lid-7-arm64cpu-0a1b2c3d-{attempt}"


@pytest.mark.parametrize(
    ("transition", "error"),
    [
        (lambda ledger: ledger.job_seen(TARGET, job(1), "1"), ValidationError),
        (lambda ledger: ledger.packaging(TARGET, **{**PACKAGING, "attempt": "1"}), ValidationError),
        (lambda ledger: ledger.packaging(TARGET, **{**PACKAGING, "compilation_job": 1}), ValidationError),
        (lambda ledger: ledger.published(TARGET, version=1, arn="arn"), ValidationError),
        (lambda ledger: ledger.deployable(TARGET, MADE._replace(attempt="1")), ValidationError),
        (lambda ledger: ledger.failed(TARGET, Failure(ValueError("no text"))), ValidationError),
        (lambda ledger: ledger.published(TARGET, verison="1.0.0", arn="arn"), TypeError),
        (lambda ledger: ledger.failed(TARGET, Failure(raeson="no model")), TypeError),
        (lambda ledger: ledger.compiling("no-target", component="model-a"), KeyError),
    ],
)
def test_a_wrong_name_or_type_is_an_error_and_changes_nothing(
    ledger: Ledger, transition: Callable[[Any], object], error: type[Exception]
) -> None:
    before = ledger.targets
    with pytest.raises(error):
        transition(ledger)
    assert ledger.targets == before


def test_a_restarted_run_with_a_persisted_result_drops_other_runs_attempts(
    ledger: Ledger,
) -> None:
    ledger.compiling(TARGET, component="model-a")
    ledger.job_seen(TARGET, job(2), 2)
    ledger.made_by(TARGET, "another run")
    ledger.packaging(TARGET, compilation_job=job(1), attempt=1, compiled_artifact="s3://b/a")
    line = ledger.targets[TARGET]
    assert [(each.attempt, each.compilation_job, each.ended) for each in line.attempts] == [(1, job(1), None)]
    assert line.by_flow_run is None


def test_an_own_attempt_stays_when_its_job_is_deleted_and_numbers_restart(
    ledger: Ledger,
) -> None:
    ledger.compiling(TARGET, component="model-a")
    for attempt in (2, 1):
        ledger.job_seen(TARGET, job(attempt), attempt)
    assert [each.attempt for each in ledger.targets[TARGET].attempts] == [2, 1]


def test_a_job_that_failed_ends_its_attempt_and_not_its_target(ledger: Ledger) -> None:
    ledger.compiling(TARGET, component="model-a")
    ledger.job_seen(TARGET, job(1), 1)
    ledger.attempt_ended(TARGET, job(1), 1, AttemptStatus.FAILED, "no slot")
    ledger.job_seen(TARGET, job(2), 2)
    line = ledger.targets[TARGET]
    assert line.status is TargetStatus.COMPILING
    assert [(each.attempt, each.status, each.reason) for each in line.attempts] == [
        (1, "failed", "no slot"),
        (2, "compiling", None),
    ]


def test_a_skipped_target_has_no_attempt_and_takes_no_time(ledger: Ledger) -> None:
    ledger.skipped(TARGET, MADE)
    line = ledger.targets[TARGET]
    assert (line.status, line.version, line.attempts, line.seconds) == (TargetStatus.SKIPPED, "1.0.0", (), None)
    assert [phase.status for phase in line.phases] == [TargetStatus.SKIPPED]


def test_what_the_run_made_before_its_process_died_is_its_own_attempt(ledger: Ledger) -> None:
    ledger.deployable(TARGET, MADE)
    [attempt] = ledger.targets[TARGET].attempts
    assert (attempt.attempt, attempt.status, attempt.component) == (1, AttemptStatus.DEPLOYABLE, "model-a")


def test_targets_resume_from_an_earlier_process(ledger: Ledger) -> None:
    packaged = TargetLine(
        target=TARGET,
        status=TargetStatus.PACKAGING,
        attempt=1,
        attempts=(Attempt(attempt=1, status=AttemptStatus.PACKAGING, started=BEGAN),),
    )
    ledger.expect([TARGET, "x86_64-cpu"], {TARGET: packaged})
    ledger.compiling(TARGET, component="model-a")
    line = ledger.targets[TARGET]
    assert (line.status, line.component) == (TargetStatus.PACKAGING, "model-a")
    assert [each.started for each in line.attempts] == [BEGAN]
    assert ledger.targets["x86_64-cpu"].status is TargetStatus.NOT_STARTED


def test_facts_can_be_added_after_the_end(ledger: Ledger) -> None:
    ledger.packaged(TARGET, package="s3://b/p", size=7)
    ledger.failed(TARGET, Failure("no model"))
    ledger.learned(TARGET, CompilationFacts(bytes_in=3))
    assert ledger.targets[TARGET].facts == CompilationFacts(package_bytes=7, bytes_in=3)


def test_durations_grow_until_the_end(ledger: Ledger) -> None:
    ledger.compiling(TARGET, component="model-a")
    ledger.age()
    assert ledger.targets[TARGET].seconds == 1.0
    ledger.failed(TARGET, Failure("no model"))
    ledger.age()
    assert ledger.targets[TARGET].seconds == 2.0


def test_watchers_are_called_for_every_transition(ledger: Ledger) -> None:
    seen: list[str] = []
    ledger.watch(lambda: seen.append(str(ledger.targets[TARGET].status)))
    ledger.compiling(TARGET, component="model-a")
    ledger.failed(TARGET, Failure("no model"))
    assert seen == ["compiling", "failed"]


def test_a_job_is_claimed_once_across_threads_and_processes(ledger: Ledger) -> None:
    ledger.created_before({job(1): 0})
    assert not ledger.claim_job(TARGET, job(1), 1)
    barrier, new = Barrier(8), list[bool]()

    def claim() -> None:
        barrier.wait()
        new.append(ledger.claim_job(TARGET, job(2), 1))

    threads = [Thread(target=claim) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(new) == [False] * 7 + [True]
    assert ledger.own_jobs() == {job(1): 0, job(2): 1}
    ledger.disclaim_job(TARGET, job(2))
    assert ledger.own_jobs() == {job(1): 0}


def test_a_record_keeps_its_end_and_the_reason_of_it() -> None:
    record = TargetRecord(status=TargetStatus.COMPILING, attempt=1)
    failed = advanced(record, TargetStatus.FAILED, reason="the first")
    assert (failed.attempt, failed.reason) == (1, "the first")
    assert advanced(failed, TargetStatus.DEPLOYABLE, reason="a later one") is failed
    assert record.status is TargetStatus.COMPILING
