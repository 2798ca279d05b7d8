"""Use cases as Prefect blocks, which people edit in the UI."""

from __future__ import annotations

import re

from prefect import get_client
from prefect.blocks.core import Block
from prefect.exceptions import ObjectNotFound, PrefectHTTPStatusError
from pydantic import Field, SecretStr

from dda_core.exceptions import UnknownUseCase
from dda_core.use_case import UseCase, check_use_case


class UseCaseBlock(Block):
    """A use case of the Defect Detection Application: its account, Region, bucket, roles and default targets."""

    _block_type_name = "UseCase"
    _description = (
        "Where a use case's models live: AWS account, Region, bucket, roles, and the targets it compiles for."
    )

    usecase_id: str = Field(description="The use case's id; components carry it as the tag dda-portal:usecase-id")
    account_id: str = Field(description="The AWS account's 12 digits")
    region: str = Field(description="The AWS Region of bucket, jobs and components, such as eu-central-1")
    s3_bucket: str = Field(description="The bucket for models and packages; devices may read dda-* and *-dda-*")
    sagemaker_execution_role_arn: str | None = Field(
        None, description="The role SageMaker Neo works with; empty: DDASageMakerExecutionRole of the account"
    )
    cross_account_role_arn: str | None = Field(
        None, description="A role to assume in the use case's account; empty: the worker's own credentials"
    )
    external_id: SecretStr | None = Field(None, description="The external id that the role's trust policy asks for")
    localserver: dict[str, str] = Field(
        default_factory=dict, description="The LocalServer component of this fleet, by target, where it differs"
    )
    targets: list[str] = Field(default_factory=list, description="The targets compiled when nobody says which")
    tags: dict[str, str] = Field(default_factory=dict, description="Tags for every AWS resource that is created")
    require_approval: bool = Field(False, description="Whether a person must approve what a run is about to publish")

    @classmethod
    def of(cls, use_case: UseCase) -> UseCaseBlock:
        """The block that holds ``use_case``."""
        return cls.model_validate(use_case.model_dump())


def block_name(usecase_id: str) -> str:
    """The name that a use case's block and deployment have: its id as a slug."""
    return re.sub(r"[^a-z0-9]+", "-", usecase_id.lower()).strip("-")


async def load_use_case(name: str) -> UseCase:
    """The use case registered under ``name``.

    Raises:
        UnknownUseCase: there is none; the message lists those there are.
        InvalidUseCase: its block holds a value that cannot be used.
    """
    async with get_client() as client:
        try:
            # The document and not the block: loading a block sends an event, and commands that only read send none.
            document = await client.read_block_document_by_name(name, UseCaseBlock.get_block_type_slug())
        except ObjectNotFound:
            document = None
    if document is None:
        raise UnknownUseCase(
            f"use case {name!r} is not registered. Known: {', '.join(await use_case_names()) or 'none'}. "
            f"Register it with `dda use-case save FILE`."
        )
    fields = {field: value for field, value in document.data.items() if value}
    return check_use_case(fields, where=f"use case block {name!r}")


async def use_case_names() -> list[str]:
    """The names of every registered use case, in order."""
    async with get_client() as client:
        try:
            documents = await client.read_block_documents_by_type(block_type_slug=UseCaseBlock.get_block_type_slug())
        except PrefectHTTPStatusError as error:
            # Before the first use case the server does not know the type of block.
            if error.response.status_code == 404:
                return []
            raise
    return sorted(document.name for document in documents if document.name)
