"""The pipeline's compilation jobs as AWS lists them, for comparison with the runs that should know them."""

from __future__ import annotations

import re
from collections.abc import Iterator
from datetime import datetime
from typing import TYPE_CHECKING, Any

from botocore.exceptions import ClientError
from pydantic import BaseModel, ConfigDict

from dda_core.aws.errors import is_not_found
from dda_core.aws.tags import FLOW_RUN_TAG, TARGET_TAG, TRAINING_JOB_TAG, USE_CASE_TAG, Warn, read_tags, silent
from dda_core.compilation.status import CompilationStatus
from dda_core.naming import JOB_NAME_PATTERN, attempt_of, compilation_output, training_part
from dda_core.use_case import UseCase

if TYPE_CHECKING:
    from mypy_boto3_sagemaker import SageMakerClient

LOOKED_AT = 100
"""How many of the pipeline's newest jobs are checked; each costs a call for its tags."""
_PAGE: Any = {"PageSize": 100}


class OurJob(BaseModel):
    """A compilation job of the pipeline that is in progress or completed, described by its tags or its request."""

    model_config = ConfigDict(frozen=True)

    name: str
    status: CompilationStatus
    training_job: str
    target: str
    flow_run_id: str | None


def our_jobs(sagemaker: SageMakerClient, use_case: UseCase, since: datetime, warn: Warn = silent) -> Iterator[OurJob]:
    """The use case's jobs created after ``since`` that have not failed, the newest first.

    ``warn`` is called if the caller may not read tags; a job's request then identifies its owner.
    """
    pages = sagemaker.get_paginator("list_compilation_jobs").paginate(
        CreationTimeAfter=since, SortBy="CreationTime", SortOrder="Descending", PaginationConfig=_PAGE
    )
    looked = 0
    for page in pages:
        for summary in page["CompilationJobSummaries"]:
            name, status = summary["CompilationJobName"], CompilationStatus.normalise(summary["CompilationJobStatus"])
            worth = status.active or status is CompilationStatus.COMPLETED
            if attempt_of(name) is None or not worth:
                continue
            looked += 1
            if looked > LOOKED_AT:
                return
            try:
                tags = read_tags(sagemaker, summary["CompilationJobArn"], warn) or _read_request(
                    sagemaker, name, use_case
                )
            except ClientError as error:
                if not is_not_found(error):
                    raise
                continue  # deleted meanwhile
            if tags.get(USE_CASE_TAG) == use_case.usecase_id and TRAINING_JOB_TAG in tags:
                yield OurJob(
                    name=name,
                    status=status,
                    training_job=tags[TRAINING_JOB_TAG],
                    target=tags.get(TARGET_TAG, ""),
                    flow_run_id=tags.get(FLOW_RUN_TAG),
                )


def _read_request(sagemaker: SageMakerClient, name: str, use_case: UseCase) -> dict[str, str]:
    """The tags that an untagged job would have; empty if it was not made for the use case's bucket.

    Compilation job names hold at most 40 characters of the training job's name, so the full name is taken from the
    input's URI.
    """
    job = sagemaker.describe_compilation_job(CompilationJobName=name)
    output, given = job["OutputConfig"].get("S3OutputLocation", "").rstrip("/"), job.get("InputConfig", {})
    target = output.rpartition("/")[2]
    if output != compilation_output(use_case.s3_bucket, name, target):
        return {}
    part = re.split(r"-[a-z0-9]+-[0-9a-f]{8}-\d+$", name)[0]
    named = [folder for folder in given.get("S3Uri", "").split("/") if JOB_NAME_PATTERN.fullmatch(folder)]
    training_job = next((folder for folder in named if training_part(folder) == part), part)
    return {USE_CASE_TAG: use_case.usecase_id, TRAINING_JOB_TAG: training_job, TARGET_TAG: target}


def job_exists(sagemaker: SageMakerClient, name: str) -> bool:
    """Whether SageMaker has a compilation job of that name."""
    try:
        sagemaker.describe_compilation_job(CompilationJobName=name)
    except ClientError as error:
        if is_not_found(error):
            return False
        raise
    return True
