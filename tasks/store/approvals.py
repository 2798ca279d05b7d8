"""The approval decision: the UI form and `dda approve` write it, and runs read it."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Literal
from uuid import UUID

from prefect.client.orchestration import PrefectClient
from prefect.exceptions import PrefectHTTPStatusError
from prefect.input import RunInput
from prefect.input.run_input import keyset_from_base_key
from pydantic import Field, ValidationError, field_validator

from dda_core.sanitise import redact


class Approval(RunInput):
    """The form's fields; programs use the same values."""

    decision: Literal["publish", "reject"] = Field(description="Whether the components are published")
    who: str = Field(min_length=1, max_length=100, description="Your name")
    why: str = Field("", max_length=500, description="Why, for the history")

    @field_validator("who", "why")
    @classmethod
    def _without_secrets(cls, value: str) -> str:
        return redact(value)

    @property
    def rejects(self) -> bool:
        """Whether nothing is published."""
        return self.decision == "reject"

    @property
    def word(self) -> str:
        """``approved`` or ``rejected``."""
        return "rejected" if self.rejects else "approved"


async def decision_of(client: PrefectClient, flow_run_id: str, retry: int) -> Approval | None:
    """The decision about this retry of the run; None if there is none."""
    text = await _input(client, flow_run_id, retry, "response")
    try:
        return Approval.model_validate(json.loads(text)) if text else None
    except ValidationError:
        return None


async def given_for(client: PrefectClient, flow_run_id: str, retry: int, packages: Sequence[str]) -> Approval | None:
    """The decision that applies to these packages, or None: the one about this retry of the run, if there is one.

    Otherwise the approval of an earlier retry that listed all of the packages, which are named by their content.
    """
    if now := await decision_of(client, flow_run_id, retry):
        return now
    for earlier in reversed(range(retry)):
        decision = await decision_of(client, flow_run_id, earlier)
        shown = await _input(client, flow_run_id, earlier, "description") or ""
        if decision and not decision.rejects and all(package in shown for package in packages):
            return decision
    return None


async def _input(
    client: PrefectClient, flow_run_id: str, retry: int, what: Literal["response", "description"]
) -> str | None:
    """A run input of the suspension. Prefect builds its key from state, pause key and ``what``."""
    key = keyset_from_base_key(f"suspended-{pause_key(retry)}")[what]
    try:
        return await client.read_flow_run_input(UUID(flow_run_id), key)
    except PrefectHTTPStatusError as error:
        if error.response.status_code == 404:
            return None
        raise


def pause_key(retry: int) -> str:
    """The key with which a retry of a run suspends; Prefect suspends once per key."""
    return f"approval-{retry}"
