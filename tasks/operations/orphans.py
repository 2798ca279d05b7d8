"""What dead processes left in AWS: orphaned compilation jobs, runs whose job was deleted, stale uploads."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable, Sequence
from datetime import UTC, datetime, timedelta
from typing import NamedTuple
from uuid import UUID

from botocore.exceptions import BotoCoreError, ClientError
from prefect import get_client
from prefect.client.orchestration import PrefectClient
from prefect.client.schemas.filters import (
    FlowRunFilter,
    FlowRunFilterId,
    FlowRunFilterState,
    FlowRunFilterStateType,
)
from prefect.client.schemas.objects import StateType
from prefect.logging import get_logger

from dda_core.cleanup.orphaned_jobs import OurJob, job_exists, our_jobs
from dda_core.cleanup.stale_uploads import remove_stale_uploads
from dda_core.exceptions import DdaError
from dda_core.pages.markdown import cell, table
from dda_core.runs.status import TargetStatus
from dda_core.sanitise import sanitise, unmasked
from dda_core.use_case import UseCase
from tasks.rate_limits import limited_clients
from tasks.store.artifacts import keep_artifact, latest_artifact
from tasks.store.history import JobRun, newest_runs, runs_of
from tasks.store.use_cases import load_use_case, use_case_names

logger = get_logger("dda.reconcile")

KEY = "reconcile-aws"
SINCE = timedelta(days=7)
"""Older jobs are ignored."""
RUNS = 100


class Finding(NamedTuple):
    """Something orphaned, and what to do about it."""

    use_case: str
    what: str
    remedy: str


async def find_orphans() -> bool:
    """Check every use case's account and write the findings to the artifact; whether they changed.

    A use case whose account cannot be checked is itself a finding, and does not affect the others.
    """
    findings: list[Finding] = []
    async with get_client() as client:
        running = await newest_runs(
            client,
            FlowRunFilter(state=FlowRunFilterState(type=FlowRunFilterStateType(any_=[StateType.RUNNING]))),
            RUNS,
        )
        for name in await use_case_names():
            try:
                use_case = await load_use_case(name)
                findings += await _findings(client, name, use_case, [run for run in running if run.use_case == name])
            except (DdaError, ClientError, BotoCoreError) as error:
                findings.append(Finding(name, f"its account could not be checked: {error}", "See `dda use-case`."))
        return await _keep(client, findings)


async def _findings(client: PrefectClient, name: str, use_case: UseCase, running: Sequence[JobRun]) -> list[Finding]:
    aws = await asyncio.to_thread(limited_clients, use_case)
    since, unread = datetime.now(UTC) - SINCE, set[str]()
    jobs = await asyncio.to_thread(lambda: list(our_jobs(aws.sagemaker, use_case, since, unread.add)))
    found = [
        Finding(
            name,
            f"compilation job {job.name} ({job.status}) of {job.training_job} belongs to no known run",
            f"`dda compile {job.training_job} --use-case {name} --targets {job.target}` joins or adopts it",
        )
        for job in await _unknown(client, jobs)
    ]
    for run in running:
        for line in run.lines:
            job_name = unmasked(line.compilation_job or "", use_case.account_id)
            waits = line.status is TargetStatus.COMPILING and job_name
            if waits and not await asyncio.to_thread(job_exists, aws.sagemaker, job_name):
                what = f"{run.training_job} waits for compilation job {job_name}, which was deleted"
                found.append(Finding(name, what, "Nothing: its run creates the job again."))
    removed = await asyncio.to_thread(remove_stale_uploads, aws.s3, use_case.s3_bucket)
    return [
        *found,
        *(
            Finding(name, sentence, "No job is missed: its request identifies its owner.")
            for sentence in sorted(unread)
        ),
        *(Finding(name, sentence, "Nothing: it is done.") for sentence in removed),
    ]


async def _unknown(client: PrefectClient, jobs: Iterable[OurJob]) -> list[OurJob]:
    """The jobs whose run is not on this server and which no record of their training job names."""
    jobs = list(jobs)
    ids = [UUID(job.flow_run_id) for job in jobs if job.flow_run_id and _is_uuid(job.flow_run_id)]
    known: set[str] = set()
    if ids:
        runs = await client.read_flow_runs(flow_run_filter=FlowRunFilter(id=FlowRunFilterId(any_=ids)), limit=200)
        known = {str(run.id) for run in runs}
    suspects = [job for job in jobs if job.flow_run_id not in known]
    named: set[str] = set()
    for training_job in {job.training_job for job in suspects}:
        for run in await runs_of(client, training_job):
            for writing in run.writings:
                for line in writing.lines:
                    named |= {each.compilation_job for each in line.attempts if each.compilation_job}
                    named |= line.own_jobs.keys()
                    named |= {line.compilation_job} if line.compilation_job else set()
    return [job for job in suspects if sanitise(job.name, mask_accounts=True, keep=[job.training_job]) not in named]


async def _keep(client: PrefectClient, findings: Sequence[Finding]) -> bool:
    """Write the findings if they changed; nothing is written before the first one."""
    for finding in findings:
        logger.warning("%s: %s. %s", finding.use_case, finding.what, finding.remedy)
    page = _page(findings)
    latest = await latest_artifact(client, KEY)
    if latest is None and not findings:
        return False
    if latest is not None and latest.data == page:
        return False
    await keep_artifact(client, KEY, "markdown", page, "What is orphaned in AWS, and what to do about it")
    return True


def _page(findings: Sequence[Finding]) -> str:
    head = "# Orphaned in AWS"
    if not findings:
        return f"{head}\n\nNothing.\n"
    rows = [[cell(each.use_case), cell(each.what), each.remedy] for each in findings]
    return sanitise(f"{head}\n\n{table(['use case', 'what', 'what to do'], rows)}\n", mask_accounts=True)


def _is_uuid(text: str) -> bool:
    try:
        UUID(text)
    except ValueError:
        return False
    return True
