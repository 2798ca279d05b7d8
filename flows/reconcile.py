"""What died is found and goes on: runs without a process, and what is left in AWS that no run knows."""

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
from tasks.operations.reconciliation import Healed, healed_page, reconcile_runs
from tasks.operations.run_retention import forget_idle_runs


@flow(name=FlowName.RECONCILE.value, flow_run_name="reconcile")
async def reconcile(look_at_aws: bool = False) -> State[None]:
    """Find runs whose process, worker or machine died, and let them go on: they adopt what is in AWS.

    A run that lives, waits or is suspended is never touched.

    Args:
        look_at_aws: Look also for compilation jobs of ours that no run knows, for runs whose job was deleted, and for
            uploads left behind, in every use case. The findings are the artifact `reconcile-aws`.
    """
    return await heal(look_at_aws)


async def heal(
    look_at_aws: bool, reconcile_runs: Callable[..., Awaitable[list[Healed]]] = reconcile_runs
) -> State[None]:
    """What the flow does, inside its run; ``reconcile_runs`` finds the runs and does what has to be done."""
    run_id = str(flow_run.get_id())
    healed = await reconcile_runs(own=run_id)
    if healed:
        async with get_client() as client:
            await client.create_artifact(
                ArtifactCreate(
                    key=FlowName.RECONCILE,
                    type="markdown",
                    data=healed_page(healed),
                    description=f"{len(healed)} runs had lost their process",
                    flow_run_id=UUID(run_id),
                )
            )
    changed = False
    if look_at_aws:
        # Only this look needs AWS's libraries.
        from tasks.operations.orphans import look_for_left_behind

        changed = await look_for_left_behind()
    if not healed and not changed:
        await forget_idle_runs()
        return Completed(message="Nothing to do")
    return Completed(message=f"{len(healed)} runs had lost their process" + ("; see reconcile-aws" if changed else ""))
