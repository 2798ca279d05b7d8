"""Finding a use case's completed training jobs among those of its account."""

from __future__ import annotations

from collections.abc import Callable, Collection
from concurrent.futures import ThreadPoolExecutor
from datetime import datetime
from typing import TYPE_CHECKING, NamedTuple

from botocore.exceptions import ClientError

from dda_core.aws.errors import is_not_found
from dda_core.aws.tags import USE_CASE_TAG, Warn, silent
from dda_core.exceptions import DdaError
from dda_core.training.job import TrainingJob, describe_training_job
from dda_core.use_case import UseCase

if TYPE_CHECKING:
    from mypy_boto3_sagemaker import SageMakerClient

LOOKED_AT = 1000
"""The most training jobs read in detail at a time, newest first; each costs two calls."""
_AT_ONCE = 4
_PAGE = 100


class FinishedTraining(NamedTuple):
    """A completed training job, and when its training ended."""

    job: TrainingJob
    ended: datetime


class Finished(NamedTuple):
    """The completed training jobs that were read, and whether there were more."""

    jobs: list[FinishedTraining]
    cut: bool


def finished_training_jobs(
    sagemaker: SageMakerClient,
    use_case: UseCase,
    known: Collection[str] = (),
    warn: Warn = silent,
    newest: int | None = None,
) -> Finished:
    """The completed training jobs of a use case's account that belong to the use case.

    Jobs in ``known`` are left out, and so are jobs deleted in the meantime. ``warn`` is called if the caller may not
    read tags; only the bucket of a job's model then identifies its use case. ``newest`` limits how many of the
    account's completed jobs are listed, known ones included.
    """
    unknown: list[tuple[str, datetime]] = []
    pages = sagemaker.get_paginator("list_training_jobs").paginate(
        StatusEquals="Completed",
        SortBy="CreationTime",
        SortOrder="Descending",
        PaginationConfig={"PageSize": _PAGE} if newest is None else {"PageSize": _PAGE, "MaxItems": newest},
    )
    cut = False
    for page in pages:
        for each in page["TrainingJobSummaries"]:
            name = each["TrainingJobName"]
            if name not in known:
                unknown.append((name, each.get("TrainingEndTime") or each["CreationTime"]))
        if len(unknown) > LOOKED_AT:
            cut = True
            break
    with ThreadPoolExecutor(_AT_ONCE) as pool:
        found = pool.map(_describe(sagemaker, use_case, warn), unknown[:LOOKED_AT])
        return Finished([each for each in found if each and belongs_to(each.job, use_case)], cut)


def belongs_to(job: TrainingJob, use_case: UseCase) -> bool:
    """Whether a training job belongs to the use case, by its tag ``dda:use-case``, else by its model's bucket."""
    tag = job.tags.get(USE_CASE_TAG)
    if tag:
        return tag == use_case.usecase_id
    return (job.model_artifact or "").startswith(f"s3://{use_case.s3_bucket}/")


def is_foreign(job: TrainingJob, use_case: UseCase) -> bool:
    """Whether a training job belongs to another use case; undecided (False) without tag and model."""
    return bool(job.tags.get(USE_CASE_TAG) or job.model_artifact) and not belongs_to(job, use_case)


def _describe(
    sagemaker: SageMakerClient, use_case: UseCase, warn: Warn
) -> Callable[[tuple[str, datetime]], FinishedTraining | None]:
    def describe(each: tuple[str, datetime]) -> FinishedTraining | None:
        name, ended = each
        try:
            return FinishedTraining(describe_training_job(sagemaker, name, use_case, warn), ended)
        except DdaError:
            return None
        except ClientError as error:
            if is_not_found(error):
                return None
            raise

    return describe
