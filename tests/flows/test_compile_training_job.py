"""The main flow end to end: on a real Prefect API, against the embedded AWS, all in this process."""

from __future__ import annotations

import asyncio
import io
import json
import re
import zipfile
from collections import Counter
from typing import Any
from uuid import UUID

import pytest
from prefect import get_client
from prefect.client.schemas.filters import (
    ArtifactFilter,
    ArtifactFilterFlowRunId,
    TaskRunFilter,
    TaskRunFilterFlowRunId,
)
from prefect.client.schemas.objects import StateType, TaskRun
from prefect.client.schemas.sorting import FlowRunSort
from prefect.states import Cancelled, Cancelling

from dda_core.runs.status import RunStatus, TargetStatus
from flows.compile_training_job import compile_training_job, stop_compilation_jobs
from tasks.store.artifacts import latest_artifact
from tasks.store.history import runs_of, view_of_runs
from tests.flows.conftest import ACCOUNT, Pipeline

pytestmark = [pytest.mark.xdist_group("prefect")]

FOUR = ["jetson-xavier", "x86_64-cpu", "x86_64-cuda", "arm64-cpu"]
OPERATORS = "ClientError: OperatorNotImplemented: The following operators are not implemented: ['aten::nms']"
INTERNAL = "ServerError: There was an internal server error during the compilation job, please try again"


async def test_four_targets_become_deployable_components(pipeline: Pipeline) -> None:
    pipeline.train("lid-7", model_name="Lid Inspection")
    view = await pipeline.run("lid-7")

    assert view.status is RunStatus.COMPLETED
    assert view.state == "Completed"
    assert list(view.targets) == FOUR
    assert (await pipeline.state(view)).message == "4/4 targets deployable"
    assert pipeline.versions() == [
        f"model-lid-inspection-{target.replace('_', '-')} 1.0.0"
        for target in sorted(FOUR, key=lambda t: t.replace("_", "-"))
    ]
    greengrass, s3 = pipeline.aws.client("greengrassv2"), pipeline.aws.client("s3")
    for target, record in view.targets.items():
        assert record.attempt == 1
        assert record.reason is None
        assert str(record.compiled_artifact).endswith(".tar.gz")
        described = greengrass.describe_component(arn=record.arn)
        assert described["status"]["componentState"] == "DEPLOYABLE"
        assert described["tags"]["dda:compilation-job"] == record.compilation_job
        assert described["tags"]["dda:flow-run"] == view.flow_run_id
        assert described["tags"]["dda-portal:model-name"] == "Lid Inspection"
        recipe = json.loads(greengrass.get_component(arn=record.arn)["recipe"])
        assert recipe["Manifests"][0]["Artifacts"][0]["Uri"].lower() == str(record.package).lower()
        bucket, _, key = str(record.package).removeprefix("s3://").partition("/")
        with zipfile.ZipFile(io.BytesIO(s3.get_object(Bucket=bucket, Key=key)["Body"].read())) as package:
            assert package.testzip() is None
            assert "manifest.json" in package.namelist()
            assert "mochi/compiled.so" in package.namelist(), target


async def test_tags_artifacts_and_names_tell_what_the_run_is(pipeline: Pipeline) -> None:
    pipeline.train("lid-7", model_name="Lid")
    view = await pipeline.run("lid-7", targets=["arm64-cpu", "x86_64-cpu"])
    run = await pipeline.flow_run(view)
    assert run.name == "lid-7"
    assert set(run.tags) >= {
        "use-case:local",
        "model:Lid",
        "training-job:lid-7",
        "target:arm64-cpu",
        "target:x86_64-cpu",
        "status:completed",
    }
    async with get_client() as client:
        artifacts = await client.read_artifacts(
            artifact_filter=ArtifactFilter(flow_run_id=ArtifactFilterFlowRunId(any_=[run.id]))
        )
    assert set(Counter(artifact.key for artifact in artifacts).values()) == {1}
    by_key = {artifact.key: str(artifact.data) for artifact in artifacts}
    progress = {"progress-arm64-cpu-lid-7", "progress-x86-64-cpu-lid-7"}
    assert set(by_key) == {"record-lid-7", "targets-lid-7", "model-lid", *progress}
    assert {float(by_key[key]) for key in progress} == {100.0}
    assert ACCOUNT not in "".join(by_key.values())
    names = {task.name for task in await ended_task_runs(run.id, 14)}
    for step in ("start compilation", "compile", "package", "publish", "wait until deployable"):
        assert {f"{step}[arm64-cpu]", f"{step}[x86_64-cpu]"} <= names


