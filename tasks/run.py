"""What all steps of one flow run share: use case, AWS clients, settings, and the record of its targets.

It is a context variable, because a task's arguments become part of its result's cache key: steps take plain values as
arguments and get the rest from here.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager, contextmanager
from contextvars import ContextVar
from dataclasses import dataclass, field
from uuid import UUID

from prefect import get_client, get_run_logger
from prefect.client.schemas.objects import StateType

from dda_core.aws.clients import AwsClients
from dda_core.aws.tags import Maker
from dda_core.runs.ledger import Ledger
from dda_core.runs.retry_class import retry_class_of
from dda_core.settings import Settings, load_settings, unknown_variables
from dda_core.use_case import UseCase
from tasks.rate_limits import limited_clients
from tasks.store.history import own_jobs_of
from tasks.store.provenance import started_by
from tasks.store.record import RecordWriter
from tasks.store.refusals import REFUSED
from tasks.store.run_states import last_stop, times_ended
from tasks.store.tags import set_tags, tags_of
from tasks.store.ui_links import run_link
from tasks.store.use_cases import load_use_case

_current: ContextVar[Run] = ContextVar("dda_run")


@dataclass(frozen=True)
class Run:
    """One flow run in progress.

    ``retry`` counts how often the run had ended before. ``begun_before`` is True if another process had the run
    before, ``resumed`` if that process suspended it. ``created_by`` is who or what started the run, as in the tag
    ``dda-portal:created-by``.
    """

    use_case: UseCase
    aws: AwsClients
    settings: Settings
    flow_run_id: str
    retry: int
    begun_before: bool
    resumed: bool
    created_by: str
    record: RecordWriter
    warnings: set[str] = field(default_factory=set)
    """Warnings already in the run's log, so that each is logged once."""

    @property
    def maker(self) -> Maker:
        """The owner in the tags of the jobs and component versions that the run creates."""
        return Maker(self.flow_run_id, self.retry)

    @property
    def ledger(self) -> Ledger:
        """The status of the run's targets; ``record`` writes it."""
        return self.record.ledger


def current_run() -> Run:
    """The run of the calling step."""
    return _current.get()


@contextmanager
def entered(run: Run) -> Iterator[Run]:
    """Make ``run`` the current one for every step started inside the block."""
    token = _current.set(run)
    try:
        yield run
    finally:
        _current.reset(token)


@asynccontextmanager
async def begun(training_job: str, use_case: str, flow_run_id: str) -> AsyncIterator[Run]:
    """A run whose record is kept up to date inside the block and written a last time at its end."""
    async with record_of(training_job, flow_run_id) as record:
        try:
            begun_run = await begin_run(use_case, flow_run_id, record)
        except Exception as error:
            await _tag_refusal(flow_run_id, error)
            raise
        with entered(begun_run) as run:
            for variable in unknown_variables():
                get_run_logger().warning("%s", variable)
            yield run


def record_of(training_job: str, flow_run_id: str) -> RecordWriter:
    """The record of a run, with an empty ledger. It must be made in the run's event loop."""
    return RecordWriter(Ledger(), training_job, flow_run_id, run_link, load_settings().poll_seconds)


async def _tag_refusal(flow_run_id: str, error: Exception) -> None:
    """Tag a run that cannot start; if the server refuses the tag, the run's message remains."""
    try:
        others = [tag for tag in await tags_of(flow_run_id) if not tag.startswith(REFUSED)]
        await set_tags(flow_run_id, [*others, f"{REFUSED}{retry_class_of(error)}"])
    except Exception as unreachable:
        get_run_logger().warning("The run's tags could not be set (%s).", unreachable)


async def begin_run(use_case: str, flow_run_id: str, record: RecordWriter) -> Run:
    """Load what the run needs.

    Raises:
        UnknownUseCase, InvalidUseCase: the use case's block does not exist or is invalid.
        InvalidSettings: a ``DDA_`` variable has an invalid value.
        MissingCredentials: the default credential chain found nothing.
    """
    settings = load_settings()
    loaded = await load_use_case(use_case)
    aws = await asyncio.to_thread(limited_clients, loaded, settings)
    async with get_client() as client:
        flow_run = await client.read_flow_run(UUID(flow_run_id))
        states = await client.read_flow_run_states(UUID(flow_run_id))
        record.ledger.created_before(await own_jobs_of(client, flow_run_id, record.training_job))
    return Run(
        loaded,
        aws,
        settings,
        flow_run_id,
        retry=times_ended(states),
        begun_before=last_stop(states) is not None,
        resumed=last_stop(states) is StateType.PAUSED,
        created_by=started_by(flow_run),
        record=record,
    )


def warn() -> Callable[[str], None]:
    """A function that logs a warning for the calling step, unless the run has already logged the same text."""
    run, logger = current_run(), get_run_logger()

    def write(sentence: str) -> None:
        if sentence not in run.warnings:
            run.warnings.add(sentence)
            logger.warning("%s", sentence)

    return write
