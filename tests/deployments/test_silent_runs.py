"""The automation on a real Prefect server: silence is a crash, but for runs that need no heartbeats."""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID

import pytest
from prefect import flow, get_client
from prefect.events import emit_event
from prefect.settings import PREFECT_FLOWS_HEARTBEAT_FREQUENCY, temporary_settings
from prefect.states import Completed, Running, Scheduled, Suspended

from deployments.server_setup import silence_automation
from flows.compile_training_job import compile_training_job
from tasks.false_alarms import SILENT
from tasks.life_signs import HEARTBEAT, last_heartbeat

pytestmark = [pytest.mark.slow, pytest.mark.timeout(300)]

WITHIN = 12.0
"""In place of three heartbeats. Prefect allows no less than 10 s, and looks every 5 s."""


@flow(name="another-flow")
def another_flow() -> None: ...


def beat(run: UUID, of: Any) -> None:
    emit_event(
        HEARTBEAT,
        resource={"prefect.resource.id": f"prefect.flow-run.{run}", "prefect.resource.name": "lid-7"},
        related=[
            {
                "prefect.resource.id": "prefect.flow.0",
                "prefect.resource.role": "flow",
                "prefect.resource.name": of.name,
            }
        ],
    )


async def test_a_silent_run_is_crashed_and_one_that_waits_is_not(prefect_server: None, counted: Any):
    with temporary_settings({PREFECT_FLOWS_HEARTBEAT_FREQUENCY: 30}):
        automation = silence_automation()
    assert automation is not None
    trigger = automation.trigger.model_copy(update={"within": timedelta(seconds=WITHIN)})
    parameters = {"training_job_name": "lid-7", "use_case": "line"}
    async with get_client() as client:
        made = await client.create_automation(automation.model_copy(update={"trigger": trigger}))
        try:
            flows = {
                "silent": compile_training_job,
                "alive": compile_training_job,
                "suspended": compile_training_job,
                "waits for a retry": compile_training_job,
                "completed": compile_training_job,
                "of others": another_flow,
            }
            runs = {
                name: (await client.create_flow_run(of, parameters=parameters if of is not another_flow else {})).id
                for name, of in flows.items()
            }
            for run in runs.values():
                await client.set_flow_run_state(run, Running(), force=True)
            await asyncio.sleep(2)
            for name, run in runs.items():
                beat(run, flows[name])
            # A heartbeat that comes after the state which needs none would begin the count again.
            began = datetime.now(UTC) - timedelta(minutes=1)
            async with asyncio.timeout(60):
                for run in runs.values():
                    while not await last_heartbeat(client, await client.read_flow_run(run), began):  # noqa: ASYNC110
                        await asyncio.sleep(0.5)
            await asyncio.sleep(2)
            for name, state in (
                ("suspended", Suspended(timeout_seconds=3600)),
                ("waits for a retry", Scheduled(name="AwaitingRetry")),
                ("completed", Completed()),
            ):
                await client.set_flow_run_state(runs[name], state, force=True)

            async def names() -> dict[str, str]:
                return {name: (await client.read_flow_run(run)).state_name or "" for name, run in runs.items()}

            async with asyncio.timeout(120):
                while (await names())["silent"] == "Running":
                    beat(runs["alive"], compile_training_job)
                    await asyncio.sleep(3)
            # As long again: the others' turn would have come.
            for _ in range(8):
                beat(runs["alive"], compile_training_job)
                await asyncio.sleep(3)
            assert await names() == {
                "silent": "Crashed",
                "alive": "Running",
                "suspended": "Suspended",
                "waits for a retry": "AwaitingRetry",
                "completed": "Completed",
                "of others": "Running",
            }
            state = (await client.read_flow_run(runs["silent"])).state
            assert state is not None
            assert (state.message or "").startswith(SILENT), "reconcile knows the alarm by it"
            counted("silence: runs looked at by the automation", len(runs))
        finally:
            await client.delete_automation(made)
