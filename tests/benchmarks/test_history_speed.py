"""Time to read one training job's history among 10,000 attempts in SQLite."""

from __future__ import annotations

import time
from datetime import timedelta

import pytest
from prefect import get_client
from prefect.client.schemas.objects import StateType

from dda_core.fleets import new_fleet
from dda_core.runs.history import Attempt, AttemptStatus, TargetLine
from dda_core.runs.status import TargetStatus
from tasks.store.history import history_of, runs_of
from tests.fixtures.past_runs import BEGAN, PastRun, write_past_runs

JOBS, RUNS, TARGETS = 100, 25, 4
LIMIT_SECONDS = 0.3


def past_run(job: int, run: int) -> PastRun:
    number = run * JOBS + job
    began = BEGAN + timedelta(minutes=number)
    name = f"lid-inspection-{job}"
    lines = []
    for target in new_fleet().default_targets():
        ended = AttemptStatus.FAILED if (run + len(target.name)) % 3 else AttemptStatus.DEPLOYABLE
        job_name = f"{name}-{target.suffix}-0123abcd-{run + 1}"
        component = f"model-{name}-{target.component_suffix}"
        attempt = Attempt(
            attempt=run + 1,
            status=ended,
            started=began,
            ended=began + timedelta(seconds=40),
            seconds=40.0,
            compilation_job=job_name,
            component=component,
            version=f"{run + 1}.0.0",
            reason="ClientError: InputConfiguration: no model file found. " * 3 if ended == "failed" else None,
        )
        lines.append(
            TargetLine(
                target=target.name,
                status=TargetStatus(ended.value),
                attempt=run + 1,
                compilation_job=job_name,
                compiled_artifact=f"s3://bucket/models/compilation/{job_name}/{target.name}/model.tar.gz",
                component=component,
                version=f"{run + 1}.0.0",
                attempts=(attempt,),
                reason=attempt.reason,
            )
        )
    tags = ["use-case:local", f"model:lid-{job % 10}", *(f"target:{line.target}" for line in lines), "status:partial"]
    return PastRun(name, number, [lines], StateType.FAILED, tags, name=name if run % 2 else "sleepy-panda")


@pytest.mark.slow
async def test_one_history_among_ten_thousand_attempts(prefect_server: None) -> None:
    began = time.perf_counter()
    await write_past_runs(past_run(job, run) for job in range(JOBS) for run in range(RUNS))
    print(f"\nwritten in {time.perf_counter() - began:.1f} s")
    taken = []
    async with get_client() as client:
        for job in (0, 1, 50, 99, 7):
            began = time.perf_counter()
            rows = history_of(await runs_of(client, f"lid-inspection-{job}"))
            taken.append(time.perf_counter() - began)
            assert len(rows) == RUNS * TARGETS
    print("history: " + ", ".join(f"{1000 * each:.0f} ms" for each in taken))
    assert sorted(taken)[len(taken) // 2] < LIMIT_SECONDS
