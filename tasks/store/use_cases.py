"""Use cases as Prefect blocks, which people can edit in the UI."""

from __future__ import annotations

import re
from collections.abc import Iterable
from contextlib import suppress
from typing import Annotated, Any

from prefect import get_client
from prefect.blocks.core import Block
from prefect.client.schemas.objects import BlockDocument
from prefect.exceptions import ObjectNotFound, PrefectHTTPStatusError
from pydantic import Field, GetJsonSchemaHandler, SecretStr, WithJsonSchema
from pydantic.json_schema import JsonSchemaValue
from pydantic_core import CoreSchema

from dda_core.exceptions import InvalidUseCase, UnknownUseCase
from dda_core.fleets import SAVED_BEFORE, fleet_names, new_fleet
from dda_core.targets import CompilationTarget, find_targets, look_up
from dda_core.use_case import DEFAULT_STARTUP_WAIT_SECONDS, UseCase, check_use_case


class UseCaseBlock(Block):
    """A use case of the Defect Detection Application: its account, Region, bucket, roles, fleet and targets."""

    _block_type_name = "UseCase"
    _description = (
        "Where a use case's models are stored: AWS account, Region, bucket, roles, and the targets to compile for."
    )

    usecase_id: str = Field(description="The use case's id; components carry it as the tag dda-portal:usecase-id")
    account_id: str = Field(description="The AWS account's 12 digits")
    region: str = Field(description="The AWS Region of bucket, jobs and components, such as eu-central-1")
    s3_bucket: str = Field(description="The bucket for models and packages; devices may read dda-* and *-dda-*")
    sagemaker_execution_role_arn: str | None = Field(
        None, description="The role SageMaker Neo assumes; empty: DDASageMakerExecutionRole of the account"
    )
    cross_account_role_arn: str | None = Field(
        None, description="A role to assume in the use case's account; empty: the worker's own credentials"
    )
    external_id: SecretStr | None = Field(None, description="The external id that the role's trust policy requires")
    fleet: Annotated[str | None, WithJsonSchema({"type": "string", "enum": list(fleet_names())})] = Field(
        None,
        description="The devices' LocalServer components and the default targets; "
        f"{new_fleet().name}: today's, {SAVED_BEFORE}: for a use case saved before fleets existed",
    )
    startup_wait_seconds: int = Field(
        DEFAULT_STARTUP_WAIT_SECONDS,
        description="How long a device waits for LocalServer's files before it converts a model; 0: not at all",
    )
    own_targets: list[dict[str, Any]] = Field(
        default_factory=list, description="Targets in addition to the table's, from the use case's targets_file"
    )
    localserver: dict[str, str] = Field(
        default_factory=dict, description="The LocalServer component by target, if it differs from the fleet's"
    )
    targets: list[str] = Field(default_factory=list, description="The default targets; empty: the fleet's")
    tags: dict[str, str] = Field(default_factory=dict, description="Tags for every created AWS resource")
    require_approval: bool = Field(False, description="Whether a person must approve what a run is about to publish")

    @classmethod
    def __get_pydantic_json_schema__(cls, schema: CoreSchema, handler: GetJsonSchemaHandler) -> JsonSchemaValue:
        """The form's schema, which requires a choice of fleet.

        The form fills in defaults where a saved use case has no value, so saving it for any reason would silently
        change its fleet; without a value a new use case would get the oldest one.
        """
        found = handler.resolve_ref_schema(handler(schema))
        found["properties"]["fleet"].pop("default", None)
        found["required"] = [*found.get("required", []), "fleet"]
        return found

    @classmethod
    def of(cls, use_case: UseCase) -> UseCaseBlock:
        """The block that holds ``use_case``."""
        rows = [row.model_dump(mode="json", exclude_defaults=True) for row in use_case.own_targets]
        return cls.model_validate(use_case.model_dump() | {"own_targets": rows})


def block_name(usecase_id: str) -> str:
    """The name of a use case's block and deployment: its id as a slug."""
    return re.sub(r"[^a-z0-9]+", "-", usecase_id.lower()).strip("-")


async def load_use_case(name: str) -> UseCase:
    """The use case registered under ``name``.

    Raises:
        UnknownUseCase: there is none; the message lists the registered ones.
        InvalidUseCase: its block has an invalid value.
    """
    use_case = await find_use_case(name)
    if use_case is None:
        known = await use_case_names()
        raise UnknownUseCase(
            f"use case {name!r} is not registered; known: {', '.join(known) or 'none'}",
            name=name,
            known=known,
            remedy="Register it with `dda use-case save FILE`.",
        )
    return use_case


async def find_use_case(name: str) -> UseCase | None:
    """The use case registered under ``name``; None if there is none.

    Raises:
        InvalidUseCase: its block has an invalid value.
    """
    document = await _document(name)
    if document is None:
        return None
    fields = {field: value for field, value in document.data.items() if value not in (None, "", [], {})}
    return check_use_case(fields, where=f"use case block {name!r}")


async def _document(name: str) -> BlockDocument | None:
    async with get_client() as client:
        try:
            # The document, not the block: loading a block emits an event, and read-only commands should not.
            return await client.read_block_document_by_name(name, UseCaseBlock.get_block_type_slug())
        except ObjectNotFound:
            return None


async def saved_fleet(name: str) -> str | None:
    """The fleet of the use case registered under ``name``; None if there is no such use case.

    The rest of its block may be invalid: saving it again repairs it.
    """
    document = await _document(name)
    return None if document is None else str(document.data.get("fleet") or SAVED_BEFORE)


async def find_target_names(names: Iterable[str], use_case: str | None = None) -> list[str]:
    """The targets' own names for names or aliases, each once, in the order given.

    Args:
        names: of rows of the table or of use cases' own rows.
        use_case: the id of the use case to compile for; without it, rows of all registered ones are searched.

    Raises:
        UnknownTarget, TargetUnavailable: no row has the name; or it cannot be compiled for, or not for these devices.
        UnknownUseCase, InvalidUseCase: there is no such use case, or it is invalid.
    """
    if use_case:
        asked = await load_use_case(block_name(use_case))
        return [target.name for target in asked.find_targets(names)]
    names = list(names)
    own: list[CompilationTarget] = []
    if not all(map(look_up, names)):
        for each in await use_case_names():
            with suppress(InvalidUseCase, UnknownUseCase):  # an invalid one must not hide the others' rows
                own += (await load_use_case(each)).own_targets
    return [target.name for target in find_targets(names, own)]


async def use_case_names() -> list[str]:
    """The names of every registered use case, in order."""
    async with get_client() as client:
        try:
            documents = await client.read_block_documents_by_type(block_type_slug=UseCaseBlock.get_block_type_slug())
        except PrefectHTTPStatusError as error:
            # Before the first use case the server does not know the block type.
            if error.response.status_code == 404:
                return []
            raise
    return sorted(document.name for document in documents if document.name)
