"""The scope of a retry: what the run's tags say, and no other failed target."""

from __future__ import annotations

from typing import Any
from uuid import UUID

import pytest
from prefect import get_client
from prefect.client.schemas.objects import State, StateType
from prefect.states import AwaitingRetry, Cancelled, Crashed, Failed, Pending, Running, Scheduled, Suspended

from dda_core.runs.history import HistoryRow
from dda_core.runs.liveness import Resumption
from dda_core.runs.status import RunStatus, TargetStatus
from deployments.local.aws.control import add_job
from tasks.retry_scope import order_of, retry_tags
from tasks.store.history import history_of, runs_of
from tasks.store.run_states import times_ended
from tasks.store.transitions import transition_id
from tests.flows.conftest import Pipeline

PAIR = ["arm64-cpu", "x86_64-cpu"]
OPERATORS = "ClientError: OperatorNotImplemented: The following operators are not implemented: ['aten::nms']"


async def tag(flow_run_id: str | None, *tags: str) -> None:
    async with get_client() as client:
        run = await client.read_flow_run(UUID(flow_run_id))
        await client.update_flow_run(run.id, tags=[*run.tags, *tags])


async def history(training_job: str) -> list[HistoryRow]:
    async with get_client() as client:
        return history_of(await runs_of(client, training_job))


async def failed_pair(pipeline: Pipeline, job: str) -> str:
    pipeline.train(job)
    for target in PAIR:
        pipeline.aws.faults.add("compile", target=target, reason=OPERATORS)
    view = await pipeline.run(job, targets=PAIR)
    assert view.status is RunStatus.FAILED
    return str(view.flow_run_id)


@pytest.mark.slow
async def test_a_named_target_is_retried_and_the_other_unchanged(pipeline: Pipeline) -> None:
    run = await failed_pair(pipeline, "named-1")
    before = await history("named-1")
    await tag(run, "somebody:else", *retry_tags(["arm64-cpu"], force=False))
    view = await pipeline.go_on(UUID(run), retry=True)

    assert {name: record.status for name, record in view.targets.items()} == {
        "arm64-cpu": TargetStatus.DEPLOYABLE,
        "x86_64-cpu": TargetStatus.FAILED,
    }
    assert (view.targets["x86_64-cpu"].attempt, view.targets["x86_64-cpu"].reason) == (1, OPERATORS)
    assert [job.rpartition("-")[2] for job in pipeline.jobs()] == ["1", "2", "1"]
    flow_run = await pipeline.flow_run(view)
    assert not [each for each in flow_run.tags if each.startswith("retry:")]
    assert {"somebody:else", "status:partial", "failed:x86_64-cpu"} <= set(flow_run.tags)
    assert flow_run.run_count == 2
    # An unchanged target has no new attempt.
    after = await history("named-1")
    assert [(row.target, row.attempt, row.status) for row in after] == [
        *((row.target, row.attempt, row.status) for row in before),
        ("arm64-cpu", 2, "deployable"),
    ]


@pytest.mark.slow
async def test_without_tags_every_failed_target_is_retried(pipeline: Pipeline) -> None:
    run = await failed_pair(pipeline, "all-1")
    view = await pipeline.go_on(UUID(run), retry=True)
    assert {record.status for record in view.targets.values()} == {TargetStatus.DEPLOYABLE}
    assert {record.attempt for record in view.targets.values()} == {2}


@pytest.mark.slow
async def test_a_forced_retry_recompiles_instead_of_adopting(pipeline: Pipeline) -> None:
    pipeline.train()
    pipeline.aws.faults.add("publish", target="arm64-cpu", reason="the artifact cannot be read")
    view = await pipeline.run(targets=["arm64-cpu"])
    assert view.targets["arm64-cpu"].status is TargetStatus.FAILED
    await tag(view.flow_run_id, *retry_tags([], force=True))
    view = await pipeline.go_on(UUID(view.flow_run_id), retry=True)
    assert (view.targets["arm64-cpu"].status, view.targets["arm64-cpu"].attempt) == (TargetStatus.DEPLOYABLE, 2)
    assert len(pipeline.jobs()) == 2


