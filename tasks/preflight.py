"""The access check: can the caller, SageMaker's role and the devices access what the run needs?"""

from __future__ import annotations

import asyncio

from prefect import get_run_logger
from prefect.cache_policies import NO_CACHE

from dda_core.access.findings import Level
from dda_core.access.preflight import inspect_access, refuse_errors
from tasks.decorators import task
from tasks.run import current_run


@task(name="check-access", task_run_name="check access", cache_policy=NO_CACHE)
async def check_access(model_artifact: str) -> None:
    """Find within seconds what would fail every target after minutes. What AWS does not reveal stops nothing.

    Raises:
        AccessRefused: something is definitely missing; the message names it and the remedy.
    """
    run, logger = current_run(), get_run_logger()
    findings = await asyncio.to_thread(inspect_access, run.aws, model_artifact=model_artifact)
    for each in findings:
        if each.level in (Level.WARNING, Level.NOT_CHECKED):
            logger.warning("%s", each)
    refuse_errors(run.use_case, findings)
    logger.info("Access: %s", ", ".join(f"{each.check} {each.level}" for each in findings))
