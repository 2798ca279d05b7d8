"""``dda status``: the status of training jobs, merged over all their runs."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import nullcontext
from typing import TYPE_CHECKING, Annotated

import typer
from rich.console import Console
from rich.live import Live
from rich.table import Table

from dda_core.naming import check_training_job_name
from dda_core.pages.overview import moment, next_action
from dda_core.runs.status import RunStatus
from deployments.cli.compile import print_view, progress_table
from deployments.cli.options import AsJson, complete_target, known_targets
from deployments.cli.output import print_table, printable

if TYPE_CHECKING:
    from dda_core.runs.view import RunView
    from deployments.services.jobs import JobView

WATCH_SECONDS = 2.0
COLUMNS = ("training job", "status", "deployable", "failed", "use case", "model", "last change", "next")


def status_command(
    training_job: Annotated[
        str | None, typer.Argument(help="The training job; without one, all are listed.", show_default=False)
    ] = None,
    status: Annotated[RunStatus | None, typer.Option(help="Only this status; with --target, the target's.")] = None,
    use_case: Annotated[str | None, typer.Option(help="Only what belongs to this use case.")] = None,
    target: Annotated[
        str | None, typer.Option(metavar="NAME", autocompletion=complete_target, help="Show only this target.")
    ] = None,
    watch: Annotated[bool, typer.Option("--watch", help="Show changes live; for one job, until it ends.")] = False,
    as_json: AsJson = False,
) -> None:
    """Show the status of training jobs, merged over all their runs.

    The exit code is 0 whatever the status, 2 for a training job that neither Prefect nor AWS knows, and 3 for an
    unknown use case. With --watch and --json, each change is one line of JSON.
    """
    if target is not None:
        (target,) = known_targets([target])
    if training_job is None:
        asyncio.run(_list(status, use_case, target, watch=watch, as_json=as_json))
        return
    check_training_job_name(training_job)
    if status is not None:
        raise typer.BadParameter(
            "filters the list and cannot be used with a training job. Omit one of them.", param_hint="--status"
        )
    asyncio.run(_show(training_job, use_case, target, watch=watch, as_json=as_json))


async def _show(training_job: str, use_case: str | None, target: str | None, *, watch: bool, as_json: bool) -> None:
    from deployments.services.jobs import read_job

    async def views() -> AsyncIterator[RunView]:
        while True:
            view = await read_job(training_job, use_case, target)
            yield view
            if not watch or view.ended:
                return
            await asyncio.sleep(WATCH_SECONDS)

    out, last, said = Console(), None, None
    live_table = watch and not as_json and out.is_terminal
    with Live(console=out, auto_refresh=False, transient=True) if live_table else nullcontext() as live:
        async for last in views():
            if live:
                live.update(progress_table(last), refresh=True)
            elif watch and (text := last.model_dump_json() if as_json else _sentence(last)) != said:
                said = text
                typer.echo(text)
    assert last is not None
    if as_json and not watch:
        typer.echo(last.model_dump_json(indent=2))
    elif not as_json:
        print_view(last)


async def _list(
    status: RunStatus | None, use_case: str | None, target: str | None, *, watch: bool, as_json: bool
) -> None:
    from deployments.services.jobs import list_jobs, recently_trained

    trained, unasked = await recently_trained(use_case)
    for each in unasked:
        typer.echo(f"Training jobs that were never compiled may be missing: {printable(each)}.", err=True)
    out, said = Console(), None
    live_table = watch and not as_json and out.is_terminal
    with Live(console=out, auto_refresh=False) if live_table else nullcontext() as live:
        while True:
            jobs = await list_jobs(status, use_case, target, trained)
            text = json.dumps([job.view.model_dump(mode="json") for job in jobs], indent=None if watch else 2)
            if live:
                live.update(_live(jobs), refresh=True)
            elif text != said:
                if as_json:
                    typer.echo(text)
                else:
                    _print_list(jobs)
            said = text
            if not watch:
                return
            await asyncio.sleep(WATCH_SECONDS)


def _print_list(jobs: list[JobView]) -> None:
    if not jobs:
        typer.echo("No training jobs found. `dda compile TRAINING_JOB --use-case NAME` compiles one.")
        return
    print_table(COLUMNS, [_cells(job) for job in jobs])


def _live(jobs: list[JobView]) -> Table:
    table = Table(box=None)
    for column in COLUMNS:
        table.add_column(column, no_wrap=column == "training job")
    for job in jobs:
        table.add_row(*(printable(cell) for cell in _cells(job)))
    return table


def _cells(job: JobView) -> tuple[str, ...]:
    row = job.row
    return (
        row.training_job,
        row.status,
        f"{row.deployable}/{row.asked}" if row.asked else "",
        ", ".join(row.failed),
        row.use_case,
        row.model,
        moment(row.last_change),
        next_action(row),
    )


def _sentence(view: RunView) -> str:
    targets = ", ".join(f"{target} {record.status}" for target, record in view.targets.items())
    return f"{view.training_job}: {view.status}" + (f" ({targets})" if targets else "")
