from __future__ import annotations

import json
from datetime import UTC, datetime
from functools import partial
from typing import Any

import pytest
from prefect import get_client
from prefect.client.schemas.filters import ArtifactFilter, ArtifactFilterKey, FlowFilter, FlowFilterName
from prefect.client.schemas.objects import StateType

from dda_core.pages.links import OVERVIEW
from dda_core.pages.overview import OverviewRow
from dda_core.runs.flows import FlowName
from dda_core.runs.status import RunStatus
from deployments.server.registration import save_use_case
from flows import refresh_overview as refreshing
from tasks.operations.overview import ROWS_KEY, ensure_overview, refresh, stored_rows
from tasks.operations.run_retention import forget_idle_runs
from tasks.store.artifacts import keep_artifact, latest_artifact
from tasks.store.history import runs_of
from tests.fixtures.denials import deny_tags
from tests.fixtures.past_runs import PastRun, write_past_runs
from tests.tasks.store.test_history import line

REASON = "ClientError: InputConfiguration: no | <b>operator</b> arn:aws:iam::123456789012:role/x"


async def data(key: str) -> str:
    async with get_client() as client:
        latest = await latest_artifact(client, key)
    assert latest is not None
    return str(latest.data)


async def versions(key: str) -> int:
    async with get_client() as client:
        return len(await client.read_artifacts(artifact_filter=ArtifactFilter(key=ArtifactFilterKey(any_=[key]))))


async def row_of(training_job: str) -> OverviewRow:
    async with get_client() as client:
        (row,) = [row for row in await stored_rows(client) if row.training_job == training_job]
    return row


async def test_a_run_keeps_the_overview_as_its_state_changes(pipeline: Any) -> None:
    # The page links only the first twenty models in alphabetical order.
    pipeline.train("over-1", model_name="0-over-model")
    view = await pipeline.run("over-1", targets=["x86_64-cpu", "arm64-cpu"])
    row = await row_of("over-1")
    assert (row.status, row.deployable, row.asked, row.model) == (RunStatus.COMPLETED, 2, 2, "0-over-model")
    assert row.flow_run_id == view.flow_run_id
    page = await data(OVERVIEW)
    assert f"[run](/v2/runs/flow-run/{view.flow_run_id})" in page
    assert "[0-over-model](/v2/runs?tags=model:0-over-model)" in page


async def test_a_failure_shows_its_cause_and_next_step(pipeline: Any) -> None:
    await write_past_runs(
        [
            PastRun(
                "over-3",
                0,
                [[line("x86_64-cpu", "deployable", (1, "deployable")), line("x86_64-cuda", "failed", reason=REASON)]],
                StateType.FAILED,
            )
        ]
    )
    await save_use_case_local(pipeline)
    await refresh()
    row = await row_of("over-3")
    assert (row.status, row.deployable, row.asked, row.failed) == (RunStatus.PARTIAL, 1, 2, ["x86_64-cuda"])
    page = await data(OVERVIEW)
    (shown,) = [text for text in page.splitlines() if text.startswith("| over-3 ")]
    assert "🟡&nbsp;partial" in shown
    assert "1/2" in shown
    assert "[Compile again: x86_64-cuda](/v2/deployments/deployment/" in shown
    assert "no &#124; &lt;b&gt;operator" in shown
    assert "123456789012" not in page + await data(ROWS_KEY)


async def save_use_case_local(pipeline: Any) -> None:
    from tasks.store.use_cases import load_use_case

    await save_use_case(await load_use_case("local"))


async def test_training_jobs_never_compiled_say_what_to_do_next(pipeline: Any) -> None:
    pipeline.train("fresh-1", model_name="fresh")
    pipeline.train("fresh-2", status="Failed")
    await save_use_case_local(pipeline)
    rows = {row.training_job: row for row in await refresh()}
    assert rows["fresh-1"].status is RunStatus.NOT_STARTED
    assert (rows["fresh-1"].model, rows["fresh-1"].flow_run_id) == ("fresh", None)
    assert "fresh-2" not in rows
    # Other use cases that tests have left on the server may have the same training job.
    lines = [text for text in (await data(OVERVIEW)).splitlines() if text.startswith("| fresh-1 ")]
    form = f"[Compile it](/v2/deployments/deployment/{rows['fresh-1'].deployment_id}/run?parameters="
    assert sum(form in line for line in lines) == 1


