from __future__ import annotations

import asyncio
import itertools
import logging
import time
from collections.abc import AsyncIterator, Iterator
from typing import Any

import pytest
from prefect import get_client
from prefect.client.orchestration import SyncPrefectClient
from prefect.concurrency.asyncio import ConcurrencySlotAcquisitionError
from prefect.exceptions import ObjectNotFound

from dda_core.aws.calls import with_retries
from dda_core.settings import Settings
from dda_core.use_case import UseCase
from deployments.local.aws import LocalAws, local_aws
from tasks import rate_limits
from tasks.rate_limits import Limit, ensure_limit, limit_of, limited_clients, slots

REGION = "us-east-1"
ACCOUNTS = iter(range(100_000_000_001, 999_999_999_999))
QUIET = {
    "component_versions_per_second": 0,
    "compilation_jobs_per_second": 0,
    "sagemaker_calls_per_second": 0,
    "greengrass_calls_per_second": 0,
}


@pytest.fixture
def account() -> str:
    """An account id used by this test only, so that its limits are not shared."""
    return str(next(ACCOUNTS))


@pytest.fixture
def aws(monkeypatch: pytest.MonkeyPatch) -> Iterator[LocalAws]:
    with local_aws() as local:
        monkeypatch.setenv("AWS_ENDPOINT_URL", local.endpoint_url)
        yield local


@pytest.fixture
async def forgotten(prefect_server: None, account: str) -> AsyncIterator[None]:
    yield
    async with get_client() as client:
        for limit in Limit:
            try:
                await client.delete_global_concurrency_limit_by_name(limit.name_for(account, REGION))
            except ObjectNotFound:
                continue


def use_case(account: str) -> UseCase:
    return UseCase(usecase_id="lids", account_id=account, region=REGION, s3_bucket="dda-lids")


def settings(**rates: float) -> Settings:
    return Settings(**{**QUIET, **rates})


async def on_server(limit: Limit, account: str) -> Any:
    async with get_client() as client:
        return await client.read_global_concurrency_limit_by_name(limit.name_for(account, REGION))


@pytest.mark.parametrize(
    ("service", "operation", "limit"),
    [
        ("greengrassv2", "CreateComponentVersion", Limit.COMPONENT_VERSIONS),
        ("greengrassv2", "DescribeComponent", Limit.GREENGRASS),
        ("sagemaker", "CreateCompilationJob", Limit.COMPILATION_JOBS),
        ("sagemaker", "DescribeCompilationJob", Limit.SAGEMAKER),
        ("s3", "GetObject", None),
        ("sts", "AssumeRole", None),
    ],
)
def test_which_limit_a_call_counts_against(service: str, operation: str, limit: Limit | None):
    assert limit_of(service, operation) is limit


def test_there_are_slots_for_one_second_and_at_least_one():
    assert [slots(rate) for rate in (0.01, 0.9, 1, 1.9, 20)] == [1, 1, 1, 1, 20]


def test_without_a_rate_the_server_is_never_called(aws: LocalAws, account: str, monkeypatch: pytest.MonkeyPatch):
    def never(*words: Any, **named: Any) -> None:
        raise AssertionError("the server was asked")

    monkeypatch.setattr(rate_limits, "rate_limit", never)
    clients = limited_clients(use_case(account), settings())
    clients.sagemaker.list_compilation_jobs()
    clients.greengrass.list_components()
    clients.s3.list_objects_v2(Bucket=aws.bucket)


@pytest.mark.usefixtures("forgotten")
async def test_a_missing_limit_is_created_and_logged(aws: LocalAws, account: str, caplog: pytest.LogCaptureFixture):
    clients = limited_clients(use_case(account), settings(greengrass_calls_per_second=4))
    with caplog.at_level(logging.INFO, "prefect.dda.limits"):
        await asyncio.to_thread(clients.greengrass.list_components)
    name = f"dda-greengrass-{account}-us-east-1"
    assert f"Created the missing limit {name} (4 per second)" in caplog.text
    made = await on_server(Limit.GREENGRASS, account)
    assert (made.limit, made.slot_decay_per_second) == (4, 4)
    caplog.clear()
    await asyncio.to_thread(clients.greengrass.list_components)
    assert name not in caplog.text


