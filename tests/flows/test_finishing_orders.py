"""Four targets can finish in 24 orders: record, history, page and components are the same for all of them."""

from __future__ import annotations

import asyncio
import base64
import json
import re
from collections.abc import Callable
from itertools import permutations
from typing import Any
from uuid import UUID

import pytest
from prefect import get_client
from prefect.client.schemas.filters import ArtifactFilter, ArtifactFilterFlowRunId

from dda_core.runs.ledger import Ledger
from dda_core.runs.view import RunView
from tasks.store.history import history_of, runs_of
from tests.flows.conftest import Pipeline

pytestmark = [pytest.mark.slow, pytest.mark.timeout(150)]

FOUR = ["jetson-xavier", "x86_64-cpu", "x86_64-cuda", "arm64-cpu"]
TIMES = {"at", "started", "ended", "seconds", "queue_seconds", "compile_seconds", "log_tail"}
# The embedded AWS sometimes packs the same compiled files into different bytes; the package's key depends on the files.
PACKED = {"model_digest", "bytes_out"}
first_result: list[Any] = []
"""The result of the first order, which all others must match."""


@pytest.mark.parametrize("order", permutations(FOUR), ids=lambda order: "-".join(str(FOUR.index(t)) for t in order))
async def test_every_finishing_order_of_four_targets_gives_the_same_result(
    pipeline: Pipeline,
    order: tuple[str, ...],
    monkeypatch: pytest.MonkeyPatch,
    counted: Callable[..., None],
) -> None:
    finished: list[str] = []
    deployable = Ledger.deployable

    def noted(ledger: Ledger, target: str, *made: Any) -> None:
        deployable(ledger, target, *made)
        finished.append(target)

    monkeypatch.setattr(Ledger, "deployable", noted)
    pipeline.train("lid-7", model_name="Lid")
    for target in FOUR:
        pipeline.aws.holds.hold("compile", target)
    running = asyncio.create_task(pipeline.run("lid-7"))
    await pipeline.until(lambda: len(pipeline.jobs()) == 4, 60)
    for number, target in enumerate(order, start=1):
        pipeline.aws.holds.release("compile", target)
        await pipeline.until(lambda number=number: len(finished) == number, 60)
    view = await running
    assert tuple(finished) == order

    result = await everything_but_times(pipeline, view)
    first_result.append(result)
    assert result == first_result[0]
    assert [row["target"] for row in result["record"]] == FOUR
    assert {row["status"] for row in result["record"]} == {"deployable"}
    counted("orders in which four targets finish")


async def everything_but_times(pipeline: Pipeline, view: RunView) -> Any:
    """Everything that a run produces, without times and the run's id."""
    flow_run = await pipeline.flow_run(view)
    async with get_client() as client:
        of_run = ArtifactFilter(flow_run_id=ArtifactFilterFlowRunId(any_=[flow_run.id]))
        artifacts = {str(each.key): str(each.data) for each in await client.read_artifacts(artifact_filter=of_run)}
        # The session's server also has the runs of the other orders.
        runs = [run for run in await runs_of(client, "lid-7") if run.run.id == UUID(view.flow_run_id)]
    page = artifacts["targets-lid-7"]
    greengrass, s3 = pipeline.aws.client("greengrassv2"), pipeline.aws.client("s3")
    arns = [record.arn for record in view.targets.values()]
    result = {
        "state": (view.state, view.status, (await pipeline.state(view)).message),
        "tags": sorted(flow_run.tags),
        "view": [(target, record.model_dump()) for target, record in view.targets.items()],
        "history": sorted(
            (row.model_dump(mode="json") for row in history_of(runs)), key=lambda row: str(row["target"])
        ),
        "record": json.loads(artifacts["record-lid-7"]),
        "page": re.sub(r"\d+&nbsp;s|base64,[A-Za-z0-9+/=]+|[0-9a-f]{64}|\b[0-9a-f]{12}…", "", page),
        "picture": [text for text in re.findall(r">([^<>]+)</text>", picture_of(page)) if text in FOUR],
        "jobs": pipeline.jobs(),
        "versions": pipeline.versions(),
        "components": [greengrass.describe_component(arn=arn)["tags"] for arn in arns],
        "recipes": [json.loads(greengrass.get_component(arn=arn)["recipe"]) for arn in arns],
        "objects": sorted(each["Key"] for each in s3.list_objects_v2(Bucket=pipeline.aws.bucket)["Contents"]),
    }
    return without_times(json.loads(json.dumps(result, default=str).replace(view.flow_run_id, "the run")))


def picture_of(page: str) -> str:
    match = re.search(r"base64,([A-Za-z0-9+/=]+)", page)
    assert match
    return base64.b64decode(match[1]).decode()


def without_times(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: without_times(each) for key, each in value.items() if key not in TIMES | PACKED}
    return [without_times(each) for each in value] if isinstance(value, list) else value