async def test_an_account_that_cannot_be_read_keeps_its_rows(pipeline: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    pipeline.train("kept-1")
    await refresh()
    monkeypatch.setenv("AWS_ENDPOINT_URL", "http://127.0.0.1:9")
    monkeypatch.setenv("DDA_CONNECT_TIMEOUT_SECONDS", "1")
    rows = {row.training_job for row in await refresh()}
    assert "kept-1" in rows
    assert "The training jobs of use case local could not be listed" in await data(OVERVIEW)


@pytest.mark.slow
async def test_the_page_says_that_the_tags_of_training_jobs_may_not_be_read(pipeline: Any) -> None:
    pipeline.train("untagged-1")
    deny_tags(pipeline.aws)
    assert "untagged-1" in {row.training_job for row in await refresh()}, "its model is in the use case's bucket"
    assert "Use case local: No permission to read the tags of a training-job" in await data(OVERVIEW)


async def test_a_refresh_corrects_what_a_killed_process_left(pipeline: Any) -> None:
    await write_past_runs(
        [PastRun("over-4", 0, [[line("a", "compiling", (1, "compiling"))]], StateType.CRASHED, tags=["mine"])]
    )
    await refresh()
    assert (await row_of("over-4")).status is RunStatus.FAILED
    async with get_client() as client:
        (run,) = await runs_of(client, "over-4")
    assert set(run.run.tags) == {"training-job:over-4", "mine", "status:failed", "failed:a"}
    assert "💥&nbsp;crashed" in await data("history-over-4")


@pytest.mark.slow
async def test_pages_are_updated_in_place_and_model_pages_get_a_version_per_run(pipeline: Any) -> None:
    pipeline.train("twice-1", model_name="Twice Model")
    for _ in range(2):
        await pipeline.run("twice-1", targets=["x86_64-cpu"])
    assert await versions("history-twice-1") == 1
    assert await versions(OVERVIEW) == 1
    assert await versions("model-twice-model") == 2
    page = await data("model-twice-model")
    assert "🟢&nbsp;deployable" in page
    assert "⏩&nbsp;skipped" in page
    assert "🟢&nbsp;deployable" in await data("history-twice-1")


async def test_a_refused_run_is_failed_in_the_overview(pipeline: Any) -> None:
    await pipeline.run("never-trained")
    assert (await row_of("never-trained")).status is RunStatus.FAILED


async def test_unreadable_rows_are_rebuilt(pipeline: Any) -> None:
    async with get_client() as client:
        await keep_artifact(client, ROWS_KEY, "table", json.dumps([{"other": 1}]), "x")
        assert await stored_rows(client) == []
    pipeline.train("anew-1")
    assert "anew-1" in {row.training_job for row in await refresh()}


async def test_there_is_a_page_from_the_start(prefect_server: None) -> None:
    await ensure_overview()
    assert "# Training jobs" in await data(OVERVIEW)


async def test_the_flow_keeps_few_runs_of_its_own(pipeline: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(refreshing, "forget_idle_runs", partial(forget_idle_runs, keep=2))
    for _ in range(4):
        state = await refreshing.refresh_overview(return_state=True)
        assert state.is_completed()
    async with get_client() as client:
        runs = await client.read_flow_runs(
            flow_filter=FlowFilter(name=FlowFilterName(any_=[FlowName.REFRESH_OVERVIEW]))
        )
    # The run that deletes the others has not ended yet.
    assert len(runs) == 3


def test_times_are_shown_in_utc() -> None:
    from dda_core.pages.overview import moment

    assert moment(datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC)) == "2026-01-02 03:04:05 UTC"
