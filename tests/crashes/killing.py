"""Kills a run's processes one after the other, and checks the result after the last one, which is not killed."""

from __future__ import annotations

import asyncio
import threading
from collections import Counter
from datetime import timedelta
from pathlib import Path
from typing import Any, NamedTuple

import pytest
from prefect import get_client
from prefect.client.schemas.objects import StateType

import dda_core.cleanup.stale_uploads
from dda_core.model.package import STAGING
from dda_core.runs.history import AttemptStatus, HistoryRow, TargetLine
from dda_core.runs.status import TargetStatus
from tasks.store.history import history_of, runs_of
from tests.crashes.processes import (
    BUCKET,
    Aws,
    Ended,
    FlowRunProcesses,
    comparable,
    embedded_aws,
    new_run,
    read_run,
    revive,
)
from tests.crashes.victim import Kill
from tests.fixtures.device_checks import refused_by_devices

TARGETS = ["jetson-xavier", "x86_64-cpu", "x86_64-cuda", "arm64-cpu"]

_a_later_day = threading.Lock()
"""Held while the sweep in this process believes that everything is old."""


class Outcome(NamedTuple):
    """A run's results, without anything that differs for another training job of the same model."""

    jobs: list[str]
    versions: Any
    keys: list[str]


def carry_out(case: str, deaths: list[Kill], archive: Path, folder: Path) -> tuple[Outcome, list[Ended]]:
    """Run with these kills, and check; returns the run's results."""
    training_job = case.replace(" ", "-").lower()
    with embedded_aws() as aws:
        aws.train(training_job, archive)
        run = FlowRunProcesses(aws, folder, asyncio.run(new_run(training_job, targets=TARGETS)))
        kill_each(run, deaths)
        finish(run)
        check_once(run)
        check_nothing_is_left(aws)
        asyncio.run(check_history(training_job, run))
        return asyncio.run(outcome(training_job, run)), run.ended


def kill_each(run: FlowRunProcesses, deaths: list[Kill]) -> None:
    """One process per kill; the run is ready to be resumed after it."""
    for kill in deaths:
        process = run.run(kill)
        assert process.exit_code == -9, f"{kill}: ended with {process.exit_code}\n{process.said[-4000:]}"
        assert process.killed_at == (kill.point, kill.target), process.said[-4000:]
        check_moment(run.aws, kill)
        asyncio.run(revive(run.flow_run_id))


def finish(run: FlowRunProcesses) -> None:
    """One more process, which is not killed."""
    last = run.run()
    assert last.exit_code == 0, last.said[-4000:]
    state = asyncio.run(read_run(run.flow_run_id)).state
    assert state is not None
    assert state.type is StateType.COMPLETED, f"{state.message}\n{last.said[-6000:]}"
    assert state.message == "4/4 targets deployable"


def check_moment(aws: Aws, kill: Kill) -> None:
    """Check that the process was killed before, or after, the effect."""
    if kill.point.endswith("CreateCompilationJob"):
        suffix = {"jetson-xavier": "jetson", "x86_64-cpu": "x86cpu", "x86_64-cuda": "x86cuda", "arm64-cpu": "arm64cpu"}
        there = any(f"-{suffix[kill.target]}-" in job for job in aws.jobs())
    elif kill.point.endswith("CreateComponentVersion"):
        there = any(f"-{kill.target.replace('_', '-')}:" in arn for arn in aws.versions())
    else:
        return
    assert there == kill.point.startswith("after")


def check_once(run: FlowRunProcesses) -> None:
    """No process repeated another one's effect: only one job and one version of each target were ever created."""
    assert len(run.aws.jobs()) == len(TARGETS)
    assert len(run.aws.versions()) == len(TARGETS)
    assert refused_by_devices(run.aws.client) == {}
    made = Counter(creation for each in run.ended for creation in each.created)
    assert set(made.values()) <= {1}, made
    assert {target for _, target in made} <= set(TARGETS)


def check_nothing_is_left(aws: Aws) -> None:
    """Nothing is staged; killed processes may leave uploads open, which a later sweep aborts."""
    assert [key for key in aws.stored() if key.startswith(STAGING)] == []
    assert [key for key in aws.open_uploads() if not dda_core.cleanup.stale_uploads._is_ours(key)] == []
    with _a_later_day, pytest.MonkeyPatch.context() as patch:
        patch.setattr(dda_core.cleanup.stale_uploads, "STALE_AFTER", timedelta(days=-1))
        dda_core.cleanup.stale_uploads.remove_stale_uploads(aws.client("s3"), BUCKET)
    assert aws.open_uploads() == []


async def check_history(training_job: str, run: FlowRunProcesses) -> None:
    """Each process's writes are there up to its kill, no attempt is lost, and the end is deployable."""
    async with get_client() as client:
        [job_run] = await runs_of(client, training_job)
        states = await client.read_flow_run_states(run.flow_run_id)
    crashes = len(run.ended) - 1
    assert Counter(state.type for state in states)[StateType.CRASHED] == crashes
    assert Counter(state.type for state in states)[StateType.RUNNING] == crashes + 1

    writers = [each for each in run.ended if each.records]
    if len(writers) > len(job_run.writings):
        # The process was killed during its first write, which did not arrive.
        writers = [each for each in writers if not each.may_have_no_record]
    rows = history_of([job_run])
    for writing, writer in zip(job_run.writings, writers, strict=True):
        assert [fate(line) for line in writing.lines] in [[fate(row) for row in record] for record in writer.records]
        for line in writing.lines:
            for attempt in line.attempts:
                assert [row.started for row in rows if row.target == line.target].count(attempt.started) == 1
    check_rows(rows)
    assert {line.status for line in job_run.lines} == {TargetStatus.DEPLOYABLE}


def fate(line: TargetLine | dict[str, Any]) -> Any:
    """A target's results in the record."""
    row = line if isinstance(line, dict) else line.model_dump(mode="json")
    return [row[name] for name in ("target", "status", "compilation_job", "package", "version", "attempts")]


def check_rows(rows: list[HistoryRow]) -> None:
    """Each target has its attempts in order: those of killed processes crashed or had ended; the last is the end."""
    for target in TARGETS:
        mine = [row for row in rows if row.target == target]
        assert mine, f"{target} has no history"
        assert {row.attempt for row in mine} == {1}
        assert mine[-1].status is AttemptStatus.DEPLOYABLE, [row.status for row in mine]
        assert {row.status for row in mine} <= {AttemptStatus.CRASHED, AttemptStatus.DEPLOYABLE}
        assert mine[-1].version == "1.0.0"
    assert all(row.ended for row in rows)


async def outcome(training_job: str, run: FlowRunProcesses) -> Outcome:
    """The run's results."""
    jobs, versions, keys = run.aws.jobs(), run.aws.versions(), run.aws.stored()
    assert {each["tags"].pop("dda:flow-run") for each in versions.values()} == {str(run.flow_run_id)}
    return Outcome(
        sorted(comparable(job, training_job) for job in jobs),
        comparable(versions, training_job),
        sorted(comparable(key, training_job) for key in keys),
    )
