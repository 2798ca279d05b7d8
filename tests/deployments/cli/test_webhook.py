"""``dda webhook`` against a real Prefect server and emulated CloudFormation."""

from __future__ import annotations

import asyncio
import base64
import json
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path
from typing import Any
from uuid import UUID

import pytest
from prefect import get_client
from prefect.settings import PREFECT_API_AUTH_STRING, PREFECT_API_URL, temporary_settings
from typer.testing import Result

from dda_core.use_case import UseCase
from deployments.local.aws import local_aws
from deployments.server.registration import save_use_case
from tasks.store.use_cases import UseCaseBlock
from tests.deployments.cli.command import dda
from tests.fixtures.events import sagemaker_event

Ask = Callable[..., Awaitable[Result]]
USE_CASE = ("--use-case", "Lids.7")


@pytest.fixture
async def ask(prefect_server: None, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Ask]:
    """The command with AWS, a Prefect server, and the use case ``Lids.7`` with its deployment."""

    async def run(*arguments: object) -> Result:
        return await asyncio.to_thread(dda, "webhook", *arguments)

    with local_aws() as aws:
        for name, value in aws.environ.items():
            monkeypatch.setenv(name, value)
        use_case = UseCase(usecase_id="Lids.7", account_id="123456789012", region="us-east-1", s3_bucket=aws.bucket)
        deployment = await save_use_case(use_case)
        yield run
    async with get_client() as client:
        await client.delete_deployment(deployment)
        block = await client.read_block_document_by_name("lids-7", "usecase")
        await client.delete_block_document(block.id)


@pytest.fixture
def event(tmp_path: Path) -> Path:
    file = tmp_path / "event.json"
    file.write_text(json.dumps(sagemaker_event("lid-7")))
    return file


async def deployment_id() -> str:
    async with get_client() as client:
        return str((await client.read_deployment_by_name("compile-training-job/lids-7")).id)


def refused(result: Result, code: int) -> str:
    assert result.exit_code == code, result.output
    assert result.stdout == ""
    assert result.stderr.startswith("error: ")
    assert result.stderr.count("\n") == 1
    return result.stderr


async def test_the_request_is_printed_before_anything_is_installed_and_over_http(ask: Ask, event: Path):
    with temporary_settings({PREFECT_API_AUTH_STRING: "dda:secret"}):
        result = await ask("request", "--event", event, *USE_CASE, "--json")
    shown = json.loads(result.stdout)
    assert list(shown) == ["method", "url", "headers", "body"]
    assert shown["url"] == f"{PREFECT_API_URL.value()}/deployments/{await deployment_id()}/create_flow_run"
    assert base64.b64decode(shown["headers"]["Authorization"].removeprefix("Basic ")) == b"dda:secret"
    assert shown["body"] == {
        "name": "lid-7",
        "parameters": {"training_job_name": "lid-7"},
        "idempotency_key": "sagemaker/123456789012/us-east-1/lids-7/lid-7",
        "tags": ["trigger:eventbridge"],
    }


async def test_the_request_as_text_has_no_password(ask: Ask, event: Path):
    url = "https://prefect.example.com/api/"
    with temporary_settings({PREFECT_API_AUTH_STRING: "dda:secret"}):
        shown = (await ask("request", "--event", event, *USE_CASE, "--url", url)).stdout
    first, *lines = shown.splitlines()
    assert first == f"POST https://prefect.example.com/api/deployments/{await deployment_id()}/create_flow_run"
    assert "Authorization: Basic *** (shown by --json)" in lines
    assert base64.b64encode(b"dda:secret").decode() not in shown


async def test_test_starts_a_run_once_and_then_finds_it(ask: Ask, event: Path):
    first = json.loads((await ask("test", "--event", event, *USE_CASE, "--json")).stdout)
    assert (first["status"], first["name"], first["state"]) == (201, "lid-7", "Scheduled")
    assert first["flow_run_id"] in first["link"]
    again = await ask("test", "--training-job", "lid-7", *USE_CASE)
    assert again.exit_code == 0
    assert f"200: flow run {first['flow_run_id']} of lid-7 exists already (Scheduled)" in again.stdout
    async with get_client() as client:
        run = await client.read_flow_run(UUID(first["flow_run_id"]))
        await client.delete_flow_run(run.id)
    assert run.parameters == {"use_case": "lids-7", "training_job_name": "lid-7"}
    assert set(run.tags) == {"trigger:eventbridge", "use-case:Lids.7"}


@pytest.mark.parametrize("given", [(), ("--training-job", "lid-7", "--event", "event.json")])
async def test_test_needs_an_event_or_a_training_job(ask: Ask, given: tuple[str, ...]):
    assert "give either --event FILE or --training-job NAME" in refused(await ask("test", *USE_CASE, *given), 2)


async def test_a_wrong_event_or_name_is_a_usage_error(ask: Ask, tmp_path: Path):
    file = tmp_path / "event.json"
    file.write_text(json.dumps(sagemaker_event(status="InProgress")))
    for verb in ("request", "test"):
        assert "found 'InProgress'" in refused(await ask(verb, "--event", file, *USE_CASE), 2)
        assert "none.json" in refused(await ask(verb, "--event", tmp_path / "none.json", *USE_CASE), 2)
    assert "'lid_7' cannot be the name" in refused(await ask("test", "--training-job", "lid_7", *USE_CASE), 2)


async def test_an_unknown_use_case_is_named(ask: Ask, event: Path):
    for words in (("request", "--event", event), ("test", "--event", event), ("install", "--queue"), ("uninstall",)):
        assert "none-such" in refused(await ask(*words, "--use-case", "none-such"), 3)


async def test_the_use_case_is_optional_only_if_there_is_one(ask: Ask, event: Path):
    block = UseCaseBlock(usecase_id="other", account_id="123456789012", region="us-east-1", s3_bucket="dda-other")
    saved = await block.asave("other", overwrite=True)
    said = refused(await ask("test", "--event", event), 2)
    async with get_client() as client:
        await client.delete_block_document(saved)
    assert "give --use-case; registered are: " in said
    assert {"lids-7", "other"} <= set(said.strip().partition("registered are: ")[2].split(", "))


async def test_install_refuses_a_server_that_eventbridge_cannot_call(ask: Ask):
    said = refused(await ask("install", *USE_CASE), 3)
    assert "only calls https URLs" in said
    assert "--queue" in said
    said = refused(await ask("install", *USE_CASE, "--url", "https://prefect.example.com/api"), 3)
    assert "PREFECT_API_AUTH_STRING is not set" in said


@pytest.mark.filterwarnings("ignore:Tried to parse .* not supported by moto:UserWarning")
async def test_installing_and_uninstalling_the_queue_can_be_repeated(ask: Ask):
    made: Any = await ask("install", "--queue", *USE_CASE)
    assert made.exit_code == 0, made.output
    assert made.stdout.startswith("created: stack dda-webhook-lids-7 in 123456789012, us-east-1\n")
    assert "/dda-training-lids-7" in made.stdout
    assert "the server has no deployment drain-training-events" in made.stderr
    assert (await ask("install", "--queue", *USE_CASE)).exit_code == 0
    uninstalled = await ask("uninstall", *USE_CASE)
    assert uninstalled.stdout == "deleted: stack dda-webhook-lids-7 in 123456789012, us-east-1\n"
    assert (await ask("uninstall", *USE_CASE)).stdout.startswith("not there: ")
