"""A use case that requires approval: the run suspends once before publishing, and resumes with a person's decision."""

from __future__ import annotations

from typing import Any
from uuid import UUID

import pytest
from prefect import get_client
from prefect.client.schemas.filters import ArtifactFilter, ArtifactFilterFlowRunId, ArtifactFilterKey
from prefect.client.schemas.objects import StateType
from prefect.exceptions import Pause
from prefect.states import Crashed, Scheduled

from dda_core.runs.status import RunStatus, TargetStatus
from dda_core.runs.view import RunView
from dda_core.use_case import UseCase
from deployments.server.registration import save_use_case
from deployments.services.approvals import give_decision
from tasks.store.history import history_of, runs_of
from tests.flows.conftest import ACCOUNT, Pipeline

PAIR = ["arm64-cpu", "x86_64-cpu"]
NO_SLOT = "the artifact cannot be read"


class Asking:
    """The use case `caps`, whose runs wait for approval, and its deployment."""

    def __init__(self, pipeline: Pipeline, deployment: UUID) -> None:
        self.pipeline = pipeline
        self.deployment = deployment

    async def start(self, training_job: str, targets: list[str]) -> UUID:
        """A run of the deployment, until it is suspended."""
        self.pipeline.train(training_job, tags={"dda:use-case": "caps"})
        async with get_client() as client:
            run = await client.create_flow_run_from_deployment(
                self.deployment,
                parameters={"training_job_name": training_job, "use_case": "caps", "targets": targets},
                name=training_job,
            )
        with pytest.raises(Pause):
            await self.pipeline.go_on(run.id)
        return run.id

    async def page(self, run: UUID) -> str:
        async with get_client() as client:
            pages = await client.read_artifacts(
                artifact_filter=ArtifactFilter(
                    flow_run_id=ArtifactFilterFlowRunId(any_=[run]), key=ArtifactFilterKey(like_="targets-%")
                )
            )
        return str(max(pages, key=lambda page: page.created or 0).data)


async def state_of(run: UUID) -> Any:
    async with get_client() as client:
        return (await client.read_flow_run(run)).state


async def tags_of(run: UUID) -> set[str]:
    async with get_client() as client:
        return set((await client.read_flow_run(run)).tags)


@pytest.fixture
async def asking(pipeline: Pipeline) -> Asking:
    use_case = UseCase(
        usecase_id="caps",
        account_id=ACCOUNT,
        region="us-east-1",
        s3_bucket=pipeline.aws.bucket,
        require_approval=True,
    )
    return Asking(pipeline, await save_use_case(use_case))


async def test_a_run_waits_without_a_process_and_publishes_once_it_is_approved(asking: Asking) -> None:
    pipeline = asking.pipeline
    run = await asking.start("caps-1", PAIR)
    state = await state_of(run)
    assert (state.type, state.name) == (StateType.PAUSED, "Suspended")
    assert pipeline.versions() == []
    assert "approval:waiting" in await tags_of(run)
    page = await asking.page(run)
    assert "dda approve caps-1" in page
    assert "model-caps-1-x86-64-cpu" in page
    assert "| `" in page

    assert await give_decision("caps-1", "publish", who="Ada", why="looked at the masks") == run
    assert (await state_of(run)).name == "Resuming"
    view = await pipeline.go_on(run)
    assert view.status is RunStatus.COMPLETED
    assert len(pipeline.versions()) == 2
    assert len(pipeline.jobs()) == 2
    assert "approval:approved" in await tags_of(run)
    assert "Publishing was **approved** by Ada: looked at the masks" in await asking.page(run)
    async with get_client() as client:
        rows = history_of(await runs_of(client, "caps-1"))
    # Waiting is not a crash: each target has one attempt, which started before the wait and ended after it.
    assert sorted((row.target, row.attempt, row.status) for row in rows) == [
        ("arm64-cpu", 1, "deployable"),
        ("x86_64-cpu", 1, "deployable"),
    ]


async def test_a_rejection_publishes_nothing_and_each_target_has_the_reason(asking: Asking) -> None:
    run = await asking.start("caps-2", PAIR)
    await give_decision("caps-2", "reject", who="Ada", why="the lid is upside down")
    view = await asking.pipeline.go_on(run)
    assert view.state == "Cancelled"
    assert {record.status for record in view.targets.values()} == {TargetStatus.STOPPED}
    assert {record.reason for record in view.targets.values()} == {
        "publishing was rejected by Ada: the lid is upside down"
    }
    assert asking.pipeline.versions() == []
    assert {"approval:rejected", "status:failed"} <= await tags_of(run)


@pytest.mark.slow
async def test_approval_does_not_wait_for_failed_targets_and_shows_the_rest(asking: Asking) -> None:
    asking.pipeline.aws.faults.add("compile", target="x86_64-cpu", reason="ClientError: No model file found.")
    run = await asking.start("caps-3", PAIR)
    assert "Not included: x86_64-cpu: failed" in await asking.page(run)
    await give_decision("caps-3", "publish", who="Ada")
    view = await asking.pipeline.go_on(run)
    assert view.status is RunStatus.PARTIAL
    assert view.targets["x86_64-cpu"].reason == "ClientError: No model file found."


@pytest.mark.slow
async def test_it_asks_once_even_if_the_run_crashes_or_fails_after_approval(asking: Asking) -> None:
    pipeline = asking.pipeline
    pipeline.aws.faults.add("publish", target="arm64-cpu", reason=NO_SLOT)
    run = await asking.start("caps-4", ["arm64-cpu"])
    await give_decision("caps-4", "publish", who="Ada")
    async with get_client() as client:
        for state in (Crashed(), Scheduled(name="AwaitingRetry")):
            await client.set_flow_run_state(run, state, force=True)
    view = await pipeline.go_on(run)
    assert view.targets["arm64-cpu"].status is TargetStatus.FAILED
    # A retry publishes the same package that was approved.
    view = await pipeline.go_on(run, retry=True)
    assert view.status is RunStatus.COMPLETED


@pytest.mark.slow
async def test_a_retry_after_a_rejection_asks_again(asking: Asking) -> None:
    run = await asking.start("caps-5", ["arm64-cpu"])
    await give_decision("caps-5", "reject", who="Ada")
    await asking.pipeline.go_on(run)
    with pytest.raises(Pause):
        await asking.pipeline.go_on(run, retry=True)
    await give_decision("caps-5", "publish", who="Grace")
    assert (await asking.pipeline.go_on(run)).status is RunStatus.COMPLETED


async def test_a_run_without_a_deployment_is_refused_before_anything_is_compiled(asking: Asking) -> None:
    asking.pipeline.train("caps-6", tags={"dda:use-case": "caps"})
    view: RunView = await asking.pipeline.run("caps-6", use_case="caps", targets=["arm64-cpu"])
    assert view.state == "Failed"
    assert "Start it with `dda compile`" in str((await state_of(UUID(view.flow_run_id))).message)
    assert asking.pipeline.jobs() == []
