"""``dda status`` and ``dda history`` against a real Prefect server."""

from __future__ import annotations

import asyncio
import json
import os
import pty
import subprocess
import sys
from collections.abc import Awaitable, Callable
from typing import Any
from uuid import uuid4

import pytest
from prefect.client.schemas.objects import StateType
from typer.testing import Result

from tasks.store.use_cases import UseCaseBlock, load_use_case
from tests.deployments.cli.command import dda
from tests.fixtures.past_runs import PastRun, write_past_runs
from tests.tasks.store.test_history import line

Ask = Callable[..., Awaitable[Result]]
FAILED = line("x86_64-cuda", "failed", (1, "failed"), reason="ClientError: no operator\x1b[31m")
GOOD = line("x86_64-cpu", "deployable", (1, "deployable"), version="1.0.0", compilation_job="job-1")


@pytest.fixture(autouse=True)
def _no_aws(monkeypatch: pytest.MonkeyPatch) -> None:
    """Use cases that other tests left are asked too, and no question is to leave this machine."""
    monkeypatch.setenv("AWS_ENDPOINT_URL", "http://127.0.0.1:9")


@pytest.fixture
def ask(prefect_server: None) -> Ask:
    async def run(*arguments: object) -> Result:
        # The command runs its own event loop, so it needs a thread without one.
        return await asyncio.to_thread(dda, *arguments)

    return run


@pytest.fixture
async def job(prefect_server: None) -> str:
    """A training job with a partly failed run, and a later one that skipped the deployable target."""
    name = f"job-{uuid4().hex[:8]}"
    use_case = f"case-{name}"
    runs = [
        PastRun(name, 0, [[GOOD, FAILED]], StateType.FAILED, [f"use-case:{use_case}", "trigger:cli"], use_case),
        PastRun(name, 1, [[line("x86_64-cpu", "skipped")]], tags=[f"use-case:{use_case}"], use_case=use_case),
    ]
    await write_past_runs(runs)
    return name


async def test_one_job_is_shown_merged_over_its_runs(ask: Ask, job: str) -> None:
    result = await ask("status", job, "--json")
    assert result.exit_code == 0
    shown = json.loads(result.stdout)
    assert list(shown) == ["training_job", "flow_run_id", "state", "status", "targets"]
    assert (shown["training_job"], shown["state"], shown["status"]) == (job, "Completed", "partial")
    assert {name: each["status"] for name, each in shown["targets"].items()} == {
        "x86_64-cpu": "deployable",
        "x86_64-cuda": "failed",
    }
    assert list(shown["targets"]["x86_64-cpu"]) == [
        "status",
        "attempt",
        "compilation_job",
        "compiled_artifact",
        "package",
        "component",
        "version",
        "arn",
        "seconds",
        "reason",
        "cause",
        "remedy",
    ]


async def test_one_job_as_text(ask: Ask, job: str) -> None:
    result = await ask("status", job)
    assert result.exit_code == 0
    assert result.stdout.startswith(f"{job}: partial\n")
    assert "no operator" in result.stdout
    assert "\x1b" not in result.stdout


async def test_one_target_of_a_job(ask: Ask, job: str) -> None:
    shown = json.loads((await ask("status", job, "--target", "x86_64-cuda", "--json")).stdout)
    assert (shown["status"], list(shown["targets"])) == ("partial", ["x86_64-cuda"])


async def test_a_job_that_aws_knows_and_that_has_no_run_is_not_started_and_no_error(ask: Ask, pipeline: Any) -> None:
    name = f"trained-{uuid4().hex[:8]}"
    pipeline.train(name)
    result = await ask("status", name, "--json")
    assert result.exit_code == 0, result.stderr
    assert json.loads(result.stdout) == {
        "training_job": name,
        "flow_run_id": None,
        "state": None,
        "status": "not-started",
        "targets": {},
    }
    assert (await ask("history", name, "--json")).stdout == "[]\n"
    assert "Nothing was attempted yet" in (await ask("history", name, "--use-case", "local")).stdout
    # The overview was not refreshed since then, so the list asks AWS.
    listed = json.loads((await ask("status", "--status", "not-started", "--json")).stdout)
    assert name in [each["training_job"] for each in listed]
    assert name in (await ask("status", "--use-case", "local")).stdout


