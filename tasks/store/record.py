"""The record of a run's targets, kept up to date in the Prefect UI while the run goes on.

A table artifact carries it for programs (its rows are ``TargetLine``; history and status are read back from it), a
markdown artifact for people, and a progress artifact per target for the run's graph. None holds an account id. A
process that goes on with a run writes artifacts of its own, so nothing that was recorded is ever overwritten. A server
that cannot be reached delays the record, never the run.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import re
import threading
from collections.abc import Mapping
from datetime import UTC, datetime
from types import TracebackType
from typing import Any
from uuid import UUID

from prefect import get_client
from prefect.client.orchestration import PrefectClient
from prefect.client.schemas.actions import ArtifactCreate, ArtifactUpdate
from prefect.logging import get_logger

from dda_core.compilation.job import CompilationJob
from dda_core.compilation.status import CompilationStatus
from dda_core.pages.run import PROGRESS, PageContext, run_page
from dda_core.runs.history import Attempt, AttemptStatus, Phase, TargetLine
from dda_core.runs.status import TargetStatus
from dda_core.sanitise import redact, sanitise

logger = get_logger("dda.record")

WRITE_SECONDS = 1.0
"""The least time between two writes; what changes in between is written once."""
CLAIM_SECONDS = 10.0
"""How long a job without tags waits for the server to take its claim; the run goes on without."""
LAST_TRIES = 5
"""How often the last write is tried: what it holds is the run's history."""


def artifact_key(prefix: str, name: str) -> str:
    """The key of an artifact about ``name``; the UI shows its versions, one per run, as a timeline."""
    return re.sub(r"[^a-z0-9]+", "-", f"{prefix}-{name}".lower()).strip("-")


class RunRecord:
    """The targets of one run: where each stands, since when, and what became of its attempts.

    Used as an asynchronous context manager: it writes in the background inside the block, and once more at its end.
    """

    def __init__(self, training_job: str, flow_run_id: str, poll_seconds: float = 30.0) -> None:
        self.training_job = training_job
        self.flow_run_id = flow_run_id
        self.poll_seconds = poll_seconds
        self.context = PageContext(training_job)
        self.targets: dict[str, TargetLine] = {}
        self.earlier_jobs: dict[str, int] = {}
        self.links: dict[str, str] = {}
        self._artifacts: dict[str, tuple[UUID, tuple[str | float, str]]] = {}
        self._lock = threading.Lock()
        self._writing = asyncio.Lock()
        self._changed, self._closing = asyncio.Event(), asyncio.Event()
        self._loop = asyncio.get_running_loop()
        self._writer: asyncio.Task[None] | None = None

    def expect(self, targets: list[str], earlier: Mapping[str, TargetLine] | None = None) -> None:
        """The run's targets, in the order they are shown; those in ``earlier`` go on from where they stood."""
        self.targets = {target: (earlier or {}).get(target) or TargetLine(target=target) for target in targets}
        self._mark()

    def describe(self, context: PageContext) -> None:
        """What the run's page says besides the targets."""
        self.context = context
        self._mark()

    def keep(self, line: TargetLine) -> None:
        """Leave a target as an earlier process of the run left it."""
        with self._lock:
            self.targets[line.target] = line
        self._mark()

    def note(self, target: str, **changes: Any) -> None:
        """Set fields of a target's line; safe from any thread.

        An end is final, the first reason stays, and a status never goes back to an earlier phase.
        """
        with self._lock:
            before, now = self.targets[target], datetime.now(UTC)
            if before.status.ended:
                return
            line = before.model_copy(update=_checked(changes))
            if before.by_flow_run and line.attempt is not None and line.attempt < (before.attempt or 0):
                # A restarted run goes by a result that it has kept; what others made since it has only looked at.
                kept = tuple(each for each in line.attempts if each.attempt is None or each.attempt <= line.attempt)
                line = line.model_copy(update={"attempts": kept, "by_flow_run": None})
                self.links.pop(target, None)
            if line.status.phase < before.status.phase:
                line = line.model_copy(update={"status": before.status})
            if line.status is not before.status:
                line = line.model_copy(update={"phases": (*before.phases, Phase(status=line.status, at=now))})
            line = line.model_copy(update={"attempts": _attempts(before, line, now)})
            self.targets[target] = _aged(line, now)
        self._mark()

    def note_job(self, target: str, job: CompilationJob) -> None:
        """Record what a look at the target's compilation job showed."""
        self.note(target, compilation_job=job.name, attempt=job.attempt)
        if job.status in (CompilationStatus.FAILED, CompilationStatus.STOPPED):
            status = AttemptStatus(job.status.value.lower())
            with self._lock:
                line = self.targets[target]
                *earlier, last = line.attempts
                ended = last.ending(status, datetime.now(UTC), redact(job.reason or "no reason was given"))
                self.targets[target] = line.model_copy(update={"attempts": (*earlier, ended)})

    def settle(self, target: str, **fields: Any) -> None:
        """Record a target that was at its end before this run came to it: it has no attempt here."""
        with self._lock:
            now = datetime.now(UTC)
            line = self.targets[target].model_copy(update=_checked(fields))
            self.targets[target] = line.model_copy(update={"phases": (Phase(status=line.status, at=now),)})
        self._mark()

    def note_maker(self, target: str, flow_run_id: str, link: str) -> None:
        """Record which other run made what this one goes on with; ``link`` is the address of its page."""
        with self._lock:
            self.links[target] = link
            self.targets[target] = self.targets[target].model_copy(update={"by_flow_run": flow_run_id})
        self._mark()

    def own_jobs(self) -> dict[str, int]:
        """The compilation jobs that the run has created, in any of its processes, each with the retry it was in."""
        with self._lock:
            lines = list(self.targets.values())
        return {**self.earlier_jobs, **{name: retry for line in lines for name, retry in line.own_jobs.items()}}

    def claim_job(self, target: str, job: str, retry: int) -> bool:
        """Record that the run creates this compilation job; False where that is recorded."""
        if job in self.own_jobs():
            return False
        with self._lock:
            line = self.targets[target]
            self.targets[target] = line.model_copy(update={"own_jobs": {**line.own_jobs, job: retry}})
        self._mark()
        return True

    def disclaim_job(self, target: str, job: str) -> None:
        """Record that the run did not create the job after all."""
        with self._lock:
            line = self.targets[target]
            left = {name: retry for name, retry in line.own_jobs.items() if name != job}
            self.targets[target] = line.model_copy(update={"own_jobs": left})
        self._mark()

    def write_now(self) -> bool:
        """Write what has changed, from another thread than the loop's; False where the server did not take it."""
        try:
            return asyncio.run_coroutine_threadsafe(self.write(), self._loop).result(CLAIM_SECONDS)
        except TimeoutError:
            return False

    def note_facts(self, target: str, **facts: Any) -> None:
        """Add to what is known of a target's compilation, at any time."""
        with self._lock:
            line = self.targets[target]
            self.targets[target] = line.model_copy(update={"facts": line.facts.model_copy(update=facts)})
        self._mark()

    def rows(self) -> list[dict[str, Any]]:
        """One row per target. ARNs are left out: they hold the account's id, and can be computed."""
        names = [self.training_job, self.context.model_name or ""]
        return [
            {
                "target": line.target,
                **_masked(line.model_dump(mode="json", exclude={"target", "arn"}), names),
            }
            for line in self.targets.values()
        ]

    def page(self) -> str:
        """The record for people."""
        return run_page(self.context, list(self.targets.values()), self.links, datetime.now(UTC))

    async def __aenter__(self) -> RunRecord:
        self._writer = asyncio.create_task(self._keep_writing())
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        # Never cancelled in mid-write: an artifact that the server made but this process does not know would be twice.
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
            with self._lock:
                now = datetime.now(UTC)
                self.targets = {
                    target: line if line.status.ended else _aged(line, now) for target, line in self.targets.items()
                }
            await self.write()
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(self._closing.wait(), WRITE_SECONDS)

    async def write(self) -> bool:
        """Write what has changed since the last time; False where the server took not all of it."""
        if not self.targets:
            return True
        try:
            async with self._writing, get_client() as client:
                # One by one: SQLite, behind a small server, answers writes side by side with 503.
                await self._put(client, "record", "table", json.dumps(self.rows()), "For programs; people: targets-…")
                title = f"Where each target of {self.training_job} stands"
                await self._put(client, "targets", "markdown", self.page(), title)
                for line in self.targets.values():
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


