"""Reconciliation: restarting runs that lost their process, and finding orphaned resources in AWS."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from uuid import UUID

from prefect import get_client
from prefect.client.schemas.actions import ArtifactCreate
from prefect.client.schemas.objects import State
from prefect.runtime import flow_run
from prefect.states import Completed

from dda_core.runs.flows import FlowName
from tasks.decorators import flow
from tasks.operations.reconciliation import LostRun, lost_runs_page, reconcile_runs
from tasks.operations.run_retention import forget_idle_runs


@flow(name=FlowName.RECONCILE.value, flow_run_name="reconcile")
async def reconcile(look_at_aws: bool = False) -> State[None]:
    """Find runs whose process, worker or machine died, and restart them: they adopt what is in AWS.

    A run that is alive, waiting or suspended is never touched.

    Args:
        look_at_aws: Also check every use case for orphaned compilation jobs, for runs whose job was deleted, and for
            stale uploads. The findings are the artifact `reconcile-aws`.
    """
    return await run_reconciliation(look_at_aws)


async def run_reconciliation(
    look_at_aws: bool, reconcile_runs: Callable[..., Awaitable[list[LostRun]]] = reconcile_runs
) -> State[None]:
    """The body of the flow; ``reconcile_runs`` finds the runs and acts on them."""
    run_id = str(flow_run.get_id())
    lost = await reconcile_runs(own=run_id)
    if lost:
        async with get_client() as client:
            await client.create_artifact(
                ArtifactCreate(
                    key=FlowName.RECONCILE,
                    type="markdown",
                    data=lost_runs_page(lost),
                    description=f"{len(lost)} runs had lost their process",
                    flow_run_id=UUID(run_id),
                )
            )
    changed = False
    if look_at_aws:
        # Imported here, because only this needs AWS's libraries.
        from tasks.operations.orphans import find_orphans

        changed = await find_orphans()
    if not lost and not changed:
        await forget_idle_runs()
        return Completed(message="Nothing to do")
    return Completed(message=f"{len(lost)} runs had lost their process" + ("; see reconcile-aws" if changed else ""))
