"""Logs, links, downloads and devices of finished runs, against a Prefect server."""

from __future__ import annotations

import asyncio
import json
import os
import re
import urllib.request
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from prefect import get_client
from prefect.client.schemas.actions import ArtifactCreate
from prefect.client.schemas.filters import ArtifactFilter, ArtifactFilterKey
from prefect.client.schemas.objects import Artifact
from typer.testing import Result

from dda_core.compilation.logs import LOG_GROUP
from dda_core.sanitise import ACCOUNT_MASK
from dda_core.use_case import UseCase
from flows.artifact_links import artifact_links
from flows.refresh_devices import refresh_devices
from tasks.operations.download_links import EXPIRES
from tasks.store.use_cases import UseCaseBlock
from tests.deployments.cli.command import dda
from tests.flows.conftest import ACCOUNT, Pipeline, forget_other_use_cases

OPERATORS = "ClientError: OperatorNotImplemented: The following operators are not implemented: ['aten::a']"


async def cli(*arguments: object, code: int = 0) -> Result:
    """``dda`` with these arguments, in a thread, because it runs its own event loop."""
    result = await asyncio.to_thread(dda, *arguments)
    assert result.exit_code == code, result.output
    return result


async def fetched(url: str) -> bytes:
    """The response at a URL, without credentials."""

    def read() -> bytes:
        with urllib.request.urlopen(url) as answer:
            content: bytes = answer.read()
        return content

    return await asyncio.to_thread(read)


async def artifacts(**wanted: Any) -> list[Artifact]:
    async with get_client() as client:
        return await client.read_artifacts(artifact_filter=ArtifactFilter(key=ArtifactFilterKey(**wanted)))


async def link_pages() -> list[Artifact]:
    return [each for each in await artifacts(exists_=False) if EXPIRES in (each.metadata_ or {})]


# --- Logs -------------------------------------------------------------------------------------------------------------


async def test_the_log_of_the_latest_and_of_an_earlier_attempt(pipeline: Pipeline) -> None:
    pipeline.train("log-1")
    pipeline.aws.faults.add("compile", target="arm64-cpu", reason=OPERATORS, times=1)
    await pipeline.run("log-1", targets=["arm64-cpu"])
    await pipeline.run("log-1", targets=["arm64-cpu"])
    shown = (await cli("logs", "log-1", "aarch64")).stdout
    assert "ended with status COMPLETED" in shown
    assert "[model-info-extraction] DataInputConfig" in shown
    rows = json.loads((await cli("logs", "log-1", "arm64-cpu", "--attempt", 1, "--json")).stdout)
    assert {tuple(row) for row in rows} == {("stream", "at", "text")}
    assert any(OPERATORS in row["text"] for row in rows)
    assert [row["at"] for row in rows] == sorted(row["at"] for row in rows)


@pytest.mark.slow
async def test_a_log_deleted_from_cloudwatch_is_shown_from_its_saved_copy(pipeline: Pipeline) -> None:
    pipeline.train("log-2")
    await pipeline.run("log-2", targets=["arm64-cpu"])
    pipeline.aws.client("logs").delete_log_group(logGroupName=LOG_GROUP)
    assert "ended with status COMPLETED" in (await cli("logs", "log-2", "arm64-cpu")).stdout


async def test_a_missing_log_is_reported_and_not_an_error(pipeline: Pipeline) -> None:
    pipeline.train("log-3")
    await pipeline.run("log-3", targets=["arm64-cpu"])
    for words in (["log-3", "x86_64-cpu"], ["nobody", "arm64-cpu"], ["log-3", "arm64-cpu", "--attempt", 7]):
        result = await cli("logs", *words)
        assert result.stdout == ""
        assert "there is no log" in result.stderr
        assert json.loads((await cli("logs", *words, "--json")).stdout) == []


