"""``dda compile``: start a run for a training job, and follow it."""

from __future__ import annotations

import asyncio
import sys
from contextlib import nullcontext
from typing import TYPE_CHECKING, Annotated, Any
from uuid import UUID

import typer
from rich.console import Console
from rich.live import Live
from rich.table import Table

from dda_core.naming import check_training_job_name, component_base
from dda_core.runs.status import RunStatus, TargetStatus
from deployments.cli.caller import caller_tag
from deployments.cli.options import AsJson, Targets, known_targets, split_names
from deployments.cli.output import print_table, printable

if TYPE_CHECKING:
    from dda_core.runs.view import RunView

STYLES = {
    TargetStatus.NOT_STARTED: "dim",
    TargetStatus.DEPLOYABLE: "green",
    TargetStatus.SKIPPED: "green",
    TargetStatus.FAILED: "bold red",
    TargetStatus.STOPPED: "red",
}


def compile_command(
    training_job: Annotated[str, typer.Argument(help="The SageMaker training job; it must be Completed.")],
    use_case: Annotated[str, typer.Option(help="The use case, as registered with `dda use-case save`.")],
    targets: Targets = None,
    model_name: Annotated[str | None, typer.Option(help="The model's name.")] = None,
    component_name: Annotated[str | None, typer.Option(help="The start of the component names: model-...")] = None,
    friendly_name: Annotated[str | None, typer.Option(help="The name that operators see on the device.")] = None,
    force: Annotated[bool, typer.Option("--force", help="Recompile targets that are deployable already.")] = False,
    yes: Annotated[bool, typer.Option("--yes", help="Do not ask to confirm --force.")] = False,
    wait: Annotated[bool, typer.Option("--wait", help="Follow the run to its end.")] = False,
    as_json: AsJson = False,
) -> None:
    """Compile a completed training job for its targets, and publish a component for each.

    On a terminal, --force asks for confirmation. With --wait the exit code is 0 if every target is deployable, 1 if
    some target is not, and 2 if the training job belongs to another use case, so that nothing was done.
    """
    check_training_job_name(training_job)
    names = known_targets(split_names(targets), use_case)
    component_base(model_name or training_job, component_name)
    if force and not yes and sys.stdin.isatty():
        typer.confirm("Recompile targets that are deployable already?", abort=True, err=True)
    given = {
        "targets": names or None,
        "model_name": model_name,
        "component_name": component_name,
        "friendly_name": friendly_name,
        "force": force or None,
    }
    parameters: dict[str, Any] = {name: value for name, value in given.items() if value is not None}
    code = asyncio.run(_compile(training_job, use_case, parameters, wait=wait, as_json=as_json))
    raise typer.Exit(code)


async def _compile(training_job: str, use_case: str, parameters: dict[str, Any], *, wait: bool, as_json: bool) -> int:
    from deployments.services.runs import read_run, start_run
    from tasks.store.ui_links import run_link

    log = Console(stderr=True)
    run = await start_run(use_case, training_job, parameters, tags=["trigger:cli", caller_tag()])
    log.print(f"Flow run {run.id} of {training_job}: {run_link(str(run.id))}", soft_wrap=True, highlight=False)
    view = await (follow_to_the_end(run.id, log) if wait else read_run(run.id))
    if as_json:
        typer.echo(view.model_dump_json(indent=2))
    elif wait:
        print_view(view)
    if wait and not view.targets:
        log.print(await _state_message(run.id), style="red", soft_wrap=True, highlight=False, markup=False)
        # Completed without a target: the training job belongs to another use case, so nothing was done.
        return 2 if view.status is RunStatus.COMPLETED else 1
    return 0 if not wait or view.status is RunStatus.COMPLETED else 1


async def _state_message(flow_run_id: UUID) -> str:
    from prefect import get_client

    async with get_client() as client:
        run = await client.read_flow_run(flow_run_id)
    return str(run.state.message or run.state.name) if run.state else ""


async def follow_to_the_end(flow_run_id: UUID, log: Console) -> RunView:
    """Show the run's progress per target until it ends: a live table on a terminal, otherwise a line per change."""
    from deployments.services.runs import follow_run

    last = None
    shown: dict[str, str] = {}
    with Live(console=log, auto_refresh=False, transient=True) if log.is_terminal else nullcontext() as live:
        async for last in follow_run(flow_run_id):
            if live:
                live.update(progress_table(last), refresh=True)
                continue
            for target, record in last.targets.items():
                if shown.get(target) != record.status:
                    shown[target] = record.status
                    seconds = f" ({record.seconds:.0f} s)" if record.seconds else ""
                    log.print(f"{target}: {record.status}{seconds}", highlight=False)
    assert last is not None
    return last


def progress_table(view: RunView) -> Table:
    """The targets of a run in progress."""
    table = Table(title=f"{view.training_job}: {view.status}", title_justify="left", box=None)
    for column in ("target", "status", "attempt", "seconds", "compilation job"):
        table.add_column(column, justify="right" if column in ("attempt", "seconds") else "left")
    for target, record in view.targets.items():
        seconds = f"{record.seconds:.0f}" if record.seconds is not None else ""
        table.add_row(target, _styled(record.status), str(record.attempt or ""), seconds, record.compilation_job or "")
    return table


def print_view(view: RunView) -> None:
    """Print a run's status, each target's result, and the cause and remedy of each failure."""
    from tasks.store.ui_links import run_link

    typer.echo(f"{view.training_job}: {view.status}")
    if not view.targets:
        return
    typer.echo()
    print_table(
        ["target", "status", "seconds", "attempt", "component", "version", "compilation job"],
        [
            [
                target,
                record.status,
                "" if record.seconds is None else f"{record.seconds:.1f}",
                record.attempt,
                record.component,
                record.version,
                record.compilation_job,
            ]
            for target, record in view.targets.items()
        ],
    )
    for target, record in view.targets.items():
        details = (
            ("now", view.waiting.get(target)),
            ("compiled artifact", record.compiled_artifact),
            ("package", record.package),
            ("component version", record.arn),
            ("made by", run_link(view.made_by[target]) if target in view.made_by else None),
            ("reason", record.reason),
            ("cause", record.cause),
            ("what to do", record.remedy),
        )
        lines = [f"  {label}: {printable(value)}" for label, value in details if value]
        if lines:
            typer.echo("\n".join(["", target, *lines]))


def _styled(status: TargetStatus) -> str:
    style = STYLES.get(status, "cyan")
    return f"[{style}]{status}[/]"
