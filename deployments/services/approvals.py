"""Deciding whether a run may publish: `dda approve` and `dda reject` submit what the form in the UI submits."""

from __future__ import annotations

from contextlib import suppress
from typing import Literal
from uuid import UUID

from prefect import get_client
from prefect.client.orchestration import PrefectClient
from prefect.client.schemas.objects import StateType
from prefect.client.schemas.responses import SetStateStatus
from prefect.input.run_input import keyset_from_paused_state

from dda_core.exceptions import DdaError, NothingToDecide
from deployments.services.runs import prefect_errors
from tasks.store.approvals import Approval
from tasks.store.history import JobRun, runs_of
from tasks.store.use_cases import block_name, find_use_case

Decision = Literal["publish", "reject"]


async def give_decision(
    training_job: str, decision: Decision, *, who: str, why: str = "", use_case: str | None = None
) -> UUID:
    """Decide for the waiting run of a training job whether it publishes; returns the run's id.

    Raises:
        NothingToDecide: no run of the training job is waiting for approval, or several are.
        PrefectUnreachable: there is no server to ask.
    """
    with prefect_errors():
        async with get_client() as client:
            waiting = await _waiting_run(client, training_job, use_case)
            run = waiting.run
            with suppress(DdaError):  # loading it registers its external id for masking
                await find_use_case(waiting.use_case or "")
            given = Approval(decision=decision, who=who, why=why).model_dump()
            answer = await client.resume_flow_run(run.id, given)
            if answer.status is SetStateStatus.REJECT and run.state:
                # The process may have been killed after suspending the run but before saving the form.
                await Approval.asave(keyset_from_paused_state(run.state), run.id)
                answer = await client.resume_flow_run(run.id, given)
    if answer.status is not SetStateStatus.ACCEPT:
        reason = getattr(answer.details, "reason", None) or "the server gave no reason"
        raise NothingToDecide(
            f"the run of {training_job} could not be resumed: {reason}",
            training_job=training_job,
            remedy="Check it in the UI.",
        )
    return run.id


async def _waiting_run(client: PrefectClient, training_job: str, use_case: str | None) -> JobRun:
    every = [
        each for each in await runs_of(client, training_job) if not use_case or block_name(use_case) == each.use_case
    ]
    waiting = [each for each in every if each.run.state and each.run.state.type is StateType.PAUSED]
    if len(waiting) == 1:
        return waiting[0]
    if waiting:
        raise NothingToDecide(
            f"{len(waiting)} runs of {training_job} are waiting for approval, in use cases "
            f"{', '.join(sorted({each.use_case for each in waiting}))}",
            training_job=training_job,
            remedy="Choose one with --use-case, or decide in the UI.",
        )
    if not every:
        raise NothingToDecide(
            f"there is no run of {training_job}",
            training_job=training_job,
            remedy="Check the name; `dda status` lists the training jobs.",
        )
    newest = every[-1].run.state
    raise NothingToDecide(
        f"no run of {training_job} is waiting for approval: its newest run "
        f"{f'is {newest.name}' if newest else 'has no state'}",
        training_job=training_job,
        remedy=f"`dda status {training_job}` shows its status.",
    )
