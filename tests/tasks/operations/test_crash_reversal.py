"""Runs that the automation for silent runs wrongly marked Crashed get their state back; dead runs are restarted."""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime, timedelta
from uuid import UUID

import pytest
from prefect import get_client
from prefect.client.schemas.objects import State, StateType
from prefect.events import emit_event
from prefect.events.worker import EventsWorker
from prefect.states import Crashed, Running, Suspended

from dda_core.runs.liveness import Process
from tasks.operations.crash_reversal import LATE_SECONDS
from tasks.operations.liveness_probes import HEARTBEAT, last_heartbeat
from tasks.store.transitions import SILENT_NAME
from tests.tasks.operations.test_reconciliation import Look, deployment, processes, run_in, state_of, states_of

__all__ = ["deployment", "processes"]
ALARMS: list[State[None]] = [
    Crashed(name=SILENT_NAME, message="whatever"),
    # As a server with an earlier version's automation marks a run.
    Crashed(message="No heartbeat of the run came for 90 s."),
]
alarms = pytest.mark.parametrize("alarm", ALARMS, ids=["by name", "by an earlier version"])


async def crashed(run: UUID, state: State[None] = ALARMS[0]) -> None:
    async with get_client() as client:
        await client.set_flow_run_state(run, state, force=True)


@alarms
async def test_a_suspended_run_waits_again_for_the_same_input(deployment: UUID, processes: Look, alarm: State[None]):
    suspended = Suspended(timeout_seconds=3600, pause_key="approval-0")
    suspended.state_details.run_input_keyset = {"schema": "suspended-approval-0-schema"}
    run = await run_in(suspended, deployment)
    before = await state_of(run)
    await crashed(run, alarm)
    assert await processes.reconcile(run) == {}
    now = await state_of(run)
    assert (now.type, now.name) == (StateType.PAUSED, "Suspended")
    assert now.state_details.pause_key == "approval-0"
    assert now.state_details.run_input_keyset == before.state_details.run_input_keyset
    assert now.state_details.pause_timeout == before.state_details.pause_timeout


@pytest.mark.parametrize("sign", ["process", "heartbeat"])
async def test_a_live_run_is_running_again(deployment: UUID, processes: Look, sign: str):
    run = await run_in(Running(), deployment)
    await crashed(run)
    if sign == "process":
        processes.found[str(run)] = [Process.ALIVE]
    else:
        emit_event(HEARTBEAT, resource={"prefect.resource.id": f"prefect.flow-run.{run}"})
        await EventsWorker.drain_all()
        await seen(run)
    await processes.reconcile()
    assert (await states_of(run))[-2:] == [SILENT_NAME, "Running"]


async def seen(run: UUID) -> None:
    """Wait until the server has the heartbeat, because it writes events in batches."""
    async with asyncio.timeout(20), get_client() as client:
        flow_run = await client.read_flow_run(run)
        while not await last_heartbeat(client, flow_run, datetime.now(UTC) - timedelta(minutes=1)):  # noqa: ASYNC110
            await asyncio.sleep(0.1)


async def test_a_run_whose_next_heartbeat_may_still_arrive_is_left_for_now(deployment: UUID, processes: Look):
    run = await run_in(Running(), deployment)
    await crashed(run)
    await processes.reconcile()
    assert (await state_of(run)).is_crashed()


@pytest.mark.parametrize(
    ("ago", "look"), [(LATE_SECONDS + 1, Process.UNKNOWN), (0, Process.GONE)], ids=["silent", "process gone"]
)
@alarms
async def test_a_dead_run_is_restarted(
    deployment: UUID, processes: Look, ago: float, look: Process, alarm: State[None]
):
    run = await run_in(alarm, deployment, ago=ago)
    processes.found[str(run)] = [look]
    await processes.reconcile()
    assert (await state_of(run)).name == "AwaitingRetry"


async def test_crashes_reported_by_others_are_not_reversed(deployment: UUID, processes: Look):
    run = await run_in(Running(), deployment)
    await crashed(run, Crashed(message="Flow run infrastructure exited with code 137"))
    await processes.reconcile()
    assert (await state_of(run)).name == "AwaitingRetry"
