"""The compilation of one model for one target: its request, its name, and its existing jobs.

A job's name identifies what it compiles (``<training job>-<suffix>-<8 hex>-<n>``), so a repeated, concurrent or
restarted run finds the existing job. ``attempts`` decides which attempt comes next.
"""

from __future__ import annotations

import json
from datetime import datetime
from typing import TYPE_CHECKING, Any

from botocore.exceptions import ClientError
from pydantic import BaseModel, ConfigDict

from dda_core import naming
from dda_core.aws.errors import is_not_found
from dda_core.aws.tags import TARGET_TAG, TRAINING_JOB_TAG, USE_CASE_TAG, Maker
from dda_core.compilation.status import CompilationStatus
from dda_core.exceptions import CompilationMismatch
from dda_core.runs.history import CompilationFacts
from dda_core.targets import CompilationTarget
from dda_core.training.job import TrainingJob, check_completed
from dda_core.use_case import UseCase

if TYPE_CHECKING:
    from mypy_boto3_sagemaker import SageMakerClient

FRAMEWORK = "PYTORCH"
FRAMEWORK_VERSION = "1.8"
MAX_RUNTIME_SECONDS = 3600


class CompilationWork(BaseModel):
    """The inputs of one target's compilation job. Its name contains a digest of those that determine the result."""

    model_config = ConfigDict(frozen=True)

    training_job: str
    training_job_arn: str
    model_artifact: str
    input_uri: str
    input_shape: tuple[int, int, int, int]
    target: CompilationTarget
    bucket: str
    role_arn: str
    usecase_id: str
    tags: dict[str, str] = {}

    @classmethod
    def of(
        cls,
        use_case: UseCase,
        target: CompilationTarget,
        training_job: TrainingJob,
        input_shape: tuple[int, int, int, int],
    ) -> CompilationWork:
        """The work of compiling the training job's archive for ``target``; ``input_shape`` is NCHW.

        Raises:
            TrainingJobNotCompleted: the job has no archive yet.
        """
        model_artifact = check_completed(training_job)
        return cls(
            training_job=training_job.name,
            training_job_arn=training_job.arn,
            model_artifact=model_artifact,
            input_uri=naming.repackaged_uri(model_artifact),
            input_shape=input_shape,
            target=target,
            bucket=use_case.s3_bucket,
            role_arn=use_case.sagemaker_role,
            usecase_id=use_case.usecase_id,
            tags=use_case.tags,
        )

    @property
    def stem(self) -> str:
        """The job name of this work, without the attempt number."""
        target = self.target
        decides = {
            "training_job_arn": self.training_job_arn,
            "model_artifact": self.model_artifact,
            "framework": FRAMEWORK,
            "framework_version": FRAMEWORK_VERSION,
            "input_shape": list(self.input_shape),
            "platform": target.neo_platform(),
            "compiler_options": target.compiler_options,
        }
        return naming.job_name_stem(self.training_job, target.suffix, naming.digest8(decides))

    def request(self, attempt: int, maker: Maker | None = None) -> dict[str, Any]:
        """The CreateCompilationJob request for that attempt. Keys without a value are absent, never null."""
        target = self.target
        name = naming.job_name(self.stem, attempt)
        output: dict[str, Any] = {
            "S3OutputLocation": naming.compilation_output(self.bucket, name, target.name),
            "TargetPlatform": target.neo_platform(),
        }
        if target.compiler_options:
            output["CompilerOptions"] = target.compiler_options
        tags = {
            **self.tags,
            USE_CASE_TAG: self.usecase_id,
            TRAINING_JOB_TAG: self.training_job,
            TARGET_TAG: target.name,
            **(maker.tags if maker else {}),
        }
        return {
            "CompilationJobName": name,
            "RoleArn": self.role_arn,
            "InputConfig": {
                "S3Uri": self.input_uri,
                "DataInputConfig": json.dumps({"input_shape": list(self.input_shape)}),
                "Framework": FRAMEWORK,
                "FrameworkVersion": FRAMEWORK_VERSION,
            },
            "OutputConfig": output,
            "StoppingCondition": {"MaxRuntimeInSeconds": MAX_RUNTIME_SECONDS},
            "Tags": [{"Key": key, "Value": value} for key, value in tags.items()],
        }


