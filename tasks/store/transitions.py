"""The states that this pipeline gives to runs, each with why as data: what decides later never reads a message.

A state's details take no field that Prefect does not know. The id of a transition is there for its maker to choose, so
it says why the state was set. An automation sets no details, only type, name and message of a state: it tells by the
name, one of Prefect's own, which its UI filters by. States that say neither are read as those of earlier versions.
"""

from __future__ import annotations

from typing import Any
from uuid import NAMESPACE_OID, UUID, uuid5

import httpx
from prefect.client.orchestration import PrefectClient
from prefect.client.schemas.objects import State, StateType
from prefect.client.schemas.responses import OrchestrationResult
from prefect.exceptions import ObjectNotFound
from prefect.states import to_state_create

from dda_core.runs import earlier_records
from dda_core.runs.liveness import CrashKind, Resumption

SILENT_NAME = "TimedOut"
"""The name of the state of type CRASHED that the automation for silent runs sets. Prefect itself has it for FAILED."""


def transition_id(why: CrashKind | Resumption) -> UUID:
    """The id of every transition that is made for this reason."""
    return uuid5(NAMESPACE_OID, f"dda/{type(why).__name__}/{why}")


def retry_id(left: UUID) -> UUID:
    """The id of the transition in which a run that has ended is retried; ``left`` is the id of the state it leaves.

    The server makes a transition once, so that of several who ask for it one retries the run.
    """
    return uuid5(NAMESPACE_OID, f"retry/{left}")


def crash_kind(state: State[Any]) -> CrashKind:
    """The kind of crash that a state of type CRASHED tells of."""
    if state.name == SILENT_NAME:
        return CrashKind.SILENT
    return _CRASHES.get(state.state_details.transition_id) or earlier_records.crash_kind(state.message)


def resumption(crashed: State[Any], following: State[Any]) -> Resumption | None:
    """How a run went on from one state to the next; None where that is no crash and a new beginning."""
    if crashed.type is not StateType.CRASHED or following.type is not StateType.SCHEDULED:
        return None
    known = {**_RESUMPTIONS, retry_id(crashed.id): Resumption.RETRIED}
    return known.get(following.state_details.transition_id) or earlier_records.resumption(following.message)


async def set_state(
    client: PrefectClient, flow_run_id: UUID, state: State[None], why: UUID, *, force: bool = True
) -> OrchestrationResult[None]:
    """Give a run a state, and say why by the id of the transition; the client's own method would make up an id.

    Args:
        client: of the Prefect server.
        flow_run_id: the run.
        state: its new state.
        why: the id of the transition.
        force: whatever the server's own rules say.

    Raises:
        ObjectNotFound: the run is not there, or not any more.
    """
    proposed = to_state_create(state)
    proposed.state_details.flow_run_id = flow_run_id
    proposed.state_details.transition_id = why
    try:
        answer = await client.request(
            "POST",
            "/flow_runs/{id}/set_state",
            path_params={"id": flow_run_id},
            json={"state": proposed.model_dump(mode="json", serialize_as_any=True), "force": force},
        )
    except httpx.HTTPStatusError as error:
        if error.response.status_code == httpx.codes.NOT_FOUND:
            raise ObjectNotFound(http_exc=error) from error
        raise
    return OrchestrationResult[None].model_validate(answer.json())


_CRASHES: dict[UUID | None, CrashKind] = {transition_id(kind): kind for kind in CrashKind}
_RESUMPTIONS: dict[UUID | None, Resumption] = {transition_id(way): way for way in Resumption}
