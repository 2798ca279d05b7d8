"""Runs that the automation for silent runs took for dead, and that are not: they get back the state they had.

It goes by what comes from the runs. So it is wrong where nothing could come, the Prefect server having been away, and
where a run's last heartbeat came after it had been suspended.
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
"""How late a heartbeat may be: it is in a queue, behind what could not be sent while the server was away."""


async def undo_false_alarms(
    client: PrefectClient, crashed: Sequence[FlowRun], processes: Probe, now: datetime, *, all_ended: bool = False
) -> set[UUID]:
    """Put back the states of the runs among ``crashed`` that are not dead.

    Args:
        client: of the Prefect server.
        crashed: runs that are Crashed; only those that the automation marked are looked at.
        processes: of this machine.
        now: the time of the look.
        all_ended: every process is known to have ended, so only what had none needs to get its state back.

    Returns:
        The runs that are not to be begun again now: those put back, and those whose next heartbeat may yet come.
    """
    left = set()
    for run in crashed:
        if run.state is None or not run.state.is_crashed() or crash_kind(run.state) is not CrashKind.SILENT:
            continue
        before = await _state_before(client, run)
        since = run.state.timestamp or now
        if before is not None and before.type is StateType.PAUSED:
            # With its details: which input is waited for, and until when.
            back = State[None](type=before.type, name=before.name, state_details=before.state_details)
            await _put_back(client, run, back, f"it was {before.name}, and needed no process")
            left.add(run.id)
        elif all_ended:
            continue
        elif (process := processes.look(run)) is Process.ALIVE:
            await _put_back(client, run, Running(), "its process is alive")
            left.add(run.id)
        elif process is Process.UNKNOWN:
            if heartbeat := await last_heartbeat(client, run, since):
                await _put_back(client, run, Running(), f"a heartbeat of it came at {heartbeat:%H:%M:%S} UTC")
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
    state.message = f"Taken for dead by mistake: {why}."
    await client.set_flow_run_state(run.id, state, force=True)
    logger.info("%s is %s again: %s", run.name, state.name, why)


def _next_heartbeat() -> timedelta:
    return timedelta(seconds=(PREFECT_FLOWS_HEARTBEAT_FREQUENCY.value() or 0) + LATE_SECONDS)