@pytest.mark.slow
async def test_a_scope_holds_for_one_retry(pipeline: Pipeline) -> None:
    run = await failed_pair(pipeline, "once-1")
    await tag(run, *retry_tags(["arm64-cpu"], force=False))
    await pipeline.go_on(UUID(run), retry=True)
    view = await pipeline.go_on(UUID(run), retry=True)
    assert {record.status for record in view.targets.values()} == {TargetStatus.DEPLOYABLE}


RETRIED, RESTARTED = AwaitingRetry(), AwaitingRetry(state_details={"transition_id": transition_id(Resumption.RESUMED)})


@pytest.mark.parametrize(
    ("states", "ended"),
    [
        ([Running()], 0),
        ([Running(), Crashed(), RESTARTED, Running()], 0),
        ([Running(), Crashed(), RETRIED, Running()], 1),
        ([Running(), Failed(), RETRIED, Running(), Crashed(), RESTARTED, Running()], 1),
        ([Running(), Failed(), RETRIED, Running(), Crashed(), RETRIED, Running()], 2),
        ([Running(), Suspended(), Scheduled(name="Resuming"), Running()], 0),
        ([Running(), Cancelled(), RETRIED, Pending(), Running()], 1),
    ],
)
def test_a_restarted_crash_is_not_an_end_and_a_retried_one_is(states: list[State[Any]], ended: int) -> None:
    assert times_ended(states) == ended


async def test_a_refused_run_has_the_reason_at_each_requested_target(pipeline: Pipeline) -> None:
    view = await pipeline.run("nowhere-1", targets=PAIR)
    assert {record.status for record in view.targets.values()} == {TargetStatus.FAILED}
    reasons = {str(record.reason) for record in view.targets.values()}
    assert len(reasons) == 1
    assert "training job 'nowhere-1' is not in account 123456789012, Region us-east-1" in reasons.pop()


def test_the_tags_round_trip() -> None:
    order = order_of(["model:x", *retry_tags(["a", "b"], force=True)])
    assert (order.targets, order.force) == (("a", "b"), True)
    assert order.leaves_alone("c")
    assert not order.leaves_alone("a")
    assert not order_of(["retry:force"]).leaves_alone("c")


async def test_a_training_job_of_another_use_case_is_ignored(pipeline: Pipeline) -> None:
    pipeline.train("other-1", tags={"dda:use-case": "caps"})
    view = await pipeline.run("other-1")
    state = await pipeline.state(view)
    assert state.type is StateType.COMPLETED
    assert str(state.message).startswith("ignored: training job other-1 does not belong to use case 'local'")
    assert "status:ignored" in (await pipeline.flow_run(view)).tags
    assert pipeline.jobs() == []
    # Neither history nor overview mentions it.
    assert await history("other-1") == []


async def test_a_model_in_another_bucket_is_ignored_unless_its_tag_says_otherwise(pipeline: Pipeline) -> None:
    s3 = pipeline.aws.client("s3")
    s3.create_bucket(Bucket="dda-elsewhere")
    add_job("away-1", "s3://dda-elsewhere/m/model.tar.gz")
    view = await pipeline.run("away-1", targets=["arm64-cpu"])
    assert str((await pipeline.state(view)).message).startswith("ignored: ")
    source = pipeline.train("ours-1")
    bucket, _, key = source.removeprefix("s3://").partition("/")
    s3.copy_object(Bucket="dda-elsewhere", Key="n/model.tar.gz", CopySource={"Bucket": bucket, "Key": key})
    add_job("ours-2", "s3://dda-elsewhere/n/model.tar.gz", tags={"dda:use-case": "local"})
    view = await pipeline.run("ours-2", targets=["arm64-cpu"])
    assert view.status is RunStatus.COMPLETED
