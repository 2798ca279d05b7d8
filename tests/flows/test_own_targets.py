"""A target that a use case brings, from the training job's tag to a component, and on the command line."""

from __future__ import annotations

import asyncio
import json
from typing import Any

import pytest

from dda_core.runs.status import RunStatus
from dda_core.use_case import UseCase, check_use_case
from tasks.store.use_cases import UseCaseBlock
from tests.deployments.cli.command import dda, refusal
from tests.fixtures.own_target import ORIN
from tests.flows.conftest import ACCOUNT, Pipeline

pytestmark = [pytest.mark.xdist_group("prefect")]


async def save(pipeline: Pipeline, **fields: Any) -> UseCase:
    given = {"usecase_id": "local", "account_id": ACCOUNT, "region": "us-east-1", "s3_bucket": pipeline.aws.bucket}
    use_case = check_use_case({**given, "own_targets": [ORIN], "fleet": "current", **fields}, where="the test")
    await UseCaseBlock.of(use_case).asave("local", overwrite=True)
    return use_case


@pytest.mark.slow
async def test_an_own_target_named_by_the_training_jobs_tag_becomes_a_component(pipeline: Pipeline) -> None:
    await save(pipeline)
    pipeline.train("lid-7", tags={"dda:targets": "orin x86_64"})
    view = await pipeline.run("lid-7")
    assert view.status is RunStatus.COMPLETED
    assert list(view.targets) == ["jetson-orin", "x86_64-cpu"]
    record = view.targets["jetson-orin"]
    assert record.compilation_job is not None
    job = pipeline.aws.client("sagemaker").describe_compilation_job(CompilationJobName=record.compilation_job)
    assert record.compilation_job.startswith("lid-7-orin-")
    assert job["OutputConfig"]["CompilerOptions"] == ORIN["compiler_options"]
    recipe = json.loads(pipeline.aws.client("greengrassv2").get_component(arn=record.arn)["recipe"])
    assert list(recipe["ComponentDependencies"]) == [ORIN["localserver"]]

    again = await pipeline.run("lid-7", targets=["jetson-orin"])
    assert again.targets["jetson-orin"].version == record.version
    assert len(pipeline.jobs()) == 2

    for words in (["status", "lid-7", "--target", "orin"], ["logs", "lid-7", "orin"]):
        shown = await asyncio.to_thread(dda, *words)
        assert shown.exit_code == 0, shown.output
    linked = await asyncio.to_thread(dda, "artifacts", "link", "lid-7", "orin", "--json")
    assert "/jetson-orin/" in json.loads(linked.stdout)["url"]
    assert "jetson-nano" in await asyncio.to_thread(refusal, "logs", "lid-7", "jetson-nano", code=2)


@pytest.mark.slow
async def test_an_own_target_by_default_and_a_new_run_of_todays_fleet(pipeline: Pipeline) -> None:
    await save(pipeline, targets=["orin"], startup_wait_seconds=0)
    pipeline.train("lid-7")
    view = await pipeline.run("lid-7")
    assert list(view.targets) == ["jetson-orin"]
    await save(pipeline)
    pipeline.train("lid-8")
    view = await pipeline.run("lid-8")
    assert list(view.targets) == ["jetson-xavier-jp5", "x86_64-cpu", "x86_64-cuda", "arm64-cpu"]
    assert view.status is RunStatus.COMPLETED


async def test_a_retired_target_is_refused_before_anything_is_compiled(pipeline: Pipeline) -> None:
    await save(pipeline)
    pipeline.train("lid-7")
    view = await pipeline.run("lid-7", targets=["jetson-xavier"])
    message = str((await pipeline.state(view)).message)
    assert "JetPack 4 is retired" in message
    assert "localserver" in message
    assert pipeline.jobs() == []
    refused = await asyncio.to_thread(refusal, "compile", "lid-7", "--use-case", "local", "--targets", "jetson", code=2)
    assert "JetPack 4 is retired" in refused