async def test_one_failed_target_stops_no_other(pipeline: Pipeline) -> None:
    pipeline.train()
    pipeline.aws.faults.add("compile", target="x86_64-cuda", reason=OPERATORS)
    view = await pipeline.run()

    assert view.status is RunStatus.PARTIAL
    assert view.state == "Failed"
    bad = view.targets["x86_64-cuda"]
    assert bad.status is TargetStatus.FAILED
    assert bad.attempt == 1, "a failure of class never is not tried again"
    assert "aten::nms" in str(bad.reason)
    assert bad.cause
    assert bad.remedy
    assert sum(record.status is TargetStatus.DEPLOYABLE for record in view.targets.values()) == 3
    message = str((await pipeline.state(view)).message)
    assert message == f"3/4 targets deployable; failed: x86_64-cuda: {bad.cause}"
    assert {"status:partial", "failed:x86_64-cuda"} <= set((await pipeline.flow_run(view)).tags)


@pytest.mark.slow
async def test_nothing_stays_pending_behind_a_failed_target(pipeline: Pipeline) -> None:
    pipeline.train()
    pipeline.aws.faults.add("compile", target="x86_64-cuda", reason=OPERATORS)
    view = await pipeline.run()
    tasks = await ended_task_runs(UUID(str(view.flow_run_id)), 5 + 4 * 5 - 3)
    assert Counter(task.state_type for task in tasks) == {StateType.COMPLETED: 21, StateType.FAILED: 1}


async def ended_task_runs(flow_run_id: UUID, count: int) -> list[TaskRun]:
    """The run's task runs, once ``count`` of them have ended: the server records them with a delay."""
    async with get_client() as client, asyncio.timeout(30):
        while True:
            tasks = await client.read_task_runs(
                task_run_filter=TaskRunFilter(flow_run_id=TaskRunFilterFlowRunId(any_=[flow_run_id]))
            )
            if len(tasks) >= count and all(task.state and task.state.is_final() for task in tasks):
                return tasks
            await asyncio.sleep(0.2)


@pytest.mark.slow
async def test_a_transient_failure_gets_two_new_attempts(pipeline: Pipeline) -> None:
    pipeline.train()
    pipeline.aws.faults.add("compile", target="arm64-cpu", reason=INTERNAL, times=2)
    view = await pipeline.run(targets=["arm64-cpu"])
    assert view.status is RunStatus.COMPLETED
    assert view.targets["arm64-cpu"].attempt == 3
    assert len(pipeline.jobs()) == 3


@pytest.mark.slow
async def test_a_persistent_failure_ends_after_three_attempts(pipeline: Pipeline) -> None:
    pipeline.train()
    pipeline.aws.faults.add("compile", target="arm64-cpu", reason=INTERNAL, times=9)
    view = await pipeline.run(targets=["arm64-cpu"])
    assert view.status is RunStatus.FAILED
    assert len(pipeline.jobs()) == 3
    again = await pipeline.run(targets=["arm64-cpu"])
    assert again.targets["arm64-cpu"].attempt == 6, "a new run takes the next numbers"


