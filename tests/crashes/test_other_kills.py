"""Kills outside the matrix: before targets are known, at the run's own states, and without persisted results."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

import pytest
from prefect import get_client
from prefect.client.schemas.objects import StateType

from tasks.store.history import history_of, runs_of
from tests.crashes.killing import (
    TARGETS,
    carry_out,
    check_nothing_is_left,
    check_once,
    finish,
    kill_each,
)
from tests.crashes.processes import FlowRunProcesses, embedded_aws, new_run, read_run
from tests.crashes.victim import Kill

pytestmark = [pytest.mark.slow, pytest.mark.timeout(900)]

PREPARATION = [
    "before CompleteMultipartUpload",
    "after CompleteMultipartUpload",
    "after state of read-trained-model",
    "half result of read-trained-model",
    "before state of choose-attempts",
    "half result of choose-attempts",
    "after result of choose-attempts",
]


def test_a_run_killed_during_its_preparation(archive: Path, place: Path, counted: Any) -> None:
    _, processes = carry_out("prepared", [Kill(point, "") for point in PREPARATION], archive, place)
    counted("other crashes: kills", sum(process.killed_at is not None for process in processes))


def test_a_run_killed_at_its_own_states(archive: Path, place: Path, counted: Any) -> None:
    with embedded_aws() as aws:
        aws.train("states", archive)
        run = FlowRunProcesses(aws, place, asyncio.run(new_run("states", targets=TARGETS)))
        points = ["before run state Running", "after run state Running", "before run state Completed"]
        kill_each(run, [Kill(point, "") for point in points])
        last = run.run(Kill("after run state Completed", ""))
        assert last.killed_at == ("after run state Completed", "")
        state = asyncio.run(read_run(run.flow_run_id)).state
        assert state is not None
        assert (state.type, state.message) == (StateType.COMPLETED, "4/4 targets deployable")
        check_once(run)
        check_nothing_is_left(aws)
    counted("other crashes: kills", len(run.ended))


@pytest.mark.parametrize("forgetful", [False, True], ids=["", "results lost"])
def test_a_killed_forced_run_recompiles_once(archive: Path, place: Path, forgetful: bool, counted: Any) -> None:
    job = "forgetful" if forgetful else "forced"
    with embedded_aws() as aws:
        aws.train(job, archive)
        finish(FlowRunProcesses(aws, place, asyncio.run(new_run(job, targets=TARGETS))))
        before = aws.versions()
        run = FlowRunProcesses(aws, place, asyncio.run(new_run(job, targets=TARGETS, force=True)), forgetful=forgetful)
        gate = "before CreateCompilationJob"
        deaths = [
            Kill("before DescribeCompilationJob", target, dict.fromkeys(TARGETS[number + 1 :], gate))
            for number, target in enumerate(TARGETS)
        ]
        kill_each(run, [*deaths, Kill("archive read", TARGETS[0]), Kill("before run state Completed", "")])
        finish(run)
        assert len(aws.jobs()) == 2 * len(TARGETS)
        assert aws.versions() == before, "the same content is the same version"
        made = [creation for process in run.ended for creation in process.created]
        assert sorted(made) == sorted(("CreateCompilationJob", target) for target in TARGETS)
        check_nothing_is_left(aws)
        assert asyncio.run(attempts_of(job)) == {1, 2}
    counted("other crashes: kills", sum(process.killed_at is not None for process in run.ended))


async def attempts_of(training_job: str) -> set[int | None]:
    async with get_client() as client:
        return {row.attempt for row in history_of(await runs_of(client, training_job))}
