"""Reading runs from the Prefect API: their states, tags and records. The history is stored nowhere else."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime
from typing import Any, NamedTuple
from uuid import UUID

from prefect.client.orchestration import PrefectClient
from prefect.client.schemas.filters import (
    ArtifactFilter,
    ArtifactFilterFlowRunId,
    ArtifactFilterKey,
    FlowFilter,
    FlowFilterName,
    FlowRunFilter,
    FlowRunFilterId,
    FlowRunFilterName,
    FlowRunFilterTags,
)
from prefect.client.schemas.objects import Artifact, FlowRun, State, StateType
from prefect.client.schemas.sorting import FlowRunSort

from dda_core.exceptions import DdaError
from dda_core.failures import explain
from dda_core.naming import component_arn
from dda_core.runs.earlier_records import target_line
from dda_core.runs.flows import FlowName
from dda_core.runs.history import Attempt, AttemptStatus, HistoryRow, TargetLine, merged
from dda_core.runs.ledger import advanced
from dda_core.runs.status import RunStatus, TargetRecord, TargetStatus, run_status
from dda_core.runs.view import RunView
from dda_core.sanitise import unmasked
from dda_core.use_case import UseCase
from tasks.store.provenance import trigger_of
from tasks.store.queries import PAGE, every_artifact, every_run
from tasks.store.record import artifact_key
from tasks.store.use_cases import block_name, load_use_case

IGNORED = "status:ignored"
"""The tag of a run that ignored its training job, because the job belongs to another use case."""
LOST = "The flow run's process ended before this target did."
LOST_REMEDY = "Retry the run, or compile again: finished work is kept, and running compilation jobs are joined."
CANCELLED = "the run was cancelled"


class Writing(NamedTuple):
    """What one process of a run wrote: its targets' lines, and when it first and last wrote."""

    lines: list[TargetLine]
    began: datetime
    last: datetime


class JobRun(NamedTuple):
    """One run of a training job with what its processes wrote, oldest first."""

    run: FlowRun
    writings: Sequence[Writing]

    @property
    def training_job(self) -> str:
        """The run's training job."""
        return training_job_of(self.run)

    @property
    def lines(self) -> list[TargetLine]:
        """The targets' lines from the last process."""
        return self.writings[-1].lines if self.writings else []

    @property
    def use_case(self) -> str:
        """The name of the block and deployment of the run's use case."""
        return block_name(str(self.run.parameters.get("use_case", "")))

    @property
    def began(self) -> datetime:
        """The run's actual or expected start."""
        return _began(self.run)

    @property
    def last_change(self) -> datetime:
        """When the run or its record last changed."""
        written = [self.writings[-1].last] if self.writings else []
        changed = [self.run.state.timestamp] if self.run.state and self.run.state.timestamp else []
        return max([_began(self.run), *written, *changed])

    def tag(self, name: str) -> str | None:
        """The value of the run's tag ``name:value``."""
        return next((tag.partition(":")[2] for tag in self.run.tags if tag.startswith(f"{name}:")), None)

    @property
    def trigger(self) -> str:
        """What started the run."""
        return trigger_of(self.run)


def training_job_of(run: FlowRun) -> str:
    """The training job of a flow run."""
    return str(run.parameters.get("training_job_name", run.name))


async def view_of(client: PrefectClient, run: FlowRun) -> RunView:
    """The view of one run."""
    return await view_of_runs([JobRun(run, await _writings_of(client, run.id, training_job_of(run)))])


async def last_lines(client: PrefectClient, flow_run_id: str, training_job: str) -> dict[str, TargetLine]:
    """The targets of a run, each from the last process that had started it."""
    lines: dict[str, TargetLine] = {}
    for writing in await _writings_of(client, UUID(flow_run_id), training_job):
        for line in writing.lines:
            if line.target not in lines or line.phases:
                lines[line.target] = _with_attempt(writing, line)
    return lines


