"""The record of a run's targets, kept up to date in the Prefect UI while the run is in progress.

A table artifact holds it for programs (its rows are ``TargetLine``; history and status are read from it), a Markdown
artifact for people, and a progress artifact per target for the run's graph. None holds an account id. Each process of
a run writes its own artifacts, so nothing recorded is ever overwritten. An unreachable server delays the record, never
the run.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import re
from collections.abc import Callable
from datetime import UTC, datetime
from types import TracebackType
from typing import Any
from uuid import UUID

from prefect import get_client
from prefect.client.orchestration import PrefectClient
from prefect.client.schemas.actions import ArtifactCreate, ArtifactUpdate
from prefect.logging import get_logger

from dda_core.pages.run import PROGRESS, PageContext, run_page
from dda_core.runs.ledger import Ledger
from dda_core.sanitise import sanitise

logger = get_logger("dda.record")

WRITE_SECONDS = 1.0
"""The minimum time between two writes; changes in between are written together."""
CLAIM_SECONDS = 10.0
"""How long an untagged job waits for its claim to be written; the run then continues without."""
LAST_TRIES = 5
"""How often the last write is tried, since it holds the run's history."""


def artifact_key(prefix: str, name: str) -> str:
    """The key of an artifact about ``name``; the UI shows its versions, one per run, as a timeline."""
    return re.sub(r"[^a-z0-9]+", "-", f"{prefix}-{name}".lower()).strip("-")


class RecordWriter:
    """Writes the ledger of one run whenever it changes.

    An asynchronous context manager: it writes in the background inside the block, and once more at its end.

    Args:
        ledger: what it writes.
        training_job: the targets' training job.
        flow_run_id: the run that the artifacts belong to.
        link_of: returns the URL of a flow run's page.
        poll_seconds: the time without changes after which durations are updated.
    """

    def __init__(
        self,
        ledger: Ledger,
        training_job: str,
        flow_run_id: str,
        link_of: Callable[[str], str],
        poll_seconds: float = 30.0,
    ) -> None:
        self.ledger = ledger
        self.training_job = training_job
        self.flow_run_id = flow_run_id
        self.poll_seconds = poll_seconds
        self.context = PageContext(training_job)
        self._link_of = link_of
        self._artifacts: dict[str, tuple[UUID, tuple[str | float, str]]] = {}
        self._writing = asyncio.Lock()
        self._changed, self._closing = asyncio.Event(), asyncio.Event()
        self._loop = asyncio.get_running_loop()
        self._writer: asyncio.Task[None] | None = None
        ledger.watch(self._mark)

    def describe(self, context: PageContext) -> None:
        """Set what the run's page shows besides the targets."""
        self.context = context
        self._mark()

    def write_now(self) -> bool:
        """Write changes, from a thread other than the loop's; False if the server did not accept them."""
        try:
            return asyncio.run_coroutine_threadsafe(self.write(), self._loop).result(CLAIM_SECONDS)
        except TimeoutError:
            return False

    def rows(self) -> list[dict[str, Any]]:
        """One row per target. ARNs are left out, because they hold the account id and can be computed."""
        names = [self.training_job, self.context.model_name or ""]
        return [
            {
                "target": line.target,
                **_masked(line.model_dump(mode="json", exclude={"target", "arn"}), names),
            }
            for line in self.ledger.targets.values()
        ]

    def page(self) -> str:
        """The record for people."""
        lines = list(self.ledger.targets.values())
        links = {line.target: self._link_of(line.by_flow_run) for line in lines if line.by_flow_run}
        return run_page(self.context, lines, links, datetime.now(UTC))

    async def __aenter__(self) -> RecordWriter:
        self._writer = asyncio.create_task(self._keep_writing())
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        # Never cancelled mid-write: an artifact that the server created without our knowledge would be duplicated.
        self._closing.set()
        self._changed.set()
        if self._writer:
            await self._writer
        for _ in range(LAST_TRIES):
            if await self.write():
                return
            await asyncio.sleep(WRITE_SECONDS)

    def _mark(self) -> None:
        self._loop.call_soon_threadsafe(self._changed.set)

    async def _keep_writing(self) -> None:
        while not self._closing.is_set():
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(self._changed.wait(), self.poll_seconds)
            self._changed.clear()
            self.ledger.age()
            await self.write()
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(self._closing.wait(), WRITE_SECONDS)

    async def write(self) -> bool:
        """Write what has changed since the last write; False if the server did not accept all of it."""
        if not self.ledger.targets:
            return True
        try:
            async with self._writing, get_client() as client:
                # One at a time: a server on SQLite answers concurrent writes with 503.
                await self._put(client, "record", "table", json.dumps(self.rows()), "For programs; people: targets-…")
                title = f"The status of each target of {self.training_job}"
                await self._put(client, "targets", "markdown", self.page(), title)
                for line in self.ledger.targets.values():
                    title = f"{line.target} of {self.training_job}: {line.status}"
                    await self._put(
                        client, f"progress-{line.target}", "progress", PROGRESS.get(line.status, 100.0), title
                    )
        except Exception as error:
            logger.warning("The record of the targets could not be written (%s); it is written again later.", error)
            return False
        return True

    async def _put(self, client: PrefectClient, prefix: str, kind: str, data: str | float, description: str) -> None:
        key = artifact_key(prefix, self.training_job)
        artifact, written = self._artifacts.get(key, (None, None))
        if written == (data, description):
            return
        if artifact is None:
            run = UUID(self.flow_run_id)
            made = await client.create_artifact(
                ArtifactCreate(key=key, type=kind, data=data, description=description, flow_run_id=run)
            )
            artifact = made.id
        else:
            await client.update_artifact(artifact, ArtifactUpdate(data=data, description=description))
        self._artifacts[key] = (artifact, (data, description))


def _masked(value: Any, keep: list[str]) -> Any:
    """The value with secrets and account ids masked in all its texts; the digits of names in ``keep`` stay."""
    if isinstance(value, str):
        return sanitise(value, mask_accounts=True, keep=keep)
    if isinstance(value, list | tuple):
        return [_masked(each, keep) for each in value]
    if isinstance(value, dict):
        return {name: _masked(each, keep) for name, each in value.items()}
    return value
