"""Starting runs for completed training jobs when AWS cannot reach the Prefect server: their events are polled."""

from __future__ import annotations

import asyncio

from prefect.client.schemas.objects import State
from prefect.states import Completed, Failed

from dda_core.runs.flows import FlowName
from tasks.decorators import flow
from tasks.operations.run_retention import forget_idle_runs
from tasks.operations.training_events import drain
from tasks.store.use_cases import use_case_names


@flow(name=FlowName.DRAIN_TRAINING_EVENTS.value, flow_run_name="training events")
async def drain_training_events(undelivered: bool = False) -> State[None]:
    """Start a run for every completed training job whose event waits in a use case's queue.

    `dda webhook install --queue` creates the queue. The run fails if a message or a whole queue could not be read; all
    others are still processed.

    Args:
        undelivered: Also drain the dead-letter queues, for events that a webhook or an earlier run could not deliver.
            Use it once the cause is fixed.
    """
    names = await use_case_names()
    drained = await asyncio.gather(*(drain(name, undelivered=undelivered) for name in names))
    started = [f"{job} ({each.use_case})" for each in drained for job in each.started]
    known = sum(len(each.known) for each in drained)
    problems = [f"{each.use_case}: {problem}" for each in drained for problem in each.problems]
    if not (started or known or problems):
        await forget_idle_runs()
        return Completed(message="no training job has completed since the last run")
    message = f"{len(started)} runs started{': ' if started else ''}{', '.join(started)}"
    if known:
        message += f"; {known} events of training jobs that already have a run"
    if problems:
        return Failed(message=f"{message}. Not processed: {'; '.join(problems)}")
    return Completed(message=message)