async def own_jobs_of(client: PrefectClient, flow_run_id: str, training_job: str) -> dict[str, int]:
    """The compilation jobs that a run has recorded as its own, each with the retry of the run it was in."""
    return _own_jobs(await _writings_of(client, UUID(flow_run_id), training_job))


async def recorded_maker(client: PrefectClient, training_job: str, job: str) -> str | None:
    """The run of the training job that has recorded the compilation job as its own; None if there is none."""
    runs = await runs_of(client, training_job)
    return next((str(run.run.id) for run in reversed(runs) if job in _own_jobs(run.writings)), None)


def _own_jobs(writings: Iterable[Writing]) -> dict[str, int]:
    return {name: retry for writing in writings for line in writing.lines for name, retry in line.own_jobs.items()}


async def view_of_runs(
    runs: Sequence[JobRun], training_job: str = "", use_cases: dict[str, UseCase | None] | None = None
) -> RunView:
    """The combined view of the runs of one training job, oldest first.

    ``use_cases`` caches loaded use cases between calls; None stands for one that does not exist.
    """
    if not runs:
        return RunView(
            training_job=training_job, flow_run_id=None, state=None, status=RunStatus.NOT_STARTED, targets={}
        )
    newest = runs[-1].run
    targets = await _all_whole(records_over(runs), newest, {} if use_cases is None else use_cases)
    return RunView(
        training_job=runs[-1].training_job,
        flow_run_id=str(newest.id),
        state=newest.state.name if newest.state else None,
        status=status_of(runs, targets),
        targets=targets,
        lines=tuple(runs[-1].lines),
        began=runs[-1].began,
    )


async def runs_of(client: PrefectClient, training_job: str) -> list[JobRun]:
    """Every run of a training job, oldest first, whatever its result."""
    key = ArtifactFilterKey(any_=[artifact_key("record", training_job)])
    by_run = await every_artifact(client, ArtifactFilter(key=key))
    # A run that died before it wrote a record is found by its name or tags.
    found: dict[UUID, FlowRun] = {}
    for run_filter in (
        *(FlowRunFilter(id=chunk) for chunk in _chunks(list(by_run))),
        FlowRunFilter(name=FlowRunFilterName(any_=[training_job])),
        FlowRunFilter(tags=FlowRunFilterTags(all_=[f"training-job:{training_job}"])),
    ):
        found |= {run.id: run for run in await _concerned(client, run_filter)}
    runs = [
        JobRun(run, _writings(by_run.get(run.id, []))) for run in found.values() if training_job_of(run) == training_job
    ]
    return sorted(runs, key=lambda each: _began(each.run))


async def all_runs(client: PrefectClient) -> dict[str, list[JobRun]]:
    """Every run of every training job, oldest first, by training job."""
    by_run = await every_artifact(client, ArtifactFilter(key=ArtifactFilterKey(like_="record-%")))
    jobs: dict[str, list[JobRun]] = {}
    for run in sorted(await _concerned(client, FlowRunFilter()), key=_began):
        jobs.setdefault(training_job_of(run), []).append(JobRun(run, _writings(by_run.get(run.id, []))))
    return jobs


async def newest_runs(client: PrefectClient, run_filter: FlowRunFilter, limit: int) -> list[JobRun]:
    """The newest runs that match a filter, newest first."""
    runs = await client.read_flow_runs(
        flow_filter=FlowFilter(name=FlowFilterName(any_=[FlowName.COMPILE])),
        flow_run_filter=run_filter,
        sort=FlowRunSort.EXPECTED_START_TIME_DESC,
        limit=limit,
    )
    if not runs:
        return []
    ids = ArtifactFilterFlowRunId(any_=[run.id for run in runs])
    by_run = await every_artifact(client, ArtifactFilter(flow_run_id=ids, key=ArtifactFilterKey(like_="record-%")))
    return [JobRun(run, _writings(by_run.get(run.id, []))) for run in runs]


