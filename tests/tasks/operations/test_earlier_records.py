"""Records of the previous version lead to the same decisions as in that version."""

from __future__ import annotations

from typing import Any

import pytest

from dda_core.runs.liveness import CrashKind
from dda_core.runs.retry_class import RetryClass
from tasks.operations.liveness_probes import _own_crashes
from tasks.operations.retries import failed_targets
from tasks.store.run_states import times_ended
from tasks.store.transitions import crash_kind
from tests.fixtures.earlier_records import EarlierRun, EarlierServer, earlier_runs

RUNS = {run.training_job: run for run in earlier_runs()}


@pytest.fixture(params=RUNS)
def earlier(request: Any) -> EarlierRun:
    return RUNS[request.param]


async def test_each_failed_target_has_the_retry_class_that_it_had(earlier: EarlierRun) -> None:
    run = earlier.job_run()
    server: Any = EarlierServer({run.run.id: earlier.states})
    found = await failed_targets(server, [[run]])
    assert [(each.target, each.retry_class, each.attempts) for each in found] == earlier.failed


def test_a_run_keeps_its_number_of_ends(earlier: EarlierRun) -> None:
    assert times_ended(earlier.states) == earlier.times_ended


def test_a_run_keeps_its_number_of_own_crashes(earlier: EarlierRun) -> None:
    assert _own_crashes(earlier.states) == earlier.own_crashes


def test_crashes_marked_by_the_automation_are_recognised(earlier: EarlierRun) -> None:
    kinds = [crash_kind(state) for state in earlier.states if state.is_crashed()]
    assert [kind is CrashKind.SILENT for kind in kinds] == earlier.silent


def test_the_file_has_every_class_that_errors_have_and_every_kind_of_crash() -> None:
    classes = {kind for run in RUNS.values() for _, kind, _ in run.failed}
    assert classes >= set(RetryClass) - {RetryClass.RECONCILE}
    states = [state for run in RUNS.values() for state in run.states if state.is_crashed()]
    assert {crash_kind(state) for state in states} == set(CrashKind)


def test_nothing_in_the_file_has_newer_fields() -> None:
    lines = [line for run in RUNS.values() for rows in run.rows for line in rows]
    assert lines
    assert not any("retry_class" in line["facts"] for line in lines)
