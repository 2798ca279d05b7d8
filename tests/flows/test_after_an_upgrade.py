"""Runs that the previous version started: its results and records are read, or redone without a second job.

``previous_version.json`` was written by the version before the modules were moved into packages: persisted results,
which name classes by removed modules, and the rows of a run's record. The dates in the rows were changed.
"""

from __future__ import annotations

import base64
import json
import pickle
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any
from uuid import UUID

import pytest
from prefect import get_client
from prefect.client.schemas.actions import ArtifactUpdate
from prefect.client.schemas.filters import ArtifactFilter, ArtifactFilterFlowRunId, ArtifactFilterKey
from prefect.results import ResultRecord
from prefect.settings import PREFECT_LOCAL_STORAGE_PATH, temporary_settings

from dda_core.compilation.job import CompiledModel
from dda_core.components.versions import ComponentVersion
from dda_core.model.package import ModelPackage
from dda_core.model.trained import TrainedModel
from dda_core.runs.history import HistoryRow
from dda_core.runs.status import RunStatus, TargetStatus
from deployments.services.approvals import give_decision
from tasks.store.history import history_of, runs_of
from tests.flows.conftest import Pipeline
from tests.flows.test_approval import PAIR, Asking, asking

__all__ = ["asking"]
UPGRADE = datetime(2026, 1, 2, tzinfo=UTC)
PREVIOUS = json.loads((Path(__file__).parents[1] / "fixtures" / "previous_version.json").read_text(encoding="utf-8"))


@pytest.fixture
def storage(tmp_path: Path) -> Iterator[Path]:
    """The result storage: a separate folder, because the test changes every file in it."""
    folder = tmp_path / "results"
    with temporary_settings({PREFECT_LOCAL_STORAGE_PATH: folder}):
        yield folder


def what_it_is(result: Any) -> str:
    """The name of a persisted result in the fixture."""
    match result:
        case CompiledModel():
            return result.compilation_job
        case ComponentVersion():
            return result.component
        case ModelPackage():
            return "package"
        case TrainedModel():
            return "trained model"
        case dict():
            return "attempts"
        case _:
            return "failure"


def written_by_the_previous_version(storage: Path, results: dict[str, str]) -> None:
    """Write the previous version's results into the files that this one reads."""
    written = set()
    for path in storage.iterdir():
        record: ResultRecord[Any] = ResultRecord.deserialize(path.read_bytes())
        name = what_it_is(record.result)
        fields = json.loads(path.read_bytes())
        path.write_text(json.dumps({**fields, "result": results[name]}), encoding="utf-8")
        written.add(name)
    assert written == set(results)


def forget(storage: Path) -> None:
    for path in storage.iterdir():
        path.unlink()


async def recorded_by_the_previous_version(run: UUID, rows: list[dict[str, Any]]) -> None:
    """Replace the run's record with the previous version's."""
    async with get_client() as client:
        of_run = ArtifactFilter(
            flow_run_id=ArtifactFilterFlowRunId(any_=[run]), key=ArtifactFilterKey(like_="record-%")
        )
        [record] = await client.read_artifacts(artifact_filter=of_run)
        assert {row["target"] for row in json.loads(str(record.data))} == {row["target"] for row in rows}
        await client.update_artifact(record.id, ArtifactUpdate(data=json.dumps(rows)))


async def history(training_job: str, run: UUID) -> list[HistoryRow]:
    """The attempts of one run; other tests have runs of the same name on the session's server."""
    async with get_client() as client:
        return [row for row in history_of(await runs_of(client, training_job)) if row.flow_run_id == str(run)]


@pytest.mark.parametrize("kept", sorted({name for run in PREVIOUS.values() for name in run["results"]}))
def test_the_fixture_names_classes_by_removed_modules(kept: str) -> None:
    for run in PREVIOUS.values():
        blob = base64.b64decode(run["results"].get(kept, ""))
        if not blob or kept in ("attempts", "failure"):
            continue
        with pytest.raises((ModuleNotFoundError, AttributeError)):
            pickle.loads(blob)


@pytest.mark.parametrize("found", [True, False], ids=["results that cannot be read", "results under other keys"])
async def test_a_run_suspended_before_an_upgrade_publishes_what_it_had_compiled(
    asking: Asking, storage: Path, found: bool
) -> None:
    pipeline, previous = asking.pipeline, PREVIOUS["suspended"]
    run = await asking.start("suspended-before", PAIR)
    jobs = pipeline.jobs()
    assert len(jobs) == 2
    await recorded_by_the_previous_version(run, previous["record"])
    if found:
        written_by_the_previous_version(storage, previous["results"])
    else:
        # A step with changed source has a different cache key.
        forget(storage)

    await give_decision("suspended-before", "publish", who="Ada")
    view = await pipeline.go_on(run)
    assert view.status is RunStatus.COMPLETED
    assert pipeline.jobs() == jobs
    assert pipeline.versions() == ["model-suspended-before-arm64-cpu 1.0.0", "model-suspended-before-x86-64-cpu 1.0.0"]
    rows = await history("suspended-before", run)
    # This version ends the attempt that the previous version started.
    assert [(row.target, row.attempt, row.status) for row in rows] == [
        (line["target"], 1, "deployable")
        for line in sorted(previous["record"], key=lambda line: line["attempts"][0]["started"])
    ]
    assert all(row.started < UPGRADE for row in rows)


@pytest.mark.slow
async def test_a_run_that_failed_before_an_upgrade_is_retried_without_a_second_job(
    pipeline: Pipeline, storage: Path
) -> None:
    previous = PREVIOUS["partial"]
    pipeline.train("failed-before")
    pipeline.aws.faults.add("publish", target="arm64-cpu", reason="The artifact could not be read", times=1)
    view = await pipeline.run("failed-before", targets=PAIR)
    run, jobs, made = UUID(view.flow_run_id), pipeline.jobs(), pipeline.versions()
    assert view.status is RunStatus.PARTIAL
    written_by_the_previous_version(storage, previous["results"])
    await recorded_by_the_previous_version(run, previous["record"])

    view = await pipeline.go_on(run, retry=True)
    assert {record.status for record in view.targets.values()} == {TargetStatus.DEPLOYABLE}
    assert pipeline.jobs() == jobs
    # Only what could not be installed is made again.
    assert set(pipeline.versions()) - set(made) == {"model-failed-before-arm64-cpu 2.0.0"}
    rows = sorted(await history("failed-before", run), key=lambda row: (row.target, row.started))
    assert [(row.target, row.attempt, row.status, row.started < UPGRADE) for row in rows] == [
        ("arm64-cpu", 1, "failed", True),
        ("arm64-cpu", 1, "deployable", False),
        ("x86_64-cpu", 1, "deployable", True),
    ]
