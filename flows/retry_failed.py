"""Retrying failed targets that a retry can help, on a schedule and on demand."""

from __future__ import annotations

import json
from collections.abc import Sequence
from datetime import UTC, datetime
from uuid import UUID

from prefect import get_client, get_run_logger
from prefect.client.orchestration import PrefectClient
from prefect.client.schemas.actions import ArtifactCreate
from prefect.client.schemas.objects import State
from prefect.runtime import flow_run
from prefect.states import Completed

from dda_core.pages.retries import retries_page
from dda_core.runs.flows import FlowName
from dda_core.runs.retry_policy import RetryDecision, summary
from dda_core.sanitise import sanitise
from tasks.decorators import flow
from tasks.operations.retries import sweep
from tasks.operations.run_retention import forget_idle_runs
from tasks.store.artifacts import latest_artifact
from tasks.store.ui_links import artifact_link, run_link

KEY, ROWS_KEY = "retries", "retries-rows"


@flow(name=FlowName.RETRY_FAILED.value, flow_run_name="retry what failed")
async def retry_failed() -> State[None]:
    """Retry the runs of failed, crashed and timed-out targets if a retry can help.

    The retry class decides, with exponential backoff, a maximum number of attempts and a budget. The artifact
    `retries` shows each target's decision and why.
    """
    decisions = await sweep(FlowName.RETRY_FAILED)
    log = get_run_logger()
    for each in decisions:
        if each.retry:
            log.info("%s of %s is retried: %s", each.target or "everything", each.training_job, each.why)
    log.info("All decisions: %s", artifact_link(KEY))
    async with get_client() as client:
        await _write(client, decisions)
    if not any(decision.retry for decision in decisions):
        await forget_idle_runs()
    return Completed(message=summary(decisions))


async def _write(client: PrefectClient, decisions: Sequence[RetryDecision]) -> None:
    """Write new artifacts, unless the decisions are the same as last time."""
    data = json.dumps(
        [
            {**row, "reason": row["reason"] and sanitise(row["reason"], mask_accounts=True, keep=[row["training_job"]])}
            for row in (decision.model_dump(mode="json") for decision in decisions)
        ]
    )
    latest = await latest_artifact(client, ROWS_KEY)
    if latest.data == data if latest else not decisions:
        return
    run_id = UUID(str(flow_run.get_id()))
    page = sanitise(
        retries_page(decisions, datetime.now(UTC), run_link),
        mask_accounts=True,
        keep=[decision.training_job for decision in decisions],
    )
    for key, kind, text, description in (
        (ROWS_KEY, "table", data, "For programs. For people: retries"),
        (KEY, "markdown", page, summary(decisions)),
    ):
        await client.create_artifact(
            ArtifactCreate(key=key, type=kind, data=text, description=description, flow_run_id=run_id)
        )
