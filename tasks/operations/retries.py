"""Retrying failed targets: finding them in the history, and scheduling their runs again.

A retry is Prefect's own: the same flow run gets the state AwaitingRetry, so its state history holds every try. Its
tags hold the scope of the retry.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from datetime import UTC, datetime
from typing import Any, NamedTuple
from uuid import UUID

from prefect import get_client
from prefect.client.orchestration import PrefectClient
from prefect.client.schemas.filters import DeploymentFilter, DeploymentFilterId
from prefect.client.schemas.objects import FlowRun, State, StateType
from prefect.client.schemas.responses import SetStateStatus
from prefect.exceptions import ObjectNotFound
from prefect.states import AwaitingRetry

from dda_core.runs import earlier_records
from dda_core.runs.retry_class import RetryClass
from dda_core.runs.retry_policy import FailedTarget, RetryDecision, decide
from dda_core.runs.status import TargetRecord, TargetStatus
from dda_core.settings import load_settings
from tasks.retry_scope import RETRY, retry_tags
from tasks.store.history import JobRun, all_runs, records_of
from tasks.store.queries import PAGE
from tasks.store.refusals import refusal_of
from tasks.store.transitions import retry_id, set_state

REJECTED = "approval:rejected"
"""The tag of a run whose components a person rejected for publishing."""
_FAILED = (TargetStatus.FAILED, TargetStatus.STOPPED)


async def failed_targets(client: PrefectClient, jobs: Iterable[Sequence[JobRun]]) -> list[FailedTarget]:
    """The targets that did not become deployable, each from the newest run that had it.

    Args:
        client: of the Prefect server.
        jobs: the runs of each training job, of any use case, oldest first.
    """
    found = [failure for runs in jobs for failure in _newest_failures(runs)]
    deployments = await _deployments(client, {each.run.run.deployment_id for each in found})
    states: dict[UUID, list[State[Any]]] = {}
    failed = []
    for each in found:
        run = each.run.run
        # A run with one process has one end, so most runs need no further request.
        if run.id not in states:
            states[run.id] = await client.read_flow_run_states(run.id) if run.run_count > 1 else []
        failed.append(_failed_target(each, states[run.id], _obstacle(run, deployments)))
    return failed


class _Failure(NamedTuple):
    """A failed target in the newest run that had it; ``target`` is None if the run never knew its targets."""

    run: JobRun
    target: str | None
    record: TargetRecord


def _newest_failures(runs: Sequence[JobRun]) -> Iterator[_Failure]:
    by_use_case: dict[str, list[JobRun]] = {}
    for run in runs:
        by_use_case.setdefault(run.use_case, []).append(run)
    for same in by_use_case.values():
        seen: set[str] = set()
        for run in reversed(same):
            records = records_of(run)
            for target, record in records.items():
                if target not in seen and record.status in _FAILED:
                    yield _Failure(run, target, record)
            if not records:
                # It was to do all targets, so older runs no longer count.
                state = run.run.state
                if not seen and state and state.is_final() and not state.is_completed():
                    yield _Failure(run, None, TargetRecord(status=TargetStatus.FAILED, reason=state.message))
                break
            seen.update(records)


def _failed_target(failure: _Failure, states: Sequence[State[Any]], obstacle: str | None) -> FailedTarget:
    run, target, record = failure
    ends = _ends(run, target)
    line = next((each for each in run.lines if each.target == target), None)
    if line is not None and line.status.ended and ends and not _last_process_wrote_nothing(run, states):
        ended, kind = ends[-1]
        attempts = sum(each is kind for _, each in ends)
        reason, cause = record.reason, record.cause
    else:
        # The target's line does not explain the run's end, so the run's state does.
        state = run.run.state
        lost = state is not None and (state.is_crashed() or (line is not None and not line.status.ended))
        reason, cause = (state.message if state else None) or record.reason, record.cause if lost else None
        kind = RetryClass.CRASHED if lost else _refused_class(run.run)
        ended = (state.timestamp if state else None) or run.last_change
        attempts = max(1, sum(state is not None and each.type is state.type for each in states))
    if run.run.state_type is StateType.CANCELLED or REJECTED in run.run.tags:
        kind = RetryClass.STOPPED
    return FailedTarget(
        training_job=run.training_job,
        use_case=run.use_case,
        flow_run_id=str(run.run.id),
        state_id=str(run.run.state.id) if run.run.state else "",
        target=target,
        retry_class=kind,
        attempts=attempts,
        ended=ended,
        reason=reason,
        cause=cause,
        obstacle=obstacle,
    )


def _refused_class(run: FlowRun) -> RetryClass:
    """The class of a run that ended before it recorded any target, from its tag."""
    return refusal_of(run.tags) or earlier_records.refused_class(run.state.message if run.state else None)


def _ends(run: JobRun, target: str | None) -> list[tuple[datetime, RetryClass]]:
    """When and how the target failed in this run, oldest first. A line kept from an earlier process counts once."""
    found = {}
    for writing in run.writings:
        for line in writing.lines:
            if line.target == target and line.status in _FAILED:
                attempted = line.attempts[-1].ended if line.attempts else None
                at = line.phases[-1].at if line.phases else attempted or writing.last
                found[at] = line.facts.retry_class or RetryClass.NEVER
    return sorted(found.items())


def _last_process_wrote_nothing(run: JobRun, states: Sequence[State[Any]]) -> bool:
    """Whether the run's last process ended before it wrote anything about targets, as when it was refused."""
    began = [state.timestamp for state in states if state.is_running()]
    return bool(began) and run.writings[-1].last < began[-1]


