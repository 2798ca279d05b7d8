"""``dda history``: every attempt of a training job, successful or not."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Annotated

import typer

from dda_core.naming import check_training_job_name
from dda_core.pages.overview import moment
from deployments.cli.options import AsJson
from deployments.cli.output import print_json, print_table

if TYPE_CHECKING:
    from dda_core.runs.history import HistoryRow

COLUMNS = ("started", "seconds", "target", "attempt", "status", "version", "started by")
"""The columns of the table; longer values are printed below their row, and ``--json`` has all fields."""


def history_command(
    training_job: Annotated[str, typer.Argument(help="The training job.")],
    use_case: Annotated[str | None, typer.Option(help="Only what belongs to this use case.")] = None,
    as_json: AsJson = False,
) -> None:
    """List every attempt of every target, oldest first, including failed, stopped and crashed ones.

    A skipped target adds no row. What has been deleted in AWS since is marked as deleted, if AWS can be asked.
    The exit code is 2 for a training job that neither Prefect nor AWS knows, and 3 for an unknown use case.
    """
    check_training_job_name(training_job)
    from deployments.services.jobs import check_known, read_runs
    from tasks.store.history import history_of

    runs = asyncio.run(read_runs(training_job, use_case))
    if not runs:
        asyncio.run(check_known(training_job, use_case))
    rows = history_of(runs)
    if as_json:
        print_json([row.model_dump(mode="json") for row in rows])
        return
    if not rows:
        typer.echo(f"Nothing was attempted yet for {training_job}.")
        return
    from deployments.services.deleted_resources import deleted_in_aws

    deleted = asyncio.run(deleted_in_aws(rows, {str(run.run.id): run.use_case for run in runs}))
    print_table(COLUMNS, [_cells(row, deleted) for row in rows], [_notes(row, deleted) for row in rows])


def _cells(row: HistoryRow, deleted: frozenset[str]) -> tuple[object, ...]:
    return (
        moment(row.started),
        "" if row.seconds is None else f"{row.seconds:.1f}",
        row.target,
        row.attempt,
        row.status,
        _marked(row.version, f"{row.component} {row.version}" in deleted),
        row.trigger,
    )


def _notes(row: HistoryRow, deleted: frozenset[str]) -> list[tuple[str, object]]:
    from tasks.store.ui_links import run_link

    return [
        ("compilation job", _marked(row.compilation_job, row.compilation_job in deleted)),
        ("component", row.component if row.version else ""),
        ("run", run_link(row.flow_run_id)),
        ("reason", " ".join((row.reason or "").split())),
    ]


def _marked(name: str | None, deleted: bool) -> str:
    return f"{name} (deleted)" if deleted else name or ""
