"""Compilation jobs of ours as AWS lists them, for whoever compares them with the runs that should know them."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import datetime
from typing import TYPE_CHECKING, Any

from botocore.exceptions import ClientError
from pydantic import BaseModel, ConfigDict

from dda_core.aws import is_not_found
from dda_core.compilation import FLOW_RUN_TAG
from dda_core.naming import attempt_of
from dda_core.status import CompilationStatus

if TYPE_CHECKING:
    from mypy_boto3_sagemaker import SageMakerClient

LOOKED_AT = 100
"""The newest jobs of ours that are looked at; each costs a call for its tags."""
_PAGE: Any = {"PageSize": 100}


class OurJob(BaseModel):
    """A compilation job that works, or has worked to the end, with what its tags say of it."""

    model_config = ConfigDict(frozen=True)

    name: str
    status: CompilationStatus
    training_job: str
    target: str
    flow_run_id: str | None


def our_jobs(sagemaker: SageMakerClient, usecase_id: str, since: datetime) -> Iterator[OurJob]:
    """The newest jobs of the use case that were created after ``since`` and have not failed, the newest first."""
    pages = sagemaker.get_paginator("list_compilation_jobs").paginate(
        CreationTimeAfter=since, SortBy="CreationTime", SortOrder="Descending", PaginationConfig=_PAGE
    )
    looked = 0
    for page in pages:
        for summary in page["CompilationJobSummaries"]:
            status = CompilationStatus.normalise(summary["CompilationJobStatus"])
            worth = status.active or status is CompilationStatus.COMPLETED
            if attempt_of(summary["CompilationJobName"]) is None or not worth:
                continue
            looked += 1
            if looked > LOOKED_AT:
                return
            tags = _tags(sagemaker, summary["CompilationJobArn"])
            if tags.get("dda:use-case") == usecase_id and "dda:training-job" in tags:
                yield OurJob(
                    name=summary["CompilationJobName"],
                    status=status,
                    training_job=tags["dda:training-job"],
                    target=tags.get("dda:target", ""),
                    flow_run_id=tags.get(FLOW_RUN_TAG),
                )


def job_is_there(sagemaker: SageMakerClient, name: str) -> bool:
    """Whether SageMaker knows a compilation job of that name."""
    try:
        sagemaker.describe_compilation_job(CompilationJobName=name)
    except ClientError as error:
        if is_not_found(error):
            return False
        raise
    return True


def _tags(sagemaker: SageMakerClient, arn: str) -> dict[str, str]:
    tags: dict[str, str] = {}
    try:
        for page in sagemaker.get_paginator("list_tags").paginate(ResourceArn=arn):
            tags |= {tag["Key"]: tag["Value"] for tag in page.get("Tags", [])}
    except ClientError as error:
        if not is_not_found(error):
            raise  # a job that was deleted meanwhile has none
    return tags
