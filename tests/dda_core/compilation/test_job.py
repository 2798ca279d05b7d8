"""A compilation job's request, and finding existing jobs."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from typing import Any

import pytest

from dda_core import naming
from dda_core.aws.tags import Maker
from dda_core.compilation.job import CompilationJob, CompilationWork, describe_job, newest_job
from dda_core.compilation.status import CompilationStatus
from dda_core.exceptions import CompilationMismatch
from dda_core.targets import find_target, target_names
from dda_core.training.job import TrainingJob
from dda_core.use_case import UseCase
from deployments.local.aws import LocalAws, local_aws
from tests.fixtures.archives import trained_archive

LASTING = "ClientError: OperatorNotImplemented"
USE_CASE = UseCase(
    usecase_id="lids",
    account_id="123456789012",
    region="us-east-1",
    s3_bucket="dda-local-artifacts",
    tags={"team": "7"},
)


def work(target: str = "x86_64-cuda", **changes: Any) -> CompilationWork:
    fields: dict[str, Any] = {
        "name": changes.pop("training_job", "lid-7"),
        "arn": "arn:aws:sagemaker:us-east-1:123456789012:training-job/lid-7",
        "status": "Completed",
        "model_artifact": "s3://dda-local-artifacts/models/training/lid-7/output/model.tar.gz",
    }
    input_shape = changes.pop("input_shape", (1, 3, 768, 576))
    return CompilationWork.of(USE_CASE, find_target(target), TrainingJob(**(fields | changes)), input_shape)


def test_the_request_matches_the_contract() -> None:
    request = work("x86_64-cuda").request(1, Maker("run-1"))
    name = request["CompilationJobName"]
    assert naming.JOB_NAME_PATTERN.fullmatch(name)
    assert name.startswith("lid-7-x86cuda-")
    assert name.endswith("-1")
    tags = {tag["Key"]: tag["Value"] for tag in request.pop("Tags")}
    assert tags["dda:flow-run"] == "run-1"
    assert tags["dda:flow-run-retry"] == "0"
    assert tags["team"] == "7"
    assert request == {
        "CompilationJobName": name,
        "RoleArn": "arn:aws:iam::123456789012:role/DDASageMakerExecutionRole",
        "InputConfig": {
            "S3Uri": "s3://dda-local-artifacts/models/training/lid-7/output/model_for_compilation.tar.gz",
            "DataInputConfig": '{"input_shape": [1, 3, 768, 576]}',
            "Framework": "PYTORCH",
            "FrameworkVersion": "1.8",
        },
        "OutputConfig": {
            "S3OutputLocation": f"s3://dda-local-artifacts/models/compilation/{name}/x86_64-cuda",
            "TargetPlatform": {"Os": "LINUX", "Arch": "X86_64", "Accelerator": "NVIDIA"},
            "CompilerOptions": '{"cuda-ver": "10.2", "gpu-code": "sm_75", "trt-ver": "8.2.1", '
            '"max-workspace-size": "2147483648", "precision-mode": "fp16"}',
        },
        "StoppingCondition": {"MaxRuntimeInSeconds": 3600},
    }


def test_keys_without_a_value_are_absent() -> None:
    request = work("arm64-cpu").request(1)
    assert "CompilerOptions" not in request["OutputConfig"]
    assert request["OutputConfig"]["TargetPlatform"] == {"Os": "LINUX", "Arch": "ARM64"}
    assert "null" not in json.dumps(request)


@pytest.mark.parametrize(
    "change",
    [
        {"arn": "arn:aws:sagemaker:us-east-1:123456789012:training-job/other"},
        {"model_artifact": "s3://dda-local-artifacts/other/model.tar.gz"},
        {"input_shape": (1, 3, 768, 580)},
    ],
)
def test_different_work_has_a_different_name(change: dict[str, Any]) -> None:
    assert work().stem != work(**change).stem
    assert work().stem == work().stem


def test_every_target_has_its_own_name() -> None:
    assert len({work(name).stem for name in target_names()}) == len(target_names())


@pytest.fixture
def aws() -> Any:
    with local_aws(server=False, compile_seconds=60) as running:
        yield running


def trained(aws: LocalAws, tmp_path: Any) -> CompilationWork:
    aws.train("lid-7", trained_archive(tmp_path / "model.tar.gz"))
    return work("arm64-cpu")


def test_the_newest_job_is_found_from_one_upward(aws: LocalAws, tmp_path: Any) -> None:
    asked = trained(aws, tmp_path)
    sagemaker = aws.client("sagemaker")
    assert newest_job(sagemaker, asked) is None
    for attempt in (1, 2, 3):
        sagemaker.create_compilation_job(**asked.request(attempt))
    newest = newest_job(sagemaker, asked)
    assert newest is not None
    assert newest.attempt == 3


def test_a_job_of_our_name_with_other_inputs_is_refused(aws: LocalAws, tmp_path: Any) -> None:
    asked = trained(aws, tmp_path)
    sagemaker = aws.client("sagemaker")
    request = asked.request(1)
    request["InputConfig"]["FrameworkVersion"] = "1.12"
    sagemaker.create_compilation_job(**request)
    with pytest.raises(CompilationMismatch, match=r"FrameworkVersion is '1.12', expected '1.8'"):
        describe_job(sagemaker, asked, 1)


class Described:
    """SageMaker, which describes the same job for every name."""

    def __init__(self, **answer: Any) -> None:
        self.answer = answer

    def describe_compilation_job(self, **_: Any) -> dict[str, Any]:
        return {"CompilationJobArn": "arn", "CompilationJobStatus": "InProgress", **self.answer}


def described(changes: dict[tuple[str, str], Any], target: str = "x86_64-cuda") -> CompilationJob | None:
    """That target's job, created with our request and these ``changes``."""
    request = work(target).request(1)
    for (part, key), value in changes.items():
        request[part][key] = value
    return describe_job(Described(**request), work(target), 1)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("part", "key", "other"),
    [
        ("InputConfig", "S3Uri", "s3://dda-local-artifacts/other.tar.gz"),
        ("InputConfig", "DataInputConfig", '{"input_shape": [1, 3, 576, 768]}'),
        ("InputConfig", "Framework", "ONNX"),
        ("InputConfig", "FrameworkVersion", "1.12"),
        ("OutputConfig", "S3OutputLocation", "s3://dda-local-artifacts/elsewhere"),
        ("OutputConfig", "TargetPlatform", {"Os": "LINUX", "Arch": "X86_64"}),
        ("OutputConfig", "CompilerOptions", '{"cuda-ver": "11.4", "gpu-code": "sm_75"}'),
        ("OutputConfig", "CompilerOptions", None),
    ],
)
def test_every_input_that_determines_the_result_is_compared(part: str, key: str, other: Any) -> None:
    with pytest.raises(CompilationMismatch, match=f"exists with other inputs: {key} is "):
        described({(part, key): other})


