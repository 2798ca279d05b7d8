"""Updating the overview of training jobs, on a schedule and on demand."""

from __future__ import annotations

from prefect.client.schemas.objects import State
from prefect.states import Completed

from dda_core.runs.flows import FlowName
from tasks.decorators import flow
from tasks.operations.overview import refresh
from tasks.operations.run_retention import forget_idle_runs


@flow(name=FlowName.REFRESH_OVERVIEW.value, flow_run_name="refresh the overview")
async def refresh_overview() -> State[None]:
    """Rebuild the overview of training jobs: those with runs, and those of every use case that were never compiled.

    It also updates the histories of changed training jobs and corrects the runs' status tags. Only the newest of its
    own runs are kept.
    """
    rows = await refresh()
    await forget_idle_runs()
    return Completed(message=f"{len(rows)} training jobs")
