"""The tags of flow runs on the server."""

from __future__ import annotations

from uuid import UUID

from prefect import get_client
from prefect.client.schemas.filters import FlowRunFilter, FlowRunFilterId


async def set_tags(flow_run_id: str, tags: list[str]) -> None:
    """Replace the run's tags. Not atomic on the server, so only the flow's body may do it, never a step."""
    async with get_client() as client:
        await client.update_flow_run(UUID(flow_run_id), tags=tags)


async def tags_of(flow_run_id: str) -> list[str]:
    """The run's current tags on the server."""
    async with get_client() as client:
        found = await client.read_flow_runs(flow_run_filter=FlowRunFilter(id=FlowRunFilterId(any_=[UUID(flow_run_id)])))
    return list(found[0].tags) if found else []
