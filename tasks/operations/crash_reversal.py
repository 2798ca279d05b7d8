"""Crash reversal: restoring the state of runs that the automation for silent runs wrongly marked Crashed.

The automation relies on heartbeats. It is wrong if the Prefect server was down and could not receive any, or if a
run's last heartbeat arrived after the run was suspended.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime, timedelta
from uuid import UUID

from prefect.client.orchestration import PrefectClient
from prefect.client.schemas.objects import FlowRun, State, StateType
from prefect.logging import get_logger
from prefect.settings import PREFECT_FLOWS_HEARTBEAT_FREQUENCY
from prefect.states import Running

from dda_core.runs.liveness import CrashKind, Process
from tasks.operations.liveness_probes import Probe, last_heartbeat
from tasks.store.transitions import crash_kind

logger = get_logger("dda.reconcile")

LATE_SECONDS = 30.0
"""How late a heartbeat may be: it is queued behind what could not be sent while the server was down."""


async def reverse_crashes(
    client: PrefectClient, crashed: Sequence[FlowRun], processes: Probe, now: datetime, *, all_ended: bool = False
) -> set[UUID]:
    """Restore the states of the runs among ``crashed`` that are not dead.

    Args:
        client: of the Prefect server.
        crashed: runs that are Crashed; only those that the automation marked are considered.
        processes: of this machine.
        now: the time of the probe.
        all_ended: all processes are known to have ended, so only runs without a process are restored.

    Returns:
        The runs not to restart now: the restored ones, and those whose next heartbeat may still arrive.
    """
    left = set()
    for run in crashed:
        if run.state is None or not run.state.is_crashed() or crash_kind(run.state) is not CrashKind.SILENT:
            continue
        before = await _state_before(client, run)
        since = run.state.timestamp or now
        if before is not None and before.type is StateType.PAUSED:
            # With its details: the awaited input and the deadline.
            back = State[None](type=before.type, name=before.name, state_details=before.state_details)
            await _put_back(client, run, back, f"it was {before.name} and needed no process")
            left.add(run.id)
        elif all_ended:
            continue
        elif (process := processes.look(run)) is Process.ALIVE:
            await _put_back(client, run, Running(), "its process is alive")
            left.add(run.id)
        elif process is Process.UNKNOWN:
            if heartbeat := await last_heartbeat(client, run, since):
                await _put_back(client, run, Running(), f"it sent a heartbeat at {heartbeat:%H:%M:%S} UTC")
                left.add(run.id)
            elif now - since < _next_heartbeat():
                left.add(run.id)
    return left


async def _state_before(client: PrefectClient, run: FlowRun) -> State | None:
    """The run's last state before it was marked Crashed."""
    states = await client.read_flow_run_states(run.id)
    others = [state for state in states if state.type is not StateType.CRASHED and state.timestamp]
    return max(others, key=lambda state: state.timestamp, default=None)


async def _put_back(client: PrefectClient, run: FlowRun, state: State, why: str) -> None:
    state.message = f"Wrongly marked Crashed: {why}."
    await client.set_flow_run_state(run.id, state, force=True)
    logger.info("%s is %s again: %s", run.name, state.name, why)


def _next_heartbeat() -> timedelta:
    return timedelta(seconds=(PREFECT_FLOWS_HEARTBEAT_FREQUENCY.value() or 0) + LATE_SECONDS)