class CompilationJob(BaseModel):
    """A compilation job as SageMaker describes it. ``attempt`` is the n of its name; ``artifact`` an ``s3://`` URI."""

    model_config = ConfigDict(frozen=True)

    name: str
    attempt: int
    arn: str
    status: CompilationStatus
    reason: str | None = None
    artifact: str | None = None
    created: datetime | None = None
    started: datetime | None = None
    ended: datetime | None = None
    inference_image: str | None = None
    model_digest: str | None = None
    max_runtime_seconds: int | None = None

    @property
    def reached_time_limit(self) -> bool:
        """Whether the job ran up to its time limit: then the limit stopped it, not a person."""
        took, limit = self.compile_seconds, self.max_runtime_seconds
        return took is not None and limit is not None and took >= limit

    @property
    def queue_seconds(self) -> float | None:
        """Seconds from its creation until Neo started it."""
        return round((self.started - self.created).total_seconds(), 1) if self.started and self.created else None

    @property
    def compile_seconds(self) -> float | None:
        """Seconds from when Neo started it until its end."""
        return round((self.ended - self.started).total_seconds(), 1) if self.ended and self.started else None


class CompiledModel(BaseModel):
    """A finished compilation: its job, and the URI of its archive."""

    model_config = ConfigDict(frozen=True)

    compilation_job: str
    attempt: int
    artifact: str
    facts: CompilationFacts = CompilationFacts()


def describe_job(sagemaker: SageMakerClient, work: CompilationWork, attempt: int) -> CompilationJob | None:
    """The job of that attempt, or None if there is none.

    Raises:
        CompilationMismatch: a job of that name exists with other inputs.
    """
    request = work.request(attempt)
    try:
        response: dict[str, Any] = dict(
            sagemaker.describe_compilation_job(CompilationJobName=request["CompilationJobName"])
        )
    except ClientError as error:
        if is_not_found(error):
            return None
        raise
    _check_inputs(response, request)
    status = CompilationStatus.normalise(response["CompilationJobStatus"])
    return CompilationJob(
        name=response["CompilationJobName"],
        attempt=attempt,
        arn=response["CompilationJobArn"],
        status=status,
        reason=response.get("FailureReason") or None,
        artifact=response.get("ModelArtifacts", {}).get("S3ModelArtifacts") or None,
        created=response.get("CreationTime"),
        started=response.get("CompilationStartTime"),
        ended=response.get("CompilationEndTime"),
        inference_image=response.get("InferenceImage") or None,
        model_digest=response.get("ModelDigests", {}).get("ArtifactDigest") or None,
        max_runtime_seconds=response.get("StoppingCondition", {}).get("MaxRuntimeInSeconds"),
    )


def newest_job(sagemaker: SageMakerClient, work: CompilationWork) -> CompilationJob | None:
    """The job of the highest attempt, found by describing from 1 upward until one does not exist."""
    newest = None
    while job := describe_job(sagemaker, work, newest.attempt + 1 if newest else 1):
        newest = job
    return newest


def _check_inputs(response: dict[str, Any], request: dict[str, Any]) -> None:
    """Compare the inputs that determine the result; the role and the tags do not."""

    def decisive(job: dict[str, Any]) -> dict[str, Any]:
        given, output = job["InputConfig"], job["OutputConfig"]
        options = output.get("CompilerOptions")
        return {
            "S3Uri": given.get("S3Uri"),
            "DataInputConfig": json.loads(given.get("DataInputConfig") or "null"),
            "Framework": given.get("Framework"),
            "FrameworkVersion": given.get("FrameworkVersion"),
            "S3OutputLocation": output.get("S3OutputLocation", "").rstrip("/"),
            "TargetPlatform": {key: value for key, value in output.get("TargetPlatform", {}).items() if value},
            "CompilerOptions": json.loads(options) if options else None,
        }

    found, ours = decisive(response), decisive(request)
    different = [f"{key} is {found[key]!r}, expected {ours[key]!r}" for key in ours if found[key] != ours[key]]
    if different:
        raise CompilationMismatch(request["CompilationJobName"], different)
