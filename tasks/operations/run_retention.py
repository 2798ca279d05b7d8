"""Deleting idle runs of scheduled flows, which would otherwise crowd out all others."""

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
    """Tag the calling flow run as idle, and delete all but the newest ``keep`` completed idle runs of the same flow.

    Scheduled runs that were cancelled before they started are deleted too. A run that did something, failed or crashed
    stays.
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
        # The deployment's concurrency limit cancelled runs that came due while an earlier one was still running.
        too_soon = await client.read_flow_runs(
            flow_filter=flow,
            flow_run_filter=FlowRunFilter(
                state=FlowRunFilterState(type=FlowRunFilterStateType(any_=[StateType.CANCELLED]))
            ),
            limit=200,
        )
        for run in [*old, *(run for run in too_soon if run.auto_scheduled and not run.run_count)]:
            # Another run of the flow may delete them at the same time.
            with suppress(ObjectNotFound):
                await client.delete_flow_run(run.id)
