"""``dda preflight`` against a real Prefect server and the embedded AWS."""

from __future__ import annotations

import asyncio
import json

import pytest
from typer.testing import Result

from dda_core.use_case import UseCase
from tasks.store.use_cases import UseCaseBlock
from tests.deployments.cli.command import dda
from tests.flows.conftest import ACCOUNT, Pipeline


async def preflight(*words: str, code: int = 0) -> Result:
    result = await asyncio.to_thread(dda, "preflight", *words)
    assert result.exit_code == code, result.output
    return result


async def test_the_local_use_case_passes_every_check(pipeline: Pipeline) -> None:
    pipeline.train()
    shown = json.loads((await preflight("--use-case", "local", "--training-job", "lid-7", "--json")).stdout)
    assert list(shown) == ["use_case", "ok", "findings"]
    assert (shown["use_case"], shown["ok"]) == ("local", True)
    assert {tuple(each) for each in shown["findings"]} == {("check", "level", "found", "remedy")}
    assert {each["level"] for each in shown["findings"]} == {"ok"}
    assert [each["check"] for each in shown["findings"]] == [
        "caller",
        "devices",
        "training-job",
        "bucket",
        "region",
        "artifacts",
        "trained-archive",
        "upload",
        "encryption",
        "sagemaker-role",
        "sagemaker-role-access",
        "pass-role",
        "tags",
    ]
    lines = (await preflight("--use-case", "local")).stdout.splitlines()
    assert lines[0].split() == ["check", "level", "found", "remedy"]
    assert len(lines) == 12


async def test_errors_give_exit_code_3_and_warnings_do_not(pipeline: Pipeline) -> None:
    pipeline.aws.client("s3").create_bucket(Bucket="lids")
    use_case = UseCase(usecase_id="local", account_id=ACCOUNT, region="us-east-1", s3_bucket="lids", fleet="current")
    await UseCaseBlock.of(use_case).asave("local", overwrite=True)
    warned = json.loads((await preflight("--use-case", "local", "--json")).stdout)
    assert warned["ok"]
    assert [each["check"] for each in warned["findings"] if each["level"] == "warning"] == ["devices"]
    failed = await preflight("--use-case", "local", "--training-job", "nobody", "--json", code=3)
    assert not json.loads(failed.stdout)["ok"]
    assert failed.stderr == ""


async def test_without_an_answer_from_aws_the_exit_code_is_4(
    pipeline: Pipeline, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("AWS_ENDPOINT_URL", "http://127.0.0.1:9")
    silent = await preflight("--use-case", "local", "--json", code=4)
    findings = json.loads(silent.stdout)["findings"]
    assert [(each["check"], each["level"]) for each in findings] == [("caller", "not-checked"), ("devices", "ok")]
    assert silent.stderr.startswith("error: caller: not checked, because the AWS call failed (EndpointConnectionError")
    assert silent.stderr.count("\n") == 1
