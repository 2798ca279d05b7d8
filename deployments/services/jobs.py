"""Training jobs for the reading verbs, merged over their runs. Everything is read from the Prefect API."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import suppress
from typing import NamedTuple

from prefect import get_client

from dda_core.exceptions import DdaError, UsageError
from dda_core.pages.overview import OverviewRow, in_order
from dda_core.runs.status import RunStatus, run_status
from dda_core.runs.view import RunView
from dda_core.use_case import UseCase
from deployments.services.runs import prefect_errors
from deployments.services.trained_jobs import is_trained, newly_trained
from tasks.operations.overview import jobs_with_runs, stored_rows
from tasks.store.history import JobRun, runs_of, view_of_runs
from tasks.store.use_cases import block_name, load_use_case, use_case_names


class JobView(NamedTuple):
    """A training job: its row in the overview, and its merged view, which ``--json`` prints."""

    row: OverviewRow
    view: RunView

    def shows(self, status: RunStatus | None, use_case: str | None, target: str | None) -> bool:
        """Whether the job matches the filters; with a target, ``status`` applies to that target."""
        if use_case and block_name(use_case) != block_name(self.row.use_case):
            return False
        if target is None:
            return status in (None, self.view.status)
        record = self.view.targets.get(target)
        return record is not None and status in (None, run_status({target: record}))


async def read_job(training_job: str, use_case: str | None = None, target: str | None = None) -> RunView:
    """The status of a training job over all its runs; without runs, ``not-started`` without targets.

    Args:
        training_job: its name.
        use_case: count only runs of this use case.
        target: show only this target; the status stays the training job's.

    Raises:
        UsageError, UnknownUseCase: the training job, or the use case, is unknown.
        PrefectUnreachable: there is no server to ask.
    """
    runs = await read_runs(training_job, use_case)
    if not runs:
        await check_known(training_job, use_case)
    return _narrowed(await view_of_runs(runs, training_job), target)


async def check_known(training_job: str, use_case: str | None = None) -> None:
    """Check that a training job without a run is in the overview, or in the AWS account of a use case.

    Raises:
        UsageError: it is in neither.
        UnknownUseCase: the use case is not registered.
        PrefectUnreachable: there is no server to ask.
    """
    with prefect_errors():
        names = [block_name(use_case)] if use_case else await use_case_names()
        use_cases = {name: await load_use_case(name) for name in names} if use_case else await _loadable(names)
        async with get_client() as client:
            if any(row.training_job == training_job and row.block in names for row in await stored_rows(client)):
                return
    there, silent = await is_trained(training_job, use_cases)
    if there:
        return
    of = f" of use case {use_case!r}" if use_case else ""
    unasked = f"Not asked: {'; '.join(silent)}. " if silent else ""
    raise UsageError(
        f"training job {training_job!r} is unknown: it has no run{of}, and AWS has no such training job in the "
        f"accounts of the use cases {', '.join(sorted(use_cases)) or '(none is registered)'}",
        remedy=f"{unasked}Check the name; `dda status` lists the known ones.",
    )


async def _loadable(names: Sequence[str]) -> dict[str, UseCase]:
    """The use cases of these names, without invalid ones."""
    found = {}
    for name in names:
        with suppress(DdaError):
            found[name] = await load_use_case(name)
    return found


async def read_runs(training_job: str, use_case: str | None = None) -> list[JobRun]:
    """The runs of a training job, oldest first, of any use case or of one.

    Raises:
        PrefectUnreachable: there is no server to ask.
    """
    with prefect_errors():
        async with get_client() as client:
            runs = await runs_of(client, training_job)
    return [run for run in runs if use_case is None or run.use_case == block_name(use_case)]


async def recently_trained(use_case: str | None = None) -> tuple[list[OverviewRow], list[str]]:
    """Training jobs completed since the last refresh of the overview, and which use cases could not be asked and why.

    Raises:
        PrefectUnreachable: there is no server to ask.
    """
    with prefect_errors():
        names = await use_case_names()
        use_cases = await _loadable([name for name in names if use_case is None or name == block_name(use_case)])
        async with get_client() as client:
            known = {(row.block, row.training_job) for row in await stored_rows(client)}
    return await newly_trained(use_cases, known)


async def list_jobs(
    status: RunStatus | None = None,
    use_case: str | None = None,
    target: str | None = None,
    trained: Sequence[OverviewRow] = (),
) -> list[JobView]:
    """Every training job that has a run, and those that were never compiled; latest change first.

    The latter come from the overview and from ``trained``, which is newer.

    Raises:
        UnknownUseCase: the use case is not registered and has no runs.
        PrefectUnreachable: there is no server to ask.
    """
    use_cases: dict[str, UseCase | None] = {}
    with prefect_errors():
        async with get_client() as client:
            found = [
                JobView(each.row, await view_of_runs(each.runs, use_cases=use_cases))
                for each in await jobs_with_runs(client)
            ]
            compiled = {job.row.key for job in found}
            for row in (*await stored_rows(client), *trained):
                if row.flow_run_id is None and row.key not in compiled:
                    found.append(JobView(row, await view_of_runs([], row.training_job)))
        if use_case and block_name(use_case) not in {*await use_case_names(), *(job.row.block for job in found)}:
            await load_use_case(use_case)  # its error lists the registered ones
    shown = {job.row.key: job for job in found if job.shows(status, use_case, target)}
    rows = in_order(job.row for job in shown.values())
    return [JobView(row, _narrowed(shown[row.key].view, target)) for row in rows]


def _narrowed(view: RunView, target: str | None) -> RunView:
    if target is None:
        return view
    return view.model_copy(update={"targets": {name: each for name, each in view.targets.items() if name == target}})
