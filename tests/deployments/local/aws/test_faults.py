from __future__ import annotations

from typing import Any

import pytest
from pydantic import ValidationError

from dda_core.exceptions import InvalidName, UnknownTarget, UsageError
from deployments.local.aws.dispatch import error_status
from deployments.local.aws.faults import FaultBook
from tests.deployments.local.aws.conftest import Aws, compile_request, error_of, put_input, put_package, recipe

ARN = "arn:aws:sagemaker:us-east-1:123456789012:training-job/x"
REASON = "ClientError: CompilationError: Unable to compile model for: jetson"


def test_the_next_jobs_of_a_target_fail_with_the_reason(aws: Aws) -> None:
    sagemaker = aws.client("sagemaker")
    put_input(aws)
    aws.faults.add("compile", target="jetson", reason=REASON, times=2)
    ends = []
    for number in range(1, 4):
        name = f"cookie-jetson-0123abcd-{number}"
        sagemaker.create_compilation_job(**compile_request(aws, name))
        job = sagemaker.describe_compilation_job(CompilationJobName=name)
        ends.append((job["CompilationJobStatus"], job["FailureReason"]))
    assert ends == [("FAILED", REASON), ("FAILED", REASON), ("COMPLETED", "")]


def test_other_targets_are_not_affected(mocked: Aws) -> None:
    sagemaker = mocked.client("sagemaker")
    put_input(mocked)
    mocked.faults.add("compile", target="x86_64-cuda", reason=REASON)
    sagemaker.create_compilation_job(**compile_request(mocked))
    job = sagemaker.describe_compilation_job(CompilationJobName=compile_request(mocked)["CompilationJobName"])
    assert job["CompilationJobStatus"] == "COMPLETED"


def test_a_component_of_a_target_ends_failed_with_the_reason(aws: Aws) -> None:
    greengrass = aws.client("greengrassv2")
    put_package(aws)
    aws.faults.add("publish", target="jetson-xavier", reason="artifact is broken")
    arn = greengrass.create_component_version(inlineRecipe=recipe(aws))["arn"]
    status = greengrass.describe_component(arn=arn)["status"]
    assert (status["componentState"], status["message"]) == ("FAILED", "artifact is broken")
    assert status["errors"] == {f"s3://{aws.bucket}/package.zip": "artifact is broken"}
    again = greengrass.create_component_version(inlineRecipe=recipe(aws, version="2.0.0"))["arn"]
    assert greengrass.describe_component(arn=again)["status"]["componentState"] == "DEPLOYABLE"


def test_calls_fail_from_the_nth_on_as_often_as_asked(aws: Aws) -> None:
    s3 = aws.client("s3")
    aws.faults.add("call", operation="PutObject", error="SlowDown", message="Please reduce", nth=2, times=2)
    answers = []
    for key in ("a", "b", "c", "d"):
        try:
            s3.put_object(Bucket=aws.bucket, Key=key, Body=b"x")
            answers.append("ok")
        except s3.exceptions.ClientError as error:
            status = error.response["ResponseMetadata"]["HTTPStatusCode"]
            answers.append(f"{status} {error.response['Error']['Code']}: {error.response['Error']['Message']}")
    assert answers == ["ok", "503 SlowDown: Please reduce", "503 SlowDown: Please reduce", "ok"]
    listed = s3.list_objects_v2(Bucket=aws.bucket)["Contents"]
    assert [entry["Key"] for entry in listed] == ["a", "d"], "failed calls took no effect"
    assert aws.faults.listed()[0]["struck"] == 2


def test_a_call_fails_after_taking_effect(aws: Aws) -> None:
    sagemaker = aws.client("sagemaker")
    put_input(aws)
    aws.faults.add("call", operation="CreateCompilationJob", error="InternalFailure", after_effect=True)
    failed = error_of(sagemaker.create_compilation_job, **compile_request(aws))
    assert (failed["Code"], failed["Status"]) == ("InternalFailure", 500)
    name = compile_request(aws)["CompilationJobName"]
    assert sagemaker.describe_compilation_job(CompilationJobName=name)["CompilationJobStatus"] == "COMPLETED"


