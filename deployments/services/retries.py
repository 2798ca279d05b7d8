"""Retrying a training job's failed targets by hand."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime

from prefect import get_client

from dda_core.exceptions import FlowRunMissing, UnknownTarget
from dda_core.runs.history import merged
from dda_core.runs.retry_policy import RetryDecision, decide
from dda_core.settings import load_settings
from deployments.services.jobs import read_runs
from deployments.services.runs import prefect_errors
from tasks.operations.retries import carry_out, failed_targets
from tasks.store.history import records_of

BY = "dda retry"


async def retry_job(
    training_job: str,
    use_case: str | None = None,
    targets: Sequence[str] = (),
    *,
    force: bool = False,
    dry_run: bool = False,
) -> list[RetryDecision]:
    """Schedule the runs of a training job's failed targets again; returns the decision for each.

    Args:
        training_job: its name.
        use_case: count only runs of this use case.
        targets: only these; empty: every failed one.
        force: ignore the retry class and the maximum, and recompile.
        dry_run: only decide.

    Raises:
        FlowRunMissing: the training job has no run.
        UnknownTarget: no run had one of the targets.
        PrefectUnreachable: there is no server to ask.
    """
    runs = await read_runs(training_job, use_case)
    if not runs:
        of = f" of use case {use_case!r}" if use_case else ""
        raise FlowRunMissing(
            f"training job {training_job!r} has no run{of}, so there is nothing to retry",
            name=training_job,
            remedy="`dda status` lists the training jobs; `dda compile` starts a run.",
        )
    known = merged(map(records_of, runs))
    with prefect_errors():
        async with get_client() as client:
            failed = await failed_targets(client, [runs])
            unsure = any(each.target is None for each in failed)
            for name in targets:
                if name not in known and not unsure:
                    raise UnknownTarget(name, known, f"training job {training_job}")
            # A run that ended before it knew its targets is retried as a whole.
            asked = [each for each in failed if not targets or each.target is None or each.target in targets]
            decisions = decide(asked, datetime.now(UTC), load_settings(), by_hand=True, force=force)
            return decisions if dry_run else await carry_out(client, decisions, BY, force=force)
