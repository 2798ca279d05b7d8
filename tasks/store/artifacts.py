"""Artifacts with a stable key, updated in place."""

from __future__ import annotations

from prefect.client.orchestration import PrefectClient
from prefect.client.schemas.actions import ArtifactCreate, ArtifactUpdate
from prefect.client.schemas.filters import ArtifactCollectionFilter, ArtifactCollectionFilterKey
from prefect.client.schemas.objects import ArtifactCollection


async def latest_artifact(client: PrefectClient, key: str) -> ArtifactCollection | None:
    """The latest version of the artifact with that key; None if there is none."""
    found = await client.read_latest_artifacts(
        artifact_filter=ArtifactCollectionFilter(key=ArtifactCollectionFilterKey(any_=[key])), limit=1
    )
    return found[0] if found else None


async def keep_artifact(client: PrefectClient, key: str, kind: str, data: str, description: str) -> None:
    """Update the latest version of an artifact in place, or create the first.

    Two concurrent writers may each create a first one; the later one stays and is updated from then on.
    """
    latest = await latest_artifact(client, key)
    if latest is None:
        await client.create_artifact(ArtifactCreate(key=key, type=kind, data=data, description=description))
    elif (latest.data, latest.description) != (data, description):
        await client.update_artifact(latest.latest_id, ArtifactUpdate(data=data, description=description))
