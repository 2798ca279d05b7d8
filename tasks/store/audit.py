"""The audit: who started which run, when, from where, with which parameters and result, read from Prefect's runs.

It covers the time that runs are kept, including runs that ignored their training job.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from datetime import datetime
from typing import Any

from prefect.client.orchestration import PrefectClient
from prefect.client.schemas.filters import FlowRunFilter, FlowRunFilterExpectedStartTime
from prefect.client.schemas.objects import FlowRun, State, StateType
from pydantic import BaseModel, ConfigDict

from tasks.store.approvals import decision_of
from tasks.store.history import training_job_of
from tasks.store.provenance import person_of, trigger_of
from tasks.store.queries import every_run
from tasks.store.run_states import times_ended
from tasks.store.use_cases import block_name

_AT_ONCE = 8


class Approved(BaseModel):
    """A decision about publishing."""

    model_config = ConfigDict(frozen=True)

    decision: str
    who: str
    why: str | None


class AuditRow(BaseModel):
    """One flow run. Keys are a contract.

    ``who`` is None if unknown: an open-source server has one account for all UI users. ``result`` is the run's
    message, ``retries`` how often it was retried after it had ended, ``crashes`` how often its process died.
    """

    model_config = ConfigDict(frozen=True)

    started: datetime
    ended: datetime | None
    trigger: str
    who: str | None
    use_case: str
    training_job: str
    parameters: dict[str, Any]
    flow_run_id: str
    state: str | None
    status: str | None
    result: str | None
    retries: int
    crashes: int
    approvals: tuple[Approved, ...] = ()


async def audit(client: PrefectClient, since: datetime | None = None) -> list[AuditRow]:
    """Every run, oldest first; with ``since``, those from then on."""
    slots = asyncio.Semaphore(_AT_ONCE)

    async def row(run: FlowRun) -> AuditRow:
        async with slots:
            return await _row(client, run)

    begun = FlowRunFilter(expected_start_time=FlowRunFilterExpectedStartTime(after_=since)) if since else None
    return await asyncio.gather(*map(row, reversed(await every_run(client, begun))))


async def _row(client: PrefectClient, run: FlowRun) -> AuditRow:
    started = run.start_time or run.expected_start_time or run.created
    assert started is not None
    states: Sequence[State[Any]] = []
    # Most runs have one process, and need no further request.
    if run.run_count > 1 or any(tag.startswith("approval:") for tag in run.tags) or not _ended_well(run):
        states = await client.read_flow_run_states(run.id)
    ends = times_ended(states)
    approvals = []
    if any(state.type is StateType.PAUSED for state in states):
        for retry in range(ends + 1):
            if decision := await decision_of(client, str(run.id), retry):
                approvals.append(Approved(decision=decision.decision, who=decision.who, why=decision.why or None))
    ended = bool(run.state and run.state.is_final())
    return AuditRow(
        started=started,
        ended=run.end_time if ended else None,
        trigger=trigger_of(run),
        who=person_of(run),
        use_case=block_name(str(run.parameters.get("use_case", ""))),
        training_job=training_job_of(run),
        parameters={name: value for name, value in run.parameters.items() if value not in (None, "", [], False)},
        flow_run_id=str(run.id),
        state=run.state.name if run.state else None,
        status=next((tag.removeprefix("status:") for tag in run.tags if tag.startswith("status:")), None),
        result=run.state.message if run.state and ended else None,
        retries=max(0, ends - 1) if ended else ends,
        crashes=sum(state.type is StateType.CRASHED for state in states),
        approvals=tuple(approvals),
    )


def _ended_well(run: FlowRun) -> bool:
    return bool(run.state and run.state.is_completed())
