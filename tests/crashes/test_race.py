"""Processes that do the same work at the same time create one job and one version, whichever is faster.

Prefect does not serialise them: its server has no rate limits, its caches are not read, and each process has its own
flow run. They coordinate only through the names in AWS.
"""

from __future__ import annotations

import asyncio
import random
from collections import Counter
from pathlib import Path
from typing import Any

import pytest
from prefect import get_client
from prefect.client.schemas.objects import StateType

from dda_core.runs.status import RunStatus, TargetStatus
from tasks.store.history import JobRun, history_of, runs_of, view_of_runs
from tasks.store.ui_links import run_link
from tests.crashes.processes import Aws, Ended, embedded_aws, ended, new_run, processes
from tests.crashes.racer import race
from tests.fixtures.device_checks import refused_by_devices

pytestmark = [pytest.mark.slow, pytest.mark.timeout(600)]

TARGETS = ["jetson-xavier", "x86_64-cpu", "x86_64-cuda", "arm64-cpu"]
GUNS = ["before CreateCompilationJob", "before CreateComponentVersion"]
SECONDS = 180
RACERS = 4


class Race:
    """The results of the runs in one race, oldest first."""

    def __init__(self, aws: Aws, runs: list[tuple[JobRun, Ended]]) -> None:
        self.aws = aws
        self.runs = runs

    def check_all_came_to_the_end(self) -> None:
        for run, process in self.runs:
            assert process.exit_code == 0, process.said[-3000:]
            assert run.run.state is not None
            assert run.run.state.type is StateType.COMPLETED, f"{run.run.state.message}\n{process.said[-6000:]}"
            assert run.run.state.message == "4/4 targets deployable"
            assert [line.target for line in run.lines] == TARGETS
            assert all(line.status.good for line in run.lines)

    def check_nothing_was_made_twice(self, jobs: int = 1) -> None:
        """``jobs`` is the number of jobs for each target so far; there is one version."""
        assert len(self.aws.jobs()) == jobs * len(TARGETS), self.aws.jobs()
        assert len(self.aws.versions()) == len(TARGETS)
        assert refused_by_devices(self.aws.client) == {}
        made = Counter(each for _, process in self.runs for each in process.created)
        assert set(made.values()) <= {1}, made

    def check_joins_are_reported(self) -> None:
        """Check joins in record and log against AWS. The run that created job and version joined no other."""
        jobs, versions = self.aws.job_makers(), self.aws.versions()
        for run, process in self.runs:
            for line in run.lines:
                version = next(each for arn, each in versions.items() if f":{line.component}:" in arn)
                makers = [version["tags"]["dda:flow-run"]]
                if line.status is not TargetStatus.SKIPPED:
                    makers.append(jobs[str(line.compilation_job)])
                others = [maker for maker in makers if maker != str(run.run.id)]
                assert line.by_flow_run == next(iter(others), None), line.target
                if line.status is not TargetStatus.SKIPPED:
                    said = [text for text in process.said.splitlines() if f"{line.target}: " in text]
                    for maker in others:
                        assert any(text.endswith(f"of flow run {run_link(maker)}") for text in said), said

    async def check_history(self) -> None:
        """The merged history has each run's attempt at each target that it did not skip."""
        runs = [run for run, _ in self.runs]
        assert (await view_of_runs(runs)).status is RunStatus.COMPLETED
        took_part = Counter(line.target for run in runs for line in run.lines if line.status is TargetStatus.DEPLOYABLE)
        rows = history_of(runs)
        assert Counter(row.target for row in rows) == took_part
        assert {row.version for row in rows} == {"1.0.0"}


async def race_of(aws: Aws, folder: Path, job: str, delays: list[float], guns: list[str], **parameters: Any) -> Race:
    """Start one process per delay; at each of ``guns`` they wait for each other, target by target."""
    ids = [str(await new_run(job, targets=TARGETS, **parameters)) for _ in delays]
    barriers = {(gun, target): processes.Barrier(len(ids)) for gun in guns for target in TARGETS}
    racers = [
        processes.Process(target=race, args=(flow_run_id, aws.environment, barriers, delay, folder, flow_run_id))
        for flow_run_id, delay in zip(ids, delays, strict=True)
    ]
    for racer in racers:
        racer.start()
    for racer in racers:
        await asyncio.to_thread(racer.join, SECONDS)
        racer.kill()
    async with get_client() as client:
        assert await client.read_global_concurrency_limits() == []
        known = {str(each.run.id): each for each in await runs_of(client, job)}
    return Race(
        aws,
        [
            (known[flow_run_id], ended(folder, flow_run_id, racer.exitcode))
            for flow_run_id, racer in zip(ids, racers, strict=True)
        ],
    )


@pytest.mark.parametrize("force", [False, True], ids=["", "forced"])
@pytest.mark.parametrize("seconds", [0, 1.5], ids=["immediate", "in progress"])
async def test_processes_that_create_at_the_same_moment(
    place: Path, archive: Path, seconds: float, force: bool, counted: Any
) -> None:
    job = f"together-{'forced' if force else 'plain'}-{'slow' if seconds else 'quick'}"
    with embedded_aws(compile_seconds=seconds, publish_seconds=seconds) as aws:
        aws.train(job, archive)
        raced = await race_of(aws, place, job, [0.0] * RACERS, GUNS, force=force)
        raced.check_all_came_to_the_end()
        raced.check_nothing_was_made_twice()
        raced.check_joins_are_reported()
        await raced.check_history()
    counted("race: runs", RACERS)


async def test_processes_that_recompile_at_the_same_moment(place: Path, archive: Path, counted: Any) -> None:
    with embedded_aws(compile_seconds=0.5) as aws:
        aws.train("recompiled", archive)
        first = await race_of(aws, place, "recompiled", [0.0], [])
        first.check_all_came_to_the_end()
        raced = await race_of(aws, place, "recompiled", [0.0] * RACERS, GUNS[:1], force=True)
        raced.check_all_came_to_the_end()
        raced.check_nothing_was_made_twice(jobs=2)
        raced.check_joins_are_reported()
        await raced.check_history()
        assert {line.attempt for run, _ in raced.runs for line in run.lines} == {2}
    counted("race: runs", RACERS + 1)


@pytest.mark.parametrize(
    ("seed", "settings"),
    [
        (1, {}),
        (2, {"compile_seconds": 0.7, "publish_seconds": 0.7}),
        (3, {"compile_seconds": 0.3, "concurrent_compilation_jobs": 2, "component_versions_per_second": 5}),
    ],
    ids=["immediate", "in progress", "full quota and throttled"],
)
async def test_processes_that_start_at_any_time(
    place: Path, archive: Path, seed: int, settings: dict[str, Any], counted: Any
) -> None:
    chance = random.Random(seed)
    delays = [chance.uniform(0, 1.5) for _ in range(RACERS + 1)]
    with embedded_aws(**settings) as aws:
        aws.train(f"free-{seed}", archive)
        raced = await race_of(aws, place, f"free-{seed}", delays, [])
        raced.check_all_came_to_the_end()
        raced.check_nothing_was_made_twice()
        raced.check_joins_are_reported()
        await raced.check_history()
    counted("race: runs", len(delays))
