"""Draining a use case's queue of completed training jobs, and starting a run for each."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import NamedTuple

import httpx
from botocore.exceptions import BotoCoreError, ClientError
from prefect import get_client, get_run_logger
from prefect.client.orchestration import PrefectClient
from prefect.client.schemas.filters import FlowRunFilter, FlowRunFilterIdempotencyKey
from prefect.client.schemas.objects import FlowRun
from prefect.exceptions import ObjectNotFound, PrefectHTTPStatusError

from dda_core.aws.clients import AwsClients
from dda_core.aws.errors import error_text
from dda_core.exceptions import DdaError
from dda_core.runs.flows import FlowName
from dda_core.sanitise import redact
from dda_core.training.events import (
    QueuedMessage,
    TrainingEvent,
    TrainingQueue,
    dead_letter_queue_name,
    find_queue,
    queue_name,
)
from tasks.store.ui_links import run_link
from tasks.store.use_cases import load_use_case

TRIGGER = "trigger:queue"
MOST_BATCHES = 100
"""The most batches received from one queue per run; the next run continues."""


class Drained(NamedTuple):
    """The result for one use case: training jobs with a new run, those that already had one, and problems."""

    use_case: str
    started: tuple[str, ...] = ()
    known: tuple[str, ...] = ()
    problems: tuple[str, ...] = ()


async def drain(name: str, *, undelivered: bool = False) -> Drained:
    """Start a run for every waiting event of the use case registered as ``name``.

    A message is deleted once the server has its run. A message that cannot be processed stays, and the queue's redrive
    policy moves it to the dead-letter queue. Without a queue there is nothing to do; a failure is a result too.

    Args:
        name: of the use case's block and deployment.
        undelivered: also drain the dead-letter queue, for events that a webhook or an earlier drain could not deliver.
    """
    logger = get_run_logger()
    try:
        queues = await _queues(name, [queue_name(name), *([dead_letter_queue_name(name)] if undelivered else [])])
    except ClientError as error:
        # Most use cases have no queue, and their workers then have no permission to look for one.
        logger.warning("Cannot tell whether use case %s has a queue of training events: %s", name, _reason(error))
        return Drained(name)
    except (DdaError, BotoCoreError) as error:
        logger.error("The training events of use case %s cannot be received: %s", name, _reason(error))
        return Drained(name, problems=(_reason(error),))
    parts = [await _drain_queue(name, queue) for queue in queues]
    return Drained(
        name,
        started=tuple(job for part in parts for job in part.started),
        known=tuple(job for part in parts for job in part.known),
        problems=tuple(problem for part in parts for problem in part.problems),
    )


async def _queues(name: str, queues: Sequence[str]) -> list[TrainingQueue]:
    sqs = AwsClients(await load_use_case(name)).sqs
    found = [await asyncio.to_thread(find_queue, sqs, queue) for queue in queues]
    return [queue for queue in found if queue]


async def _drain_queue(name: str, queue: TrainingQueue) -> Drained:
    logger = get_run_logger()
    started: list[str] = []
    known: list[str] = []
    problems: list[str] = []
    try:
        async with get_client() as client:
            for _ in range(MOST_BATCHES):
                if not (batch := await asyncio.to_thread(queue.receive)):
                    break
                for message in batch:
                    try:
                        event = message.event()
                        run, new = await start_run_of(client, event, name)
                    except (DdaError, ObjectNotFound, PrefectHTTPStatusError, httpx.TransportError) as error:
                        problems.append(f"message {message.message_id} was left in {queue.name}: {_reason(error)}")
                        logger.error("%s", problems[-1])
                        continue
                    await _delete(queue, message)
                    (started if new else known).append(event.training_job)
                    link = run_link(str(run.id))
                    logger.info("%s %s: %s", event.training_job, "starts" if new else "already has its run", link)
    except (ClientError, BotoCoreError) as error:
        problems.append(f"{queue.name} cannot be read: {_reason(error)}")
        logger.error("%s", problems[-1])
    return Drained(name, tuple(started), tuple(known), tuple(problems))


async def start_run_of(client: PrefectClient, event: TrainingEvent, use_case: str) -> tuple[FlowRun, bool]:
    """The event's only run, and whether it is new. ``use_case`` is the name of the use case's deployment.

    Raises:
        ObjectNotFound: the use case has no deployment.
        PrefectHTTPStatusError: the server refuses the run.
    """
    key = event.idempotency_key(use_case)
    there = await client.read_flow_runs(
        flow_run_filter=FlowRunFilter(idempotency_key=FlowRunFilterIdempotencyKey(any_=[key])), limit=1
    )
    if there:
        return there[0], False
    deployment = await client.read_deployment_by_name(f"{FlowName.COMPILE}/{use_case}")
    run = await client.create_flow_run_from_deployment(
        deployment.id,
        parameters={"training_job_name": event.training_job},
        name=event.training_job,
        tags=[TRIGGER],
        # This, not the check above, ensures a single run: the server keeps the key unique.
        idempotency_key=key,
    )
    return run, True


async def _delete(queue: TrainingQueue, message: QueuedMessage) -> None:
    try:
        await asyncio.to_thread(queue.delete, message)
    except (ClientError, BotoCoreError) as error:
        # It will be received again, and find its run.
        get_run_logger().warning("A message with a run stays in %s: %s", queue.name, _reason(error))


def _reason(error: Exception) -> str:
    if isinstance(error, ObjectNotFound):
        return "the use case has no deployment; `dda use-case save FILE` creates it"
    if isinstance(error, PrefectHTTPStatusError):
        return redact(f"the server answered {error.response.status_code}: {error.response.text}", mask_accounts=True)
    return redact(error_text(error), mask_accounts=True)
