"""Resources in a history that were deleted in AWS. Best effort: it is no error if AWS cannot be asked."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from typing import Any

from botocore.exceptions import BotoCoreError, ClientError

from dda_core.aws.clients import AwsClients
from dda_core.aws.errors import is_not_found
from dda_core.exceptions import DdaError
from dda_core.naming import component_arn
from dda_core.runs.history import HistoryRow
from dda_core.settings import load_settings
from tasks.store.use_cases import load_use_case

LOOKED_AT = 200
"""How many names of each kind are looked up, newest first."""
SECONDS = 10.0
_AT_ONCE = 8
_IMPATIENT = {"connect_timeout_seconds": 2.0, "read_timeout_seconds": 5.0, "max_attempts": 2}


async def deleted_in_aws(rows: Sequence[HistoryRow], use_cases: dict[str, str]) -> frozenset[str]:
    """The compilation jobs (by name) and component versions (``<component> <version>``) that were deleted.

    Args:
        rows: the history.
        use_cases: the use case's name by flow run id.
    """
    found: set[str] = set()
    looks: list[tuple[str, Callable[..., Any], dict[str, str]]] = []
    for name in dict.fromkeys(use_cases.values()):
        try:
            use_case = await load_use_case(name)
            aws = await asyncio.to_thread(AwsClients, use_case, load_settings().model_copy(update=_IMPATIENT))
            sagemaker, greengrass = aws.sagemaker, aws.greengrass
            await asyncio.to_thread(aws.credentials_end)  # so that a refused role fails once, not for every name
        except (DdaError, BotoCoreError, ClientError):
            continue
        ours = [row for row in reversed(rows) if use_cases.get(row.flow_run_id) == name]
        jobs = dict.fromkeys(row.compilation_job for row in ours if row.compilation_job)
        versions = dict.fromkeys((row.component, row.version) for row in ours if row.component and row.version)
        for job in list(jobs)[:LOOKED_AT]:
            looks.append((job, sagemaker.describe_compilation_job, {"CompilationJobName": job}))
        for component, version in list(versions)[:LOOKED_AT]:
            arn = component_arn(use_case.region, use_case.account_id, str(component), version)
            looks.append((f"{component} {version}", greengrass.describe_component, {"arn": arn}))
    slots = asyncio.Semaphore(_AT_ONCE)

    async def look(name: str, call: Callable[..., Any], arguments: dict[str, str]) -> None:
        async with slots:
            if not await asyncio.to_thread(_is_there, call, arguments):
                found.add(name)

    try:
        async with asyncio.timeout(SECONDS):
            await asyncio.gather(*(look(*each) for each in looks))
    except TimeoutError:
        pass
    return frozenset(found)


def _is_there(call: Callable[..., Any], arguments: dict[str, str]) -> bool:
    """Whether AWS has it; True if AWS cannot be asked."""
    try:
        call(**arguments)
    except ClientError as error:
        return not is_not_found(error)
    except (DdaError, BotoCoreError):
        return True
    return True