@pytest.mark.slow
@pytest.mark.parametrize("aws_options", [{"compile_seconds": 5}])
async def test_a_log_is_followed_until_its_job_has_ended(pipeline: Pipeline) -> None:
    pipeline.train("log-4")
    running = asyncio.create_task(pipeline.run("log-4", targets=["arm64-cpu"]))
    await pipeline.until(lambda: pipeline.jobs())
    await asyncio.sleep(0.5)
    lines = [json.loads(line) for line in (await cli("logs", "log-4", "arm64-cpu", "-f", "--json")).stdout.splitlines()]
    assert [line["text"] for line in lines if line["text"].endswith("status COMPLETED.")]
    assert len({json.dumps(line) for line in lines}) == len(lines), "no line is printed twice"
    await running


# --- Links and downloads ----------------------------------------------------------------------------------------------


async def test_links_and_downloads_of_each_product(pipeline: Pipeline, tmp_path: Path) -> None:
    pipeline.train("get-1")
    view = await pipeline.run("get-1", targets=["arm64-cpu"])
    record = view.targets["arm64-cpu"]
    s3 = pipeline.aws.client("s3")
    for what, uri in (("compiled", record.compiled_artifact), ("package", record.package)):
        content = s3.get_object(Bucket=pipeline.aws.bucket, Key=str(uri).split("/", 3)[3])["Body"].read()
        told = json.loads((await cli("artifacts", "link", "get-1", "aarch64", "--what", what, "--json")).stdout)
        assert told["uri"] == uri
        assert await fetched(told["url"]) == content
        await cli("artifacts", "get", "get-1", "arm64-cpu", "--what", what, "-o", tmp_path / what)
        assert (tmp_path / what).read_bytes() == content
    await cli("artifacts", "get", "get-1", "arm64-cpu", "--what", "log", "-o", tmp_path / "log")
    assert b"ended with status COMPLETED" in (tmp_path / "log").read_bytes()


@pytest.mark.slow
async def test_a_bucket_named_after_the_account_is_found_despite_masking(pipeline: Pipeline, tmp_path: Path) -> None:
    bucket = f"dda-models-{ACCOUNT}"
    pipeline.aws.client("s3").create_bucket(Bucket=bucket)
    use_case = UseCase(usecase_id="named", account_id=ACCOUNT, region="us-east-1", s3_bucket=bucket)
    await UseCaseBlock.of(use_case).asave("named", overwrite=True)
    pipeline.train("get-202601021530", tags={"dda:use-case": "named"})  # a date has as many digits as an account id
    await pipeline.run("get-202601021530", targets=["arm64-cpu"], use_case="named")
    [record] = await artifacts(any_=["record-get-202601021530"])
    assert ACCOUNT_MASK in str(record.data)
    await cli("artifacts", "get", "get-202601021530", "arm64-cpu", "-o", tmp_path / "f")
    assert (tmp_path / "f").read_bytes()[:2] == b"\x1f\x8b"
    assert "COMPLETED" in (await cli("logs", "get-202601021530", "arm64-cpu")).stdout
    async with get_client() as client:
        await client.delete_block_document((await UseCaseBlock.aload("named"))._block_document_id)


@pytest.mark.parametrize("expires", ["13h", "721m", "43201s", "0h", "1d", "", "-1h"])
async def test_a_link_for_another_time_is_a_usage_error(expires: str) -> None:
    assert "at most 12h" in (await cli("artifacts", "link", "x", "arm64-cpu", f"--expires={expires}", code=2)).stderr


async def test_a_product_that_no_run_made_is_reported_with_a_remedy(pipeline: Pipeline, tmp_path: Path) -> None:
    result = await cli("artifacts", "get", "nobody", "arm64-cpu", "-o", tmp_path / "f", code=2)
    assert "no run of nobody has made the compiled archive of arm64-cpu" in result.stderr
    assert os.listdir(tmp_path) == []


