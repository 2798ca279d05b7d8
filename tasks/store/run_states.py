"""What can be read from the states of a flow run."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise
from typing import Any
from uuid import UUID

from prefect import get_client
from prefect.client.schemas.objects import State, StateType

from dda_core.runs.liveness import Resumption
from tasks.store.transitions import resumption

ENDS = (StateType.COMPLETED, StateType.FAILED, StateType.CANCELLED)


def times_ended(states: Sequence[State[Any]]) -> int:
    """How often a run with these states, oldest first, has ended.

    A crash after which the run was restarted does not count as an end; one after which it was retried does.
    """
    retried = sum(resumption(before, after) is Resumption.RETRIED for before, after in pairwise(states))
    return retried + sum(state.type in ENDS for state in states)


def last_stop(states: Sequence[State[Any]]) -> StateType | None:
    """The state type in which the run's last process left it, from its states, oldest first; None if there was none."""
    stops = [state.type for state in states if state.type in (*ENDS, StateType.PAUSED, StateType.CRASHED)]
    return stops[-1] if stops else None


async def is_cancelling(flow_run_id: str) -> bool:
    """Whether a person asked for the run to be cancelled. A worker's shutdown ends the process in the same way."""
    async with get_client() as client:
        run = await client.read_flow_run(UUID(flow_run_id))
    return run.state is not None and (run.state.is_cancelled() or run.state.type == StateType.CANCELLING)
