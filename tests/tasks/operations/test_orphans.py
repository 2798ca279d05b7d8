from __future__ import annotations

from typing import Any
from uuid import UUID

import pytest
from prefect import get_client
from prefect.client.schemas.objects import StateType

from dda_core.cleanup.orphaned_jobs import our_jobs
from dda_core.naming import TRAINING_PART_LIMIT
from dda_core.use_case import UseCase
from tasks.operations import orphans
from tasks.operations.orphans import KEY, find_orphans
from tasks.store.artifacts import latest_artifact
from tasks.store.use_cases import UseCaseBlock
from tests.fixtures.denials import deny_tags
from tests.fixtures.past_runs import BEGAN, PastRun, write_past_runs
from tests.flows.conftest import ACCOUNT
from tests.tasks.store.test_history import line


async def page() -> str:
    async with get_client() as client:
        latest = await latest_artifact(client, KEY)
    return "" if latest is None else str(latest.data)


async def forget(*runs: UUID) -> None:
    async with get_client() as client:
        for run in runs:
            await client.delete_flow_run(run)


async def test_a_compilation_job_that_no_run_knows_is_found_with_its_remedy(pipeline: Any) -> None:
    pipeline.train("orphan-1")
    view = await pipeline.run("orphan-1", targets=["x86_64-cpu"])
    await find_orphans()
    assert "orphan-1" not in await page(), "its run is there"

    await forget(UUID(view.flow_run_id))
    assert await find_orphans()
    job = view.targets["x86_64-cpu"].compilation_job
    shown = (await page()).replace("\\", "")
    assert f"compilation job {job} (COMPLETED) of orphan-1 belongs to no known run" in shown
    assert "`dda compile orphan-1 --use-case local --targets x86_64-cpu`" in shown
    assert not await find_orphans(), "nothing has changed"

    # A later run that joined the job knows it.
    again = await pipeline.run("orphan-1", targets=["x86_64-cpu"])
    assert again.targets["x86_64-cpu"].compilation_job == job
    assert await find_orphans()
    assert "orphan-1" not in await page()


async def test_jobs_of_others_are_ignored(pipeline: Any) -> None:
    pipeline.train("mine-1")
    await pipeline.run("mine-1", targets=["x86_64-cpu"])
    sagemaker = pipeline.aws.client("sagemaker")
    assert [job.training_job for job in our_jobs(sagemaker, use_case("local"), BEGAN)] == ["mine-1"]
    assert list(our_jobs(sagemaker, use_case("another"), BEGAN)) == []


async def test_a_job_without_tags_is_known_by_its_request_and_by_the_record_of_its_run(pipeline: Any) -> None:
    name = "lids-of-the-second-line-in-the-old-factory-7"
    assert len(name) > TRAINING_PART_LIMIT
    pipeline.train(name)
    deny_tags(pipeline.aws)
    view = await pipeline.run(name, targets=["x86_64-cpu"])
    sagemaker = pipeline.aws.client("sagemaker")
    [job] = our_jobs(sagemaker, use_case("local"), BEGAN)
    assert (job.training_job, job.target, job.flow_run_id) == (name, "x86_64-cpu", None)
    assert list(our_jobs(sagemaker, use_case("local", s3_bucket="dda-another"), BEGAN)) == []
    await find_orphans()
    assert f"of {name}" not in (shown := (await page()).replace("\\", "")), "its run has recorded it"
    assert "No permission to read the tags of a compilation-job" in shown
    await forget(UUID(view.flow_run_id))
    await find_orphans()
    assert f"of {name} belongs to no known run" in (await page()).replace("\\", "")


def use_case(name: str, s3_bucket: str = "dda-local-artifacts") -> UseCase:
    return UseCase(usecase_id=name, account_id=ACCOUNT, region="us-east-1", s3_bucket=s3_bucket)


async def test_a_run_that_waits_for_a_deleted_job_is_found(pipeline: Any) -> None:
    waiting = line("x86_64-cpu", "compiling", (1, "compiling"), compilation_job="waits-1-x86cpu-01234567-1")
    [run] = await write_past_runs([PastRun("waits-1", 0, [[waiting]], StateType.RUNNING)])
    try:
        await find_orphans()
        shown = (await page()).replace("\\", "")
        assert f"waits-1 waits for compilation job {waiting.compilation_job}, which was deleted" in shown
    finally:
        await forget(run)


async def test_an_account_that_cannot_be_checked_does_not_affect_others(
    pipeline: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    swept = []
    monkeypatch.setattr(
        orphans, "remove_stale_uploads", lambda s3, bucket: swept.append(bucket) or [f"aborted in {bucket}"]
    )
    other = UseCase(
        usecase_id="a-broken-one",
        account_id=ACCOUNT,
        region="us-east-1",
        s3_bucket="dda-x",
        cross_account_role_arn=f"arn:aws:iam::{ACCOUNT}:role/nobody",
    )
    await UseCaseBlock.of(other).asave("a-broken-one", overwrite=True)
    pipeline.aws.faults.add("call", operation="AssumeRole", error="AccessDenied")
    try:
        await find_orphans()
    finally:
        await UseCaseBlock.adelete("a-broken-one")
    shown = (await page()).replace("\\", "")
    assert "| a-broken-one | its account could not be checked:" in shown
    assert f"aborted in {pipeline.aws.bucket}" in shown
    assert pipeline.aws.bucket in swept
    assert ACCOUNT not in shown
