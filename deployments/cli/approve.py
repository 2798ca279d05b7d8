"""``dda approve`` and ``dda reject``: decide whether a run may publish."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Annotated

import typer

from dda_core.naming import check_training_job_name
from deployments.cli.caller import caller
from deployments.cli.options import AsJson
from deployments.cli.output import print_json

if TYPE_CHECKING:
    from deployments.services.approvals import Decision

TrainingJob = Annotated[str, typer.Argument(help="The training job whose run is waiting.", show_default=False)]
Who = Annotated[str, typer.Option(help="Who decides.", default_factory=caller, show_default="the caller's user name")]
Why = Annotated[str, typer.Option(help="Why, for the history.")]
InUseCase = Annotated[str | None, typer.Option(help="The use case, if runs of several are waiting.")]


def approve_command(
    training_job: TrainingJob, who: Who, why: Why = "", use_case: InUseCase = None, as_json: AsJson = False
) -> None:
    """Let the waiting run of a training job publish its components.

    `dda status TRAINING_JOB` shows its status, and the run's page shows what it would publish.
    """
    _decide(training_job, "publish", who, why, use_case, as_json)


def reject_command(
    training_job: TrainingJob, who: Who, why: Why = "", use_case: InUseCase = None, as_json: AsJson = False
) -> None:
    """End the waiting run of a training job without publishing anything.

    Who and why are recorded with each of its targets. A retry of the run asks again.
    """
    _decide(training_job, "reject", who, why, use_case, as_json)


def _decide(training_job: str, decision: Decision, who: str, why: str, use_case: str | None, as_json: bool) -> None:
    check_training_job_name(training_job)
    from deployments.services.approvals import give_decision
    from tasks.store.ui_links import run_link

    run = str(asyncio.run(give_decision(training_job, decision, who=who, why=why, use_case=use_case)))
    if as_json:
        print_json(
            {"training_job": training_job, "decision": decision, "who": who, "why": why or None, "flow_run_id": run}
        )
        return
    word = "The run resumes and publishes" if decision == "publish" else "The run ends, and nothing is published"
    typer.echo(f"{training_job}: decided by {who}. {word}: {run_link(run)}")
