"""Reading the core devices of every use case, and writing one artifact per component."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime

from botocore.exceptions import BotoCoreError, ClientError
from prefect import get_client, get_run_logger
from prefect.cache_policies import NO_CACHE
from prefect.client.orchestration import PrefectClient
from prefect.client.schemas.actions import ArtifactCreate, ArtifactUpdate
from prefect.client.schemas.filters import ArtifactCollectionFilter, ArtifactCollectionFilterKey
from prefect.client.schemas.objects import ArtifactCollection
from prefect.context import FlowRunContext

from dda_core.aws.errors import error_text
from dda_core.components.devices import Spacing, installed_versions, list_components
from dda_core.exceptions import DdaError
from dda_core.pages.devices import DeviceSurvey, component_page
from dda_core.sanitise import redact
from dda_core.settings import load_settings
from dda_core.use_case import UseCase
from tasks.decorators import task
from tasks.rate_limits import limited_clients
from tasks.store.queries import PAGE
from tasks.store.record import artifact_key
from tasks.store.use_cases import load_use_case, use_case_names

PREFIX = "component"


async def places() -> list[UseCase]:
    """One registered use case per account and Region; the others share its devices."""
    found: dict[tuple[str, str], UseCase] = {}
    for name in await use_case_names():
        try:
            use_case = await load_use_case(name)
        except DdaError as error:
            get_run_logger().warning("%s", error)
            continue
        found.setdefault((use_case.account_id, use_case.region), use_case)
    return list(found.values())


@task(name="ask-devices", task_run_name="ask devices[{name}]", cache_policy=NO_CACHE)
async def ask_devices(name: str, use_case: UseCase) -> DeviceSurvey:
    """The components on the core devices in the use case's account and Region; a failure is a result too."""
    try:
        return await asyncio.to_thread(_survey, use_case)
    except (DdaError, ClientError, BotoCoreError) as error:
        reason = redact(error_text(error), mask_accounts=True)
        get_run_logger().error("The devices of use case %s could not be read: %s", name, reason)
        return DeviceSurvey(use_case=name, region=use_case.region, failure=reason)


@task(name="write-device-pages", task_run_name="write device pages", cache_policy=NO_CACHE)
async def write_device_pages(surveys: list[DeviceSurvey]) -> int:
    """Write one artifact per component, in place; how many there are.

    A deleted component keeps its page, which then says so. A page is left unchanged if its component may only exist
    where the devices could not be read.
    """
    at = datetime.now(UTC)
    async with get_client() as client:
        there = await _component_artifacts(client)
        asked = [survey for survey in surveys if not survey.failure]
        names = {name for survey in asked for name in survey.names}
        if len(asked) == len(surveys):
            names |= {name for each in there.values() if (name := (each.metadata_ or {}).get("component"))}
        pages: dict[str, list[str]] = {}
        for name in sorted(names):
            about = [survey for survey in surveys if survey.failure or name in survey.names] or surveys
            # Names that differ only in a dot or an underscore share a key, and therefore a page.
            pages.setdefault(artifact_key(PREFIX, name), []).append(component_page(name, about, at))
        for name in sorted(names):
            if texts := pages.pop(artifact_key(PREFIX, name), None):
                await _put(client, there, name, "\n".join(texts))
    return len(names)


def _survey(use_case: UseCase) -> DeviceSurvey:
    settings = load_settings()
    greengrass = limited_clients(use_case, settings).greengrass
    spacing = Spacing(settings.device_calls_per_second)
    return DeviceSurvey(
        use_case=use_case.usecase_id,
        region=use_case.region,
        components=tuple(list_components(greengrass, spacing)),
        versions=tuple(installed_versions(greengrass, spacing)),
    )


async def _put(client: PrefectClient, there: Mapping[str, ArtifactCollection], component: str, page: str) -> None:
    key = artifact_key(PREFIX, component)
    if key in there:
        await client.update_artifact(there[key].latest_id, ArtifactUpdate(data=page))
        return
    context = FlowRunContext.get()
    run = context.flow_run if context else None
    await client.create_artifact(
        ArtifactCreate(
            key=key,
            type="markdown",
            data=page,
            description="Which core devices have which version.",
            metadata_={"component": component},
            flow_run_id=run.id if run else None,
        )
    )


async def _component_artifacts(client: PrefectClient) -> dict[str, ArtifactCollection]:
    found: list[ArtifactCollection] = []
    key = ArtifactCollectionFilterKey(like_=f"{PREFIX}-%")
    while True:
        page: Sequence[ArtifactCollection] = await client.read_latest_artifacts(
            artifact_filter=ArtifactCollectionFilter(key=key), limit=PAGE, offset=len(found)
        )
        found += page
        if len(page) < PAGE:
            return {str(each.key): each for each in found}
