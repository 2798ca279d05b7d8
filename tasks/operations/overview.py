"""The pages over all runs: the overview of training jobs, each job's history, each model's runs.

Flows update them as runs change state, and ``refresh_overview`` rebuilds everything, which corrects what a killed
process or a race between two writers left wrong.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import Iterable, Sequence
from datetime import UTC, datetime
from typing import NamedTuple
from uuid import UUID

from botocore.exceptions import BotoCoreError, ClientError
from prefect import get_client
from prefect.client.orchestration import PrefectClient
from prefect.client.schemas.actions import ArtifactCreate
from prefect.client.schemas.filters import FlowRunFilter, FlowRunFilterTags
from prefect.exceptions import ObjectNotFound
from prefect.logging import get_logger
from pydantic import TypeAdapter, ValidationError

from dda_core.exceptions import DdaError
from dda_core.pages.history import history_page, model_page
from dda_core.pages.links import OVERVIEW
from dda_core.pages.overview import OverviewRow, in_order, overview_page, with_row
from dda_core.runs.flows import FlowName
from dda_core.runs.status import RunStatus, run_status
from dda_core.runs.view import RunView
from dda_core.sanitise import redact
from dda_core.training.completed_jobs import LOOKED_AT, finished_training_jobs
from dda_core.use_case import UseCase
from tasks.rate_limits import limited_clients
from tasks.run import Run
from tasks.store.artifacts import keep_artifact, latest_artifact
from tasks.store.history import JobRun, all_runs, history_of, newest_runs, records_of, records_over, runs_of, status_of
from tasks.store.record import artifact_key
from tasks.store.ui_links import page_ui
from tasks.store.use_cases import block_name, load_use_case, use_case_names

logger = get_logger("dda.overview")

ROWS_KEY = "training-jobs-rows"
COMPARED = 10
"""How many runs a model's page compares."""
_rows = TypeAdapter(list[OverviewRow])


class TrainingJobRuns(NamedTuple):
    """The runs of one training job of one use case, oldest first, and their row of the overview."""

    row: OverviewRow
    runs: Sequence[JobRun]


async def show_run(run: Run, model: str, *, ended: bool) -> None:
    """Update the overview with a run's status and, once the run has ended, the history pages.

    It never fails a run: what could not be written is written later by ``refresh_overview``.
    """
    try:
        await run.record.write()
        ending = run.flow_run_id if ended else None
        await keep_job(run.record.training_job, run.use_case, model, ending)
    except Exception as error:
        logger.warning("The overview could not be written (%s); refresh-overview writes it later.", error)


async def keep_job(training_job: str, use_case: UseCase, model: str, ending: str | None = None) -> None:
    """Update a training job's row; ``ending`` is the id of a run of it that is about to end.

    If given, the training job's history and a new version of the model's page are written too.
    """
    name = block_name(use_case.usecase_id)
    async with get_client() as client:
        every = await runs_of(client, training_job)
        runs = [run for run in every if run.use_case == name]
        if not runs:
            return
        deployments = await _deployments(client, [name])
        row = _row(runs, deployments, ending).model_copy(update={"use_case": use_case.usecase_id, "model": model})
        await _write(client, with_row(await stored_rows(client), row))
        if ending:
            await _write_history(client, training_job, every)
            await _write_model(client, model, ending)


async def refresh() -> list[OverviewRow]:
    """Rebuild the overview from every run and every registered use case, and correct tags; returns the rows.

    A use case whose account cannot be read keeps its earlier rows, and the page says so.
    """
    async with get_client() as client:
        earlier = {row.key: row for row in await stored_rows(client)}
        jobs = await jobs_with_runs(client)
        compiled = {each.row.key for each in jobs}
        never, notes = await _never_compiled(client, compiled, earlier.values())
        rows = in_order([*(each.row for each in jobs), *never])
        await _write(client, rows, notes)
        changed = [each for each in jobs if earlier.get(each.row.key) != each.row]
        for training_job in dict.fromkeys(each.row.training_job for each in changed):
            runs = [run for each in jobs if each.row.training_job == training_job for run in each.runs]
            await _write_history(client, training_job, sorted(runs, key=lambda run: run.began))
        for run in (run for each in jobs for run in each.runs):
            if (tags := true_tags(run)) != run.run.tags:
                await client.update_flow_run(run.run.id, tags=tags)
    return rows


async def ensure_overview() -> None:
    """Write the overview if there is none yet, without AWS calls: the page shows the first steps."""
    async with get_client() as client:
        if await latest_artifact(client, OVERVIEW) is None:
            await _write(client, in_order(each.row for each in await jobs_with_runs(client)))


async def jobs_with_runs(client: PrefectClient) -> list[TrainingJobRuns]:
    """Every training job that has a run, by use case."""
    grouped: dict[tuple[str, str], list[JobRun]] = {}
    for training_job, runs in (await all_runs(client)).items():
        for run in runs:
            grouped.setdefault((run.use_case, training_job), []).append(run)
    deployments = await _deployments(client, {name for name, _ in grouped})
    return [TrainingJobRuns(_row(runs, deployments), runs) for runs in grouped.values()]


