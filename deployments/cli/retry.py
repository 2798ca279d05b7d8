"""``dda retry``: retry a training job's failed targets."""

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
        bool, typer.Option("--force", help="Ignore the retry class and the maximum, and recompile.")
    ] = False,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Only show what would be done.")] = False,
    wait: Annotated[bool, typer.Option("--wait", help="Follow the run to its end.")] = False,
    as_json: AsJson = False,
) -> None:
    """Retry a training job's failed targets in the same flow run; without --targets, all for which a retry can help.

    Without --force it does not retry targets that would certainly fail again, that a person stopped, or that have
    reached the maximum of attempts. Unlike scheduled retries it does not wait first. A run in progress is left alone.

    The exit code is 0 if something is retried or nothing has failed, and 1 if no failed target is retried. With --wait
    it is 0 if every target is deployable at the end, and 1 otherwise.
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
                done if decision.retry else "not retried",
                decision.use_case,
                run_link(decision.flow_run_id),
                decision.why,
            ]
            for decision in decisions
        ],
    )
    if not all(decision.retry for decision in decisions):
        typer.echo("\n--force also retries targets that their retry class or the maximum rules out.")


async def _follow(flow_run_ids: list[str], as_json: bool) -> int:
    from deployments.cli.compile import follow_to_the_end, print_view

    views = [await follow_to_the_end(UUID(run), Console(stderr=True)) for run in flow_run_ids]
    for view in views if not as_json else ():
        print_view(view)
    return 0 if all(view.status is RunStatus.COMPLETED for view in views) else 1
