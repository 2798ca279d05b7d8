from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest
from prefect import get_client
from prefect.client.schemas.filters import FlowRunFilter, FlowRunFilterState, FlowRunFilterStateType
from prefect.client.schemas.objects import TERMINAL_STATES

from dda_core.aws import s3 as aws_s3
from dda_core.use_case import UseCase
from tasks.store.use_cases import UseCaseBlock
from tests.deployments.cli.command import dda, dda_json, refusal
from tests.flows.conftest import ACCOUNT

PACKAGE = "model_artifacts/model-0123456789ab/0123456789ab_greengrass_model_component.zip"
JOB = "unused-x86cpu-0123abcd-1"
UNUSED = {
    PACKAGE: "package",
    f"models/compilation/{JOB}/x86_64-cpu/m-LINUX_X86_64.tar.gz": "compiled",
    "models/training/unused/output/model_for_compilation.tar.gz": "input",
}
REPORT = ("storage", "report", "--use-case", "local")
CLEAN = ("storage", "clean", "--use-case", "local")


@pytest.fixture
async def old(pipeline: Any, monkeypatch: pytest.MonkeyPatch) -> Any:
    """A published model and unused objects, all of them forty days old."""
    await forget_runs_in_progress()
    pipeline.train("kept-1")
    view = await pipeline.run("kept-1", targets=["x86_64-cpu"])
    assert view.status == "completed"
    s3 = pipeline.aws.client("s3")
    for key in (*UNUSED, "models/training/unused/output/model.tar.gz", "theirs"):
        s3.put_object(Bucket=pipeline.aws.bucket, Key=key, Body=b"x" * 1000)
    answered_at = aws_s3.answered_at
    monkeypatch.setattr(aws_s3, "answered_at", lambda answer: answered_at(answer) + timedelta(days=40))
    return pipeline


async def forget_runs_in_progress() -> None:
    """Delete those that other tests left on this server: while one exists, no package counts as unused."""
    in_progress = FlowRunFilterState(type=FlowRunFilterStateType(not_any_=list(TERMINAL_STATES)))
    async with get_client() as client:
        for run in await client.read_flow_runs(flow_run_filter=FlowRunFilter(state=in_progress)):
            await client.delete_flow_run(run.id)


def keys(pipeline: Any) -> set[str]:
    listed = pipeline.aws.client("s3").list_objects_v2(Bucket=pipeline.aws.bucket)
    return {item["Key"] for item in listed["Contents"]}


async def in_thread(function: Any, *arguments: object, **options: Any) -> Any:
    """In a thread, because the command line runs its own event loop."""
    import asyncio

    return await asyncio.to_thread(function, *arguments, **options)


async def test_unused_objects_are_listed_and_only_deleted_with_yes(old: Any) -> None:
    before = keys(old)
    # The run's own input is no longer needed, because its component is deployable.
    expected = UNUSED | {"models/training/kept-1/output/model_for_compilation.tar.gz": "input"}
    rows = await in_thread(dda_json, *REPORT, "--json")
    assert {row["key"]: row["kind"] for row in rows} == expected
    assert {(row["use_case"], row["bucket"]) for row in rows} == {("local", old.aws.bucket)}
    assert set(rows[0]) == {"use_case", "bucket", "kind", "key", "size", "last_modified"}

    dry = await in_thread(dda, *CLEAN, "--older-than", "5w")
    assert dry.exit_code == 0
    assert "Nothing was deleted. Add --yes" in dry.stderr
    assert keys(old) == before

    rows = await in_thread(dda_json, *CLEAN, "--yes", "--json")
    assert [row["deleted"] for row in rows] == [True] * 4
    assert keys(old) == before - set(expected)
    assert await in_thread(dda_json, *CLEAN, "--yes", "--json") == []

    # A deployable target is still deployable, and can be recompiled.
    view = await old.run("kept-1", targets=["x86_64-cpu"], force=True)
    assert view.status == "completed"


async def test_the_objects_of_a_run_that_may_be_retried_are_kept(old: Any) -> None:
    old.aws.faults.add("compile", target="x86_64-cpu", reason="ClientError: CompilationError: no")
    old.train("unused")
    assert (await old.run("unused", targets=["x86_64-cpu"])).status == "failed"
    rows = await in_thread(dda_json, *REPORT, "--json")
    assert [row["key"] for row in rows if "unused" in row["key"]] == []
    assert PACKAGE in {row["key"] for row in rows}


async def test_newer_objects_are_not_listed(old: Any) -> None:
    assert await in_thread(dda_json, *REPORT, "--older-than", "41d", "--json") == []
    shown = await in_thread(dda, *REPORT, "--older-than", "41d")
    assert shown.stderr == "No unused objects found.\n"


async def test_an_account_that_cannot_be_asked_does_not_affect_the_others(old: Any) -> None:
    other = UseCase(usecase_id="broken", account_id=ACCOUNT, region="us-east-1", s3_bucket="dda-not-there")
    block = UseCaseBlock.of(other)
    await block.asave("broken", overwrite=True)
    try:
        result = await in_thread(dda, "storage", "report")
    finally:
        await UseCaseBlock.adelete("broken")
    assert result.exit_code == 4
    assert "NoSuchBucket" in result.stderr
    lines = result.stdout.splitlines()
    assert lines[0].split() == ["use", "case", "kind", "size", "last", "written", "key"]
    assert any(line.split()[:4] == ["local", "package", "1000", "bytes"] and PACKAGE in line for line in lines)


@pytest.mark.parametrize("age", ["0d", "23h", "30", "-1d", "1.5d", "d", "99999d"])
def test_invalid_and_too_short_ages_are_refused(age: str) -> None:
    assert "at least 1d" in refusal(*REPORT, f"--older-than={age}", code=2)


async def test_an_unknown_use_case_is_named(pipeline: Any) -> None:
    result = await in_thread(dda, "storage", "report", "--use-case", "nobody")
    assert result.exit_code == 3
    assert "nobody" in result.stderr
