"""The compilation jobs that a run creates: creating them, recognising them, and stopping them when it is cancelled.

A job's tag ``dda:flow-run`` names the run that created it. If the caller may not set or read tags, the run's ledger
does: each job is written there before it is created.
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
    """A run's list of the compilation jobs that it creates."""

    def claim(self, job: str, *, tagged: bool) -> bool:
        """Record that the run is about to create the job; False if that is recorded already.

        A job that is not ``tagged`` is known only from the ledger, so the claim is stored before this returns.
        """

    def disclaim(self, job: str) -> None:
        """Withdraw a claim: the job was not created."""


class NoLedger:
    """A ledger for callers that rely on tags."""

    def claim(self, job: str, *, tagged: bool) -> bool:
        """Record nothing."""
        return True

    def disclaim(self, job: str) -> None:
        """Do nothing."""


def create_job(
    sagemaker: SageMakerClient,
    work: CompilationWork,
    attempt: int,
    maker: Maker | None,
    ledger: JobLedger | None = None,
) -> CompilationJob | None:
    """Create the job of that attempt; if another run was faster, returns that run's job.

    Without permission for ``sagemaker:AddTags`` the job is created without tags; it is found by its name. Returns None
    if the name was in use but the job has been deleted since.

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
    """Claim and create the job. The claim is withdrawn only if the job was certainly not created."""
    name = request["CompilationJobName"]
    new = ledger.claim(name, tagged="Tags" in request)
    try:
        sagemaker.create_compilation_job(**request)
    except ClientError as error:
        # If botocore repeated the request, "in use" may refer to the job that the first one created.
        if new and 0 < http_status(error) < 500 and not retried(error):
            ledger.disclaim(name)
        raise


def _may_not_tag(error: ClientError) -> bool:
    # The error code is the same for every missing permission; only the message names the action.
    return is_denied(error) and "sagemaker:AddTags" in error_message(error)


def creator_of(sagemaker: SageMakerClient, arn: str, warn: Warn = silent) -> str | None:
    """The id of the flow run that created the job, from its tag ``dda:flow-run``; None without the tag."""
    return read_tags(sagemaker, arn, warn).get(FLOW_RUN_TAG)


def own_first_attempt(
    sagemaker: SageMakerClient,
    work: CompilationWork,
    newest: CompilationJob | None,
    maker: Maker,
    own: Mapping[str, int] | None = None,
    warn: Warn = silent,
) -> int | None:
    """The attempt number of the first job that ``maker`` created, among the newest; None without any.

    Recovers the run's first attempt from the jobs' tags and, for jobs without tags, from ``own``: the job names that
    the run has recorded, each with the retry that created it.
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
    """Stop every active compilation job that the flow run created; returns the names of those stopped.

    ``own`` are the names that the run has recorded; they identify jobs without a flow run tag.
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
        # The job may have ended since it was listed; if it is still active, the error is real.
        status = sagemaker.describe_compilation_job(CompilationJobName=name)["CompilationJobStatus"]
        if CompilationStatus.normalise(status).active:
            raise
        return False
    return True
