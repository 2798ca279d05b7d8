"""The automation on a real Prefect server: silent runs are Crashed, except those that need no heartbeats."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any
from uuid import UUID

import pytest
from prefect import flow, get_client
from prefect.client.orchestration import PrefectClient
from prefect.events import Event, RelatedResource, Resource
from prefect.events.clients import PrefectEventsClient
from prefect.settings import PREFECT_API_URL, PREFECT_FLOWS_HEARTBEAT_FREQUENCY, temporary_settings
from prefect.states import Completed, Running, Scheduled, Suspended

from dda_core.runs.liveness import CrashKind
from deployments.server.setup import silence_automation
from flows.compile_training_job import compile_training_job
from tasks.operations.liveness_probes import HEARTBEAT, last_heartbeat
from tasks.store.transitions import SILENT_NAME, crash_kind
from tests.fixtures.servers import Server

pytestmark = [pytest.mark.slow, pytest.mark.timeout(600)]

WITHIN = 12.0
"""Instead of three heartbeats. Prefect allows no less than 10 s, and checks every 5 s."""
APART_SECONDS = 1.0
"""Between events. Prefect's automations drop an event when SQLite is busy four times in a row."""


@flow(name="another-flow")
def another_flow() -> None: ...


@pytest.fixture
def server(tmp_path: Path) -> Iterator[Server]:
    server = Server(tmp_path / "prefect")
    # The test sends its own heartbeats.
    with temporary_settings({PREFECT_API_URL: server.api_url, PREFECT_FLOWS_HEARTBEAT_FREQUENCY: None}):
        yield server
    server.kill()


async def beat(events: PrefectEventsClient, run: UUID, of: Any) -> None:
    await events.emit(
        Event(
            event=HEARTBEAT,
            resource=Resource({"prefect.resource.id": f"prefect.flow-run.{run}", "prefect.resource.name": "lid-7"}),
            related=[
                RelatedResource(
                    {
                        "prefect.resource.id": "prefect.flow.0",
                        "prefect.resource.role": "flow",
                        "prefect.resource.name": of.name,
                    }
                )
            ],
        )
    )


async def heard(client: PrefectClient, run: UUID) -> None:
    """Wait until the server has the heartbeat: one that arrives after the next state would restart the count."""
    since = datetime.now(UTC) - timedelta(minutes=5)
    async with asyncio.timeout(90):
        while not await last_heartbeat(client, await client.read_flow_run(run), since):  # noqa: ASYNC110
            await asyncio.sleep(0.5)


async def test_a_silent_run_is_crashed_and_a_waiting_one_is_not(server: Server, counted: Any):
    with temporary_settings({PREFECT_FLOWS_HEARTBEAT_FREQUENCY: 30}):
        automation = silence_automation()
    assert automation is not None
    trigger = automation.trigger.model_copy(update={"within": timedelta(seconds=WITHIN)})
    parameters = {"training_job_name": "lid-7", "use_case": "line"}
    flows = {
        "of others": another_flow,
        "suspended": compile_training_job,
        "waits for a retry": compile_training_job,
        "completed": compile_training_job,
        "silent": compile_training_job,
        "alive": compile_training_job,
    }
    needs_none = {
        "suspended": Suspended(timeout_seconds=3600),
        "waits for a retry": Scheduled(name="AwaitingRetry"),
        "completed": Completed(),
    }
    async with get_client() as client, PrefectEventsClient() as events:
        await client.create_automation(automation.model_copy(update={"trigger": trigger}))
        runs = {}
        for name, of in flows.items():
            run = await client.create_flow_run(of, parameters={} if of is another_flow else parameters)
            runs[name] = run.id
            await client.set_flow_run_state(run.id, Running(), force=True)
            await asyncio.sleep(APART_SECONDS)
            await beat(events, run.id, of)
            if state := needs_none.get(name):
                await heard(client, run.id)
                await client.set_flow_run_state(run.id, state, force=True)
                await asyncio.sleep(APART_SECONDS)

        async def states() -> dict[str, str]:
            """The name of each run's last state."""
            found = [(await client.read_flow_run(run)).state for run in runs.values()]
            return {name: str(state.name) for name, state in zip(runs, found, strict=True) if state}

        async with asyncio.timeout(180):
            while (await states())["silent"] == "Running":
                await beat(events, runs["alive"], compile_training_job)
                await asyncio.sleep(3)
        # Wait as long again: by now any other run would have been marked too.
        for _ in range(8):
            await beat(events, runs["alive"], compile_training_job)
            await asyncio.sleep(3)
        ended = await states()
        assert ended == {
            "of others": "Running",
            "suspended": "Suspended",
            "waits for a retry": "AwaitingRetry",
            "completed": "Completed",
            "silent": SILENT_NAME,
            "alive": "Running",
        }, server.log()
        silent = (await client.read_flow_run(runs["silent"])).state
        assert silent is not None
        assert silent.is_crashed()
        assert crash_kind(silent) is CrashKind.SILENT, "reconcile recognises the automation's crash by it"
        counted("silence: runs looked at by the automation", len(runs))
