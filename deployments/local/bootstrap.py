"""``python -m deployments.local.bootstrap USE_CASE ACCOUNT REGION BUCKET [ENDED_BEFORE]``: register with the server.

``dda local up`` starts this process while the server is still loading. It waits for the server, then registers the
use case and the deployments of the package's ``prefect.yaml``. ``ENDED_BEFORE`` (ISO 8601) is given where Prefect keeps
its state: every process from before that time has ended, so runs that lost theirs are restarted first.
"""

from __future__ import annotations

import asyncio
import os
import runpy
import sys
import time
from contextlib import suppress
from datetime import datetime, timedelta
from importlib.resources import as_file, files

from dda_core.fleets import new_fleet
from dda_core.runs.flows import FlowName
from dda_core.use_case import UseCase
from deployments.local.prefect_server import server_answers

RECONCILE_SECONDS = 30.0
"""How often reconcile runs. Short, because a local stack is there to watch things happen."""
NOTICE = "notice: "
"""The prefix of output lines that the supervisor shows to the user."""


def main() -> None:
    """Register everything; errors go to the output, which is the log."""
    from deployments.server.registration import save_use_case

    usecase_id, account, region, bucket, *ended_before = sys.argv[1:]
    use_case = UseCase(
        usecase_id=usecase_id, account_id=account, region=region, s3_bucket=bucket, fleet=new_fleet().name
    )
    while not server_answers(os.environ["PREFECT_API_URL"]):
        time.sleep(0.1)
    for moment in ended_before:
        asyncio.run(_restart_dead_runs(datetime.fromisoformat(moment)))
    asyncio.run(save_use_case(use_case))
    # From the installed package: the project's folder may not exist on this machine.
    with as_file(files("deployments") / "prefect.yaml") as file:
        # In this process, because a subprocess would import Prefect again.
        sys.argv = ["prefect", "--no-prompt", "deploy", "--all", "--prefect-file", str(file)]
        try:
            runpy.run_module("prefect", run_name="__main__")
        except SystemExit as end:
            if end.code:
                raise
    asyncio.run(_shorten_reconcile_interval())


async def _restart_dead_runs(ended_before: datetime) -> None:
    from tasks.operations.reconciliation import forget_overdue, reconcile_runs

    try:
        for each in await reconcile_runs(ended_before=ended_before):
            print(f"{NOTICE}{each}")
        await forget_overdue(ended_before)
    except Exception as error:
        # Not fatal: the scheduled reconcile finds them too.
        print(f"{NOTICE}Runs of the earlier stack could not be checked ({error}); reconcile will check them later.")


async def _shorten_reconcile_interval() -> None:
    from prefect import get_client
    from prefect.client.schemas.schedules import IntervalSchedule
    from prefect.exceptions import ObjectNotFound

    async with get_client() as client:
        with suppress(ObjectNotFound):
            deployment = await client.read_deployment_by_name(f"{FlowName.RECONCILE}/{FlowName.RECONCILE}")
            for each in deployment.schedules:
                schedule = IntervalSchedule(interval=timedelta(seconds=RECONCILE_SECONDS))
                await client.update_deployment_schedule(deployment.id, each.id, schedule=schedule)


if __name__ == "__main__":
    main()