async def test_a_second_run_skips_what_is_deployable(pipeline: Pipeline) -> None:
    pipeline.train()
    first = await pipeline.run()
    second = await pipeline.run()
    assert second.status is RunStatus.COMPLETED
    for target, record in second.targets.items():
        made = first.targets[target]
        assert record.status is TargetStatus.SKIPPED
        assert (record.component, record.version, record.arn) == (made.component, made.version, made.arn)
        assert (record.compilation_job, record.package) == (made.compilation_job, made.package)
        assert record.compiled_artifact == made.compiled_artifact
    assert len(pipeline.jobs()) == 4
    assert len(pipeline.versions()) == 4
    async with get_client() as client:
        artifacts = await client.read_artifacts(
            artifact_filter=ArtifactFilter(flow_run_id=ArtifactFilterFlowRunId(any_=[UUID(second.flow_run_id)]))
        )
    page = next(str(artifact.data) for artifact in artifacts if artifact.type == "markdown")
    assert f"/v2/runs/flow-run/{first.flow_run_id}" in page


@pytest.mark.slow
async def test_another_friendly_name_makes_another_version_of_the_same_package(pipeline: Pipeline) -> None:
    pipeline.train()
    first = await pipeline.run(targets=["arm64-cpu"])
    second = await pipeline.run(targets=["arm64-cpu"], component_name="model-lid-7", friendly_name="Lids")
    one, two = first.targets["arm64-cpu"], second.targets["arm64-cpu"]
    assert (one.version, two.version) == ("1.0.0", "2.0.0")
    assert one.package == two.package
    assert len(pipeline.jobs()) == 1


@pytest.mark.slow
async def test_force_recompiles_and_a_retry_of_that_run_does_not(pipeline: Pipeline) -> None:
    pipeline.train()
    await pipeline.run(targets=["arm64-cpu"])
    pipeline.aws.faults.add("publish", target="arm64-cpu", reason="artifact gone", times=1)
    # The same content would match the existing version; another name makes this run publish.
    forced = await pipeline.run(targets=["arm64-cpu"], force=True, friendly_name="Anew")
    assert forced.targets["arm64-cpu"].attempt == 2
    assert forced.status is RunStatus.FAILED
    retried = await pipeline.go_on(UUID(forced.flow_run_id), retry=True)
    assert retried.status is RunStatus.COMPLETED
    assert retried.targets["arm64-cpu"].attempt == 2
    assert len(pipeline.jobs()) == 2


async def test_a_retry_of_the_run_does_only_what_is_missing(pipeline: Pipeline) -> None:
    pipeline.train()
    pipeline.aws.faults.add("compile", target="x86_64-cuda", reason=OPERATORS, times=1)
    first = await pipeline.run()
    assert first.status is RunStatus.PARTIAL
    reads_before = pipeline.aws.calls["greengrassv2:CreateComponentVersion"]
    second = await pipeline.go_on(UUID(first.flow_run_id), retry=True)
    assert second.status is RunStatus.COMPLETED
    assert {record.status for record in second.targets.values()} == {TargetStatus.DEPLOYABLE}
    assert second.targets["x86_64-cuda"].attempt == 2
    assert len(pipeline.jobs()) == 5
    assert pipeline.aws.calls["greengrassv2:CreateComponentVersion"] == reads_before + 1
    assert "status:completed" in (run := await pipeline.flow_run(second)).tags
    assert not [tag for tag in run.tags if tag.startswith("failed:") or tag == "status:partial"]


@pytest.mark.parametrize("aws_options", [{"compile_seconds": 1}])
async def test_a_race_of_runs_makes_one_job_and_one_version_per_target(pipeline: Pipeline) -> None:
    pipeline.train()
    views = await asyncio.gather(*(pipeline.run(targets=["arm64-cpu", "x86_64-cpu"]) for _ in range(3)))
    assert {view.status for view in views} == {RunStatus.COMPLETED}
    assert len(pipeline.jobs()) == 2
    assert len(pipeline.versions()) == 2


@pytest.mark.slow
async def test_a_job_in_progress_is_joined_even_with_force(
    pipeline: Pipeline, caplog: pytest.LogCaptureFixture
) -> None:
    pipeline.train()
    pipeline.aws.holds.hold("compile", "arm64-cpu")
    first = asyncio.create_task(pipeline.run(targets=["arm64-cpu"]))
    await pipeline.until(lambda: pipeline.jobs())
    second = asyncio.create_task(pipeline.run(targets=["arm64-cpu"], force=True))
    await pipeline.until(lambda: "arm64-cpu: joined " in caplog.text)
    pipeline.aws.holds.release("compile", "arm64-cpu")
    assert (await second).status is RunStatus.COMPLETED
    assert (await first).targets["arm64-cpu"].compilation_job == (await second).targets["arm64-cpu"].compilation_job
    assert len(pipeline.jobs()) == 1


