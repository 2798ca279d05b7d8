"""Paginated queries of Prefect's API: the flow's runs and their artifacts."""

from __future__ import annotations

import itertools
from uuid import UUID

from prefect.client.orchestration import PrefectClient
from prefect.client.schemas.filters import ArtifactFilter, FlowFilter, FlowFilterName, FlowRunFilter
from prefect.client.schemas.objects import Artifact, FlowRun
from prefect.client.schemas.sorting import ArtifactSort, FlowRunSort

from dda_core.runs.flows import FlowName

PAGE = 200
"""The most items that Prefect's API returns per request."""


async def every_artifact(client: PrefectClient, artifact_filter: ArtifactFilter) -> dict[UUID, list[Artifact]]:
    """Every matching artifact by flow run, oldest first."""
    found: dict[UUID, Artifact] = {}
    for offset in itertools.count(0, PAGE):
        page = await client.read_artifacts(
            artifact_filter=artifact_filter, sort=ArtifactSort.CREATED_DESC, limit=PAGE, offset=offset
        )
        # By id: artifacts created in the meantime shift the pages, so one may be returned twice.
        found |= {artifact.id: artifact for artifact in page}
        if len(page) < PAGE:
            break
    by_run: dict[UUID, list[Artifact]] = {}
    for artifact in reversed(found.values()):
        if artifact.flow_run_id:
            by_run.setdefault(artifact.flow_run_id, []).append(artifact)
    return by_run


async def every_run(client: PrefectClient, run_filter: FlowRunFilter | None = None) -> list[FlowRun]:
    """Every run of the flow that matches the filter, newest first."""
    found: dict[UUID, FlowRun] = {}
    for offset in itertools.count(0, PAGE):
        page = await client.read_flow_runs(
            flow_filter=FlowFilter(name=FlowFilterName(any_=[FlowName.COMPILE])),
            flow_run_filter=run_filter,
            sort=FlowRunSort.EXPECTED_START_TIME_DESC,
            limit=PAGE,
            offset=offset,
        )
        found |= {run.id: run for run in page}
        if len(page) < PAGE:
            break
    return list(found.values())
