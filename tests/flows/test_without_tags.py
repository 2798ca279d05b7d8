"""Runs whose caller may not tag jobs or read tags, like the earlier portal's role: names and records decide."""

from __future__ import annotations

import asyncio
from uuid import UUID

import pytest
from prefect import get_client
from prefect.client.schemas.objects import FlowRun
from prefect.client.schemas.sorting import FlowRunSort
from prefect.settings import PREFECT_TASKS_REFRESH_CACHE, temporary_settings
from prefect.states import Cancelled, Cancelling

from dda_core.runs.status import RunStatus, TargetStatus
from dda_core.runs.view import RunView
from flows.compile_training_job import compile_training_job, stop_compilation_jobs
from tasks.store.history import own_jobs_of
from tests.fixtures.denials import deny, deny_tags
from tests.flows.conftest import Pipeline

pytestmark = [pytest.mark.xdist_group("prefect")]

STOPPED = ("STOPPING", "STOPPED")


@pytest.fixture
def untagged(pipeline: Pipeline) -> Pipeline:
    pipeline.train()
    deny_tags(pipeline.aws)
    return pipeline


def status(pipeline: Pipeline, job: str) -> str:
    described = pipeline.aws.client("sagemaker").describe_compilation_job(CompilationJobName=job)
    return str(described["CompilationJobStatus"])


async def newest_run() -> FlowRun:
    async with get_client() as client:
        return (await client.read_flow_runs(limit=1, sort=FlowRunSort.START_TIME_DESC))[0]


async def own_jobs(run: FlowRun) -> dict[str, int]:
    async with get_client() as client:
        return await own_jobs_of(client, str(run.id), "lid-7")


async def killed(running: asyncio.Task[RunView]) -> None:
    """End a run's process, as nearly as possible from inside it."""
    running.cancel()
    with pytest.raises(asyncio.CancelledError):
        await running


async def cancelled(run: FlowRun, running: asyncio.Task[RunView]) -> None:
    """Cancel a run as a person does."""
    async with get_client() as client:
        await client.set_flow_run_state(run.id, Cancelling())
    await killed(running)


async def test_a_run_without_the_permission_to_tag_ends_deployable_and_is_adopted(
    untagged: Pipeline, caplog: pytest.LogCaptureFixture
) -> None:
    first = await untagged.run(targets=["arm64-cpu", "x86_64-cpu"])
    assert first.status is RunStatus.COMPLETED
    for job in untagged.jobs():
        assert caplog.text.count(f"so compilation job {job} is created without tags") == 1
    assert caplog.text.count("No permission to read the tags of a compilation-job") == 1
    assert caplog.text.count("No permission to read the tags of a training-job") == 1
    assert await own_jobs(await untagged.flow_run(first)) == dict.fromkeys(untagged.jobs(), 0)

    again = await untagged.run(targets=["arm64-cpu", "x86_64-cpu"])
    assert {record.status for record in again.targets.values()} == {TargetStatus.SKIPPED}
    for version in untagged.versions():
        untagged.aws.client("greengrassv2").delete_component(
            arn="arn:aws:greengrass:us-east-1:123456789012:components:{}:versions:{}".format(*version.split())
        )
    third = await untagged.run(targets=["arm64-cpu"])
    assert third.targets["arm64-cpu"].status is TargetStatus.DEPLOYABLE
    assert len(untagged.jobs()) == 2
    assert (
        f"adopted the finished compilation job {third.targets['arm64-cpu'].compilation_job} of flow run" in caplog.text
    )
    assert third.made_by == {"arm64-cpu": first.flow_run_id}
    assert await own_jobs(await untagged.flow_run(third)) == {}


@pytest.mark.slow
async def test_a_failed_forced_run_adopts_its_own_compilations(untagged: Pipeline) -> None:
    await untagged.run(targets=["arm64-cpu"])
    untagged.aws.faults.add("publish", target="arm64-cpu", reason="The artifact could not be read", times=1)
    forced = await untagged.run(targets=["arm64-cpu"], force=True, friendly_name="Lids")
    assert forced.status is RunStatus.FAILED
    assert len(untagged.jobs()) == 2
    retried = await untagged.go_on(UUID(forced.flow_run_id), retry=True)
    assert retried.status is RunStatus.COMPLETED
    assert len(untagged.jobs()) == 2