@pytest.mark.parametrize("aws_options", [{"compile_seconds": 60}])
async def test_a_stopped_job_ends_its_target_with_its_reason(pipeline: Pipeline) -> None:
    pipeline.train()
    running = asyncio.create_task(pipeline.run(targets=["arm64-cpu"]))
    await pipeline.until(lambda: pipeline.jobs())
    pipeline.aws.client("sagemaker").stop_compilation_job(CompilationJobName=pipeline.jobs()[0])
    view = await running
    record = view.targets["arm64-cpu"]
    assert record.status is TargetStatus.STOPPED
    assert record.reason
    assert view.status is RunStatus.FAILED


@pytest.mark.slow
@pytest.mark.parametrize("aws_options", [{"compile_seconds": 0.6, "concurrent_compilation_jobs": 1}])
async def test_a_full_quota_is_waited_for(pipeline: Pipeline) -> None:
    pipeline.train()
    view = await pipeline.run(targets=["arm64-cpu", "x86_64-cpu"])
    assert view.status is RunStatus.COMPLETED
    assert len(pipeline.jobs()) == 2


@pytest.mark.slow
@pytest.mark.parametrize("aws_options", [{"concurrent_compilation_jobs": 1}])
async def test_waiting_for_a_slot_is_shown_and_ends(pipeline: Pipeline, caplog: pytest.LogCaptureFixture) -> None:
    async def page() -> str:
        async with get_client() as client:
            return str(getattr(await latest_artifact(client, "targets-lid-slot"), "data", ""))

    pipeline.train("lid-slot")
    targets = ["arm64-cpu", "x86_64-cpu"]
    for target in targets:
        pipeline.aws.holds.hold("compile", target)
    running = asyncio.create_task(pipeline.run("lid-slot", targets=targets))
    async with asyncio.timeout(30):
        while "waiting for a slot" not in await page():  # noqa: ASYNC110 - the server sets no event
            await asyncio.sleep(0.1)
    [row] = [line for line in (await page()).splitlines() if "waiting for a slot" in line]
    async with get_client() as client:
        # The page is written first.
        while not (waiting := (await view_of_runs(await runs_of(client, "lid-slot"))).waiting):  # noqa: ASYNC110
            await asyncio.sleep(0.1)
    assert [text.startswith("waiting for a slot") for text in waiting.values()] == [True]
    assert re.search(r"^\| (arm64|x86_64)-cpu \|.*compiling, ⏳ waiting for a slot of the account's quota", row), row
    for target in targets:
        pipeline.aws.holds.release("compile", target)
    view = await running
    assert view.status is RunStatus.COMPLETED
    assert "waiting for a slot" not in await page()
    assert "waiting for a slot, 14400 s at most" in caplog.text
    assert "got a slot after waiting" in caplog.text


@pytest.mark.parametrize("aws_options", [{"compile_seconds": 60}])
async def test_cancelling_stops_the_jobs_that_the_run_created(pipeline: Pipeline) -> None:
    pipeline.train()
    running = asyncio.create_task(pipeline.run(targets=["arm64-cpu", "x86_64-cpu"]))
    await pipeline.until(lambda: len(pipeline.jobs()) == 2)
    async with get_client() as client:
        run = (await client.read_flow_runs(limit=1, sort=FlowRunSort.START_TIME_DESC))[0]
        await client.set_flow_run_state(run.id, Cancelling())
    running.cancel()
    with pytest.raises(asyncio.CancelledError):
        await running
    sagemaker = pipeline.aws.client("sagemaker")
    statuses = {
        sagemaker.describe_compilation_job(CompilationJobName=name)["CompilationJobStatus"] for name in pipeline.jobs()
    }
    assert statuses <= {"STOPPING", "STOPPED"}