async def stored_rows(client: PrefectClient) -> list[OverviewRow]:
    """The rows as last written."""
    latest = await latest_artifact(client, ROWS_KEY)
    try:
        return _rows.validate_json(str(latest.data)) if latest and latest.data else []
    except ValidationError:
        # Another version of this program, or a person, wrote them; the next refresh rebuilds them.
        return []


def true_tags(run: JobRun) -> list[str]:
    """The run's tags with its final status corrected, as a killed process could not set it."""
    state = run.run.state
    if state is None or not state.is_final():
        return run.run.tags
    records = records_of(run)
    status = run_status(records) if records else RunStatus.COMPLETED if state.is_completed() else RunStatus.FAILED
    ends = [f"status:{status}", *(f"failed:{name}" for name, record in records.items() if not record.status.good)]
    if set(ends) == {tag for tag in run.run.tags if tag.startswith(("status:", "failed:"))}:
        return run.run.tags
    return [*(tag for tag in run.run.tags if not tag.startswith(("status:", "failed:"))), *ends]


def _row(runs: Sequence[JobRun], deployments: dict[str, UUID], ending: str | None = None) -> OverviewRow:
    newest = runs[-1]
    records = records_over(runs)
    deployment = deployments.get(newest.use_case)
    given = newest.run.parameters.get("model_name")
    row = OverviewRow(
        training_job=newest.training_job,
        use_case=next((tag for run in reversed(runs) if (tag := run.tag("use-case"))), newest.use_case),
        block=newest.use_case,
        model=next((tag for run in reversed(runs) if (tag := run.tag("model"))), None)
        or str(given or newest.training_job),
        last_change=max(run.last_change for run in runs),
        flow_run_id=str(newest.run.id),
        deployment_id=str(deployment) if deployment else None,
    )
    return row.with_targets(records, status_of(runs, records, ending))


async def _never_compiled(
    client: PrefectClient, compiled: set[tuple[str, str]], earlier: Iterable[OverviewRow]
) -> tuple[list[OverviewRow], list[str]]:
    rows: list[OverviewRow] = []
    notes: list[str] = []
    names = await use_case_names()
    deployments = await _deployments(client, names)
    for name in names:
        usecase_id = name
        try:
            use_case = await load_use_case(name)
            usecase_id = use_case.usecase_id
            known = {training_job for of, training_job in compiled if of == usecase_id}
            aws = await asyncio.to_thread(limited_clients, use_case)
            unread: set[str] = set()
            finished = await asyncio.to_thread(finished_training_jobs, aws.sagemaker, use_case, known, unread.add)
        except (DdaError, BotoCoreError, ClientError) as error:
            notes.append(f"The training jobs of use case {usecase_id} could not be listed: {redact(str(error))}")
            rows += [row for row in earlier if row.use_case == usecase_id and not row.flow_run_id]
            continue
        notes += [f"Use case {usecase_id}: {sentence}" for sentence in sorted(unread)]
        if finished.cut:
            notes.append(f"Use case {usecase_id}: only the {LOOKED_AT} newest training jobs without a run are shown.")
        deployment = deployments.get(name)
        rows += [
            OverviewRow(
                training_job=each.job.name,
                use_case=usecase_id,
                block=name,
                model=each.job.model_name(),
                last_change=each.ended,
                deployment_id=str(deployment) if deployment else None,
            )
            for each in finished.jobs
        ]
    return rows, notes


async def _deployments(client: PrefectClient, use_cases: Iterable[str]) -> dict[str, UUID]:
    """The use cases' own deployments, by use case."""
    found = {}
    for name in use_cases:
        try:
            found[name] = (await client.read_deployment_by_name(f"{FlowName.COMPILE}/{name}")).id
        except ObjectNotFound:
            continue
    return found


async def _write(client: PrefectClient, rows: Sequence[OverviewRow], notes: Sequence[str] = ()) -> None:
    data = json.dumps([row.model_dump(mode="json") for row in rows])
    await keep_artifact(client, ROWS_KEY, "table", data, "For programs. For people: training-jobs")
    page = overview_page(rows, datetime.now(UTC), page_ui(), notes)
    await keep_artifact(client, OVERVIEW, "markdown", page, "Every training job and the status of its compilation")


async def _write_history(client: PrefectClient, training_job: str, runs: Sequence[JobRun]) -> None:
    page = history_page(training_job, history_of(runs), page_ui())
    key = artifact_key("history", training_job)
    await keep_artifact(client, key, "markdown", page, f"Every attempt of {training_job}")


async def _write_model(client: PrefectClient, model: str, ending: str) -> None:
    """A new version of the model's page; its timeline is the model's history."""
    tagged = FlowRunFilter(tags=FlowRunFilterTags(all_=[f"model:{model}"]))
    runs = [
        RunView(
            training_job=run.training_job,
            flow_run_id=str(run.run.id),
            state=run.run.state.name if run.run.state else None,
            status=status_of([run], records := records_of(run), ending),
            targets=records,
            lines=tuple(run.lines),
            began=run.began,
        )
        for run in await newest_runs(client, tagged, COMPARED)
    ]
    await client.create_artifact(
        ArtifactCreate(
            key=artifact_key("model", model),
            type="markdown",
            data=model_page(model, runs, page_ui()),
            description=f"The last runs of model {model}",
            flow_run_id=UUID(ending),
        )
    )
