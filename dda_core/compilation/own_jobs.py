"""The compilation jobs that a run creates: how they are made, known again as its own, and stopped when it is cancelled.

A job's tag ``dda:flow-run`` says whose it is. Where the caller may not tag, or may not read tags, the run's ledger
says it: what is created is written there first.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import TYPE_CHECKING, Any, Protocol

from botocore.exceptions import ClientError

from dda_core import naming
from dda_core.aws.errors import (
    error_message,
    error_text,
    http_status,
    is_denied,
    is_name_taken,
    is_quota_reached,
    retried,
)
from dda_core.aws.tags import FLOW_RUN_TAG, Maker, Warn, read_tags, silent
from dda_core.compilation.job import CompilationJob, CompilationWork, describe_job
from dda_core.compilation.status import CompilationStatus
from dda_core.exceptions import QuotaReached

if TYPE_CHECKING:
    from mypy_boto3_sagemaker import SageMakerClient


class JobLedger(Protocol):
    """Where a run writes down which compilation jobs it creates."""

    def claim(self, job: str, *, tagged: bool) -> bool:
        """Write down that the run is about to create the job; False where that stands there already.

        A job that is not ``tagged`` is known by the ledger alone, so it is kept for other processes before this
        returns.
        """

    def disclaim(self, job: str) -> None:
        """Take back a claim: the run did not create the job after all."""


class NoLedger:
    """The ledger of somebody who has tags only."""

    def claim(self, job: str, *, tagged: bool) -> bool:
        """Forget it."""
        return True

    def disclaim(self, job: str) -> None:
        """There is nothing to take back."""


def create_job(
    sagemaker: SageMakerClient,
    work: CompilationWork,
    attempt: int,
    maker: Maker | None,
    ledger: JobLedger | None = None,
) -> CompilationJob | None:
    """Create the job of that attempt; where another run was faster, the job that it made.

    Without the permission ``sagemaker:AddTags`` the job is made without tags: its name is what it is found by.
    Returns None when the name was in use but its job has gone by the time it is described.

    Raises:
        QuotaReached: the account has no free slot for a compilation job.
    """
    request = work.request(attempt, maker)
    ledger = ledger or NoLedger()
    try:
        try:
            _send(sagemaker, request, ledger)
        except ClientError as error:
            if not _may_not_tag(error):
                raise
            _send(sagemaker, {key: value for key, value in request.items() if key != "Tags"}, ledger)
    except ClientError as error:
        if is_quota_reached(error):
            raise QuotaReached(
                f"no free slot for compilation job {request['CompilationJobName']}: {error_message(error)}",
                name=request["CompilationJobName"],
                reason=error_text(error),
            ) from error
        if not is_name_taken(error):
            raise
    return describe_job(sagemaker, work, attempt)


def _send(sagemaker: SageMakerClient, request: dict[str, Any], ledger: JobLedger) -> None:
    """Ask for the job. The claim comes first, and stays where it is not certain that nothing was made."""
    name = request["CompilationJobName"]
    new = ledger.claim(name, tagged="Tags" in request)
    try:
        sagemaker.create_compilation_job(**request)
    except ClientError as error:
        # After a repeated request "in use" may mean the job that the first one made.
        if new and 0 < http_status(error) < 500 and not retried(error):
            ledger.disclaim(name)
        raise


def _may_not_tag(error: ClientError) -> bool:
    # The code is the same for every permission of the call; only the message names the one that is missing.
    return is_denied(error) and "sagemaker:AddTags" in error_message(error)


def creator_of(sagemaker: SageMakerClient, arn: str, warn: Warn = silent) -> str | None:
    """The id of the flow run that created the job of that ARN, from its tag ``dda:flow-run``; None without one."""
    return read_tags(sagemaker, arn, warn).get(FLOW_RUN_TAG)


def own_first_attempt(
    sagemaker: SageMakerClient,
    work: CompilationWork,
    newest: CompilationJob | None,
    maker: Maker,
    own: Mapping[str, int] | None = None,
    warn: Warn = silent,
) -> int | None:
    """The first of the newest jobs that ``maker`` made; None without any.

    It is what the run chose when it began, though nothing but the jobs' tags remembers it, and of jobs without tags
    ``own``: the names of those that the run has recorded, each with the retry that it was made in.
    """
    first = None
    while newest:
        made_by = Maker.tagged(read_tags(sagemaker, newest.arn, warn))
        if made_by is None and own and newest.name in own:
            made_by = Maker(maker.flow_run_id, own[newest.name])
        if made_by is None or made_by.flow_run_id != maker.flow_run_id:
            break
        if made_by == maker:
            first = newest.attempt
        newest = describe_job(sagemaker, work, newest.attempt - 1) if newest.attempt > 1 else None
    return first


def stop_jobs_of(
    sagemaker: SageMakerClient, training_job: str, flow_run_id: str, own: Collection[str] = ()
) -> list[str]:
    """Stop every active compilation job that the flow run created; the names of those stopped.

    ``own`` are the names that the run has recorded; they count for jobs whose tags do not say whose they are.
    """
    stopped = []
    for status in ("STARTING", "INPROGRESS"):
        pages = sagemaker.get_paginator("list_compilation_jobs").paginate(
            NameContains=naming.training_part(training_job),
            StatusEquals=status,
            SortBy="CreationTime",
            SortOrder="Descending",
        )
        for page in pages:
            for summary in page["CompilationJobSummaries"]:
                name, arn = summary["CompilationJobName"], summary["CompilationJobArn"]
                if naming.attempt_of(name) is None:
                    continue
                maker = creator_of(sagemaker, arn) or (flow_run_id if name in own else None)
                if maker == flow_run_id and _stop(sagemaker, name):
                    stopped.append(name)
    return stopped


def _stop(sagemaker: SageMakerClient, name: str) -> bool:
    try:
        sagemaker.stop_compilation_job(CompilationJobName=name)
    except ClientError:
        # It ended between the listing and the stop; whatever is still active is a real error.
        status = sagemaker.describe_compilation_job(CompilationJobName=name)["CompilationJobStatus"]
        if CompilationStatus.normalise(status).active:
            raise
        return False
    return True
