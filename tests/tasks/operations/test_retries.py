"""Failed targets from the history of a real Prefect server, and their runs scheduled again."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import suppress
from datetime import UTC, datetime, timedelta
from functools import partial
from typing import Any, NamedTuple
from uuid import UUID, uuid4

import pytest
from prefect import get_client
from prefect.client.schemas.filters import FlowFilter, FlowFilterName
from prefect.client.schemas.objects import StateType
from prefect.exceptions import ObjectNotFound
from prefect.states import Cancelled, Crashed, Failed, Pending, Running
from prefect.types.entrypoint import EntrypointType

from dda_core.runs.flows import FlowName
from dda_core.runs.history import AttemptStatus
from dda_core.runs.retry_class import RetryClass
from dda_core.runs.retry_policy import FailedTarget, RetryDecision, decide
from dda_core.runs.status import RunStatus, TargetStatus
from dda_core.settings import load_settings
from flows import retry_failed as retrying
from flows.compile_training_job import compile_training_job
from tasks.operations.retries import REJECTED, carry_out, failed_targets, sweep
from tasks.operations.run_retention import IDLE, forget_idle_runs
from tasks.store.artifacts import latest_artifact
from tasks.store.history import IGNORED, history_of, runs_of
from tests.fixtures.past_runs import PastRun, write_past_runs
from tests.flows.conftest import Pipeline
from tests.tasks.store.test_history import line

MAY_PASS = "ServerError: There was an internal server error during the compilation job, please try again"
OPERATORS = "ClientError: OperatorNotImplemented: The following operators are not implemented: ['aten::nms']"
PAIR = ["arm64-cpu", "x86_64-cpu"]


class Deployed(NamedTuple):
    """The pipeline, with a deployment that its runs are created from, as people do."""

    pipeline: Pipeline
    deployment: UUID

    async def scheduled(self, training_job: str, **parameters: Any) -> UUID:
        async with get_client() as client:
            run = await client.create_flow_run_from_deployment(
                self.deployment,
                parameters={"training_job_name": training_job, "use_case": "local", **parameters},
                name=training_job,
            )
        return run.id

    async def in_state(self, state: Any, training_job: str | None = None, **parameters: Any) -> str:
        """The name of a training job with one run, in that state."""
        name = training_job or f"job-{uuid4().hex[:8]}"
        run = await self.scheduled(name, **parameters)
        async with get_client() as client:
            await client.set_flow_run_state(run, Running(), force=True)
            await client.set_flow_run_state(run, state, force=True)
        return name


@pytest.fixture
async def deployed(pipeline: Pipeline, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Deployed]:
    monkeypatch.setenv("DDA_EXTRA_ATTEMPTS", "0")
    monkeypatch.setenv("DDA_RETRY_BUDGET", "1000")
    deployment = await compile_training_job.ato_deployment(
        f"retrying-{uuid4().hex[:8]}", entrypoint_type=EntrypointType.MODULE_PATH
    )
    saved = await deployment.aapply()
    yield Deployed(pipeline, saved)
    async with get_client() as client:
        with suppress(ObjectNotFound):
            await client.delete_deployment(saved)


async def failures(training_job: str) -> list[FailedTarget]:
    async with get_client() as client:
        return await failed_targets(client, [await runs_of(client, training_job)])


async def swept(training_job: str) -> dict[str | None, RetryDecision]:
    """What a sweep decides about one training job."""
    return {each.target: each for each in await sweep("test") if each.training_job == training_job}


@pytest.mark.slow
async def test_a_retry_is_the_same_run_again_and_its_history_holds_it_all(
    deployed: Deployed, monkeypatch: pytest.MonkeyPatch
) -> None:
    pipeline = deployed.pipeline
    pipeline.train("again-1")
    pipeline.aws.faults.add("compile", target="arm64-cpu", reason=OPERATORS)
    pipeline.aws.faults.add("compile", target="x86_64-cpu", reason=MAY_PASS, times=1)
    first = await pipeline.go_on(await deployed.scheduled("again-1", targets=[*PAIR, "x86_64-cuda"]))
    assert first.status is RunStatus.PARTIAL

    waiting = await swept("again-1")
    assert {name: (each.retry, each.retry_class) for name, each in waiting.items()} == {
        "arm64-cpu": (False, RetryClass.NEVER),
        "x86_64-cpu": (False, RetryClass.BACKOFF),
    }
    assert waiting["x86_64-cpu"].not_before
    assert "The model uses operators" in waiting["arm64-cpu"].why

    monkeypatch.setenv("DDA_RETRY_BACKOFF_SECONDS", "0.01")
    decided = await swept("again-1")
    assert {name: each.retry for name, each in decided.items()} == {"arm64-cpu": False, "x86_64-cpu": True}
    run = await pipeline.flow_run(first)
    assert run.state
    assert run.state.name == "AwaitingRetry"
    assert "x86_64-cpu" in str(run.state.message)
    assert [tag for tag in run.tags if tag.startswith("retry:")] == ["retry:x86_64-cpu"]
    assert {each.why for each in (await swept("again-1")).values()} == {"its run is in progress (AwaitingRetry)"}

    second = await pipeline.go_on(UUID(first.flow_run_id))
    assert {name: record.status for name, record in second.targets.items()} == {
        "arm64-cpu": TargetStatus.FAILED,
        "x86_64-cpu": TargetStatus.DEPLOYABLE,
        "x86_64-cuda": TargetStatus.DEPLOYABLE,
    }
    run = await pipeline.flow_run(second)
    assert (second.flow_run_id, run.run_count) == (first.flow_run_id, 2)
    assert not [tag for tag in run.tags if tag.startswith("retry:")]
    async with get_client() as client:
        states = await client.read_flow_run_states(run.id)
        rows = history_of(await runs_of(client, "again-1"))
    assert [state.name for state in states if state.name != "Pending"] == [
        "Scheduled",
        "Running",
        "Failed",
        "AwaitingRetry",
        "Running",
        "Failed",
    ]
    assert [(row.attempt, row.status) for row in rows if row.target == "x86_64-cpu"] == [
        (1, AttemptStatus.FAILED),
        (2, AttemptStatus.DEPLOYABLE),
    ]
    # Only the target that was left alone remains, and it has still failed once.
    [left] = await failures("again-1")
    assert (left.target, left.attempts, left.retry_class) == ("arm64-cpu", 1, RetryClass.NEVER)


@pytest.mark.slow
async def test_after_the_maximum_a_target_is_left_alone(deployed: Deployed, monkeypatch: pytest.MonkeyPatch) -> None:
    pipeline = deployed.pipeline
    monkeypatch.setenv("DDA_RETRY_BACKOFF_SECONDS", "0.01")
    monkeypatch.setenv("DDA_RETRY_ATTEMPTS_BACKOFF", "3")
    pipeline.train("often-1")
    pipeline.aws.faults.add("compile", target="x86_64-cpu", reason=MAY_PASS, times=9)
    run = await deployed.scheduled("often-1", targets=["x86_64-cpu"])
    await pipeline.go_on(run)
    attempts = 1
    while (decided := (await swept("often-1"))["x86_64-cpu"]).retry:
        assert decided.attempts == attempts
        await pipeline.go_on(run)
        attempts += 1
    assert (attempts, len(pipeline.jobs())) == (3, 3)
    assert decided.why == "backoff: the maximum of 3 attempts is reached"


async def test_two_concurrent_sweeps_retry_once(deployed: Deployed) -> None:
    name = await deployed.in_state(Crashed(message="killed"))
    async with get_client() as client:
        failed = await failed_targets(client, [await runs_of(client, name)])
        decided = decide(failed, datetime.now(UTC), load_settings(), by_hand=True)
        outcomes = await asyncio.gather(*(carry_out(client, decided, "test") for _ in range(5)))
        states = await client.read_flow_run_states(UUID(decided[0].flow_run_id))
    assert sum(each.retry for [each] in outcomes) == 1
    assert [state.name for state in states].count("AwaitingRetry") == 1


async def test_a_decision_is_void_if_its_runs_state_changed(deployed: Deployed) -> None:
    name = await deployed.in_state(Crashed(message="killed"))
    async with get_client() as client:
        decided = decide(await failures(name), datetime.now(UTC), load_settings(), by_hand=True)
        run = UUID(decided[0].flow_run_id)
        for state in (Pending(), Running(), Failed(message="x")):
            await client.set_flow_run_state(run, state, force=True)
            [outcome] = await carry_out(client, decided, "test", force=True)
            assert (outcome.retry, outcome.why) == (False, f"its run has changed in the meantime ({state.name})")
            assert (await client.read_flow_run(run)).state_type is state.type
        await client.delete_flow_run(run)
        [outcome] = await carry_out(client, decided, "test")
    assert (outcome.retry, outcome.why) == (False, "its run was deleted")


async def test_a_crashed_run_that_wrote_nothing_is_retried_entirely(
    deployed: Deployed, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("DDA_RETRY_BACKOFF_SECONDS", "0.01")
    name = await deployed.in_state(Crashed(message="killed"))
    decided = await swept(name)
    assert {target: (each.retry, each.retry_class) for target, each in decided.items()} == {
        None: (True, RetryClass.CRASHED)
    }
    async with get_client() as client:
        run = await client.read_flow_run(UUID(decided[None].flow_run_id))
    assert not [tag for tag in run.tags if tag.startswith("retry:")]
    assert run.state
    assert run.state.message == "Retried by test: all that failed"


async def test_crashes_are_counted_by_the_runs_states(deployed: Deployed) -> None:
    name = await deployed.in_state(Crashed(message="killed"), targets=PAIR)
    [run] = {each.flow_run_id for each in await failures(name)}
    async with get_client() as client:
        for state in (Running(), Crashed(message="killed again")):
            await client.set_flow_run_state(UUID(run), state, force=True)
    assert [(each.target, each.attempts, each.retry_class) for each in await failures(name)] == [
        (target, 2, RetryClass.CRASHED) for target in PAIR
    ]


async def test_a_run_whose_deployment_was_deleted_is_only_reported(
    deployed: Deployed, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("DDA_RETRY_BACKOFF_SECONDS", "0.01")
    name = await deployed.in_state(Crashed(message="killed"))
    async with get_client() as client:
        await client.delete_deployment(deployed.deployment)
    decided = (await swept(name))[None]
    assert not decided.retry
    assert "has no deployment" in decided.why


@pytest.mark.parametrize("tags", [[], [REJECTED]])
async def test_what_a_person_ended_is_left_alone(
    deployed: Deployed, monkeypatch: pytest.MonkeyPatch, tags: list[str]
) -> None:
    monkeypatch.setenv("DDA_RETRY_BACKOFF_SECONDS", "0.01")
    name = await deployed.in_state(Failed(message="x") if tags else Cancelled(), targets=PAIR)
    async with get_client() as client:
        await client.update_flow_run(UUID((await failures(name))[0].flow_run_id), tags=tags)
    decided = await swept(name)
    assert {each.why for each in decided.values()} == {"stopped by a person"}
    assert not any(each.retry for each in decided.values())


@pytest.mark.slow
@pytest.mark.parametrize("aws_options", [{"compile_seconds": 60}])
async def test_a_job_that_reached_its_time_limit_was_not_stopped_by_a_person(
    deployed: Deployed, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("dda_core.compilation.job.MAX_RUNTIME_SECONDS", 1)
    deployed.pipeline.train("limit-1")
    view = await deployed.pipeline.go_on(await deployed.scheduled("limit-1", targets=["arm64-cpu"]))
    assert view.targets["arm64-cpu"].status is TargetStatus.STOPPED
    assert view.targets["arm64-cpu"].reason == "STOPPED: MaxRuntimeInSeconds (1) was reached"
    [found] = await failures("limit-1")
    assert found.retry_class is RetryClass.TIMED_OUT
    async with get_client() as client:
        record = await latest_artifact(client, "record-limit-1")
    assert record is not None
    assert [row["facts"]["retry_class"] for row in json.loads(str(record.data))] == ["timed-out"]


async def test_an_ignored_run_is_not_a_failure(deployed: Deployed) -> None:
    name = await deployed.in_state(Failed(message="x"), targets=PAIR)
    async with get_client() as client:
        await client.update_flow_run(UUID((await failures(name))[0].flow_run_id), tags=[IGNORED])
    assert await failures(name) == []


async def test_a_refused_run_counts_and_is_left_alone(deployed: Deployed) -> None:
    run = await deployed.scheduled("nobody-knows-it")
    await deployed.pipeline.go_on(run)
    decided = await swept("nobody-knows-it")
    assert {target: (each.retry, each.retry_class) for target, each in decided.items()} == {
        None: (False, RetryClass.NEVER)
    }
    assert "There is no training job of that name" in decided[None].why
    async with get_client() as client:
        assert "refused:never" in (await client.read_flow_run(run)).tags


async def test_a_run_that_cannot_start_is_tagged_with_its_class(deployed: Deployed) -> None:
    run = await deployed.scheduled("cannot-begin", use_case="nobody-registered-it")
    await deployed.pipeline.go_on(run)
    async with get_client() as client:
        assert "refused:never" in (await client.read_flow_run(run)).tags
    [found] = await failures("cannot-begin")
    assert found.retry_class is RetryClass.NEVER


async def test_the_newest_run_that_had_a_target_counts(deployed: Deployed) -> None:
    def run(number: int, *lines: Any, **fields: Any) -> PastRun:
        return PastRun("newest-1", number, [list(lines)], StateType.FAILED, **fields)

    a, b, c = (line(name, "failed", (1, "failed"), reason=MAY_PASS) for name in "abc")
    ids = await write_past_runs(
        [
            run(0, a, b, c),
            run(1, line("a", "deployable", (2, "deployable"), run=1), use_case="local"),
            run(2, line("b", "skipped"), line("c", "failed", (2, "failed"), run=2, reason=OPERATORS)),
            run(3, line("a", "failed", (1, "failed"), reason=MAY_PASS), use_case="another"),
        ]
    )
    found = {(each.use_case, each.target): each for each in await failures("newest-1")}
    assert {key: (each.flow_run_id, each.retry_class) for key, each in found.items()} == {
        ("local", "c"): (str(ids[2]), RetryClass.NEVER),
        ("another", "a"): (str(ids[3]), RetryClass.BACKOFF),
    }
    assert all("no deployment" in str(each.obstacle) for each in found.values())


async def test_a_later_process_that_wrote_nothing_counts(deployed: Deployed) -> None:
    """Otherwise its target would stay at its first attempt and be retried forever."""
    pipeline = deployed.pipeline
    pipeline.train("refused-later")
    pipeline.aws.faults.add("compile", target="x86_64-cpu", reason=MAY_PASS)
    view = await pipeline.go_on(await deployed.scheduled("refused-later", targets=["x86_64-cpu"]))
    [before] = await failures("refused-later")
    assert (before.retry_class, before.attempts) == (RetryClass.BACKOFF, 1)
    async with get_client() as client:
        for state in (Running(), Failed(message="TrainingJobMissing: training job x is not in account y")):
            await client.set_flow_run_state(UUID(view.flow_run_id), state, force=True)
    [after] = await failures("refused-later")
    assert (after.target, after.retry_class, after.attempts) == ("x86_64-cpu", RetryClass.NEVER, 2)
    assert after.ended > before.ended


async def test_an_older_run_does_not_count_after_a_refused_one(deployed: Deployed) -> None:
    old = line("a", "failed", (1, "failed"), reason=MAY_PASS)
    await write_past_runs(
        [PastRun("refused-1", 0, [[old]], StateType.FAILED), PastRun("refused-1", 1, state=StateType.CANCELLED)]
    )
    assert [(each.target, each.retry_class) for each in await failures("refused-1")] == [(None, RetryClass.STOPPED)]


async def test_the_flow_writes_decisions_only_if_they_changed(
    deployed: Deployed, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(retrying, "forget_idle_runs", partial(forget_idle_runs, keep=1))
    monkeypatch.setenv("DDA_RETRY_BACKOFF_SECONDS", "3600")
    account = "210987654321"
    name = await deployed.in_state(Crashed(message=f"killed as arn:aws:iam::{account}:role/x"), targets=PAIR)

    async def rows() -> Any:
        async with get_client() as client:
            latest = await latest_artifact(client, retrying.ROWS_KEY)
        assert latest
        return latest.latest_id, {
            (each["training_job"], each["target"]): each["retry"] for each in json.loads(str(latest.data))
        }

    await retrying.retry_failed(return_state=True)
    first, decided = await rows()
    assert (decided[name, "arm64-cpu"], decided[name, "x86_64-cpu"]) == (False, False)
    for _ in range(3):
        state = await retrying.retry_failed(return_state=True)
    assert state.is_completed()
    assert "0 retried" in str(state.message)
    assert (await rows())[0] == first
    async with get_client() as client:
        runs = await client.read_flow_runs(flow_filter=FlowFilter(name=FlowFilterName(any_=[FlowName.RETRY_FAILED])))
        assert len([run for run in runs if IDLE in run.tags]) == 2
        page = await latest_artifact(client, retrying.KEY)
    assert page
    assert name in str(page.data)
    assert account not in str(page.data)

    monkeypatch.setenv("DDA_RETRY_BACKOFF_SECONDS", "0.001")
    state = await retrying.retry_failed(return_state=True)
    assert " retried" in str(state.message)
    second, decided = await rows()
    assert second != first
    assert decided[name, "arm64-cpu"]


def test_the_flow_is_scheduled_one_at_a_time() -> None:
    from pathlib import Path

    import yaml

    deployments = yaml.safe_load(Path(__file__).parents[3].joinpath("prefect.yaml").read_text())["deployments"]
    [found] = [each for each in deployments if each["name"] == "retry-failed"]
    assert found["entrypoint"] == "flows.retry_failed.retry_failed"
    assert timedelta(seconds=found["schedule"]["interval"]) == timedelta(minutes=10)
    assert found["concurrency_limit"] == {"limit": 1, "collision_strategy": "CANCEL_NEW"}