async def test_artifact_links_puts_links_on_its_runs_page_and_removes_expired_ones(
    pipeline: Pipeline,
) -> None:
    pipeline.train("link-1")
    await pipeline.run("link-1", targets=["arm64-cpu"])
    async with get_client() as client:
        stale = await client.create_artifact(
            ArtifactCreate(
                type="markdown", data="old", metadata_={EXPIRES: (datetime.now(UTC) - timedelta(minutes=1)).isoformat()}
            )
        )
    state = await artifact_links("link-1", "local", expires_minutes=10, return_state=True)
    assert state.is_completed(), state.message
    assert "3 links, valid until" in str(state.message)
    [page] = await link_pages()
    assert page.id != stale.id
    assert page.key is None
    assert page.flow_run_id is not None
    expires = datetime.fromisoformat(page.metadata_[EXPIRES])  # type: ignore[index]
    assert timedelta(minutes=9) < expires - datetime.now(UTC) <= timedelta(minutes=10)
    urls = re.findall(r"\[download\]\(([^)]+)\)", str(page.data))
    assert len(urls) == 3
    for url in urls:
        assert await fetched(url)
    kept = [each for each in await artifacts(exists_=True) if "X-Amz-Signature" in str(each.data)]
    assert kept == [], "no artifact that stays holds a link"
    async with get_client() as client:
        await client.delete_artifact(page.id)


async def test_artifact_links_fails_without_anything_to_link(pipeline: Pipeline) -> None:
    state = await artifact_links("nobody", "local", return_state=True)
    assert state.is_failed()
    assert "in this use case still exists" in str(state.message)


async def test_the_form_of_artifact_links_allows_twelve_hours_at_most() -> None:
    field = artifact_links.parameters.properties["expires_minutes"]
    assert (field["minimum"], field["maximum"], field["default"]) == (1, 720, 60)


# --- Devices ----------------------------------------------------------------------------------------------------------


async def test_devices_are_listed_per_version(pipeline: Pipeline) -> None:
    await forget_other_use_cases()
    assert "No core device" in (await cli("devices")).stderr
    for number in (1, 2, 3):
        component = {"name": "model-a", "version": f"{number % 2 + 1}.0.0"}
        pipeline.aws.add_device(thing=f"press-{number}", installed=[component])
    rows = json.loads((await cli("devices", "--json")).stdout)
    assert [(row["component"], row["version"], row["count"]) for row in rows] == [
        ("model-a", "2.0.0", 2),
        ("model-a", "1.0.0", 1),
    ]
    assert set(rows[0]["devices"][0]) == {"thing", "status", "state", "deployment", "last_seen"}
    shown = (await cli("devices", "model-a", "--use-case", "local")).stdout
    assert re.search(r"model-a +1\.0\.0 +press-2 +HEALTHY +RUNNING", shown)


async def test_refresh_devices_writes_one_artifact_per_component_and_updates_it(pipeline: Pipeline) -> None:
    pipeline.aws.add_device(thing="press-1", installed=[{"name": "model-dev.b", "version": "1.0.0"}])
    assert (await refresh_devices(return_state=True)).is_completed()
    [first] = await artifacts(any_=["component-model-dev-b"])
    assert "press-1" in str(first.data)
    pipeline.aws.add_device(thing="press-1", installed=[])
    pipeline.aws.add_device(thing="press-2", installed=[{"name": "model-dev.b", "version": "3.0.0"}])
    await refresh_devices(return_state=True)
    [second] = await artifacts(any_=["component-model-dev-b"])
    assert second.id == first.id
    assert "press-1" not in str(second.data)
    assert "press-2" in str(second.data)
    pipeline.aws.add_device(thing="press-2", installed=[])
    await refresh_devices(return_state=True)
    [third] = await artifacts(any_=["component-model-dev-b"])
    assert "on no core device" in str(third.data), "the page of a deleted component says so"


async def test_refresh_devices_fails_with_the_reason_and_keeps_what_it_knew(pipeline: Pipeline) -> None:
    await forget_other_use_cases()
    pipeline.aws.add_device(thing="press-1", installed=[{"name": "model-dev-c", "version": "1.0.0"}])
    await refresh_devices(return_state=True)
    pipeline.aws.faults.add("call", operation="ListCoreDevices", error="AccessDeniedException", times=5)
    state = await refresh_devices(return_state=True)
    assert state.is_failed()
    assert "local" in str(state.message)
    [page] = await artifacts(any_=["component-model-dev-c"])
    assert "press-1" in str(page.data)
