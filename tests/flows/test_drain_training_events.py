"""Events of completed training jobs in a queue: emulated EventBridge and SQS, and the session's Prefect server."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import suppress
from typing import Any, NamedTuple

import pytest
from prefect import get_client
from prefect.client.schemas.filters import DeploymentFilter, DeploymentFilterId
from prefect.client.schemas.objects import FlowRun, State
from prefect.exceptions import ObjectNotFound

from dda_core.runs.status import RunStatus, TargetStatus
from dda_core.training import events
from dda_core.training.events import dead_letter_queue_name, queue_name
from dda_core.use_case import UseCase
from deployments.server.registration import save_use_case
from deployments.webhook.stack import QUEUE_TEMPLATE, install
from flows.drain_training_events import drain_training_events
from tasks.store.use_cases import UseCaseBlock
from tests.fixtures.events import sagemaker_event
from tests.flows.conftest import Pipeline

pytestmark = pytest.mark.filterwarnings("ignore:Tried to parse .* not supported by moto:UserWarning")


class Queue(NamedTuple):
    """A pipeline whose use case ``local`` has a queue of training events."""

    pipeline: Pipeline
    deployment: Any

    @property
    def sqs(self) -> Any:
        return self.pipeline.aws.client("sqs")

    def url(self, name: str) -> str:
        url: str = self.sqs.get_queue_url(QueueName=name)["QueueUrl"]
        return url

    def send(self, event: Any, name: str = queue_name("local")) -> None:
        body = event if isinstance(event, str) else json.dumps(event)
        self.sqs.send_message(QueueUrl=self.url(name), MessageBody=body)

    def left(self, name: str = queue_name("local")) -> int:
        """Messages in the queue, including received ones that were not deleted."""
        names = ["ApproximateNumberOfMessages", "ApproximateNumberOfMessagesNotVisible"]
        found = self.sqs.get_queue_attributes(QueueUrl=self.url(name), AttributeNames=names)["Attributes"]
        return sum(int(value) for value in found.values())

    async def drain(self, **parameters: Any) -> State[Any]:
        state: State[Any] = await drain_training_events(return_state=True, **parameters)
        return state

    async def runs(self) -> list[FlowRun]:
        async with get_client() as client:
            found = DeploymentFilter(id=DeploymentFilterId(any_=[self.deployment]))
            return await client.read_flow_runs(deployment_filter=found)

    async def forget_runs(self) -> None:
        async with get_client() as client:
            for run in await self.runs():
                await client.delete_flow_run(run.id)


@pytest.fixture
async def queue(pipeline: Pipeline, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Queue]:
    monkeypatch.setattr(events, "WAIT_SECONDS", 0)
    aws = pipeline.aws
    install(aws.client("cloudformation"), QUEUE_TEMPLATE, {"UseCase": "local", "AlarmTopic": ""}, {})
    use_case = UseCase(usecase_id="local", account_id="123456789012", region="us-east-1", s3_bucket=aws.bucket)
    deployment = await save_use_case(use_case)
    made = Queue(pipeline, deployment)
    # Other tests on this server may have had a use case of the same name.
    await made.forget_runs()
    yield made
    await made.forget_runs()
    async with get_client() as client:
        with suppress(ObjectNotFound):
            await client.delete_deployment(deployment)


@pytest.mark.slow
async def test_a_completed_training_job_gets_components_through_the_queue(queue: Queue):
    queue.pipeline.train("pulled-1")
    queue.pipeline.train("pulled-2", status="Failed")
    assert queue.left() == 1, "the rule takes completed ones alone"
    state = await queue.drain()
    assert (state.type, state.message) == ("COMPLETED", "1 runs started: pulled-1 (local)")
    assert queue.left() == 0
    [run] = await queue.runs()
    assert run.name == "pulled-1"
    assert run.idempotency_key == "sagemaker/123456789012/us-east-1/local/pulled-1"
    assert "trigger:queue" in run.tags
    view = await queue.pipeline.go_on(run.id)
    assert view.status is RunStatus.COMPLETED
    assert {target.status for target in view.targets.values()} == {TargetStatus.DEPLOYABLE}


async def test_duplicate_late_and_unordered_events_have_one_run_each(queue: Queue):
    first, second = sagemaker_event("again-1"), sagemaker_event("again-2")
    for event in (second, first, first, second, first):
        queue.send(event)
    state = await queue.drain()
    assert "2 runs started" in str(state.message)
    assert "3 events of training jobs that already have a run" in str(state.message)
    queue.send({**first, "id": "another", "time": "2020-01-01T00:00:00Z"})
    assert "0 runs started; 1 events" in str((await queue.drain()).message)
    assert sorted(run.name for run in await queue.runs()) == ["again-1", "again-2"]
    assert queue.left() == 0


async def test_concurrent_drains_make_one_run(queue: Queue):
    for _ in range(10):
        queue.send(sagemaker_event("raced-1"))
    states = await asyncio.gather(*(queue.drain() for _ in range(3)))
    assert {state.type for state in states} == {"COMPLETED"}
    assert [run.name for run in await queue.runs()] == ["raced-1"]


async def test_an_invalid_message_stays_and_is_reported_and_the_others_are_processed(queue: Queue):
    queue.send("no event")
    queue.send(sagemaker_event("stopped-1", status="Stopped"))
    queue.send(sagemaker_event("good-1"))
    state = await queue.drain()
    assert state.type == "FAILED"
    assert str(state.message).startswith("1 runs started: good-1 (local). Not processed: local: message ")
    assert "is not JSON" in str(state.message)
    assert "found 'Stopped'" in str(state.message)
    assert "dda-training-local" in str(state.message)
    assert queue.left() == 2
    assert [run.name for run in await queue.runs()] == ["good-1"]


async def test_a_message_is_kept_until_its_run_exists(queue: Queue):
    async with get_client() as client:
        await client.delete_deployment(queue.deployment)
    queue.send(sagemaker_event("kept-1"))
    state = await queue.drain()
    assert state.type == "FAILED"
    assert "the use case has no deployment; `dda use-case save FILE` creates it" in str(state.message)
    assert queue.left() == 1
    assert await queue.runs() == []


async def test_the_dead_letter_queue_is_drained_on_request(queue: Queue):
    queue.send(sagemaker_event("undelivered-1"), dead_letter_queue_name("local"))
    assert (await queue.drain()).message == "no training job has completed since the last run"
    assert queue.left(dead_letter_queue_name("local")) == 1
    assert "1 runs started: undelivered-1" in str((await queue.drain(undelivered=True)).message)
    assert queue.left(dead_letter_queue_name("local")) == 0


async def test_without_messages_the_run_is_idle(queue: Queue):
    state = await queue.drain()
    assert (state.type, state.message) == ("COMPLETED", "no training job has completed since the last run")
    assert state.state_details.flow_run_id is not None
    async with get_client() as client:
        run = await client.read_flow_run(state.state_details.flow_run_id)
    assert "idle" in run.tags


@pytest.fixture
async def unreachable(queue: Queue) -> AsyncIterator[None]:
    """Another use case, whose role nobody can assume."""
    role = "arn:aws:iam::123456789012:role/Nobody"
    block = UseCaseBlock(
        usecase_id="elsewhere",
        account_id="123456789012",
        region="us-east-1",
        s3_bucket="dda-elsewhere",
        cross_account_role_arn=role,
    )
    saved = await block.asave("elsewhere", overwrite=True)
    fault = {"operation": "sts:AssumeRole", "error": "AccessDenied", "message": "not authorized", "times": 100}
    queue.pipeline.aws.faults.add("call", **fault)
    yield
    async with get_client() as client:
        await client.delete_block_document(saved)


@pytest.mark.usefixtures("unreachable")
async def test_one_use_cases_failure_does_not_stop_the_others(queue: Queue):
    queue.send(sagemaker_event("other-1"))
    state = await queue.drain()
    assert state.type == "FAILED"
    assert "1 runs started: other-1 (local). Not processed: elsewhere: " in str(state.message)
    assert "cannot be assumed" in str(state.message)
    assert "123456789012" not in str(state.message)


async def test_a_queue_that_may_not_be_read_is_reported(queue: Queue):
    queue.send(sagemaker_event("denied-1"))
    queue.pipeline.aws.faults.add("call", operation="sqs:ReceiveMessage", error="AccessDenied", message="no", times=20)
    state = await queue.drain()
    assert state.type == "FAILED"
    assert "dda-training-local cannot be read: AccessDenied: no" in str(state.message)


async def test_a_caller_who_may_not_look_for_queues_is_warned(queue: Queue, caplog: pytest.LogCaptureFixture):
    queue.pipeline.aws.faults.add("call", operation="sqs:GetQueueUrl", error="AccessDenied", message="no", times=20)
    assert (await queue.drain()).type == "COMPLETED"
    assert "Cannot tell whether use case local has a queue of training events: AccessDenied: no" in caplog.text


async def test_a_message_that_cannot_be_deleted_is_received_again_and_finds_its_run(queue: Queue):
    queue.send(sagemaker_event("stays-1"))
    queue.pipeline.aws.faults.add("call", operation="sqs:DeleteMessage", error="InternalError", times=2)
    assert "1 runs started" in str((await queue.drain()).message)
    assert queue.left() == 1
    queue.send(sagemaker_event("stays-1"))
    assert "0 runs started; 1 events" in str((await queue.drain()).message)
    assert len(await queue.runs()) == 1
