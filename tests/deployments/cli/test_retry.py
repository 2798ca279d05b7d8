"""``dda retry`` against a real Prefect server."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any
from uuid import UUID, uuid4

import pytest
from prefect import get_client
from prefect.client.schemas.objects import FlowRun, StateType
from prefect.settings import PREFECT_API_URL, temporary_settings
from prefect.states import Running
from prefect.types.entrypoint import EntrypointType
from typer.testing import Result

from flows.compile_training_job import compile_training_job
from tests.deployments.cli.command import dda, refusal
from tests.fixtures.past_runs import PastRun, write_past_runs
from tests.tasks.store.test_history import line

Ask = Callable[..., Awaitable[Result]]
NEVER = "ClientError: OperatorNotImplemented: The following operators are not implemented: ['aten::nms']"
MAY_PASS = "ServerError: There was an internal server error during the compilation job"
KEYS = ["training_job", "use_case", "target", "retry", "why", "retry_class", "attempts", "maximum", "not_before"]


@pytest.fixture
def ask(prefect_server: None) -> Ask:
    async def run(*arguments: object, command: Any = dda, **options: Any) -> Any:
        # The command runs its own event loop, so it needs a thread without one.
        return await asyncio.to_thread(command, "retry", *arguments, **options)

    return run


@pytest.fixture
async def deployment(prefect_server: None) -> AsyncIterator[UUID]:
    saved = await (
        await compile_training_job.ato_deployment(f"cli-{uuid4().hex[:8]}", entrypoint_type=EntrypointType.MODULE_PATH)
    ).aapply()
    yield saved
    async with get_client() as client:
        await client.delete_deployment(saved)


async def ended(deployment: UUID | None, *lines: Any, state: StateType = StateType.FAILED) -> tuple[str, UUID]:
    """A training job with one run that ended like this, and the run's id."""
    from prefect.server.database import provide_database_interface
    from sqlalchemy import update

    name = f"job-{uuid4().hex[:8]}"
    [run] = await write_past_runs([PastRun(name, 0, [list(lines)] if lines else [], state)])
    db = provide_database_interface()
    async with db.session_context(begin_transaction=True) as session:
        await session.execute(update(db.FlowRun).where(db.FlowRun.id == run).values(deployment_id=deployment))
    return name, run


async def read(run: UUID) -> FlowRun:
    async with get_client() as client:
        return await client.read_flow_run(run)


A_NEVER = line("arm64-cpu", "failed", (1, "failed"), reason=NEVER)
B_MAY_PASS = line("x86_64-cpu", "failed", (1, "failed"), reason=MAY_PASS)
C_GOOD = line("x86_64-cuda", "deployable", (1, "deployable"), version="1.0.0")


async def test_only_targets_that_a_retry_can_help_are_retried(ask: Ask, deployment: UUID) -> None:
    name, run = await ended(deployment, A_NEVER, B_MAY_PASS, C_GOOD)
    planned = await ask(name, "--dry-run")
    assert planned.exit_code == 0
    assert "would be retried" in planned.stdout
    assert (await read(run)).state_type is StateType.FAILED

    result = await ask(name, "--json")
    assert result.exit_code == 0
    rows = json.loads(result.stdout)
    assert [list(row) for row in rows] == [[*KEYS, "reason", "flow_run_id"]] * 2
    assert {row["target"]: (row["retry"], row["retry_class"]) for row in rows} == {
        "arm64-cpu": (False, "never"),
        "x86_64-cpu": (True, "backoff"),
    }
    scheduled = await read(run)
    assert scheduled.state
    assert (scheduled.state.name, scheduled.state.message) == ("AwaitingRetry", "Retried by dda retry: x86_64-cpu")
    assert [tag for tag in scheduled.tags if tag.startswith("retry:")] == ["retry:x86_64-cpu"]
    # Other tags are kept.
    assert f"training-job:{name}" in scheduled.tags

    again = await ask(name)
    assert again.exit_code == 1
    assert "its run is in progress (AwaitingRetry)" in again.stdout


async def test_targets_that_a_retry_cannot_help_are_only_retried_with_force(ask: Ask, deployment: UUID) -> None:
    name, run = await ended(deployment, A_NEVER, C_GOOD)
    result = await ask(name)
    assert result.exit_code == 1
    assert "never: The model uses operators that SageMaker Neo cannot compile" in result.stdout
    assert "--force" in result.stdout
    assert (await read(run)).state_type is StateType.FAILED

    forced = await ask(name, "--force")
    assert forced.exit_code == 0
    assert [tag for tag in (await read(run)).tags if tag.startswith("retry:")] == ["retry:arm64-cpu", "retry:force"]


async def test_only_named_targets_are_retried(ask: Ask, deployment: UUID) -> None:
    name, run = await ended(deployment, B_MAY_PASS, line("arm64-cpu", "failed", (1, "failed"), reason=MAY_PASS))
    result = await ask(name, "--targets", "aarch64", "--use-case", "local")
    assert result.exit_code == 0
    assert [tag for tag in (await read(run)).tags if tag.startswith("retry:")] == ["retry:arm64-cpu"]


async def test_a_crashed_run_that_knew_no_targets_is_retried_as_a_whole(ask: Ask, deployment: UUID) -> None:
    name, run = await ended(deployment, state=StateType.CRASHED)
    result = await ask(name, "--targets", "arm64-cpu")
    assert result.exit_code == 0
    assert "(whole run)" in result.stdout
    assert (await read(run)).state_type is StateType.SCHEDULED


async def test_without_failures_nothing_is_retried(ask: Ask, deployment: UUID) -> None:
    name, _ = await ended(deployment, C_GOOD, state=StateType.COMPLETED)
    result = await ask(name)
    assert (result.exit_code, result.stdout) == (0, f"No target of {name} has failed; there is nothing to retry.\n")
    assert json.loads((await ask(name, "--json")).stdout) == []


async def test_a_run_in_progress_is_left_alone(ask: Ask, deployment: UUID) -> None:
    name, run = await ended(deployment, B_MAY_PASS)
    async with get_client() as client:
        await client.set_flow_run_state(run, Running(), force=True)
    result = await ask(name, "--force")
    assert result.exit_code == 1
    assert "its run is in progress (Running)" in result.stdout
    assert (await read(run)).state_type is StateType.RUNNING


async def test_a_run_without_a_deployment_is_reported(ask: Ask) -> None:
    name, run = await ended(None, B_MAY_PASS)
    result = await ask(name, "--force")
    assert result.exit_code == 1
    assert "has no deployment" in result.stdout
    assert (await read(run)).state_type is StateType.FAILED


async def test_unknown_names_are_usage_errors(ask: Ask, deployment: UUID) -> None:
    said = await ask("nobody-trained-it", command=refusal, code=2)
    assert said.startswith("training job 'nobody-trained-it' has no run, so there is nothing to retry.")
    name, _ = await ended(deployment, B_MAY_PASS)
    assert "of use case 'other'" in await ask(name, "--use-case", "other", command=refusal, code=2)
    said = await ask(name, "--targets", "jetson", command=refusal, code=2)
    assert said == f"training job {name}: unknown target 'jetson-xavier'; expected one of x86_64-cpu"
    await ask(name, "--targets", "toaster", command=refusal, code=2)


async def test_without_a_server_there_is_an_error(ask: Ask) -> None:
    with temporary_settings({PREFECT_API_URL: "http://127.0.0.1:9/api"}):
        assert "no Prefect server answers" in await ask("lid-7", command=refusal, code=3)