@pytest.mark.slow
@pytest.mark.parametrize("aws_options", [{"compile_seconds": 60}])
async def test_the_hook_stops_what_a_killed_process_could_not(pipeline: Pipeline) -> None:
    pipeline.train()
    running = asyncio.create_task(pipeline.run(targets=["arm64-cpu"]))
    await pipeline.until(lambda: pipeline.jobs())
    await asyncio.sleep(0.3)
    running.cancel()
    with pytest.raises(asyncio.CancelledError):
        await running
    async with get_client() as client:
        run = (await client.read_flow_runs(limit=1, sort=FlowRunSort.START_TIME_DESC))[0]
    await stop_compilation_jobs(compile_training_job, run, Cancelled())
    job = pipeline.aws.client("sagemaker").describe_compilation_job(CompilationJobName=pipeline.jobs()[0])
    assert job["CompilationJobStatus"] in ("STOPPING", "STOPPED")
    assert [hook.__name__ for hook in compile_training_job.on_cancellation_hooks] == ["stop_compilation_jobs"]


@pytest.mark.slow
@pytest.mark.parametrize("aws_options", [{"compile_seconds": 60}])
async def test_any_other_end_of_the_process_leaves_jobs_running(pipeline: Pipeline) -> None:
    pipeline.train()
    running = asyncio.create_task(pipeline.run(targets=["arm64-cpu"]))
    await pipeline.until(lambda: pipeline.jobs())
    await asyncio.sleep(0.3)
    running.cancel()
    with pytest.raises(asyncio.CancelledError):
        await running
    job = pipeline.aws.client("sagemaker").describe_compilation_job(CompilationJobName=pipeline.jobs()[0])
    assert job["CompilationJobStatus"] in ("STARTING", "INPROGRESS")


@pytest.mark.slow
async def test_throttled_and_broken_polls_do_not_fail_a_job(pipeline: Pipeline) -> None:
    pipeline.train()
    pipeline.aws.faults.add("call", operation="DescribeCompilationJob", error="ThrottlingException", nth=3, times=5)
    pipeline.aws.faults.add("call", operation="DescribeComponent", error="InternalServerException", nth=2, times=4)
    view = await pipeline.run(targets=["arm64-cpu"])
    assert view.status is RunStatus.COMPLETED


@pytest.mark.slow
async def test_a_create_that_fails_after_its_effect_makes_no_second_job(pipeline: Pipeline) -> None:
    pipeline.train()
    pipeline.aws.faults.add(
        "call", operation="CreateCompilationJob", error="InternalServerException", times=2, after_effect=True
    )
    pipeline.aws.faults.add(
        "call", operation="CreateComponentVersion", error="InternalServerException", times=2, after_effect=True
    )
    view = await pipeline.run(targets=["arm64-cpu"])
    assert view.status is RunStatus.COMPLETED
    assert len(pipeline.jobs()) == 1
    assert len(pipeline.versions()) == 1


@pytest.mark.slow
async def test_a_job_is_adopted_even_if_its_owner_cannot_be_read(
    pipeline: Pipeline, caplog: pytest.LogCaptureFixture
) -> None:
    pipeline.train()
    # The first reads the training job's tags.
    pipeline.aws.faults.add("call", operation="ListTags", error="ValidationException", nth=2, times=9)
    view = await pipeline.run(targets=["arm64-cpu"])
    assert view.status is RunStatus.COMPLETED
    assert f"arm64-cpu: the owner of compilation job {pipeline.jobs()[0]} could not be read" in caplog.text


@pytest.mark.slow
async def test_a_component_that_ends_failed_fails_its_target_and_the_next_run_makes_the_next_version(
    pipeline: Pipeline,
) -> None:
    pipeline.train()
    pipeline.aws.faults.add("publish", target="arm64-cpu", reason="The artifact could not be read", times=1)
    view = await pipeline.run(targets=["arm64-cpu"])
    record = view.targets["arm64-cpu"]
    assert record.status is TargetStatus.FAILED
    assert "could not be read" in str(record.reason)
    again = await pipeline.run(targets=["arm64-cpu"])
    assert again.targets["arm64-cpu"].version == "2.0.0"
    assert len(pipeline.jobs()) == 1


