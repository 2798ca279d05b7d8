"""An embedded AWS for each test, in this process, and the flow on the session's Prefect server."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any, NamedTuple
from uuid import UUID

import pytest
from prefect import get_client
from prefect.client.schemas.objects import FlowRun, State
from prefect.flow_engine import run_flow_async
from prefect.states import Scheduled

from dda_core.runs.view import RunView
from dda_core.use_case import UseCase
from deployments.local.aws import LocalAws, local_aws
from flows.compile_training_job import compile_training_job
from tasks.store.history import view_of
from tasks.store.use_cases import UseCaseBlock, find_use_case, use_case_names
from tests.fixtures.archives import trained_archive
from tests.fixtures.device_checks import refused_here

ACCOUNT = "123456789012"
FAST = {
    "DDA_POLL_SECONDS": "0.05",
    "DDA_BACKOFF_SECONDS": "0.05",
    "DDA_QUOTA_WAIT_SECONDS": "0.05",
    "DDA_MAX_ATTEMPTS": "2",
    # No rate limits: asking the Prefect server would take longer than the calls here.
    "DDA_COMPONENT_VERSIONS_PER_SECOND": "0",
    "DDA_COMPILATION_JOBS_PER_SECOND": "0",
    "DDA_SAGEMAKER_CALLS_PER_SECOND": "0",
    "DDA_GREENGRASS_CALLS_PER_SECOND": "0",
}


class Pipeline(NamedTuple):
    """An embedded AWS with the use case ``local``, and the flow."""

    aws: LocalAws
    folder: Path

    def train(self, name: str = "lid-7", **options: Any) -> str:
        archive = trained_archive(self.folder / f"{name}.tar.gz")
        return self.aws.train(name, archive, **options)

    async def run(self, training_job: str = "lid-7", **parameters: Any) -> RunView:
        """Run a new flow run to its end."""
        async with get_client() as client:
            run = await client.create_flow_run(
                compile_training_job,
                parameters={"training_job_name": training_job, "use_case": "local", **parameters},
            )
        return await self.go_on(run.id)

    async def go_on(self, flow_run_id: UUID, *, retry: bool = False) -> RunView:
        """Run an existing flow run; with ``retry``, one that has ended, as the UI's Retry does."""
        async with get_client() as client:
            if retry:
                await client.set_flow_run_state(flow_run_id, Scheduled(name="AwaitingRetry"), force=True)
            run = await client.read_flow_run(flow_run_id)
        parameters = compile_training_job.validate_parameters(run.parameters)
        parameters = {**_defaults(), **parameters}
        await run_flow_async(compile_training_job, flow_run=run, parameters=parameters, return_type="state")
        async with get_client() as client:
            return await view_of(client, await client.read_flow_run(flow_run_id))

    async def flow_run(self, view: RunView) -> FlowRun:
        async with get_client() as client:
            return await client.read_flow_run(UUID(view.flow_run_id))

    async def state(self, view: RunView) -> State[Any]:
        state = (await self.flow_run(view)).state
        assert state is not None
        return state

    def jobs(self) -> list[str]:
        pages = self.aws.client("sagemaker").get_paginator("list_compilation_jobs").paginate()
        return sorted(job["CompilationJobName"] for page in pages for job in page["CompilationJobSummaries"])

    def versions(self) -> list[str]:
        greengrass = self.aws.client("greengrassv2")
        return sorted(
            f"{row['componentName']} {row['componentVersion']}"
            for component in greengrass.list_components()["components"]
            for row in greengrass.list_component_versions(arn=component["arn"])["componentVersions"]
        )

    async def until(self, condition: Any, seconds: float = 120) -> None:
        async with asyncio.timeout(seconds):
            while not condition():  # noqa: ASYNC110 - what is waited for is in AWS and sets no event
                await asyncio.sleep(0.05)


def _defaults() -> dict[str, Any]:
    return {
        "targets": [],
        "model_name": None,
        "component_name": None,
        "friendly_name": None,
        "force": False,
    }


async def forget_other_use_cases() -> None:
    """On the session's server: those that other tests left there. The pipeline's own stays."""
    for name in await use_case_names():
        if name != "local":
            await UseCaseBlock.adelete(name)


@pytest.fixture
def aws_options() -> dict[str, Any]:
    """Options of the embedded AWS, where by default everything ends immediately; a test may parametrize it."""
    return {}


@pytest.fixture
async def pipeline(
    prefect_server: None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, aws_options: dict[str, Any]
) -> Any:
    for name, value in FAST.items():
        monkeypatch.setenv(name, value)
    with local_aws(**aws_options) as aws:
        for name, value in aws.environ.items():
            monkeypatch.setenv(name, value)
        use_case = UseCase(
            usecase_id="local", account_id=ACCOUNT, region="us-east-1", s3_bucket=aws.bucket, fleet="original"
        )
        # Prefect takes half a second of CPU to save a block.
        if await find_use_case("local") != use_case:
            await UseCaseBlock.of(use_case).asave("local", overwrite=True)
        yield Pipeline(aws, tmp_path)
        assert refused_here() == {}, "published, and no device could run it"
