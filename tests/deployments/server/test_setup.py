from __future__ import annotations

import importlib
import pkgutil
from collections.abc import AsyncIterator
from datetime import timedelta
from typing import Any

import pytest
from prefect import Flow, get_client
from prefect.events.schemas.automations import EventTrigger
from prefect.settings import PREFECT_FLOWS_HEARTBEAT_FREQUENCY, temporary_settings

import flows
from dda_core.use_case import UseCase
from deployments.server.registration import save_use_case
from deployments.server.setup import AUTOMATION, ensure_automation, set_up_server, silence_automation
from tasks.store.use_cases import UseCaseBlock

ACCOUNT = "210987654321"


@pytest.fixture
async def server(prefect_server: None) -> AsyncIterator[Any]:
    async with get_client() as client:
        yield client
        for there in await client.read_automations_by_name(AUTOMATION):
            await client.delete_automation(there.id)
        for limit in await limits(client):
            await client.delete_global_concurrency_limit_by_name(limit)


async def limits(client: Any) -> dict[str, tuple[int, float]]:
    found = await client.read_global_concurrency_limits(limit=200)
    return {each.name: (each.limit, each.slot_decay_per_second) for each in found if ACCOUNT in each.name}


async def test_every_registered_account_and_region_gets_its_limits(server: Any, monkeypatch: pytest.MonkeyPatch):
    names = ("setup-one", "setup-two", "setup-three", "setup-broken")
    for name, region in zip(names, ("eu-west-1", "eu-west-1", "us-east-1", "us-east-1"), strict=True):
        use_case = UseCase(usecase_id=name, account_id=ACCOUNT, region=region, s3_bucket="dda-line")
        await UseCaseBlock.of(use_case).asave(name, overwrite=True)
    block = await UseCaseBlock.aload("setup-broken")
    block.account_id = "none"
    await block.asave("setup-broken", overwrite=True)
    try:
        monkeypatch.setenv("DDA_GREENGRASS_CALLS_PER_SECOND", "0")
        for _ in range(2):
            made = await set_up_server()
        expected = {
            f"dda-{what}-{ACCOUNT}-{region}": rate
            for region in ("eu-west-1", "us-east-1")
            for what, rate in (
                ("create-component-version", (1, 0.9)),
                ("create-compilation-job", (1, 1)),
                ("sagemaker", (10, 10)),
            )
        }
        assert await limits(server) == expected
        assert set(expected) <= set(made["limits"])
        monkeypatch.setenv("DDA_SAGEMAKER_CALLS_PER_SECOND", "2.5")
        await set_up_server()
        assert (await limits(server))[f"dda-sagemaker-{ACCOUNT}-eu-west-1"] == (2, 2.5)
    finally:
        for name in names:
            document = await server.read_block_document_by_name(name, UseCaseBlock.get_block_type_slug())
            await server.delete_block_document(document.id)


async def test_saving_a_use_case_creates_its_limits_and_the_automation(server: Any):
    use_case = UseCase(usecase_id="setup-saved", account_id=ACCOUNT, region="eu-west-1", s3_bucket="dda-line")
    try:
        with temporary_settings({PREFECT_FLOWS_HEARTBEAT_FREQUENCY: 60}):
            await save_use_case(use_case)
        assert f"dda-create-component-version-{ACCOUNT}-eu-west-1" in await limits(server)
        [automation] = await server.read_automations_by_name(AUTOMATION)
        assert automation.trigger.within == timedelta(seconds=180)
    finally:
        for flow in ("compile-training-job", "artifact-links"):
            await server.delete_deployment((await server.read_deployment_by_name(f"{flow}/setup-saved")).id)
        document = await server.read_block_document_by_name("setup-saved", UseCaseBlock.get_block_type_slug())
        await server.delete_block_document(document.id)


async def test_there_is_one_automation_and_it_follows_the_heartbeats(server: Any):
    with temporary_settings({PREFECT_FLOWS_HEARTBEAT_FREQUENCY: 30}):
        assert await ensure_automation() == [AUTOMATION]
        assert await ensure_automation() == [AUTOMATION]
        [first] = await server.read_automations_by_name(AUTOMATION)
        # Two deployments at the same time may each create one.
        wanted = silence_automation()
        assert wanted is not None
        await server.create_automation(wanted)
        await server.pause_automation(first.id)
    with temporary_settings({PREFECT_FLOWS_HEARTBEAT_FREQUENCY: 40}):
        await ensure_automation()
    [automation] = await server.read_automations_by_name(AUTOMATION)
    assert automation.trigger.within == timedelta(seconds=120)
    with temporary_settings({PREFECT_FLOWS_HEARTBEAT_FREQUENCY: None}):
        assert await ensure_automation() == []
    assert await server.read_automations_by_name(AUTOMATION) == []


async def test_a_paused_automation_stays_paused_and_an_unchanged_one_is_not_touched(
    server: Any, monkeypatch: pytest.MonkeyPatch
):
    with temporary_settings({PREFECT_FLOWS_HEARTBEAT_FREQUENCY: 30}):
        await ensure_automation()
        [automation] = await server.read_automations_by_name(AUTOMATION)
        await server.pause_automation(automation.id)
        updates = []
        monkeypatch.setattr(type(server), "update_automation", lambda *words: updates.append(words))
        await ensure_automation()
        assert updates == []
    [automation] = await server.read_automations_by_name(AUTOMATION)
    assert automation.enabled is False


def test_it_covers_every_flow():
    names = set()
    for module in pkgutil.iter_modules(flows.__path__):
        for value in vars(importlib.import_module(f"flows.{module.name}")).values():
            if isinstance(value, Flow):
                names.add(value.name)
    with temporary_settings({PREFECT_FLOWS_HEARTBEAT_FREQUENCY: 30}):
        automation = silence_automation()
    assert automation is not None
    assert isinstance(automation.trigger, EventTrigger)
    related: Any = automation.trigger.match_related
    assert set(related.root["prefect.resource.name"]) == names