# Two examples of every wire format of errors.
@pytest.mark.parametrize(
    ("service", "operation", "call", "code", "status"),
    [
        ("sagemaker", "ListCompilationJobs", lambda c, b: c.list_compilation_jobs(), "ThrottlingException", 400),
        ("sagemaker", "ListTags", lambda c, b: c.list_tags(ResourceArn=ARN), "AccessDeniedException", 400),
        ("greengrassv2", "ListComponents", lambda c, b: c.list_components(), "ThrottlingException", 429),
        ("greengrassv2", "ListComponents", lambda c, b: c.list_components(), "AccessDeniedException", 403),
        ("greengrassv2", "ListComponents", lambda c, b: c.list_components(), "InternalServerException", 500),
        ("s3", "GetObject", lambda c, b: c.get_object(Bucket=b, Key="k"), "AccessDenied", 403),
        ("s3", "GetObject", lambda c, b: c.get_object(Bucket=b, Key="k"), "SlowDown", 503),
        ("s3", "HeadObject", lambda c, b: c.head_object(Bucket=b, Key="k"), "403", 403),
        ("s3", "UploadPart", lambda c, b: c.upload_part(Bucket=b, Key="k", UploadId="u", PartNumber=1), "500", 500),
        ("s3", "CopyObject", lambda c, b: c.copy_object(Bucket=b, Key="k", CopySource=f"{b}/j"), "NoSuchKey", 404),
        ("s3", "ListObjectsV2", lambda c, b: c.list_objects_v2(Bucket=b), "NoSuchBucket", 404),
        ("sts", "GetCallerIdentity", lambda c, b: c.get_caller_identity(), "ExpiredTokenException", 403),
        ("logs", "DescribeLogGroups", lambda c, b: c.describe_log_groups(), "ServiceUnavailableException", 503),
        ("iam", "ListRoles", lambda c, b: c.list_roles(), "ServiceFailure", 500),
    ],
)  # fmt: skip
def test_an_injected_error_looks_like_the_services_own(
    aws: Aws, service: str, operation: str, call: Any, code: str, status: int
) -> None:
    client = aws.local.client(service)
    aws.faults.add("call", operation=f"{service}:{operation}", error=code, message="because")
    failed = error_of(call, client, aws.bucket)
    assert (failed["Code"], failed["Status"]) == (code, status)
    assert aws.calls[f"{service}:{operation}"] == 1
    assert code.isdigit() or failed["Message"] == "because"


def test_s3_calls_fail_with_both_url_styles(mocked: Aws) -> None:
    mocked.faults.add("call", operation="s3:GetObject", error="SlowDown", times=2)
    for style in ("path", "virtual"):
        s3 = mocked.client("s3", s3={"addressing_style": style})
        assert error_of(s3.get_object, Bucket=mocked.bucket, Key="a/b c")["Code"] == "SlowDown"


def test_faults_are_checked_when_they_are_added() -> None:
    book = FaultBook()
    with pytest.raises(UnknownTarget, match="x86_64-cpu"):
        book.add("compile", target="riscv", reason="r")
    with pytest.raises(InvalidName, match="CreateCompilationJob"):
        book.add("call", operation="CreateCompileJob", error="E")
    with pytest.raises(InvalidName):
        book.add("call", operation="s3:CreateCompilationJob", error="E")
    with pytest.raises(InvalidName, match="no-libdlr"):
        book.add("compiled", target="arm64-cpu", spoil="no-dlr")
    with pytest.raises(UsageError, match="x86_64-cuda"):
        book.add("compiled", target="x86_64-cuda", spoil="cuda-on-cpu")
    lacking: list[Any] = [
        ("compile", {"target": "jetson"}),
        ("compiled", {"target": "arm64-cpu", "reason": "r"}),
        ("call", {"operation": "PutObject"}),
    ]
    for kind, fields in lacking:
        with pytest.raises(ValidationError):
            book.add(kind, **fields)
    assert book.listed() == []


def test_faults_are_listed_and_cleared() -> None:
    book = FaultBook()
    book.add("compile", target="jetson", reason="r")
    book.add("call", operation="PutObject", error="SlowDown")
    assert [(f["number"], f["kind"], f.get("target")) for f in book.listed()] == [
        (1, "compile", "jetson-xavier"),
        (2, "call", None),
    ]
    assert book.clear() == 2
    assert book.reason_for("compile", "jetson-xavier") is None


def test_the_status_of_an_error_is_that_of_the_service_model_if_it_has_one() -> None:
    assert error_status("greengrassv2", "CreateComponentVersion", "ServiceQuotaExceededException") == 402
    assert error_status("sagemaker", "CreateCompilationJob", "ResourceLimitExceeded") == 400
    assert error_status("s3", "PutObject", "PreconditionFailed") == 412
    assert error_status("sts", "AssumeRole", "AccessDenied") == 403
