"""``dda use-case`` against a real Prefect server: a use case's fleet after saving it."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
import yaml
from prefect import get_client
from prefect.client.schemas.actions import BlockDocumentUpdate
from prefect.exceptions import ObjectNotFound

from dda_core.use_case import UseCase, check_use_case
from deployments.services.runs import start_run
from tasks.store.use_cases import UseCaseBlock, load_use_case, saved_fleet
from tests.deployments.cli.command import dda, refusal
from tests.fixtures.archives import trained_archive

FIELDS = {"usecase_id": "fleet-7", "account_id": "123456789012", "region": "eu-west-1", "s3_bucket": "dda-fleet"}
ORIN = {
    "name": "jetson-orin",
    "suffix": "orin",
    "arch": "ARM64",
    "platform": "aarch64",
    "localserver": "aws.edgeml.dda.LocalServer.arm64JP6",
}


@pytest.fixture
async def file(prefect_server: None, tmp_path: Path) -> AsyncIterator[Path]:
    yield tmp_path / "fleet.yaml"
    async with get_client() as client:
        for flow in ("compile-training-job", "artifact-links"):
            try:
                found = await client.read_deployment_by_name(f"{flow}/fleet-7")
            except ObjectNotFound:
                continue
            await client.delete_deployment(found.id)
        block = await client.read_block_document_by_name("fleet-7", UseCaseBlock.get_block_type_slug())
        await client.delete_block_document(block.id)


def write(file: Path, **fields: Any) -> None:
    file.write_text(yaml.safe_dump({**FIELDS, **fields}))


async def save(file: Path, **fields: Any) -> str:
    """The line that the verb prints about the fleet."""
    write(file, **fields)
    saved = await asyncio.to_thread(dda, "use-case", "save", file)
    assert saved.exit_code == 0, saved.output
    _, said = saved.stdout.splitlines()
    return said


async def store_as_before(**fields: Any) -> None:
    """Save the block as before there were fleets."""
    before = {"fleet", "startup_wait_seconds", "own_targets"}
    block = UseCaseBlock.of(UseCase(**{**FIELDS, **fields}))
    await block.asave("fleet-7", overwrite=True)
    async with get_client() as client:
        document = await client.read_block_document_by_name("fleet-7", UseCaseBlock.get_block_type_slug())
        data = {name: value for name, value in document.data.items() if name not in before}
        await client.update_block_document(document.id, BlockDocumentUpdate(data=data, merge_existing_data=False))
        document = await client.read_block_document_by_name("fleet-7", UseCaseBlock.get_block_type_slug())
        assert before.isdisjoint(document.data)


async def test_a_new_use_case_is_on_the_current_fleet(file: Path) -> None:
    assert await save(file) == "Fleet: current."
    assert (await load_use_case("fleet-7")).fleet == "current"
    assert await save(file, fleet="current") == "Fleet: current."


async def test_a_use_case_saved_before_keeps_its_fleet_until_its_file_names_one(file: Path) -> None:
    await store_as_before()
    stored = await load_use_case("fleet-7")
    assert (stored.fleet, stored.preset.name, stored.startup_wait_seconds) == (None, "original", 600)

    said = await save(file)
    assert said.startswith(f"Fleet: original, as saved before, because {file} names none")
    assert await saved_fleet("fleet-7") == "original"
    assert await save(file, targets=["jetson"]) == said

    said = await save(file, fleet="current")
    assert said.startswith("Fleet: original becomes current (added to the default targets: jetson-xavier-jp5; ")
    assert (await load_use_case("fleet-7")).fleet == "current"
    assert (await save(file)).startswith("Fleet: current, as saved before")


async def test_a_saved_use_case_is_loaded_unchanged(file: Path) -> None:
    (file.parent / "own.yaml").write_text(yaml.safe_dump([ORIN]))
    await save(file, targets_file="own.yaml", startup_wait_seconds=0, targets=["jetson-orin"])
    expected = {**FIELDS, "fleet": "current", "own_targets": [ORIN], "startup_wait_seconds": 0}
    assert await load_use_case("fleet-7") == check_use_case({**expected, "targets": ["jetson-orin"]}, where="test")


async def test_the_form_offers_the_use_cases_targets(file: Path) -> None:
    (file.parent / "own.yaml").write_text(yaml.safe_dump([ORIN]))
    await save(file, targets_file="own.yaml")
    async with get_client() as client:
        deployment = await client.read_deployment_by_name("compile-training-job/fleet-7")
    schema = deployment.parameter_openapi_schema
    assert schema is not None
    assert schema["properties"]["targets"]["items"]["enum"] == [
        "x86_64-cpu",
        "x86_64-cuda",
        "arm64-cpu",
        "jetson-xavier-jp5",
        "jetson-xavier-jp6",
        "jetson-orin",
    ]
    run = await start_run("fleet-7", "lid-7", {"targets": ["jetson-orin"]}, tags=[])
    async with get_client() as client:
        await client.delete_flow_run(run.id)


async def test_plan_accepts_a_registered_use_case_by_name(file: Path) -> None:
    await store_as_before()
    archive = trained_archive(file.parent / "model.tar.gz")
    planned = await asyncio.to_thread(
        dda, "plan", archive, "--use-case", "fleet-7", "--model-name", "lid", "--diff", "--json"
    )
    assert json.loads(planned.stdout)["fleet"] == {"before": "original", "after": "current"}


async def test_an_unknown_fleet_is_refused(file: Path) -> None:
    await store_as_before()
    write(file, fleet="curent")
    said = await asyncio.to_thread(refusal, "use-case", "save", file, code=3)
    assert "fleet: " in said
    assert "expected one of current, jetpack4-renamed, original" in said
    assert await saved_fleet("fleet-7") == "original"
