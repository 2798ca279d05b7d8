"""What can be read from the states of a flow run."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any
from uuid import UUID

from prefect import get_client
from prefect.client.schemas.objects import State, StateType

ENDS = (StateType.COMPLETED, StateType.FAILED, StateType.CANCELLED)


def last_stop(states: Sequence[State[Any]]) -> StateType | None:
    """The state type in which the run's last process left it, from its states, oldest first; None if there was none."""
    stops = [state.type for state in states if state.type in (*ENDS, StateType.PAUSED, StateType.CRASHED)]
    return stops[-1] if stops else None


async def is_cancelling(flow_run_id: str) -> bool:
    """Whether a person asked for the run to be cancelled. A worker's shutdown ends the process in the same way."""
    async with get_client() as client:
        run = await client.read_flow_run(UUID(flow_run_id))
    return run.state is not None and (run.state.is_cancelled() or run.state.type == StateType.CANCELLING)
