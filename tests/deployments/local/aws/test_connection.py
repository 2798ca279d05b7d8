"""Faults of the connection, as an unmodified client sees them: over a real socket, and under ``mock_aws``."""

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
    """What a client without retries gets when CreateCompilationJob meets the fault."""
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
        # Over HTTP the connection is there before the operation is known: it breaks without an answer.
        ("connect-timeout", ConnectionClosedError, ConnectTimeoutError),
        ("connection-refused", ConnectionClosedError, EndpointConnectionError),
        ("connection-reset", ConnectionClosedError, ConnectionClosedError),
        ("read-timeout", ReadTimeoutError, ReadTimeoutError),
    ],
)
def test_a_call_without_an_answer_had_no_effect(aws: Aws, fault: str, over_http: type, in_process: type) -> None:
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
def test_a_call_that_has_its_effect_but_no_whole_answer(
    aws: Aws, fault: str, options: dict[str, Any], expected: type
) -> None:
    error = failing(aws, fault, **options)
    assert type(error) is expected
    assert guidance_for(error).retry == "backoff"
    assert jobs(aws) == 1


def test_the_body_of_an_answer_is_cut(aws: Aws) -> None:
    """Over HTTP boto3 alone notices it only where half an answer cannot be read; ``dda_core.aws.responses`` does."""
    aws.faults.add("call", operation="ListObjectsV2", error="cut-body")
    if aws.endpoint_url:
        url = f"{aws.endpoint_url}/{aws.bucket}?list-type=2"
        with urllib.request.urlopen(url) as answer, pytest.raises(IncompleteRead):
            answer.read()
    else:
        with pytest.raises(ConnectionClosedError):
            aws.client("s3").list_objects_v2(Bucket=aws.bucket)
    assert aws.faults.listed()[0]["struck"] == 1


def test_a_client_that_retries_gets_over_it(aws: Aws) -> None:
    put_input(aws)
    for operation in ("CreateCompilationJob", "DescribeCompilationJob"):
        aws.faults.add("call", operation=operation, error="connection-reset")
    retrying = aws.client("sagemaker", retries={"mode": "standard", "total_max_attempts": 2})
    retrying.create_compilation_job(**compile_request(aws))
    assert retrying.describe_compilation_job(CompilationJobName=JOB)["CompilationJobStatus"] == "COMPLETED"


def test_the_body_of_an_object_is_cut_in_mid_stream(aws: Aws) -> None:
    s3 = aws.client("s3")
    content = bytes(range(256)) * 1000
    s3.put_object(Bucket=aws.bucket, Key="k", Body=content)
    aws.faults.add("call", operation="s3:GetObject", error="cut-body")
    body = s3.get_object(Bucket=aws.bucket, Key="k", Range=f"bytes=0-{len(content) - 1}")["Body"]
    with pytest.raises((IncompleteReadError, ResponseStreamingError)):
        body.read()
    assert s3.get_object(Bucket=aws.bucket, Key="k")["Body"].read() == content


def test_an_answer_without_a_body_is_lost_where_its_body_should_be_cut(aws: Aws) -> None:
    s3 = aws.client("s3")
    s3.put_object(Bucket=aws.bucket, Key="k", Body=b"x")
    aws.faults.add("call", operation="s3:HeadObject", error="cut-body")
    aws.faults.add("call", operation="s3:DeleteObject", error="cut-body")
    for call in (s3.head_object, s3.delete_object):
        with pytest.raises(ConnectionClosedError):
            call(Bucket=aws.bucket, Key="k")
    assert "Contents" not in s3.list_objects_v2(Bucket=aws.bucket), "it was deleted all the same"


def test_one_broken_connection_holds_up_no_other(aws: Aws) -> None:
    s3 = aws.client("s3", read_timeout=0.3)
    aws.faults.add("call", operation="s3:PutObject", error="read-timeout", times=2)
    began = time.monotonic()
    for key in ("a", "b"):
        with pytest.raises(ReadTimeoutError):
            s3.put_object(Bucket=aws.bucket, Key=key, Body=b"x")
    s3.put_object(Bucket=aws.bucket, Key="c", Body=b"x")
    assert time.monotonic() - began < 10
    assert [entry["Key"] for entry in s3.list_objects_v2(Bucket=aws.bucket)["Contents"]] == ["c"]


def test_what_a_fault_struck_is_told(aws: Aws) -> None:
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


def test_a_fault_is_an_error_a_status_or_one_of_the_connection() -> None:
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
