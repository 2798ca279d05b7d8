"""The emulated SageMaker: our own compilation and training jobs; everything else is moto's."""

from __future__ import annotations

import base64
import binascii
import json
import threading
from collections.abc import Callable
from datetime import datetime
from typing import Any

from moto.core.responses import ActionResult, EmptyResult
from moto.sagemaker.responses import SageMakerResponse

from deployments.local.aws.environment import current, partition
from deployments.local.aws.errors import AwsError
from deployments.local.aws.services.compilation import LIVE, CompilationJob
from deployments.local.aws.services.iam import may
from deployments.local.aws.services.sts import principal_of_key
from deployments.local.aws.services.training import TrainingJob
from deployments.local.aws.services.training_events import announce
from deployments.local.aws.shapes import request_violations, summary

PAGE = 10
"""SageMaker's default page size of job lists: callers must follow NextToken."""

_lock = threading.RLock()


class SageMaker(SageMakerResponse):  # type: ignore[misc]
    """The operations that differ from moto's."""

    def _request(self, operation: str) -> dict[str, Any]:
        request: dict[str, Any] = json.loads(self.body or "{}")
        violations = request_violations("sagemaker", operation, request)
        if violations:
            raise AwsError("ValidationException", summary(violations))
        return request

    def _authorise(self, action: str, resource: str) -> None:
        """Raise AccessDeniedException where the policies of a caller known to IAM do not allow the action."""
        caller, principal = principal_of_key(self.get_access_key(), self.current_account, self.region)
        if not may(principal, action, resource):
            raise AwsError(
                "AccessDeniedException",
                f"User: {caller} is not authorized to perform: {action} on resource: {resource} because no "
                f"identity-based policy allows the {action} action",
            )

    def create_compilation_job(self) -> ActionResult:
        """CreateCompilationJob. With tags it also needs sagemaker:AddTags, as in AWS."""
        request = self._request("CreateCompilationJob")
        output = request["OutputConfig"]
        if ("InputConfig" in request) == ("ModelPackageVersionArn" in request):
            raise AwsError(
                "ValidationException", "Exactly one of InputConfig and ModelPackageVersionArn must be specified."
            )
        if "InputConfig" not in request:
            raise AwsError("ValidationException", "The local AWS compiles from InputConfig only.")
        if ("TargetDevice" in output) == ("TargetPlatform" in output):
            raise AwsError("ValidationException", "Exactly one of TargetDevice and TargetPlatform must be specified.")
        _refuse_double_tags(request)
        name = request["CompilationJobName"]
        if request.get("Tags"):
            where = f"{self.region}:{self.current_account}"
            arn = f"arn:{partition(self.region)}:sagemaker:{where}:compilation-job/{name}"
            self._authorise("sagemaker:AddTags", arn)
        with _lock:
            jobs: dict[str, CompilationJob] = self.sagemaker_backend.compilation_jobs
            if name in jobs:
                raise AwsError("ResourceInUse", f"Job with name {name} already exists. Please use a different name.")
            limit = current().settings.concurrent_compilation_jobs
            live = sum(job.takes_a_slot() for job in jobs.values())
            if live >= limit:
                raise AwsError(
                    "ResourceLimitExceeded",
                    f"The account-level service limit 'Number of concurrent compilation jobs' is {limit}, with "
                    f"current utilization of {live} and a request delta of 1. Please use AWS Service Quotas to "
                    "request an increase for this quota.",
                )
            jobs[name] = CompilationJob(request, self.current_account, self.region)
        return ActionResult({"CompilationJobArn": jobs[name].arn})

    def _compilation_job(self, operation: str) -> CompilationJob:
        name = self._request(operation)["CompilationJobName"]
        job = self.sagemaker_backend.compilation_jobs.get(name)
        if job is None:
            raise AwsError("ResourceNotFound", f"Could not find compilation job with name: {name}")
        return job  # type: ignore[no-any-return]

    def describe_compilation_job(self) -> ActionResult:
        """DescribeCompilationJob."""
        return ActionResult(self._compilation_job("DescribeCompilationJob").describe())

    def stop_compilation_job(self) -> ActionResult:
        """StopCompilationJob."""
        job = self._compilation_job("StopCompilationJob")
        if not job.stop():
            raise AwsError(
                "ValidationException",
                f"The request was rejected because the compilation job is in status {job.status()}.",
            )
        return EmptyResult()

    def delete_compilation_job(self) -> ActionResult:
        """DeleteCompilationJob: only for a job that has ended; frees its name."""
        with _lock:
            job = self._compilation_job("DeleteCompilationJob")
            if job.status() in LIVE:
                raise AwsError(
                    "ValidationException",
                    f"The compilation job {job.name} is in status {job.status()}; only jobs with status COMPLETED, "
                    "FAILED or STOPPED can be deleted.",
                )
            self.sagemaker_backend.compilation_jobs.pop(job.name, None)
        return EmptyResult()

    def list_compilation_jobs(self) -> ActionResult:
        """ListCompilationJobs."""
        request = self._request("ListCompilationJobs")
        jobs = [job.summary() for job in list(self.sagemaker_backend.compilation_jobs.values())]
        return _page(request, jobs, "CompilationJob", "CompilationJobSummaries")

    def create_training_job(self) -> ActionResult:
        """CreateTrainingJob."""
        request = self._request("CreateTrainingJob")
        _refuse_double_tags(request)
        job = TrainingJob(request, self.current_account, self.region)
        add_training_job(self.sagemaker_backend, job)
        return ActionResult({"TrainingJobArn": job.arn})

    def _training_job(self, operation: str) -> TrainingJob:
        name = self._request(operation)["TrainingJobName"]
        job = self.sagemaker_backend.training_jobs.get(name)
        if job is None:
            # The service model has ResourceNotFound, but the real service sends this.
            raise AwsError("ValidationException", "Requested resource not found.")
        return job  # type: ignore[no-any-return]

    def describe_training_job(self) -> ActionResult:
        """DescribeTrainingJob."""
        job = self._training_job("DescribeTrainingJob")
        announce(job)
        return ActionResult(job.response_object)

    def stop_training_job(self) -> ActionResult:
        """StopTrainingJob."""
        job = self._training_job("StopTrainingJob")
        if not job.stop():
            raise AwsError(
                "ValidationException",
                f"The request was rejected because the training job is in status {job.training_job_status}.",
            )
        return EmptyResult()

    def list_training_jobs(self) -> ActionResult:
        """ListTrainingJobs."""
        request = self._request("ListTrainingJobs")
        jobs = [job.summary() for job in list(self.sagemaker_backend.training_jobs.values())]
        return _page(request, jobs, "TrainingJob", "TrainingJobSummaries")

    def _tagged(self, arn: str) -> Any:
        try:
            resource = self.sagemaker_backend._get_resource_from_arn(arn)
        except (AttributeError, ValueError):
            resource = None
        if resource is None:
            raise AwsError("ValidationException", f"Could not find resource: {arn}")
        return resource

    def add_tags(self) -> ActionResult:
        """AddTags: the value of an existing key is replaced."""
        request = self._request("AddTags")
        _refuse_double_tags(request)
        resource = self._tagged(request["ResourceArn"])
        merged = {tag["Key"]: tag for tag in [*(resource.tags or []), *request["Tags"]]}
        resource.tags = list(merged.values())
        return ActionResult({"Tags": resource.tags})

    def list_tags(self) -> ActionResult:
        """ListTags. For jobs it needs sagemaker:ListTags, as in AWS; moto's own resources are not protected."""
        arn = self._request("ListTags")["ResourceArn"]
        if ":compilation-job/" in arn or ":training-job/" in arn:
            self._authorise("sagemaker:ListTags", arn)
        return ActionResult({"Tags": self._tagged(arn).tags or []})

    def delete_tags(self) -> ActionResult:
        """DeleteTags."""
        request = self._request("DeleteTags")
        resource = self._tagged(request["ResourceArn"])
        resource.tags = [tag for tag in resource.tags or [] if tag["Key"] not in request["TagKeys"]]
        return EmptyResult()


