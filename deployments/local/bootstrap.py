"""``python -m deployments.local.bootstrap USE_CASE ACCOUNT REGION BUCKET [ENDED_BEFORE]``: what a server is told.

A process of its own, begun by ``dda local up`` while the server is still loading: it loads meanwhile, waits for the
server, and registers the use case and the deployments of the package's ``prefect.yaml``. Where Prefect goes on with its
state, all that ran before ``ENDED_BEFORE`` (ISO 8601) has ended: the runs that lost their process then are let go on
first.
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
"""Between two looks for runs without a process: a local stack is there to see things happen."""
HEALED = "healed: "
"""What a line of the output begins with that the supervisor passes on."""


def main() -> None:
    """Register, and end with exit code 0; anything else is in the log, which is the output."""
    from deployments.server.registration import save_use_case

    usecase_id, account, region, bucket, *ended_before = sys.argv[1:]
    use_case = UseCase(
        usecase_id=usecase_id, account_id=account, region=region, s3_bucket=bucket, fleet=new_fleet().name
    )
    while not server_answers(os.environ["PREFECT_API_URL"]):
        time.sleep(0.1)
    for moment in ended_before:
        asyncio.run(_heal(datetime.fromisoformat(moment)))
    asyncio.run(save_use_case(use_case))
    # From the installed package: the folder of the project need not be there, let alone be the current one.
    with as_file(files("deployments") / "prefect.yaml") as file:
        # Prefect's own command, in this process: another one would load Prefect once more.
        sys.argv = ["prefect", "--no-prompt", "deploy", "--all", "--prefect-file", str(file)]
        try:
            runpy.run_module("prefect", run_name="__main__")
        except SystemExit as end:
            if end.code:
                raise
    asyncio.run(_reconcile_often())


async def _heal(ended_before: datetime) -> None:
    from tasks.operations.reconciliation import forget_overdue, reconcile_runs

    try:
        for each in await reconcile_runs(ended_before=ended_before):
            print(f"{HEALED}{each}")
        await forget_overdue(ended_before)
    except Exception as error:
        # The stack comes up all the same: the scheduled reconciliation finds them too.
        print(f"{HEALED}Runs of the earlier stack could not be looked at now ({error}); reconcile does it later.")


async def _reconcile_often() -> None:
    from prefect import get_client
    from prefect.client.schemas.schedules import IntervalSchedule
    from prefect.exceptions import ObjectNotFound

    async with get_client() as client:
        with suppress(ObjectNotFound):
            deployment = await client.read_deployment_by_name(f"{FlowName.RECONCILE}/{FlowName.RECONCILE}")
            for each in deployment.schedules:
                often = IntervalSchedule(interval=timedelta(seconds=RECONCILE_SECONDS))
                await client.update_deployment_schedule(deployment.id, each.id, schedule=often)


if __name__ == "__main__":
    main()
