"""Starting flow runs, and reading back where they stand. Everything is read from the Prefect API."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Iterator
from contextlib import contextmanager
from typing import Any
from uuid import UUID

import httpx
from prefect import get_client
from prefect.client.orchestration import PrefectClient
from prefect.client.schemas.filters import ArtifactFilter, ArtifactFilterFlowRunId, ArtifactFilterKey
from prefect.client.schemas.objects import FlowRun, StateType
from prefect.client.schemas.sorting import ArtifactSort
from prefect.exceptions import ObjectNotFound, PrefectHTTPStatusError
from prefect.settings import PREFECT_API_URL
from pydantic import BaseModel, ConfigDict

from dda_core.exceptions import FlowRunMissing, PrefectUnreachable, RunParametersRefused, UnknownUseCase
from dda_core.naming import component_arn
from dda_core.status import RunStatus, TargetRecord, TargetStatus, run_status
from tasks.record import artifact_key
from tasks.use_case import block_name, load_use_case, use_case_names

FLOW = "compile-training-job"
LOST = "The flow run's process ended before this target did."
LOST_REMEDY = "Retry the run, or compile again: what is finished is kept, and running compilation jobs are joined."


class RunView(BaseModel):
    """One flow run as the command line shows it. The keys and words are a contract."""

    model_config = ConfigDict(frozen=True)

    training_job: str
    flow_run_id: str
    state: str | None
    status: RunStatus
    targets: dict[str, TargetRecord]

    @property
    def ended(self) -> bool:
        """Nothing changes any more."""
        return self.status not in (RunStatus.NOT_STARTED, RunStatus.IN_PROGRESS)


@contextmanager
def prefect_errors() -> Iterator[None]:
    """Turn a server that cannot be reached, or refuses the caller, into an error that says so.

    Raises:
        PrefectUnreachable: no server answers, or it wants other credentials.
    """
    url = PREFECT_API_URL.value()
    if not url:
        raise PrefectUnreachable(
            "PREFECT_API_URL is not set, so there is no Prefect server to ask. For the local stack run "
            '`dda local up` and then `eval "$(dda local env)"`; otherwise set it to your server\'s address.'
        )
    try:
        yield
    except (httpx.ConnectError, httpx.TimeoutException, httpx.RemoteProtocolError) as error:
        raise PrefectUnreachable(
            f"no Prefect server answers at {url} ({error}). Start it, or correct PREFECT_API_URL."
        ) from error
    except PrefectHTTPStatusError as error:
        if error.response.status_code in (401, 403):
            raise PrefectUnreachable(
                f"the Prefect server at {url} refuses the caller ({error.response.status_code}). "
                f"Set PREFECT_API_AUTH_STRING (or PREFECT_API_KEY for Prefect Cloud)."
            ) from error
        raise


async def start_run(use_case: str, training_job: str, parameters: dict[str, Any], *, tags: list[str]) -> FlowRun:
    """Start a run of the use case's deployment. It is listed under the training job's name at once.

    Raises:
        UnknownUseCase: the use case has no deployment.
        RunParametersRefused: the deployment's schema does not allow the parameters.
        PrefectUnreachable: there is no server to ask.
    """
    name = block_name(use_case)
    with prefect_errors():
        async with get_client() as client:
            try:
                deployment = await client.read_deployment_by_name(f"{FLOW}/{name}")
            except ObjectNotFound:
                raise UnknownUseCase(
                    f"use case {use_case!r} has no deployment {FLOW}/{name}. Registered: "
                    f"{', '.join(await use_case_names()) or 'none'}. Register it with `dda use-case save FILE`."
                ) from None
            try:
                return await client.create_flow_run_from_deployment(
                    deployment.id,
                    parameters={"training_job_name": training_job, **parameters},
                    name=training_job,
                    tags=tags,
                )
            except PrefectHTTPStatusError as error:
                if error.response.status_code in (409, 422):
                    raise RunParametersRefused(
                        f"the deployment {FLOW}/{name} refuses the parameters: {error.response.text}"
                    ) from error
                raise


async def read_run(flow_run_id: UUID) -> RunView:
    """Where the run and its targets stand.

    Raises:
        FlowRunMissing: the server knows no such run.
        PrefectUnreachable: there is no server to ask.
    """
    with prefect_errors():
        async with get_client() as client:
            try:
                run = await client.read_flow_run(flow_run_id)
            except ObjectNotFound:
                raise FlowRunMissing(
                    f"flow run {flow_run_id} is not on the server at {PREFECT_API_URL.value()}. "
                    f"It was deleted, or it belongs to another server."
                ) from None
            return await view_of(client, run)


async def follow_run(flow_run_id: UUID, seconds: float = 1.0) -> AsyncIterator[RunView]:
    """The run's view, again and again until the run has ended; the last one is of the end."""
    while True:
        view = await read_run(flow_run_id)
        yield view
        if view.ended:
            return
        await asyncio.sleep(seconds)


async def view_of(client: PrefectClient, run: FlowRun) -> RunView:
    """The view of a run that has been read already."""
    training_job = str(run.parameters.get("training_job_name", run.name))
    targets = await _records(client, run, training_job)
    if run.state is not None and run.state.is_final():
        targets = {target: _at_the_end(record, run.state.type) for target, record in targets.items()}
        status = run_status(targets)
        if not targets:
            status = RunStatus.COMPLETED if run.state.is_completed() else RunStatus.FAILED
    else:
        began = run.state is not None and run.state.type not in (StateType.SCHEDULED, StateType.PENDING)
        status = RunStatus.IN_PROGRESS if began else RunStatus.NOT_STARTED
    return RunView(
        training_job=training_job,
        flow_run_id=str(run.id),
        state=run.state.name if run.state else None,
        status=status,
        targets=targets,
    )


async def _records(client: PrefectClient, run: FlowRun, training_job: str) -> dict[str, TargetRecord]:
    found = await client.read_artifacts(
        artifact_filter=ArtifactFilter(
            flow_run_id=ArtifactFilterFlowRunId(any_=[run.id]),
            key=ArtifactFilterKey(any_=[artifact_key("record", training_job)]),
        ),
        sort=ArtifactSort.CREATED_DESC,
        limit=1,
    )
    if not found:
        return {str(target): TargetRecord() for target in run.parameters.get("targets") or []}
    use_case = await load_use_case(str(run.parameters["use_case"]))
    rows = json.loads(str(found[0].data))
    records = {}
    for row in rows:
        record = TargetRecord.model_validate(row)
        if record.component and record.version:
            arn = component_arn(use_case.region, use_case.account_id, record.component, record.version)
            record = record.model_copy(update={"arn": arn})
        records[row["target"]] = record
    return records


def _at_the_end(record: TargetRecord, state: StateType) -> TargetRecord:
    """A target of a run that has ended: one that had not come to its end is stopped by a cancel, or lost."""
    if record.status.ended:
        return record
    if state is StateType.CANCELLED:
        return record.with_changes(status=TargetStatus.STOPPED, reason="the run was cancelled")
    return record.with_changes(status=TargetStatus.FAILED, reason=record.reason or LOST, cause=LOST, remedy=LOST_REMEDY)