@pytest.mark.slow
async def test_a_claim_is_on_the_server_before_its_job_is_created(
    untagged: Pipeline, monkeypatch: pytest.MonkeyPatch
) -> None:
    # After its first write the record writes nothing more on its own.
    monkeypatch.setattr("tasks.store.record.WRITE_SECONDS", 3600.0)
    untagged.aws.holds.hold("compile", "arm64-cpu")
    running = asyncio.create_task(untagged.run(targets=["arm64-cpu"]))
    await untagged.until(lambda: untagged.jobs())
    assert await own_jobs(await newest_run()) == {untagged.jobs()[0]: 0}
    await killed(running)


@pytest.mark.slow
@pytest.mark.parametrize("aws_options", [{"compile_seconds": 60}])
@pytest.mark.parametrize("how", ["in its process", "by the worker's hook"])
async def test_cancelling_stops_the_runs_own_jobs_but_not_joined_ones(
    untagged: Pipeline, caplog: pytest.LogCaptureFixture, how: str
) -> None:
    first = asyncio.create_task(untagged.run(targets=["arm64-cpu"]))
    await untagged.until(lambda: untagged.jobs())
    [joined] = untagged.jobs()
    second = asyncio.create_task(untagged.run(targets=["arm64-cpu", "x86_64-cpu"]))
    await untagged.until(
        lambda: len(untagged.jobs()) == 2 and f"joined compilation job {joined} of flow" in caplog.text
    )
    [own] = {*untagged.jobs()} - {joined}
    run = await newest_run()
    if how == "in its process":
        await cancelled(run, second)
    else:
        await killed(second)
        await stop_compilation_jobs(compile_training_job, run, Cancelled())
    assert status(untagged, own) in STOPPED
    assert status(untagged, joined) not in STOPPED
    await killed(first)


@pytest.mark.slow
@pytest.mark.parametrize("forgetful", [False, True])
@pytest.mark.parametrize("force", [False, True])
async def test_a_restart_makes_no_second_job_and_stops_its_own_when_cancelled(
    untagged: Pipeline, forgetful: bool, force: bool
) -> None:
    if force:
        await untagged.run(targets=["arm64-cpu"])
    before = len(untagged.jobs())
    untagged.aws.holds.hold("compile", "arm64-cpu")
    running = asyncio.create_task(untagged.run(targets=["arm64-cpu"], force=force))
    await untagged.until(lambda: len(untagged.jobs()) == before + 1)
    [own] = [job for job in untagged.jobs() if status(untagged, job) != "COMPLETED"]
    await killed(running)
    run = await newest_run()
    assert await own_jobs(run) == {own: 0}
    with temporary_settings({PREFECT_TASKS_REFRESH_CACHE: True} if forgetful else {}):
        restarted = asyncio.create_task(untagged.go_on(run.id))
        seen = untagged.aws.calls["sagemaker:DescribeCompilationJob"]
        await untagged.until(lambda: untagged.aws.calls["sagemaker:DescribeCompilationJob"] > seen + 10)
        await cancelled(run, restarted)
    assert len(untagged.jobs()) == before + 1
    assert status(untagged, own) in STOPPED


@pytest.mark.slow
async def test_a_crashed_forced_run_continues_with_its_compilations(untagged: Pipeline) -> None:
    await untagged.run(targets=["arm64-cpu"])
    untagged.aws.holds.hold("publish", "arm64-cpu")
    running = asyncio.create_task(untagged.run(targets=["arm64-cpu"], force=True, friendly_name="Lids"))
    await untagged.until(lambda: len(untagged.versions()) == 2)
    await killed(running)
    untagged.aws.holds.release("publish", "arm64-cpu")
    # Only the record is left of what the run persisted.
    with temporary_settings({PREFECT_TASKS_REFRESH_CACHE: True}):
        view = await untagged.go_on((await newest_run()).id)
    assert view.status is RunStatus.COMPLETED
    assert view.targets["arm64-cpu"].attempt == 2
    assert len(untagged.jobs()) == 2


@pytest.mark.slow
async def test_the_record_replaces_tags_that_may_not_be_read(pipeline: Pipeline) -> None:
    pipeline.train()
    deny(pipeline.aws, "sagemaker:ListTags")
    pipeline.aws.holds.hold("compile", "arm64-cpu")
    running = asyncio.create_task(pipeline.run(targets=["arm64-cpu"]))
    await pipeline.until(lambda: pipeline.jobs())
    await asyncio.sleep(0.3)
    run = await newest_run()
    await cancelled(run, running)
    assert status(pipeline, pipeline.jobs()[0]) in STOPPED