def add_training_job(backend: Any, job: TrainingJob) -> None:
    """Add a training job to moto's backend.

    Raises:
        AwsError: ResourceInUse, its name is taken.
    """
    with _lock:
        if job.training_job_name in backend.training_jobs:
            raise AwsError("ResourceInUse", f"Training job names must be unique: {job.arn} already exists.")
        backend.training_jobs[job.training_job_name] = job
    announce(job)


def _refuse_double_tags(request: dict[str, Any]) -> None:
    keys = [tag["Key"] for tag in request.get("Tags") or []]
    if len(set(keys)) < len(keys):
        raise AwsError("ValidationException", "Duplicate tag keys are not allowed in the request.")


def _page(request: dict[str, Any], entries: list[dict[str, Any]], noun: str, result: str) -> ActionResult:
    """Filter, sort and paginate a list of summaries as requested."""
    wanted = [entry for entry in entries if all(test(entry) for test in _filters(request, noun))]
    key = {"Name": f"{noun}Name", "Status": f"{noun}Status"}.get(request.get("SortBy", ""), "CreationTime")
    wanted.sort(key=lambda entry: (entry[key], entry[f"{noun}Name"]), reverse=request.get("SortOrder") == "Descending")
    start = _position(request.get("NextToken"))
    end = start + request.get("MaxResults", PAGE)
    response: dict[str, Any] = {result: wanted[start:end]}
    if end < len(wanted):
        response["NextToken"] = base64.urlsafe_b64encode(str(end).encode()).decode()
    return ActionResult(response)


def _position(token: str | None) -> int:
    if not token:
        return 0
    try:
        return int(base64.urlsafe_b64decode(token.encode()))
    except (ValueError, binascii.Error):
        raise AwsError("ValidationException", "Invalid pagination token.") from None


def _filters(request: dict[str, Any], noun: str) -> list[Callable[[dict[str, Any]], bool]]:
    tests: list[Callable[[dict[str, Any]], bool]] = []
    text, status = request.get("NameContains"), request.get("StatusEquals")
    if text:
        tests.append(lambda entry: text.lower() in entry[f"{noun}Name"].lower())
    if status:
        tests.append(lambda entry: entry[f"{noun}Status"] == status)
    for field in ("CreationTime", "LastModifiedTime"):
        after, before = request.get(f"{field}After"), request.get(f"{field}Before")
        if after is not None:
            tests.append(lambda entry, f=field, t=after: _seconds(entry[f]) > _seconds(t))  # type: ignore[misc]
        if before is not None:
            tests.append(lambda entry, f=field, t=before: _seconds(entry[f]) < _seconds(t))  # type: ignore[misc]
    return tests


def _seconds(value: Any) -> float:
    if isinstance(value, datetime):
        return value.timestamp()
    if isinstance(value, str):
        return datetime.fromisoformat(value).timestamp()
    return float(value)
