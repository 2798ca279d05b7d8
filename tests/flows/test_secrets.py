"""Secrets in AWS's responses reach neither the server's database nor a run's files, all of which are searched."""

from __future__ import annotations

import asyncio
import logging
import sqlite3
import time
from contextlib import closing
from pathlib import Path

import pytest
from prefect import get_client
from prefect.exceptions import Pause
from prefect.settings import PREFECT_API_DATABASE_CONNECTION_URL, PREFECT_HOME, get_current_settings
from pydantic import SecretStr

from dda_core import sanitise
from dda_core.exceptions import RoleNotAssumable
from dda_core.runs.status import RunStatus, TargetStatus
from dda_core.use_case import UseCase
from deployments.server.registration import save_use_case
from deployments.services.approvals import give_decision
from tasks.store.use_cases import UseCaseBlock
from tests.fixtures.secrets import SECRETS, leaks, reason, role_that_asks
from tests.flows.conftest import ACCOUNT, Pipeline

FOUR = ["x86_64-cpu", "arm64-cpu", "x86_64-cuda", "jetson-xavier-jp5"]


def database() -> Path:
    """The file of the session's server."""
    url = PREFECT_API_DATABASE_CONNECTION_URL.value()
    assert url
    return Path(url.partition("///")[2])


def rows() -> dict[str, list[str]]:
    """Every table of the database, each row as one text. Prefect encrypts the table of blocks."""
    with closing(sqlite3.connect(database(), timeout=60)) as connection:
        tables = [name for (name,) in connection.execute("SELECT name FROM sqlite_master WHERE type = 'table'")]
        return {table: [repr(row) for row in connection.execute(f'SELECT * FROM "{table}"')] for table in tables}


def kept_files(since: float) -> list[Path]:
    """What Prefect has written outside the database since then, mostly results."""
    folders = [Path(PREFECT_HOME.value()), Path(get_current_settings().results.local_storage_path)]
    files = [
        path for folder in folders for path in folder.rglob("*") if path.is_file() and path.stat().st_mtime >= since
    ]
    return [path for path in files if not path.name.startswith(database().name)]


async def written(marker: str) -> dict[str, list[str]]:
    """The database once it has received all logs, events and task runs."""
    async with asyncio.timeout(60):
        while True:
            every = await asyncio.to_thread(rows)
            if all(any(marker in row for row in every[table]) for table in ("log", "events", "task_run_state")):
                return every
            await asyncio.sleep(0.5)


async def with_external_id(pipeline: Pipeline) -> None:
    """Give the use case a role that requires its external id."""
    role = role_that_asks(pipeline.aws.client("iam"), ACCOUNT, pipeline.aws.bucket)
    use_case = UseCase(
        usecase_id="local",
        account_id=ACCOUNT,
        region="us-east-1",
        s3_bucket=pipeline.aws.bucket,
        cross_account_role_arn=role,
        external_id=SecretStr(SECRETS["external id"]),
    )
    await UseCaseBlock.of(use_case).asave("local", overwrite=True)


async def test_failures_with_secrets_leave_none_in_database_logs_and_results(
    pipeline: Pipeline, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    began = time.time()
    await with_external_id(pipeline)
    pipeline.train("secret-7")
    faults = pipeline.aws.faults
    faults.add("compile", target="x86_64-cpu", reason=reason("compile-marker"))
    faults.add("publish", target="arm64-cpu", reason=reason("publish-marker"))
    for operation in ("CreateComponentVersion", "s3:CreateMultipartUpload"):
        faults.add("call", operation=operation, error="ValidationException", message=reason("call-marker"), nth=2)
    view = await pipeline.run("secret-7", targets=FOUR)
    assert view.status in (RunStatus.PARTIAL, RunStatus.FAILED)
    failed = [target for target in view.targets.values() if target.status is TargetStatus.FAILED]
    assert len(failed) >= 2
    # The masked reasons still show the cause.
    assert any("compile-marker" in str(target.reason) and "***" in str(target.reason) for target in failed)

    every = await written("compile-marker")
    assert sum(map(len, every.values())) > 50
    assert {table: found for table, each in every.items() if (found := leaks("\n".join(each)))} == {}
    files = await asyncio.to_thread(kept_files, began)
    assert files
    assert {str(path): found for path in files if (found := leaks(path.read_bytes()))} == {}
    assert any("compile-marker" in text for text in caplog.messages)
    assert leaks(caplog.text) == []


@pytest.mark.slow
async def test_a_run_that_cannot_start_reveals_no_secrets(pipeline: Pipeline, monkeypatch: pytest.MonkeyPatch) -> None:
    def refused(*_: object) -> None:
        raise RoleNotAssumable(reason("begin-marker"), role="r", remedy="Mend it")

    await with_external_id(pipeline)
    monkeypatch.setattr("tasks.run.limited_clients", refused)
    state = await pipeline.state(await pipeline.run("secret-8"))
    assert "begin-marker" in str(state.message)
    assert leaks(str(state.message)) == []
    every = await asyncio.to_thread(rows)
    assert {table: found for table, each in every.items() if (found := leaks("\n".join(each)))} == {}


async def test_an_approvals_text_is_stored_without_secrets(pipeline: Pipeline, monkeypatch: pytest.MonkeyPatch) -> None:
    role = role_that_asks(pipeline.aws.client("iam"), ACCOUNT, pipeline.aws.bucket)
    use_case = UseCase(
        usecase_id="talkative",
        account_id=ACCOUNT,
        region="us-east-1",
        s3_bucket=pipeline.aws.bucket,
        cross_account_role_arn=role,
        external_id=SecretStr(SECRETS["external id"]),
        require_approval=True,
    )
    deployment = await save_use_case(use_case)
    pipeline.train("secret-9", tags={"dda:use-case": "talkative"})
    async with get_client() as client:
        run = await client.create_flow_run_from_deployment(
            deployment,
            parameters={"training_job_name": "secret-9", "use_case": "talkative", "targets": ["arm64-cpu"]},
            name="secret-9",
        )
    with pytest.raises(Pause):
        await pipeline.go_on(run.id)
    why = f"key {SECRETS['access key']}, {SECRETS['external id']}, said-marker"
    # As a separate command line, which has not loaded the use case yet.
    monkeypatch.setattr(sanitise, "_known", {})
    await give_decision("secret-9", "reject", who=f"Ada (password={SECRETS['password']})", why=why)
    view = await pipeline.go_on(run.id)
    assert {record.reason for record in view.targets.values()} == {
        "publishing was rejected by Ada (password=***): key ***, ***, said-marker"
    }
    every = await asyncio.to_thread(rows)
    assert any("said-marker" in row for row in every["flow_run_input"])
    assert {table: found for table, each in every.items() if (found := leaks("\n".join(each)))} == {}
