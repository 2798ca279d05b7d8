"""Presigned links on a run's page: created on request, removed once they have expired."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from typing import NamedTuple
from uuid import UUID

from prefect import get_client, get_run_logger
from prefect.cache_policies import NO_CACHE
from prefect.client.orchestration import PrefectClient
from prefect.client.schemas.actions import ArtifactCreate
from prefect.client.schemas.filters import ArtifactFilter, ArtifactFilterKey, ArtifactFilterType
from prefect.client.schemas.objects import Artifact

from dda_core.archives.download import DownloadLink, Product, presign
from dda_core.aws.clients import AwsClients
from dda_core.exceptions import FileMissing
from dda_core.pages.markdown import cell, link, table
from dda_core.runs.flows import FlowName
from dda_core.sanitise import sanitise
from tasks.decorators import task
from tasks.store.products import find_products
from tasks.store.queries import PAGE

EXPIRES = "expires"


class MadeLink(NamedTuple):
    """A link to one product of a target; None if the object was deleted."""

    target: str
    what: Product
    uri: str
    link: DownloadLink | None


@task(name="make-links", task_run_name="make links", cache_policy=NO_CACHE, persist_result=False)
async def make_links(training_job: str, use_case: str, minutes: int) -> list[MadeLink]:
    """Presigned links to everything that the training job's runs made, for every target. They are not persisted."""
    async with get_client() as client:
        products = await find_products(client, training_job, use_case)
    made = []
    for target, by_product in products.items():
        for what, (uri, owner) in by_product.items():
            aws = await asyncio.to_thread(AwsClients, owner)
            try:
                signed = await asyncio.to_thread(presign, aws, uri, timedelta(minutes=minutes))
            except FileMissing:
                signed = None
            made.append(MadeLink(target, what, uri, signed))
    return made


@task(name="remove-expired-links", task_run_name="remove expired links", cache_policy=NO_CACHE)
async def remove_expired_links() -> int:
    """Delete the artifacts whose links have expired; how many."""
    now = datetime.now(UTC)
    removed = 0
    async with get_client() as client:
        for artifact in await _link_artifacts(client):
            if _expires(artifact) <= now:
                await client.delete_artifact(artifact.id)
                removed += 1
    if removed:
        get_run_logger().info("Removed %s artifacts with links that have expired", removed)
    return removed


async def write_links(flow_run_id: UUID, training_job: str, made: Sequence[MadeLink]) -> datetime:
    """Put the links on the run's page; returns when the first one expires. There must be at least one."""
    expires = min(each.link.expires for each in made if each.link)
    async with get_client() as client:
        await client.create_artifact(
            ArtifactCreate(
                # Without a key, so that it belongs to this run only and is not a version of a lasting artifact.
                type="markdown",
                data=links_page(training_job, made, expires),
                description=f"Valid until {_stamp(expires)}, then removed.",
                metadata_={EXPIRES: expires.isoformat()},
                flow_run_id=flow_run_id,
            )
        )
    return expires


def links_page(training_job: str, made: Sequence[MadeLink], expires: datetime) -> str:
    """The page. Only the links themselves are secret, and it shows no account ids."""
    rows = [
        [
            cell(each.target),
            each.what,
            link("download", each.link.url) if each.link else "deleted",
            f"`{sanitise(each.uri, mask_accounts=True)}`",
        ]
        for each in made
    ]
    head = (
        f"# Links of {cell(training_job)}",
        f"**Valid until {_stamp(expires)}.** Anyone with a link can download the object without credentials. This "
        f"page is removed once the links have expired; start `{FlowName.ARTIFACT_LINKS}` again for new ones.",
    )
    return "\n\n".join([*head, table(["target", "what", "link", "object"], rows)]) + "\n"


async def _link_artifacts(client: PrefectClient) -> list[Artifact]:
    found: list[Artifact] = []
    wanted = ArtifactFilter(key=ArtifactFilterKey(exists_=False), type=ArtifactFilterType(any_=["markdown"]))
    while True:
        page = await client.read_artifacts(artifact_filter=wanted, limit=PAGE, offset=len(found))
        found += page
        if len(page) < PAGE:
            return [artifact for artifact in found if EXPIRES in (artifact.metadata_ or {})]


def _expires(artifact: Artifact) -> datetime:
    return datetime.fromisoformat((artifact.metadata_ or {})[EXPIRES])


def _stamp(at: datetime) -> str:
    return f"{at.astimezone(UTC):%Y-%m-%d %H:%M} UTC"
