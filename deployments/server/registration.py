"""Registering a use case: its block and its deployments, which have the use case filled in."""

from __future__ import annotations

from collections.abc import Sequence
from uuid import UUID

from prefect import get_client
from prefect.client.schemas.actions import WorkPoolCreate
from prefect.client.schemas.objects import ConcurrencyLimitConfig, ConcurrencyLimitStrategy
from prefect.deployments.runner import RunnerDeployment
from prefect.exceptions import ObjectAlreadyExists, ObjectNotFound
from prefect.types.entrypoint import EntrypointType

from dda_core.exceptions import InvalidUseCase
from dda_core.use_case import UseCase
from deployments.server.setup import ensure_automation, ensure_limits
from flows.artifact_links import artifact_links
from flows.compile_training_job import compile_training_job
from tasks.operations.overview import ensure_overview
from tasks.store.use_cases import UseCaseBlock, block_name

WORK_POOL = "dda"
CONCURRENT_RUNS = 10
"""Runs of one use case at a time; more wait in the deployment's queue. This only limits the load on the server."""


async def save_use_case(use_case: UseCase, work_pool: str = WORK_POOL) -> UUID:
    """Save the use case's block and its deployments; returns the id of ``compile-training-job/<name>``.

    The other deployment is ``artifact-links/<name>``. Also creates the rate limits of the account and Region, and the
    automation for silent runs. Safe to repeat: the block is overwritten, and deployments keep their ids.

    Raises:
        InvalidUseCase: another use case has the same name.
    """
    name = block_name(use_case.usecase_id)
    await _check_name_is_free(name, use_case.usecase_id)
    await UseCaseBlock.of(use_case).asave(name, overwrite=True)
    await ensure_work_pool(work_pool)
    deployment = await compile_training_job.ato_deployment(
        name,
        parameters={"use_case": name},
        description=f"Compile a training job of use case {use_case.usecase_id} for its devices.",
        tags=[f"use-case:{use_case.usecase_id}"],
        work_pool_name=work_pool,
        concurrency_limit=ConcurrencyLimitConfig(
            limit=CONCURRENT_RUNS, collision_strategy=ConcurrencyLimitStrategy.ENQUEUE
        ),
        entrypoint_type=EntrypointType.MODULE_PATH,
    )
    _offer_targets(deployment, use_case.target_names())
    saved = await deployment.aapply()
    links = await artifact_links.ato_deployment(
        name,
        parameters={"use_case": name},
        description=f"Create download links to the products of training jobs of use case {use_case.usecase_id}.",
        tags=[f"use-case:{use_case.usecase_id}"],
        work_pool_name=work_pool,
        entrypoint_type=EntrypointType.MODULE_PATH,
    )
    await links.aapply()
    await ensure_limits(use_case.account_id, use_case.region)
    await ensure_automation()
    # So that people find the page, with its first instructions, before the first scheduled refresh.
    await ensure_overview()
    return saved


def _offer_targets(deployment: RunnerDeployment, names: Sequence[str]) -> None:
    """Make the deployment's form offer, and the server accept, only the use case's targets."""
    deployment._parameter_openapi_schema.properties["targets"]["items"]["enum"] = list(names)


async def _check_name_is_free(name: str, usecase_id: str) -> None:
    """Names keep only lowercase letters, digits and hyphens, so two ids may become the same name."""
    async with get_client() as client:
        try:
            document = await client.read_block_document_by_name(name, UseCaseBlock.get_block_type_slug())
        except ObjectNotFound:
            return
    there = document.data.get("usecase_id", usecase_id)
    if there != usecase_id:
        raise InvalidUseCase(
            f"use case {usecase_id!r} would be registered as {name!r}, which use case {there!r} already has",
            remedy=f"Choose a usecase_id that differs in more than case and punctuation, or delete the block "
            f"usecase/{name} first.",
        )


async def ensure_work_pool(name: str = WORK_POOL) -> None:
    """Create the process work pool of that name unless it exists; an existing one keeps its type."""
    async with get_client() as client:
        try:
            await client.read_work_pool(name)
        except ObjectNotFound:
            try:
                await client.create_work_pool(WorkPoolCreate(name=name, type="process"))
            except ObjectAlreadyExists:
                return