@pytest.mark.parametrize("verb", ["status", "history"])
@pytest.mark.parametrize("more", [[], ["--use-case", "local", "--json"]])
async def test_an_unknown_job_is_an_error_that_names_who_was_asked(
    verb: str, more: list[str], ask: Ask, pipeline: Any
) -> None:
    result = await ask(verb, "nobody-trained-this", *more)
    assert (result.exit_code, result.stdout) == (2, "")
    assert result.stderr.startswith("error: training job 'nobody-trained-this' is unknown: it has no run")
    assert "local" in result.stderr


async def test_an_unknown_use_case_is_an_error_that_lists_the_known_ones(ask: Ask, pipeline: Any) -> None:
    for verb in (["status"], ["status", "lid-1"], ["history", "lid-1"], ["devices"]):
        result = await ask(*verb, "--use-case", "nobody")
        assert (result.exit_code, result.stdout) == (3, ""), verb
        assert result.stderr.startswith("error: use case 'nobody' is not registered; known: ")
        assert "local" in result.stderr.partition("known: ")[2]


async def test_an_unknown_component_is_an_error_that_lists_the_known_ones(ask: Ask, pipeline: Any) -> None:
    result = await ask("devices", "model-nobody", "--use-case", "local")
    assert (result.exit_code, result.stdout) == (2, "")
    assert "there is no model component 'model-nobody'" in result.stderr
    assert "known: none" in result.stderr


