"""``dda retry``: do a training job's failed targets again."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Annotated
from uuid import UUID

import typer
from rich.console import Console

from dda_core.naming import check_training_job_name
from dda_core.runs.status import RunStatus
from deployments.cli.options import AsJson, Targets, known_targets, split_names
from deployments.cli.output import print_json, print_table

if TYPE_CHECKING:
    from dda_core.runs.retry_policy import RetryDecision


def retry_command(
    training_job: Annotated[str, typer.Argument(help="The training job.")],
    use_case: Annotated[str | None, typer.Option(help="Only what belongs to this use case.")] = None,
    targets: Targets = None,
    force: Annotated[
        bool, typer.Option("--force", help="Whatever the failure's class and the maximum say; compile anew.")
    ] = False,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Only say what would be done.")] = False,
    wait: Annotated[bool, typer.Option("--wait", help="Follow the run to its end.")] = False,
    as_json: AsJson = False,
) -> None:
    """Do a training job's failed targets again, in the same flow run; without --targets, all that it can help.

    What fails again for sure, what a person stopped, and what was tried often enough is left alone but for --force.
    There is no wait as between the scheduled retries. A run in progress is never touched.

    The exit code is 0 when something is retried or nothing has failed, and 1 when every failed target is left alone.
    With --wait it is 0 when every target is deployable at the end, and 1 when some target is not.
    """
    check_training_job_name(training_job)
    names = known_targets(split_names(targets), use_case)
    from deployments.services.retries import retry_job

    decisions = asyncio.run(retry_job(training_job, use_case, names, force=force, dry_run=dry_run))
    retried = [decision for decision in decisions if decision.retry]
    if as_json:
        print_json([decision.model_dump(mode="json") for decision in decisions])
    elif decisions:
        _print(decisions, dry_run)
    else:
        typer.echo(f"No target of {training_job} has failed; there is nothing to retry.")
    code = 1 if decisions and not retried else 0
    if wait and retried and not dry_run:
        code = asyncio.run(_follow(list(dict.fromkeys(decision.flow_run_id for decision in retried)), as_json))
    raise typer.Exit(code)


def _print(decisions: list[RetryDecision], dry_run: bool) -> None:
    from tasks.store.ui_links import run_link

    done = "would be retried" if dry_run else "retried"
    print_table(
        ["target", "decision", "use case", "run", "why"],
        [
            [
                decision.target or "(whole run)",
                done if decision.retry else "left alone",
                decision.use_case,
                run_link(decision.flow_run_id),
                decision.why,
            ]
            for decision in decisions
        ],
    )
    if not all(decision.retry for decision in decisions):
        typer.echo("\nWhat is left alone because of its class or the maximum is done with --force.")


async def _follow(flow_run_ids: list[str], as_json: bool) -> int:
    from deployments.cli.compile import follow_to_the_end, print_view

    views = [await follow_to_the_end(UUID(run), Console(stderr=True)) for run in flow_run_ids]
    for view in views if not as_json else ():
        print_view(view)
    return 0 if all(view.status is RunStatus.COMPLETED for view in views) else 1
