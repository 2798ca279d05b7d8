"""The states that this pipeline sets on runs, each with its reason as data, so that no decision reads a message.

State details cannot hold custom fields, but the caller may choose the transition id, so the id encodes the reason. An
automation can set only type, name and message of a state, so it uses the name, one of Prefect's own, which the UI can
filter by. States with neither are read as those of earlier versions.
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
"""The name of the CRASHED state that the automation for silent runs sets. Prefect itself uses it for FAILED."""


def transition_id(why: CrashKind | Resumption) -> UUID:
    """The id of every transition made for this reason."""
    return uuid5(NAMESPACE_OID, f"dda/{type(why).__name__}/{why}")


def retry_id(left: UUID) -> UUID:
    """The id of the transition that retries an ended run; ``left`` is the id of the state it leaves.

    The server makes each transition once, so only one of several callers retries the run.
    """
    return uuid5(NAMESPACE_OID, f"retry/{left}")


def crash_kind(state: State[Any]) -> CrashKind:
    """The kind of crash of a state of type CRASHED."""
    if state.name == SILENT_NAME:
        return CrashKind.SILENT
    return _CRASHES.get(state.state_details.transition_id) or earlier_records.crash_kind(state.message)


def resumption(crashed: State[Any], following: State[Any]) -> Resumption | None:
    """How a run continued from one state to the next; None if it was not scheduled again after a crash."""
    if crashed.type is not StateType.CRASHED or following.type is not StateType.SCHEDULED:
        return None
    known = {**_RESUMPTIONS, retry_id(crashed.id): Resumption.RETRIED}
    return known.get(following.state_details.transition_id) or earlier_records.resumption(following.message)


async def set_state(
    client: PrefectClient, flow_run_id: UUID, state: State[None], why: UUID, *, force: bool = True
) -> OrchestrationResult[None]:
    """Set a run's state with a given transition id; the client's own method would generate one.

    Args:
        client: of the Prefect server.
        flow_run_id: the run.
        state: its new state.
        why: the transition id, which encodes the reason.
        force: bypass the server's orchestration rules.

    Raises:
        ObjectNotFound: the run does not exist, or was deleted.
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