def history_of(runs: Iterable[JobRun]) -> list[HistoryRow]:
    """Every attempt of every target, oldest first. A ``skipped`` target adds no row."""
    rows = []
    for run in runs:
        seen: set[tuple[str, int | None, datetime]] = set()
        for number, writing in reversed(list(enumerate(run.writings))):
            superseded = number < len(run.writings) - 1
            for line in writing.lines:
                for each in _attempts(run, writing, line, superseded):
                    # A process that continues an attempt records it again; the last one knows how it ended.
                    if (key := (line.target, each.attempt, each.started)) not in seen:
                        seen.add(key)
                        rows.append(_row(run, line.target, each))
        if not run.writings and run.run.state and run.run.state.is_final():
            for target in run.run.parameters.get("targets") or []:
                begun = Attempt(attempt=None, status=AttemptStatus.NOT_STARTED, started=_began(run.run))
                rows.append(_row(run, str(target), _ended_with(run, begun, run.run.end_time)))
    return sorted(rows, key=lambda row: (row.started, row.target, row.attempt or 0))


def status_of(runs: Sequence[JobRun], targets: Mapping[str, TargetRecord], ending: str | None = None) -> RunStatus:
    """The status of a training job with these runs, oldest first, and these targets.

    ``ending`` is the id of a run that is about to end and counts as ended, before Prefect knows.
    """
    final = [bool(run.run.state and run.run.state.is_final()) or str(run.run.id) == ending for run in runs]
    for run, ended in zip(runs, final, strict=True):
        waiting = run.run.state is None or run.run.state.type in (StateType.SCHEDULED, StateType.PENDING)
        # A run that never started waits for a worker. One scheduled again after a crash is in progress.
        waiting = waiting and not run.run.run_count
        if not ended and not waiting:
            return RunStatus.IN_PROGRESS
    # No run has a process, so the newest waits for a worker: in progress if there were earlier runs, else not started.
    if not final[-1]:
        return RunStatus.NOT_STARTED if len(runs) == 1 else RunStatus.IN_PROGRESS
    # The targets outweigh the state of the last run, which may have done only one of them.
    if targets:
        return run_status(targets)
    # It ended before its targets were known, so only its own state is left.
    newest = runs[-1].run.state
    return RunStatus.COMPLETED if newest and newest.is_completed() else RunStatus.FAILED


def records_of(run: JobRun) -> dict[str, TargetRecord]:
    """The run's current or final record of each target."""
    if not run.writings:
        records = {str(target): TargetRecord() for target in run.run.parameters.get("targets") or []}
    else:
        records = {line.target: line.record() for line in run.lines}
    state = run.run.state
    if state is not None and state.is_final():
        records = {target: _at_the_end(record, state, refused=not run.writings) for target, record in records.items()}
    return records


def records_over(runs: Sequence[JobRun]) -> dict[str, TargetRecord]:
    """Per target, the latest entry that is not ``skipped``; of concurrent runs, the one that changed last."""
    entries = [(_changed(run, target), {target: record}) for run in runs for target, record in records_of(run).items()]
    latest = merged(entry for _, entry in sorted(entries, key=lambda each: each[0]))
    return {target: latest[target] for run in runs for target in records_of(run)}


def _changed(run: JobRun, target: str) -> datetime:
    """When the target last changed in the run, bounded by the run's times, which are the server's."""
    phases = next((line.phases for line in run.lines if line.target == target), ())
    return min(max(run.began, phases[-1].at), run.last_change) if phases else run.began


def _attempts(run: JobRun, writing: Writing, line: TargetLine, superseded: bool) -> list[Attempt]:
    attempts = _with_attempt(writing, line).attempts
    if superseded:
        return [each.ending(AttemptStatus.CRASHED, writing.last, LOST) for each in attempts]
    return [_ended_with(run, each, writing.last) for each in attempts]