@pytest.mark.usefixtures("forgotten")
async def test_calls_are_spaced_by_the_limit_across_clients(aws: LocalAws, account: str):
    rates = settings(sagemaker_calls_per_second=3, greengrass_calls_per_second=1000)
    await ensure_limit(Limit.SAGEMAKER, account, REGION, settings(sagemaker_calls_per_second=1.5))
    at: list[float] = []

    def call() -> None:
        clients = limited_clients(use_case(account), rates)
        clients.before_each_call(lambda service, operation: at.append(time.monotonic()))
        clients.sagemaker.list_compilation_jobs()

    await asyncio.gather(*(asyncio.to_thread(call) for _ in range(3)))
    at.sort()
    # The server's rate, set by the deployment step, counts, not that of one worker.
    assert min(later - earlier for earlier, later in itertools.pairwise(at)) > 0.6


@pytest.mark.usefixtures("forgotten")
async def test_a_limit_is_updated_only_if_its_rate_changes(account: str):
    for rate in (0.9, 0.9, 5):
        await ensure_limit(Limit.COMPONENT_VERSIONS, account, REGION, settings(component_versions_per_second=rate))
    changed = await on_server(Limit.COMPONENT_VERSIONS, account)
    assert (changed.limit, changed.slot_decay_per_second) == (5, 5)
    await ensure_limit(Limit.COMPONENT_VERSIONS, account, REGION, settings())
    assert (await on_server(Limit.COMPONENT_VERSIONS, account)).limit == 5, "a rate of 0 makes and changes nothing"


@pytest.mark.usefixtures("prefect_server")
async def test_if_a_limit_cannot_be_created_the_process_limits_itself(
    aws: LocalAws, account: str, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
):
    def refused(*words: Any, **named: Any) -> None:
        raise ObjectNotFound(RuntimeError("403 Forbidden"))

    monkeypatch.setattr(SyncPrefectClient, "upsert_global_concurrency_limit_by_name", refused)
    clients = limited_clients(use_case(account), settings(greengrass_calls_per_second=5))
    began = time.monotonic()
    for _ in range(4):
        await asyncio.to_thread(clients.greengrass.list_components)
    assert time.monotonic() - began > 3 / 5
    warnings = [record.getMessage() for record in caplog.records if record.levelno == logging.WARNING]
    [warning] = [text for text in warnings if "dda-greengrass" in text]
    assert "cannot be asked" in warning
    assert "limits itself to 5 calls per second" in warning


async def test_an_unreachable_server_delays_no_call_for_long(
    aws: LocalAws, account: str, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
):
    asked = []

    def down(*words: Any, **named: Any) -> None:
        asked.append(words)
        raise ConcurrencySlotAcquisitionError("Unable to acquire") from ConnectionError("refused")

    monkeypatch.setattr(rate_limits, "rate_limit", down)
    clients = limited_clients(use_case(account), settings(greengrass_calls_per_second=50))
    for _ in range(3):
        await asyncio.to_thread(clients.greengrass.list_components)
    assert len(asked) == 1, "it is asked again after a minute only"
    assert "Unable to acquire" in caplog.text


@pytest.mark.usefixtures("forgotten")
async def test_a_limit_without_decay_is_reported(aws: LocalAws, account: str, caplog: pytest.LogCaptureFixture):
    async with get_client() as client:
        await client.upsert_global_concurrency_limit_by_name(Limit.GREENGRASS.name_for(account, REGION), 1, 0)
    clients = limited_clients(use_case(account), settings(greengrass_calls_per_second=50))
    await asyncio.to_thread(clients.greengrass.list_components)
    assert "Only concurrency limits with slot decay can be used" in caplog.text


async def test_a_cancelled_step_makes_no_call_when_it_gets_a_slot(
    aws: LocalAws, account: str, monkeypatch: pytest.MonkeyPatch
):
    entered, slot = asyncio.Event(), asyncio.Event()
    loop = asyncio.get_running_loop()

    def wait(*words: Any, **named: Any) -> None:
        loop.call_soon_threadsafe(entered.set)
        asyncio.run_coroutine_threadsafe(slot.wait(), loop).result(10)

    monkeypatch.setattr(rate_limits, "rate_limit", wait)
    rates = settings(greengrass_calls_per_second=1, max_attempts=1)
    clients = limited_clients(use_case(account), rates)
    steps = [asyncio.create_task(with_retries(rates, print, clients.greengrass.list_components)) for _ in range(2)]
    await entered.wait()
    for step in steps:
        step.cancel()
    for step in steps:
        with pytest.raises(asyncio.CancelledError):
            await step
    slot.set()
    await asyncio.sleep(0.5)
    assert aws.calls["greengrassv2:ListComponents"] == 0
    await with_retries(rates, print, clients.greengrass.list_components)
    assert aws.calls["greengrassv2:ListComponents"] == 1
