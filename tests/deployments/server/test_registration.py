from __future__ import annotations

from collections.abc import AsyncIterator

import pytest
from prefect import get_client

from dda_core.exceptions import InvalidUseCase
from dda_core.use_case import UseCase
from deployments.server.registration import save_use_case
from tasks.store.use_cases import UseCaseBlock, load_use_case

FIELDS = {"account_id": "123456789012", "region": "eu-west-1", "s3_bucket": "dda-line"}


@pytest.fixture
async def nothing_stays(prefect_server: None) -> AsyncIterator[None]:
    yield
    async with get_client() as client:
        for flow in ("compile-training-job", "artifact-links"):
            await client.delete_deployment((await client.read_deployment_by_name(f"{flow}/line-7")).id)
        block = await client.read_block_document_by_name("line-7", UseCaseBlock.get_block_type_slug())
        await client.delete_block_document(block.id)


@pytest.mark.usefixtures("nothing_stays")
async def test_two_use_cases_with_the_same_name_do_not_overwrite_each_other():
    await save_use_case(UseCase(usecase_id="Line.7", **FIELDS))
    with pytest.raises(InvalidUseCase, match=r"which use case 'Line\.7' already has") as refused:
        await save_use_case(UseCase(usecase_id="line_7", **FIELDS))
    assert "use case 'line_7' would be registered as 'line-7'" in str(refused.value)
    changed = UseCase(usecase_id="Line.7", **{**FIELDS, "region": "us-east-1"})
    await save_use_case(changed)
    assert await load_use_case("line-7") == changed