def _with_attempt(writing: Writing, line: TargetLine) -> TargetLine:
    """The line, with an attempt even if the target ended before there was a compilation job."""
    if line.attempts or line.status not in (TargetStatus.FAILED, TargetStatus.STOPPED):
        return line
    status = AttemptStatus(line.status.value)
    attempt = Attempt(attempt=None, status=status, started=writing.began, ended=writing.last, reason=line.reason)
    return line.model_copy(update={"attempts": (attempt,)})


def _ended_with(run: JobRun, attempt: Attempt, at: datetime | None) -> Attempt:
    """The attempt, ended by the end of its run; unchanged while the run is in progress."""
    state = run.run.state
    if state is None or not state.is_final():
        return attempt
    if state.type is StateType.CRASHED:
        return attempt.ending(AttemptStatus.CRASHED, at, state.message or LOST)
    if state.type is StateType.CANCELLED:
        return attempt.ending(AttemptStatus.STOPPED, at, CANCELLED)
    return attempt.ending(AttemptStatus.FAILED, at, state.message or LOST)


def _at_the_end(record: TargetRecord, state: State[Any], *, refused: bool) -> TargetRecord:
    """A target's record after its run ended: an unfinished target was stopped by a cancel, refused, or lost."""
    if record.status.ended:
        return record
    if state.type is StateType.CANCELLED:
        return advanced(record, TargetStatus.STOPPED, reason=CANCELLED)
    if refused and state.type is StateType.FAILED and state.message:
        known = explain(state.message)
        return advanced(record, TargetStatus.FAILED, reason=state.message, cause=known.cause, remedy=known.remedy)
    return advanced(record, TargetStatus.FAILED, reason=record.reason or LOST, cause=LOST, remedy=LOST_REMEDY)


def _row(run: JobRun, target: str, attempt: Attempt) -> HistoryRow:
    return HistoryRow(target=target, **attempt.model_dump(), flow_run_id=str(run.run.id), trigger=run.trigger)


async def _all_whole(
    records: dict[str, TargetRecord], run: FlowRun, use_cases: dict[str, UseCase | None]
) -> dict[str, TargetRecord]:
    """The records with the use case's account id filled in, which artifacts do not hold."""
    name = str(run.parameters.get("use_case", ""))
    if name not in use_cases:
        try:
            use_cases[name] = await load_use_case(name)
        except DdaError:
            use_cases[name] = None
    use_case = use_cases[name]
    if use_case is None:
        return records
    return {target: _whole(record, use_case) for target, record in records.items()}


def _whole(record: TargetRecord, use_case: UseCase) -> TargetRecord:
    account = use_case.account_id
    changes = {name: unmasked(value, account) for name, value in record if type(value) is str}
    if record.component and record.version:
        changes["arn"] = component_arn(use_case.region, account, record.component, record.version)
    return record.model_copy(update=changes)


async def _writings_of(client: PrefectClient, flow_run_id: UUID, training_job: str) -> list[Writing]:
    artifact_filter = ArtifactFilter(
        flow_run_id=ArtifactFilterFlowRunId(any_=[flow_run_id]),
        key=ArtifactFilterKey(any_=[artifact_key("record", training_job)]),
    )
    return _writings((await every_artifact(client, artifact_filter)).get(flow_run_id, []))


def _writings(artifacts: Iterable[Artifact]) -> list[Writing]:
    writings = []
    for artifact in artifacts:
        lines = [target_line(line) for line in json.loads(str(artifact.data))]
        assert artifact.created is not None
        writings.append(Writing(lines, artifact.created, artifact.updated or artifact.created))
    return writings


def _began(run: FlowRun) -> datetime:
    began = run.start_time or run.expected_start_time or run.created
    assert began is not None
    return began


def _chunks(ids: Sequence[UUID]) -> list[FlowRunFilterId]:
    return [FlowRunFilterId(any_=list(ids[start : start + PAGE])) for start in range(0, len(ids), PAGE)]


async def _concerned(client: PrefectClient, run_filter: FlowRunFilter) -> list[FlowRun]:
    """Every run of the flow except those that ignored their training job."""
    return [run for run in await every_run(client, run_filter) if IGNORED not in run.tags]