async def test_the_error_for_an_unknown_job_names_accounts_that_could_not_be_asked(
    ask: Ask, pipeline: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("AWS_ENDPOINT_URL", "http://127.0.0.1:9")
    result = await ask("status", "nobody-trained-this", "--use-case", "local")
    assert (result.exit_code, result.stdout) == (2, "")
    assert "Not asked: use case local (Could not connect to the endpoint URL" in result.stderr


@pytest.mark.parametrize(
    ("choice", "there"),
    [
        ([], True),
        (["--status", "partial"], True),
        (["--status", "failed"], False),
        (["--status", "completed"], False),
        (["--target", "x86_64-cuda"], True),
        (["--target", "x86_64-cuda", "--status", "failed"], True),
        (["--target", "x86_64-cpu", "--status", "failed"], False),
        (["--target", "jetson-xavier"], False),
    ],
)
async def test_the_list_is_filtered(ask: Ask, job: str, choice: list[str], there: bool) -> None:
    result = await ask("status", *choice, "--json")
    assert result.exit_code == 0
    assert (job in [each["training_job"] for each in json.loads(result.stdout)]) is there


async def test_the_jobs_of_a_use_case(ask: Ask, job: str) -> None:
    result = await ask("status", "--use-case", f"case-{job}")
    assert result.stdout.count("\n") == 2
    assert f"{job}  partial" in result.stdout
    assert "Compile again: x86_64-cuda" in result.stdout


async def test_an_empty_list_says_what_to_do(ask: Ask, pipeline: Any) -> None:
    empty = (await load_use_case("local")).model_copy(update={"usecase_id": "empty", "s3_bucket": "dda-empty"})
    await UseCaseBlock.of(empty).asave("empty", overwrite=True)
    try:
        result = await ask("status", "--use-case", "empty")
        assert (result.exit_code, "dda compile" in result.stdout) == (0, True)
        assert (await ask("status", "--use-case", "empty", "--json")).stdout == "[]\n"
    finally:
        await UseCaseBlock.adelete("empty")


async def test_one_job_cannot_be_filtered_by_status(ask: Ask, job: str) -> None:
    result = await ask("status", job, "--status", "failed")
    assert (result.exit_code, result.stdout) == (2, "")


async def test_watching_a_job_that_has_ended_shows_it_once(ask: Ask, job: str) -> None:
    result = await ask("status", job, "--watch", "--json")
    assert result.exit_code == 0
    assert len(result.stdout.splitlines()) == 1
    assert json.loads(result.stdout)["status"] == "partial"


async def test_the_history_of_a_job(ask: Ask, job: str) -> None:
    result = await ask("history", job, "--json")
    assert result.exit_code == 0
    rows = json.loads(result.stdout)
    assert [(row["target"], row["attempt"], row["status"], row["trigger"]) for row in rows] == [
        ("x86_64-cpu", 1, "deployable", "cli"),
        ("x86_64-cuda", 1, "failed", "cli"),
    ]
    assert list(rows[0])[:4] == ["target", "attempt", "status", "started"]


async def test_the_history_as_text_needs_no_aws(ask: Ask, job: str) -> None:
    result = await ask("history", job)
    assert result.exit_code == 0, result.stderr
    assert "x86_64-cuda  1        failed" in result.stdout
    # Values too long for a column are printed below their row.
    assert max(len(line) for line in result.stdout.splitlines() if not line.startswith("    ")) <= 100
    assert "\n    run: " in result.stdout
    assert "\x1b" not in result.stdout
    assert "/runs/flow-run/" in result.stdout


async def test_resources_deleted_in_aws_are_marked(ask: Ask, pipeline: Any) -> None:
    name = f"deleted-{uuid4().hex[:8]}"
    pipeline.train(name)
    await pipeline.run(name, targets=["x86_64-cpu"])
    before = (await ask("history", name)).stdout
    assert "(deleted)" not in before
    (row,) = json.loads((await ask("history", name, "--json")).stdout)
    pipeline.aws.client("sagemaker").delete_compilation_job(CompilationJobName=row["compilation_job"])
    greengrass = pipeline.aws.client("greengrassv2")
    arn = f"arn:aws:greengrass:us-east-1:123456789012:components:{row['component']}:versions:{row['version']}"
    greengrass.delete_component(arn=arn)
    after = await ask("history", name)
    assert after.exit_code == 0
    assert f"{row['compilation_job']} (deleted)" in after.stdout
    assert f"{row['version']} (deleted)" in after.stdout


@pytest.mark.parametrize("verb", [["status"], ["status", "lid-1"], ["history", "lid-1"]])
def test_without_a_server_there_is_an_error(verb: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
    from prefect.settings import PREFECT_API_URL, temporary_settings

    with temporary_settings({PREFECT_API_URL: "http://127.0.0.1:9/api"}):
        result = dda(*verb)
    assert (result.exit_code, result.stdout) == (3, "")
    assert "no Prefect server answers" in result.stderr


def test_on_a_terminal_force_asks() -> None:
    command = [sys.executable, "-m", "deployments.cli.main", "compile", "lid-1", "--use-case", "x", "--force"]
    ours, theirs = pty.openpty()
    process = subprocess.Popen(command, stdin=theirs, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    os.write(ours, b"n\n")
    out, err = process.communicate(timeout=60)
    assert (process.returncode, out.strip()) == (130, "")
    assert "Recompile targets that are deployable already? [y/N]" in err


@pytest.mark.parametrize("answer", [["--yes"], []])
def test_yes_answers_and_without_a_terminal_nothing_is_asked(
    answer: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    from prefect.settings import PREFECT_API_URL, temporary_settings

    with temporary_settings({PREFECT_API_URL: "http://127.0.0.1:9/api"}):
        result = dda("compile", "lid-1", "--use-case", "x", "--force", *answer)
    assert "no Prefect server answers" in result.stderr
    assert "Recompile" not in result.output