def _checked(changes: dict[str, Any]) -> dict[str, Any]:
    return {name: TargetStatus(value) if name == "status" else value for name, value in changes.items()}


def _aged(line: TargetLine, now: datetime) -> TargetLine:
    """The line with ``seconds`` from its first phase until now."""
    if not line.phases:
        return line
    return line.model_copy(update={"seconds": round((now - line.phases[0].at).total_seconds(), 1)})


def _attempts(before: TargetLine, line: TargetLine, now: datetime) -> tuple[Attempt, ...]:
    """The attempts after a change: a new number begins one, and the last one goes as the target goes."""
    attempts = list(line.attempts)
    if line.attempt is not None and (not attempts or attempts[-1].attempt != line.attempt):
        if attempts:
            attempts[-1] = attempts[-1].ending(AttemptStatus.FAILED, now)
        attempts.append(Attempt(attempt=line.attempt, status=AttemptStatus.COMPILING, started=now))
    if not attempts or attempts[-1].status.ended:
        return tuple(attempts)
    last = attempts[-1].model_copy(
        update={
            "compilation_job": line.compilation_job,
            "component": line.component,
            "version": line.version,
        }
    )
    if line.status.ended:
        last = last.ending(AttemptStatus(line.status.value), now, line.reason)
    elif line.status is not before.status:
        last = last.model_copy(update={"status": AttemptStatus(line.status.value)})
    return (*attempts[:-1], last)


def _masked(value: Any, keep: list[str]) -> Any:
    """The value with every text in it free of secrets and account ids; the digits of names to ``keep`` stay."""
    if isinstance(value, str):
        return sanitise(value, mask_accounts=True, keep=keep)
    if isinstance(value, list | tuple):
        return [_masked(each, keep) for each in value]
    if isinstance(value, dict):
        return {name: _masked(each, keep) for name, each in value.items()}
    return value
