"""Connection faults as an unmodified client sees them, over a real socket and under ``mock_aws``."""

from __future__ import annotations

import time
import urllib.request
from http.client import IncompleteRead
from typing import Any

import pytest
from botocore.exceptions import (
    BotoCoreError,
    ConnectionClosedError,
    ConnectTimeoutError,
    EndpointConnectionError,
    IncompleteReadError,
    ReadTimeoutError,
    ResponseStreamingError,
)

from dda_core.exceptions import InvalidName
from dda_core.failures import guidance_for
from deployments.local.aws.connection import ConnectionFault
from deployments.local.aws.faults import Fault, FaultBook
from tests.deployments.local.aws.conftest import Aws, compile_request, put_input

JOB = compile_request(type("Bucket", (), {"bucket": "b"}))["CompilationJobName"]


def failing(aws: Aws, fault: str, **options: Any) -> BotoCoreError:
    """The exception of a client without retries when CreateCompilationJob hits the fault."""
    put_input(aws)
    aws.faults.add("call", operation="CreateCompilationJob", error=fault, **options)
    sagemaker = aws.client("sagemaker", read_timeout=0.3)
    with pytest.raises(BotoCoreError) as raised:
        sagemaker.create_compilation_job(**compile_request(aws))
    return raised.value


def jobs(aws: Aws) -> int:
    return len(aws.client("sagemaker").list_compilation_jobs()["CompilationJobSummaries"])


@pytest.mark.parametrize(
    ("fault", "over_http", "in_process"),
    [
        # Over HTTP the operation is known only once the client is connected, so the connection breaks later.
        ("connect-timeout", ConnectionClosedError, ConnectTimeoutError),
        ("connection-refused", ConnectionClosedError, EndpointConnectionError),
        ("connection-reset", ConnectionClosedError, ConnectionClosedError),
        ("read-timeout", ReadTimeoutError, ReadTimeoutError),
    ],
)
def test_a_call_without_a_response_had_no_effect(aws: Aws, fault: str, over_http: type, in_process: type) -> None:
    error = failing(aws, fault)
    assert type(error) is (over_http if aws.endpoint_url else in_process)
    assert guidance_for(error).retry == "backoff"
    assert not guidance_for(error).fallback
    assert jobs(aws) == 0
    aws.client("sagemaker").create_compilation_job(**compile_request(aws))


@pytest.mark.parametrize(
    ("fault", "options", "expected"),
    [
        ("connection-reset", {"after_effect": True}, ConnectionClosedError),
        ("read-timeout", {"after_effect": True}, ReadTimeoutError),
    ],
)
def test_a_call_that_takes_effect_but_loses_its_response(
    aws: Aws, fault: str, options: dict[str, Any], expected: type
) -> None:
    error = failing(aws, fault, **options)
    assert type(error) is expected
    assert guidance_for(error).retry == "backoff"
    assert jobs(aws) == 1


def test_a_response_body_is_truncated(aws: Aws) -> None:
    """Over HTTP, plain boto3 may not notice a truncated body; ``dda_core.aws.responses`` does."""
    aws.faults.add("call", operation="ListObjectsV2", error="cut-body")
    if aws.endpoint_url:
        url = f"{aws.endpoint_url}/{aws.bucket}?list-type=2"
        with urllib.request.urlopen(url) as answer, pytest.raises(IncompleteRead):
            answer.read()
    else:
        with pytest.raises(ConnectionClosedError):
            aws.client("s3").list_objects_v2(Bucket=aws.bucket)
    assert aws.faults.listed()[0]["struck"] == 1


def test_a_client_with_retries_recovers(aws: Aws) -> None:
    put_input(aws)
    for operation in ("CreateCompilationJob", "DescribeCompilationJob"):
        aws.faults.add("call", operation=operation, error="connection-reset")
    retrying = aws.client("sagemaker", retries={"mode": "standard", "total_max_attempts": 2})
    retrying.create_compilation_job(**compile_request(aws))
    assert retrying.describe_compilation_job(CompilationJobName=JOB)["CompilationJobStatus"] == "COMPLETED"


def test_an_object_body_is_truncated_in_mid_stream(aws: Aws) -> None:
    s3 = aws.client("s3")
    content = bytes(range(256)) * 1000
    s3.put_object(Bucket=aws.bucket, Key="k", Body=content)
    aws.faults.add("call", operation="s3:GetObject", error="cut-body")
    body = s3.get_object(Bucket=aws.bucket, Key="k", Range=f"bytes=0-{len(content) - 1}")["Body"]
    with pytest.raises((IncompleteReadError, ResponseStreamingError)):
        body.read()
    assert s3.get_object(Bucket=aws.bucket, Key="k")["Body"].read() == content


def test_a_response_without_a_body_is_lost_instead_of_truncated(aws: Aws) -> None:
    s3 = aws.client("s3")
    s3.put_object(Bucket=aws.bucket, Key="k", Body=b"x")
    aws.faults.add("call", operation="s3:HeadObject", error="cut-body")
    aws.faults.add("call", operation="s3:DeleteObject", error="cut-body")
    for call in (s3.head_object, s3.delete_object):
        with pytest.raises(ConnectionClosedError):
            call(Bucket=aws.bucket, Key="k")
    assert "Contents" not in s3.list_objects_v2(Bucket=aws.bucket), "it was deleted despite the fault"


def test_a_broken_connection_does_not_block_others(aws: Aws) -> None:
    s3 = aws.client("s3", read_timeout=0.3)
    aws.faults.add("call", operation="s3:PutObject", error="read-timeout", times=2)
    began = time.monotonic()
    for key in ("a", "b"):
        with pytest.raises(ReadTimeoutError):
            s3.put_object(Bucket=aws.bucket, Key=key, Body=b"x")
    s3.put_object(Bucket=aws.bucket, Key="c", Body=b"x")
    assert time.monotonic() - began < 10
    assert [entry["Key"] for entry in s3.list_objects_v2(Bucket=aws.bucket)["Contents"]] == ["c"]


def test_a_fault_lists_the_requests_it_hit(aws: Aws) -> None:
    aws.faults.add("call", operation="s3:PutObject", error="503")
    aws.faults.add("call", operation="ListTags", error="connection-reset")
    with pytest.raises(Exception, match="503"):
        aws.client("s3").put_object(Bucket=aws.bucket, Key="models/a b", Body=b"x")
    with pytest.raises(ConnectionClosedError):
        aws.client("sagemaker").list_tags(ResourceArn="arn:aws:sagemaker:us-east-1:123456789012:training-job/x")
    [put], [tags] = [fault["requests"] for fault in aws.faults.listed()]
    assert put.startswith("PUT /")
    assert put.endswith("models/a b")
    assert tags.startswith("POST / ")
    assert "training-job/x" in tags


def test_a_fault_is_an_error_code_a_status_or_a_connection_fault() -> None:
    book = FaultBook()
    with pytest.raises(InvalidName, match="did you mean read-timeout"):
        book.add("call", operation="PutObject", error="read-timout")
    for wrong in ("200", "99", "not an error", "throttled"):
        with pytest.raises(InvalidName, match="cut-body"):
            book.add("call", operation="PutObject", error=wrong)
    for never_arrives in ("connect-timeout", "connection-refused"):
        with pytest.raises(ValueError, match="never reaches AWS"):
            book.add("call", operation="PutObject", error=never_arrives, after_effect=True)
    assert book.listed() == []
    assert {Fault(kind="call", operation="o", error=each).connection for each in ConnectionFault} == set(
        ConnectionFault
    )
