"""The fault grid for the calls that stop a cancelled run's compilation job: the run is Cancelled whatever fails."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from pathlib import Path

import pytest
from prefect import get_client
from prefect.client.schemas.filters import FlowRunFilter, FlowRunFilterName
from prefect.client.schemas.objects import FlowRun
from prefect.states import Cancelled, Cancelling

from dda_core.runs.status import TargetStatus
from flows.compile_training_job import compile_training_job, stop_compilation_jobs
from tasks.store.history import view_of
from tests.faults.cases import Case
from tests.faults.pipeline import LIMIT_SECONDS, TARGET, ManyRuns, many_runs

pytestmark = [pytest.mark.slow, pytest.mark.timeout(600)]

CASES = [
    Case(f"sagemaker:{operation}", error, endless=endless)
    for operation in ("ListCompilationJobs", "ListTags", "StopCompilationJob")
    for error, endless in (
        ("AccessDeniedException", True),
        ("ExpiredTokenException", True),
        ("503", True),
        ("connection-reset", True),
        ("ThrottlingException", False),
        ("cut-body", False),
    )
] + [Case("sagemaker:StopCompilationJob", "ResourceNotFound", endless=True)]
"""``ResourceNotFound`` is the only error in the model of these operations."""


async def test_whatever_fails_a_cancelled_run_ends_cancelled(
    prefect_server: None,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    subtests: pytest.Subtests,
    counted: Callable[..., None],
) -> None:
    async with many_runs(tmp_path, monkeypatch, compile_seconds=600) as runs:
        for case in CASES:
            with subtests.test(msg=str(case)):
                await _check(runs, case)
                counted("fault grid: cases of a cancel", 1)


async def _check(runs: ManyRuns, case: Case) -> None:
    training_job = runs.train()
    running = asyncio.create_task(runs.run(training_job))
    run = await _compiling(runs, training_job)
    runs.aws.faults.add("call", operation=case.operation, error=case.error, times=case.times)
    try:
        async with get_client() as client:
            await client.set_flow_run_state(run.id, Cancelling())
        running.cancel()
        async with asyncio.timeout(LIMIT_SECONDS):
            with pytest.raises(asyncio.CancelledError):
                await running
        assert runs.aws.faults.listed()[0]["struck"]
    finally:
        runs.aws.faults.clear()
    async with get_client() as client:
        target = (await view_of(client, await client.read_flow_run(run.id))).targets[TARGET]
    assert target.status is TargetStatus.STOPPED
    assert target.reason == "the run was cancelled"
    # Also if the response to StopCompilationJob was lost.
    by_record = (case.operation, case.error) == ("sagemaker:ListTags", "AccessDeniedException")
    assert _is_stopped(runs, training_job) is (by_record or not case.endless)

    # The worker's hook, or reconcile, stops it once AWS allows it.
    await stop_compilation_jobs(compile_training_job, run, Cancelled())
    assert _is_stopped(runs, training_job)


async def _compiling(runs: ManyRuns, training_job: str) -> FlowRun:
    """The run of the training job, once its compilation job exists."""
    async with asyncio.timeout(LIMIT_SECONDS), get_client() as client:
        while not runs.jobs(training_job):  # noqa: ASYNC110 - what is waited for is in AWS and sets no event
            await asyncio.sleep(0.1)
        found = FlowRunFilter(name=FlowRunFilterName(any_=[training_job]))
        [run] = await client.read_flow_runs(flow_run_filter=found)
    return run


def _is_stopped(runs: ManyRuns, training_job: str) -> bool:
    [job] = runs.jobs(training_job)
    status = runs.aws.client("sagemaker").describe_compilation_job(CompilationJobName=job)["CompilationJobStatus"]
    return status in ("STOPPING", "STOPPED")
