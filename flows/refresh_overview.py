"""The overview of training jobs, brought up to date: scheduled, and whenever a person wants it."""

from __future__ import annotations

from prefect.client.schemas.objects import State
from prefect.states import Completed

from dda_core.runs.flows import FlowName
from tasks.decorators import flow
from tasks.operations.overview import refresh
from tasks.operations.run_retention import forget_idle_runs


@flow(name=FlowName.REFRESH_OVERVIEW.value, flow_run_name="refresh the overview")
async def refresh_overview() -> State[None]:
    """Write the overview of training jobs anew: those with runs, and those of every use case never compiled.

    Histories of training jobs that changed are written too, and tags that say how a run ended are put right. None of
    its runs is worth keeping, so only the newest stay.
    """
    rows = await refresh()
    await forget_idle_runs()
    return Completed(message=f"{len(rows)} training jobs")
