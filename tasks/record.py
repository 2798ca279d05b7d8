"""The record of a run's targets, kept up to date in the Prefect UI while the run goes on.

Two artifacts carry it: a table for programs (the rows are ``TargetRecord``; the command line reads it back) and a
markdown page for people. Neither holds an account id. A server that cannot be reached delays the record, never the
run.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import re
import time
from types import TracebackType
from typing import Any
from uuid import UUID

from prefect import get_client
from prefect.client.schemas.actions import ArtifactCreate, ArtifactUpdate
from prefect.logging import get_logger

from dda_core.sanitise import sanitise
from dda_core.status import TargetRecord, TargetStatus

logger = get_logger("dda.record")

MARKS = {
    TargetStatus.NOT_STARTED: "⚪",
    TargetStatus.COMPILING: "🔵",
    TargetStatus.PACKAGING: "🟣",
    TargetStatus.PUBLISHING: "🟠",
    TargetStatus.DEPLOYABLE: "🟢",
    TargetStatus.FAILED: "🔴",
    TargetStatus.STOPPED: "⬛",
    TargetStatus.SKIPPED: "⏩",
}
WRITE_SECONDS = 1.0
"""The least time between two writes; what changes in between is written once."""


def artifact_key(prefix: str, training_job: str) -> str:
    """The key of a training job's artifact; the UI shows its versions, one per run, as a timeline."""
    return f"{prefix}-{re.sub(r'[^a-z0-9]+', '-', training_job.lower()).strip('-')}"


class RunRecord:
    """The targets of one run: where each stands, and since when.

    Used as an asynchronous context manager: it writes in the background inside the block, and once more at its end.
    """

    def __init__(self, training_job: str, flow_run_id: str) -> None:
        self.training_job = training_job
        self.flow_run_id = flow_run_id
        self.targets: dict[str, TargetRecord] = {}
        self.links: dict[str, str] = {}
        self._since: dict[str, float] = {}
        self._artifacts: dict[str, UUID] = {}
        self._changed = asyncio.Event()
        self._loop = asyncio.get_running_loop()
        self._writer: asyncio.Task[None] | None = None

    def expect(self, targets: list[str]) -> None:
        """The run's targets, in the order they are shown."""
        self.targets = {target: TargetRecord() for target in targets}
        self._loop.call_soon_threadsafe(self._changed.set)

    def note(self, target: str, **changes: object) -> None:
        """Set fields of a target's record; safe from any thread. An end is final, and ``seconds`` stop there."""
        before = self.targets[target]
        if before.status.ended:
            return
        since = self._since.setdefault(target, time.monotonic())
        self.targets[target] = before.with_changes(**changes, seconds=round(time.monotonic() - since, 1))
        self._loop.call_soon_threadsafe(self._changed.set)

    async def __aenter__(self) -> RunRecord:
        self._writer = asyncio.create_task(self._keep_writing())
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._writer:
            self._writer.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await self._writer
        await self._write()

    async def _keep_writing(self) -> None:
        while True:
            await self._changed.wait()
            self._changed.clear()
            await self._write()
            await asyncio.sleep(WRITE_SECONDS)

    async def _write(self) -> None:
        if not self.targets:
            return
        try:
            await self._put(
                "record", "table", json.dumps(self.rows()), "For programs; the same for people is beside it."
            )
            await self._put("targets", "markdown", self.page(), f"Where each target of {self.training_job} stands.")
        except Exception as error:
            logger.warning("The record of the targets could not be written (%s); it is written again later.", error)

    async def _put(self, prefix: str, kind: str, data: str, description: str) -> None:
        key = artifact_key(prefix, self.training_job)
        async with get_client() as client:
            if key in self._artifacts:
                await client.update_artifact(self._artifacts[key], ArtifactUpdate(data=data))
                return
            made = await client.create_artifact(
                ArtifactCreate(
                    key=key, type=kind, data=data, description=description, flow_run_id=UUID(self.flow_run_id)
                )
            )
            self._artifacts[key] = made.id

    def rows(self) -> list[dict[str, Any]]:
        """One row per target. ARNs are left out: they hold the account's id, and can be computed."""
        return [
            {
                "target": target,
                **record.model_dump(mode="json", exclude={"arn"}),
                **{name: _masked(getattr(record, name)) for name in ("reason", "cause", "remedy")},
            }
            for target, record in self.targets.items()
        ]

    def page(self) -> str:
        """The table as markdown, with the failures explained below it."""
        lines = [
            f"# {self.training_job}",
            "",
            "| target | status | duration | attempt | compilation job | component | version |",
            "|---|---|---:|---:|---|---|---|",
        ]
        for target, record in self.targets.items():
            status = f"{MARKS[record.status]} {record.status}"
            if target in self.links:
                status = f"[{status}]({self.links[target]})"
            cells = (
                target,
                status,
                f"{record.seconds:.0f} s" if record.seconds is not None else "",
                str(record.attempt or ""),
                record.compilation_job or "",
                record.component or "",
                record.version or "",
            )
            lines.append(f"| {' | '.join(cells)} |")
        for target, record in self.targets.items():
            if record.reason or record.cause:
                lines += [
                    "",
                    f"## {MARKS[record.status]} {target}",
                    "",
                    f"**Reason** (as AWS gave it): {_one_line(record.reason)}",
                    "",
                    f"**Cause**: {_one_line(record.cause)}",
                    "",
                    f"**What to do**: {_one_line(record.remedy)}",
                ]
        lines += ["", "## Where things are"]
        for target, record in self.targets.items():
            for what, uri in (("compiled artifact", record.compiled_artifact), ("package", record.package)):
                if uri:
                    lines += ["", f"{target}, {what}: `{uri}`"]
        return "\n".join(lines) + "\n"


def _masked(text: str | None) -> str | None:
    return sanitise(text, mask_accounts=True) if text else text


def _one_line(text: str | None) -> str:
    return " ".join((_masked(text) or "-").replace("|", "\\|").replace("<", "&lt;").split())
