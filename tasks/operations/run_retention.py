"""Keeping few of a scheduled flow's own runs: those that found nothing to do would bury everybody else's."""

from __future__ import annotations

from contextlib import suppress

from prefect import get_client
from prefect.client.schemas.filters import (
    FlowFilter,
    FlowFilterName,
    FlowRunFilter,
    FlowRunFilterState,
    FlowRunFilterStateType,
    FlowRunFilterTags,
)
from prefect.client.schemas.objects import StateType
from prefect.client.schemas.sorting import FlowRunSort
from prefect.exceptions import ObjectNotFound
from prefect.runtime import flow_run

from tasks.store.tags import set_tags, tags_of

IDLE = "idle"
"""The tag of a run that found nothing to do."""
KEPT = 12


async def forget_idle_runs(keep: int = KEPT) -> None:
    """Tag the flow run that calls this as idle, and delete the older idle runs of the same flow but for the newest.

    ``keep`` counts without the caller's run, which has not ended yet. Besides, only scheduled runs are deleted that
    were cancelled before they began, so one that did something, failed or crashed stays.
    """
    own = str(flow_run.get_id())
    await set_tags(own, sorted({*await tags_of(own), IDLE}))
    flow = FlowFilter(name=FlowFilterName(any_=[str(flow_run.get_flow_name())]))
    async with get_client() as client:
        old = await client.read_flow_runs(
            flow_filter=flow,
            flow_run_filter=FlowRunFilter(
                state=FlowRunFilterState(type=FlowRunFilterStateType(any_=[StateType.COMPLETED])),
                tags=FlowRunFilterTags(all_=[IDLE]),
            ),
            sort=FlowRunSort.EXPECTED_START_TIME_DESC,
            offset=keep,
            limit=200,
        )
        # The deployment's limit cancelled what fell due while an earlier run was still at work.
        too_soon = await client.read_flow_runs(
            flow_filter=flow,
            flow_run_filter=FlowRunFilter(
                state=FlowRunFilterState(type=FlowRunFilterStateType(any_=[StateType.CANCELLED]))
            ),
            limit=200,
        )
        for run in [*old, *(run for run in too_soon if run.auto_scheduled and not run.run_count)]:
            # Another run of the flow may tidy up at the same time.
            with suppress(ObjectNotFound):
                await client.delete_flow_run(run.id)