@pytest.mark.parametrize("status", ["InProgress", "Failed", "Stopped"])
async def test_a_training_job_that_is_not_completed_is_refused_with_its_status(pipeline: Pipeline, status: str) -> None:
    pipeline.train(status=status)
    view = await pipeline.run()
    assert view.state == "Failed"
    assert f"is {status}" in str((await pipeline.state(view)).message)
    assert pipeline.jobs() == []


async def test_an_unknown_training_job_is_named_with_account_and_region(pipeline: Pipeline) -> None:
    view = await pipeline.run("nobody-trained-this")
    assert view.status is RunStatus.FAILED
    message = str((await pipeline.state(view)).message)
    assert "nobody-trained-this" in message
    assert "us-east-1" in message


@pytest.mark.slow
async def test_targets_come_from_the_training_jobs_tag(pipeline: Pipeline) -> None:
    pipeline.train(tags={"dda:targets": "arm64-cpu x86_64"})
    view = await pipeline.run()
    assert list(view.targets) == ["arm64-cpu", "x86_64-cpu"]


async def test_a_model_that_devices_would_refuse_starts_no_job(pipeline: Pipeline) -> None:
    from tests.fixtures.archives import model_graph, trained_archive

    graph: dict[str, Any] = model_graph(threshold=None)
    archive = trained_archive(pipeline.folder / "bad.tar.gz", graph=graph)
    pipeline.aws.train("bad-1", archive)
    view = await pipeline.run("bad-1", targets=["arm64-cpu"])
    assert view.status is RunStatus.FAILED
    assert "threshold" in str(view.targets["arm64-cpu"].reason)
    assert pipeline.jobs() == []


@pytest.mark.slow
async def test_names_with_twelve_digits_stay_and_account_ids_do_not(pipeline: Pipeline) -> None:
    pipeline.train("lid-202601021530", model_name="Lid 202601021530")
    reason = f"ClientError: role arn:aws:iam::{ACCOUNT}:role/X may not read s3://dda-{ACCOUNT}-models"
    pipeline.aws.faults.add("compile", target="x86_64-cpu", reason=reason)
    view = await pipeline.run("lid-202601021530", targets=["arm64-cpu", "x86_64-cpu"])
    done, failed = view.targets["arm64-cpu"], view.targets["x86_64-cpu"]
    assert str(done.compilation_job).startswith("lid-202601021530-arm64cpu-")
    assert "lid-202601021530" in str(done.compiled_artifact)
    assert done.component == "model-lid-202601021530-arm64-cpu"
    assert failed.reason == reason, "whole for those who may see it"
    async with get_client() as client:
        artifacts = await client.read_artifacts(
            artifact_filter=ArtifactFilter(flow_run_id=ArtifactFilterFlowRunId(any_=[UUID(str(view.flow_run_id))]))
        )
    written = "".join(str(artifact.data) for artifact in artifacts)
    assert "lid-202601021530-arm64cpu-" in written
    assert ACCOUNT not in written


@pytest.mark.slow
async def test_a_server_that_refuses_tags_fails_no_run(pipeline: Pipeline, monkeypatch: pytest.MonkeyPatch) -> None:
    async def refuse(flow_run_id: str, tags: list[str]) -> None:
        raise OSError("the database is locked")

    monkeypatch.setattr("flows.outcome.set_tags", refuse)
    pipeline.train()
    view = await pipeline.run(targets=["arm64-cpu"])
    assert view.status is RunStatus.COMPLETED
    assert view.state == "Completed"


async def test_a_misspelt_setting_is_in_the_runs_log(
    pipeline: Pipeline, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("DDA_POLL_SECOND", "1")
    await pipeline.run("no-such-job")
    warnings = [record.getMessage() for record in caplog.records if record.levelname == "WARNING"]
    assert any("DDA_POLL_SECOND is not a setting" in each and "DDA_POLL_SECONDS?" in each for each in warnings)
