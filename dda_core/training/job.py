"""The training job that a flow run starts from."""

from __future__ import annotations

from typing import TYPE_CHECKING

from botocore.exceptions import ClientError
from pydantic import BaseModel, ConfigDict

from dda_core.aws.errors import is_not_found
from dda_core.aws.tags import MODEL_NAME_TAG, TARGETS_TAG, Warn, read_tags, silent
from dda_core.exceptions import TrainingJobMissing, TrainingJobNotCompleted, UnknownTarget
from dda_core.naming import check_training_job_name
from dda_core.targets import CompilationTarget
from dda_core.use_case import UseCase

if TYPE_CHECKING:
    from mypy_boto3_sagemaker import SageMakerClient


class TrainingJob(BaseModel):
    """A SageMaker training job. ``model_artifact`` is the ``s3://`` URI of its archive, None until it has one."""

    model_config = ConfigDict(frozen=True)

    name: str
    arn: str
    status: str
    model_artifact: str | None = None
    failure_reason: str | None = None
    billable_seconds: int | None = None
    tags: dict[str, str] = {}

    def model_name(self, given: str | None = None) -> str:
        """The model's name: as given, else the tag ``dda:model-name``, else the training job's name."""
        return given or self.tags.get(MODEL_NAME_TAG) or self.name

    def targets(self, given: list[str], use_case: UseCase) -> tuple[CompilationTarget, ...]:
        """The targets: as given, else the tag ``dda:targets``, else the use case's, else its fleet's.

        Raises:
            UnknownTarget: no row of the table, or of the use case's own, has the name.
            TargetUnavailable: it cannot be compiled for, or the fleet has no LocalServer for it.
        """
        # SageMaker does not allow commas in tag values, so the tag may also separate names by blanks, '+' or ':'.
        tag = self.tags.get(TARGETS_TAG, "").replace(",", " ").replace("+", " ").replace(":", " ").split()
        if given or not tag:
            return use_case.find_targets(given) if given else use_case.default_targets()
        try:
            return use_case.find_targets(tag)
        except UnknownTarget as error:
            where = f"the tag {TARGETS_TAG} of training job {self.name!r}"
            raise UnknownTarget(error.name, use_case.target_names(), where) from error


def describe_training_job(sagemaker: SageMakerClient, name: str, use_case: UseCase, warn: Warn = silent) -> TrainingJob:
    """The training job of that name, with its tags; ``warn`` is called if the caller may not read them.

    Raises:
        InvalidName: the name is not valid for a training job.
        TrainingJobMissing: the use case's account and Region have none of that name.
    """
    check_training_job_name(name)
    try:
        answer = sagemaker.describe_training_job(TrainingJobName=name)
    except ClientError as error:
        if is_not_found(error):
            raise TrainingJobMissing(
                name, account_id=use_case.account_id, region=use_case.region, use_case=use_case.usecase_id
            ) from error
        raise
    arn = answer["TrainingJobArn"]
    return TrainingJob(
        name=name,
        arn=arn,
        status=answer["TrainingJobStatus"],
        model_artifact=answer.get("ModelArtifacts", {}).get("S3ModelArtifacts"),
        failure_reason=answer.get("FailureReason"),
        billable_seconds=answer.get("BillableTimeInSeconds"),
        tags=read_tags(sagemaker, arn, warn),
    )


def check_completed(job: TrainingJob) -> str:
    """The URI of a completed training job's archive.

    Raises:
        TrainingJobNotCompleted: the job has another status, or no archive.
    """
    if job.status != "Completed":
        why = f" ({job.failure_reason})" if job.failure_reason else ""
        raise TrainingJobNotCompleted(
            f"training job {job.name!r} is {job.status}{why}, not Completed",
            name=job.name,
            status=job.status,
            remedy="Wait for it to end, then compile again."
            if job.status in ("InProgress", "Stopping")
            else "Only a completed training job has a model to compile; train again.",
        )
    if not job.model_artifact:
        raise TrainingJobNotCompleted(
            f"training job {job.name!r} is Completed but has no model artifact",
            name=job.name,
            status=job.status,
            remedy="Train again with an OutputDataConfig.",
        )
    return job.model_artifact