async def _deployments(client: PrefectClient, ids: Iterable[UUID | None]) -> set[UUID]:
    """The deployments among ``ids`` that exist."""
    wanted = [each for each in ids if each is not None]
    found: set[UUID] = set()
    for start in range(0, len(wanted), PAGE):
        chosen = DeploymentFilter(id=DeploymentFilterId(any_=wanted[start : start + PAGE]))
        found.update(each.id for each in await client.read_deployments(deployment_filter=chosen, limit=PAGE))
    return found


def _obstacle(run: FlowRun, deployments: set[UUID]) -> str | None:
    if run.state is None or not run.state.is_final():
        return f"its run is in progress ({run.state.name if run.state else 'no state'})"
    if run.deployment_id not in deployments:
        return "its run has no deployment, or it was deleted, so no worker can run it; compile again instead"
    return None


async def sweep(by: str) -> list[RetryDecision]:
    """Decide about every failed target, and schedule the runs of those to retry.

    Args:
        by: who retries, for the state's message.
    """
    async with get_client() as client:
        failed = await failed_targets(client, (await all_runs(client)).values())
        return await carry_out(client, decide(failed, datetime.now(UTC), load_settings()), by)


async def carry_out(
    client: PrefectClient, decisions: Sequence[RetryDecision], by: str, *, force: bool = False
) -> list[RetryDecision]:
    """Schedule the runs of the targets to retry; returns the decisions, updated with what Prefect refused.

    Args:
        client: of the Prefect server.
        decisions: the decisions, for any number of runs.
        by: who decided, for the state's message.
        force: tell the runs to compile again.
    """
    refused = {}
    for first in {decision.flow_run_id: decision for decision in decisions if decision.retry}.values():
        names = [each.target for each in decisions if each.flow_run_id == first.flow_run_id and each.retry]
        if problem := await _reschedule(client, first, [name for name in names if name is not None], by, force):
            refused[first.flow_run_id] = problem
    return [
        decision.model_copy(update={"retry": False, "why": refused[decision.flow_run_id]})
        if decision.retry and decision.flow_run_id in refused
        else decision
        for decision in decisions
    ]


async def _reschedule(
    client: PrefectClient, decision: RetryDecision, targets: Sequence[str], by: str, force: bool
) -> str | None:
    """Schedule a run that has ended for these targets (if none, all that failed); why that failed, or None.

    Of two concurrent callers only one succeeds.
    """
    try:
        run = await client.read_flow_run(UUID(decision.flow_run_id))
    except ObjectNotFound:
        return "its run was deleted"
    if run.state is None or not run.state.is_final() or str(run.state.id) != decision.state_id:
        return f"its run has changed in the meantime ({run.state.name if run.state else 'no state'})"
    tags = [tag for tag in run.tags if not tag.startswith(RETRY)]
    await client.update_flow_run(run.id, tags=[*tags, *retry_tags(targets, force=force)])
    state: State[None] = AwaitingRetry(message=f"Retried by {by}: {', '.join(targets) or 'all that failed'}")
    # Not forced: the server's rules accept only one of several callers.
    result = await set_state(client, run.id, state, retry_id(run.state.id), force=False)
    if result.status is SetStateStatus.ACCEPT:
        return None
    now = (await client.read_flow_run(run.id)).state
    if now is not None and now.id == run.state.id:
        await client.update_flow_run(run.id, tags=run.tags)
    return f"Prefect did not schedule its run again: {getattr(result.details, 'reason', None) or result.status}"