def test_options_are_compared_even_if_we_give_none() -> None:
    with pytest.raises(CompilationMismatch, match=r"CompilerOptions is \{.*fp16.*\}, expected None"):
        described({("OutputConfig", "CompilerOptions"): '{"precision-mode": "fp16"}'}, "arm64-cpu")


def test_formatting_differences_are_the_same_job() -> None:
    request = work("x86_64-cuda").request(1)
    options = dict(reversed(json.loads(request["OutputConfig"]["CompilerOptions"]).items()))
    job = described(
        {
            ("InputConfig", "DataInputConfig"): '{"input_shape":[1,3,768,576]}',
            ("OutputConfig", "CompilerOptions"): json.dumps(options, indent=1),
            ("OutputConfig", "S3OutputLocation"): request["OutputConfig"]["S3OutputLocation"] + "/",
        }
    )
    assert job is not None
    assert (job.name, job.attempt) == (request["CompilationJobName"], 1)
    assert described(
        {("OutputConfig", "TargetPlatform"): {"Os": "LINUX", "Arch": "ARM64", "Accelerator": None}}, "arm64-cpu"
    )


def test_a_job_is_what_sagemaker_says_of_it() -> None:
    created, started, ended = (datetime(2026, 5, 4, 12, minute, tzinfo=UTC) for minute in (0, 1, 8))
    answer = work("arm64-cpu").request(3) | {
        "CompilationJobStatus": "COMPLETED",
        "FailureReason": "",
        "ModelArtifacts": {"S3ModelArtifacts": "s3://b/compiled.tar.gz"},
        "CreationTime": created,
        "CompilationStartTime": started,
        "CompilationEndTime": ended,
        "InferenceImage": "image",
        "ModelDigests": {"ArtifactDigest": "digest"},
        "StoppingCondition": {"MaxRuntimeInSeconds": 420},
    }
    job = describe_job(Described(**answer), work("arm64-cpu"), 3)  # type: ignore[arg-type]
    assert job == CompilationJob(
        name=answer["CompilationJobName"],
        attempt=3,
        arn="arn",
        status=CompilationStatus.COMPLETED,
        artifact="s3://b/compiled.tar.gz",
        created=created,
        started=started,
        ended=ended,
        inference_image="image",
        model_digest="digest",
        max_runtime_seconds=420,
    )
    assert (job.queue_seconds, job.compile_seconds, job.reached_time_limit) == (60, 420, True)
    failed = describe_job(Described(**answer | {"FailureReason": "no pth file"}), work("arm64-cpu"), 3)  # type: ignore[arg-type]
    assert failed is not None
    assert failed.reason == "no pth file"
