"""The overview of training jobs, brought up to date: scheduled, and whenever a person wants it."""

from __future__ import annotations

from prefect import flow, get_client
from prefect.client.schemas.filters import (
    FlowFilter,
    FlowFilterName,
    FlowRunFilter,
    FlowRunFilterState,
    FlowRunFilterStateType,
)
from prefect.client.schemas.objects import State, StateType
from prefect.client.schemas.sorting import FlowRunSort
from prefect.states import Completed

from tasks.overview import refresh

FLOW = "refresh-overview"
KEPT = 12
"""Completed runs of this flow that are kept; older ones are deleted, or they would bury everybody else's."""


@flow(name=FLOW, flow_run_name="refresh the overview")
async def refresh_overview() -> State[None]:
    """Write the overview of training jobs anew: those with runs, and those of every use case never compiled.

    Histories of training jobs that changed are written too, and tags that say how a run ended are put right.
    """
    rows = await refresh()
    await delete_old_runs()
    return Completed(message=f"{len(rows)} training jobs")


async def delete_old_runs() -> None:
    """Delete this flow's completed runs but for the newest."""
    async with get_client() as client:
        old = await client.read_flow_runs(
            flow_filter=FlowFilter(name=FlowFilterName(any_=[FLOW])),
            flow_run_filter=FlowRunFilter(
                state=FlowRunFilterState(type=FlowRunFilterStateType(any_=[StateType.COMPLETED]))
            ),
            sort=FlowRunSort.EXPECTED_START_TIME_DESC,
            offset=KEPT,
            limit=200,
        )
        for run in old:
            await client.delete_flow_run(run.id)
