"""What all steps of one flow run share: use case, AWS clients, settings, and the record of its targets.

It is kept in a context variable, because what is passed to a task becomes part of the key under which its result is
kept: steps are given plain values, and find the rest here.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from contextlib import asynccontextmanager, contextmanager
from contextvars import ContextVar
from dataclasses import dataclass, field
from itertools import pairwise
from typing import Any
from uuid import UUID

from prefect import get_client, get_run_logger
from prefect.client.schemas.filters import FlowRunFilter, FlowRunFilterId
from prefect.client.schemas.objects import State, StateType
from prefect.settings import PREFECT_UI_URL

from dda_core.aws.clients import AwsClients
from dda_core.runs.liveness import Resumption
from dda_core.runs.retry_class import retry_class_of
from dda_core.settings import Settings, load_settings, unknown_variables
from dda_core.use_case import UseCase
from tasks.rate_limits import limited_clients
from tasks.store.history import own_jobs_of
from tasks.store.provenance import started_by
from tasks.store.record import RunRecord
from tasks.store.refusals import REFUSED
from tasks.store.transitions import resumption
from tasks.store.use_cases import load_use_case

_current: ContextVar[Run] = ContextVar("dda_run")
_ENDS = (StateType.COMPLETED, StateType.FAILED, StateType.CANCELLED)


@dataclass(frozen=True)
class Run:
    """One flow run at work.

    ``retry`` counts how often it had come to an end before it was begun again. ``begun_before`` tells that another
    process had the run before this one, ``resumed`` that this one had suspended it. ``created_by`` says who or what
    started the run, as the tag ``dda-portal:created-by`` does.
    """

    use_case: UseCase
    aws: AwsClients
    settings: Settings
    flow_run_id: str
    retry: int
    begun_before: bool
    resumed: bool
    created_by: str
    record: RunRecord
    warnings: set[str] = field(default_factory=set)
    """What the run's log has been warned of, where once is enough."""


def current_run() -> Run:
    """The run that the calling step belongs to."""
    return _current.get()


@contextmanager
def entered(run: Run) -> Iterator[Run]:
    """Make ``run`` the current one, for every step begun inside the block."""
    token = _current.set(run)
    try:
        yield run
    finally:
        _current.reset(token)


@asynccontextmanager
async def begun(training_job: str, use_case: str, flow_run_id: str) -> AsyncIterator[Run]:
    """A run with its record, which is kept up to date inside the block and written a last time at its end."""
    async with RunRecord(training_job, flow_run_id, load_settings().poll_seconds) as record:
        try:
            begun_run = await begin_run(use_case, flow_run_id, record)
        except Exception as error:
            await _tag_refusal(flow_run_id, error)
            raise
        with entered(begun_run) as run:
            for variable in unknown_variables():
                get_run_logger().warning("%s", variable)
            yield run


async def _tag_refusal(flow_run_id: str, error: Exception) -> None:
    """Tag a run that cannot even begin; where the server does not take it, the run's message has to do."""
    try:
        others = [tag for tag in await tags_of(flow_run_id) if not tag.startswith(REFUSED)]
        await set_tags(flow_run_id, [*others, f"{REFUSED}{retry_class_of(error)}"])
    except Exception as unreachable:
        get_run_logger().warning("The run's tags could not be set (%s).", unreachable)


async def begin_run(use_case: str, flow_run_id: str, record: RunRecord) -> Run:
    """Load what the run works with.

    Raises:
        UnknownUseCase, InvalidUseCase: the use case's block is not there or cannot be used.
        InvalidSettings: a ``DDA_`` variable has a value that cannot be used.
        MissingCredentials: the default credential chain found nothing.
    """
    settings = load_settings()
    loaded = await load_use_case(use_case)
    aws = await asyncio.to_thread(limited_clients, loaded, settings)
    async with get_client() as client:
        flow_run = await client.read_flow_run(UUID(flow_run_id))
        states = await client.read_flow_run_states(UUID(flow_run_id))
        record.earlier_jobs = await own_jobs_of(client, flow_run_id, record.training_job)
    return Run(
        loaded,
        aws,
        settings,
        flow_run_id,
        retry=times_ended(states),
        begun_before=_last_stop(states) is not None,
        resumed=_last_stop(states) is StateType.PAUSED,
        created_by=started_by(flow_run),
        record=record,
    )


def times_ended(states: Sequence[State[Any]]) -> int:
    """How often a run with these states, the oldest first, has ended and was begun anew or not.

    A crash is no end where the run goes on by itself; it is where a person, or ``retry-failed``, retries it.
    """
    retried = sum(resumption(before, after) is Resumption.RETRIED for before, after in pairwise(states))
    return retried + sum(state.type in _ENDS for state in states)


def _last_stop(states: Sequence[State[Any]]) -> StateType | None:
    """How the run's last process left it, of these states the oldest first; None where there was none."""
    stops = [state.type for state in states if state.type in (*_ENDS, StateType.PAUSED, StateType.CRASHED)]
    return stops[-1] if stops else None


async def is_cancelling(flow_run_id: str) -> bool:
    """Whether a person asked for the run to be cancelled. A worker's shutdown ends the process just the same way."""
    async with get_client() as client:
        run = await client.read_flow_run(UUID(flow_run_id))
    return run.state is not None and (run.state.is_cancelled() or run.state.type == StateType.CANCELLING)


async def set_tags(flow_run_id: str, tags: list[str]) -> None:
    """Replace the run's tags. Not atomic on the server, so only the flow's body does it, never a step."""
    async with get_client() as client:
        await client.update_flow_run(UUID(flow_run_id), tags=tags)


async def tags_of(flow_run_id: str) -> list[str]:
    """The run's tags as the server has them now."""
    async with get_client() as client:
        found = await client.read_flow_runs(flow_run_filter=FlowRunFilter(id=FlowRunFilterId(any_=[UUID(flow_run_id)])))
    return list(found[0].tags) if found else []


def run_link(flow_run_id: str) -> str:
    """The address of a flow run's page in the UI."""
    return f"{_ui()}/runs/flow-run/{flow_run_id}"


def artifact_link(key: str) -> str:
    """The address of an artifact's page in the UI, which the sidebar does not lead to."""
    return f"{_ui()}/artifacts/key/{key}"


def _ui() -> str:
    """The address of the UI; that of an open-source server has its newer pages below ``/v2``."""
    ui = (PREFECT_UI_URL.value() or "").rstrip("/")
    return ui if ui.startswith("https://app.prefect.cloud") else f"{ui}/v2"


def tell() -> Callable[[str], None]:
    """Writes a sentence to the log of the step that calls it."""
    logger = get_run_logger()

    def write(sentence: str) -> None:
        logger.info("%s", sentence)

    return write


def warn() -> Callable[[str], None]:
    """Writes a warning to the log of the step that calls it, unless the run has been warned in the same words."""
    run, logger = current_run(), get_run_logger()

    def write(sentence: str) -> None:
        if sentence not in run.warnings:
            run.warnings.add(sentence)
            logger.warning("%s", sentence)

    return write
