"""Reading verbs when AWS refuses the use case's role or does not answer: a short error, quickly."""

from __future__ import annotations

import asyncio
import json
import time
from typing import Any
from uuid import uuid4

import pytest

from dda_core.use_case import UseCase
from tasks.store.use_cases import UseCaseBlock
from tests.deployments.cli.command import dda
from tests.fixtures.past_runs import PastRun, write_past_runs
from tests.tasks.store.test_history import line

ACCOUNT = "123456789012"
ROLE = f"arn:aws:iam::{ACCOUNT}:role/dda"
TRUST = {
    "Version": "2012-10-17",
    "Statement": [
        {
            "Effect": "Allow",
            "Principal": {"AWS": f"arn:aws:iam::{ACCOUNT}:root"},
            "Action": "sts:AssumeRole",
            "Condition": {"StringEquals": {"sts:ExternalId": "factory-seven"}},
        }
    ],
}
VERBS = [
    ("logs", "JOB", "x86_64-cpu"),
    ("artifacts", "link", "JOB", "x86_64-cpu"),
    ("devices", "--use-case", "local"),
    ("storage", "report", "--use-case", "local"),
    ("webhook", "uninstall", "--use-case", "local"),
    ("device", "check", "model-lid:1.0.0", "--use-case", "local"),
]


@pytest.fixture
async def job(pipeline: Any) -> str:
    """A training job with a run, in a use case whose role requires another external id."""
    pipeline.aws.client("iam").create_role(RoleName="dda", AssumeRolePolicyDocument=json.dumps(TRUST))
    use_case = UseCase(
        usecase_id="local",
        account_id=ACCOUNT,
        region="us-east-1",
        s3_bucket=pipeline.aws.bucket,
        cross_account_role_arn=ROLE,
        external_id="factory-eight",
        fleet="original",
    )
    await UseCaseBlock.of(use_case).asave("local", overwrite=True)
    name = f"job-{uuid4().hex[:8]}"
    made = {"compilation_job": "job-1", "compiled_artifact": f"s3://{pipeline.aws.bucket}/compiled.tar.gz"}
    good = line("x86_64-cpu", "deployable", (1, "deployable"), component="model-lid", version="1.0.0", **made)
    await write_past_runs([PastRun(name, 0, [[good]], tags=["use-case:local"], use_case="local")])
    return name


def tracebacks(caplog: pytest.LogCaptureFixture) -> list[str]:
    """The log messages with a traceback; on a terminal Prefect prints both."""
    return [each.getMessage() for each in caplog.records if each.exc_info or each.exc_text]


def words(verb: tuple[str, ...], job: str) -> list[str]:
    return [job if word == "JOB" else word for word in verb]


async def test_a_role_that_cannot_be_assumed_is_a_one_line_error(job: str, caplog: pytest.LogCaptureFixture) -> None:
    for verb in VERBS:
        result = await asyncio.to_thread(dda, *words(verb, job))
        assert (result.exit_code, result.stdout) == (3, ""), verb
        (said,) = [each for each in result.stderr.splitlines() if each != "use case local:"]
        assert said.startswith(f"error: use case 'local': role {ROLE} cannot be assumed by "), verb
        assert "factory-eight" not in result.stderr
    assert tracebacks(caplog) == []


async def test_a_history_needs_no_role(job: str, caplog: pytest.LogCaptureFixture) -> None:
    result = await asyncio.to_thread(dda, "history", job)
    assert (result.exit_code, result.stderr) == (0, "")
    assert "x86_64-cpu  1        deployable" in result.stdout
    assert tracebacks(caplog) == []


async def test_a_preflight_has_the_role_as_its_one_error(job: str, caplog: pytest.LogCaptureFixture) -> None:
    result = await asyncio.to_thread(dda, "preflight", "--use-case", "local", "--json")
    assert (result.exit_code, result.stderr) == (3, "")
    errors = [each for each in json.loads(result.stdout)["findings"] if each["level"] == "error"]
    assert [each["check"] for each in errors] == ["caller"]
    assert "cannot be assumed" in errors[0]["found"]
    assert tracebacks(caplog) == []


async def test_the_list_of_training_jobs_names_use_cases_it_could_not_ask(job: str) -> None:
    result = await asyncio.to_thread(dda, "status", "--use-case", "local")
    assert result.exit_code == 0
    assert job in result.stdout
    (note,) = result.stderr.splitlines()
    assert note.startswith("Training jobs that were never compiled may be missing: use case local (use case 'local': ")


async def test_an_aws_that_does_not_answer_is_reported_within_ten_seconds(
    job: str, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setenv("AWS_ENDPOINT_URL", "http://127.0.0.1:9")
    for verb in VERBS:
        began, busy = time.monotonic(), time.process_time()
        result = await asyncio.to_thread(dda, *words(verb, job))
        # CPU time is subtracted, because it varies on a busy machine.
        assert time.monotonic() - began - (time.process_time() - busy) < 10, verb
        assert (result.exit_code, result.stdout) == (4, ""), verb
        (said,) = [each for each in result.stderr.splitlines() if each != "use case local:"]
        assert "http://127.0.0.1:9" in said, verb
    assert tracebacks(caplog) == []
