from __future__ import annotations

from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Thread
from typing import Any

import pytest
from botocore.exceptions import ConnectionClosedError, HTTPClientError

from dda_core.aws.clients import AwsClients
from dda_core.aws.responses import TooManyRequests
from dda_core.failures import explain, guidance_for
from dda_core.settings import Settings
from dda_core.use_case import UseCase
from deployments.local.aws import local_aws
from deployments.local.aws.local import LocalAws


@pytest.fixture
def aws(monkeypatch: pytest.MonkeyPatch) -> Iterator[LocalAws]:
    with local_aws() as local:
        monkeypatch.setenv("AWS_ENDPOINT_URL", str(local.endpoint_url))
        yield local


def clients(aws: LocalAws, attempts: int) -> AwsClients:
    use_case = UseCase(usecase_id="u", account_id="123456789012", region="us-east-1", s3_bucket=aws.bucket)
    return AwsClients(use_case, Settings(max_attempts=attempts))


CALLS: list[tuple[str, str, Any]] = [
    ("sagemaker", "ListTrainingJobs", lambda aws: aws.sagemaker.list_training_jobs()),
    ("greengrassv2", "ListComponents", lambda aws: aws.greengrass.list_components()),
    ("s3", "ListObjectsV2", lambda aws: aws.s3.list_objects_v2(Bucket="dda-local-artifacts")),
    ("sts", "GetCallerIdentity", lambda aws: aws.sts.get_caller_identity()),
]


def test_plain_botocore_takes_half_a_json_for_an_empty_response(aws: LocalAws):
    aws.faults.add("call", operation="ListTrainingJobs", error="cut-body")
    answer = aws.client("sagemaker").list_training_jobs()
    assert "TrainingJobSummaries" not in answer, (
        "if this fails, botocore checks it itself: remove dda_core.aws.responses"
    )


@pytest.mark.parametrize(("service", "operation", "call"), CALLS, ids=[row[1] for row in CALLS])
def test_a_truncated_response_is_retried(aws: LocalAws, service: str, operation: str, call: Any):
    aws.faults.add("call", operation=f"{service}:{operation}", error="cut-body")
    assert call(clients(aws, attempts=2))["ResponseMetadata"]["RetryAttempts"] == 1


@pytest.mark.parametrize(("service", "operation", "call"), CALLS, ids=[row[1] for row in CALLS])
def test_a_response_that_is_always_truncated_closes_the_connection(
    aws: LocalAws, service: str, operation: str, call: Any
):
    aws.faults.add("call", operation=f"{service}:{operation}", error="cut-body", times=9)
    with pytest.raises(ConnectionClosedError):
        call(clients(aws, attempts=1))


@pytest.mark.parametrize(("service", "operation", "call"), CALLS, ids=[row[1] for row in CALLS])
def test_a_429_with_an_empty_body_is_retried(aws: LocalAws, service: str, operation: str, call: Any):
    aws.faults.add("call", operation=f"{service}:{operation}", error="429")
    assert call(clients(aws, attempts=2))["ResponseMetadata"]["RetryAttempts"] == 1


@pytest.mark.parametrize(("service", "operation", "call"), CALLS, ids=[row[1] for row in CALLS])
def test_a_persistent_429_is_explained_as_throttling(aws: LocalAws, service: str, operation: str, call: Any):
    aws.faults.add("call", operation=f"{service}:{operation}", error="429", times=9)
    with pytest.raises(TooManyRequests) as raised:
        call(clients(aws, attempts=1))
    assert guidance_for(raised.value) == explain("Too Many Requests").model_copy(update={"match": ()})


def test_a_proxys_error_page_is_not_a_response(aws: LocalAws, monkeypatch: pytest.MonkeyPatch):
    class Proxy(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            self.send_response(200)
            self.end_headers()
            self.wfile.write(b"<html><body>Please log in")

        def log_message(self, *_: object) -> None:
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Proxy) as server:
        Thread(target=server.serve_forever, args=(0.05,), daemon=True).start()
        monkeypatch.setenv("AWS_ENDPOINT_URL", f"http://127.0.0.1:{server.server_port}")
        with pytest.raises(HTTPClientError, match="invalid XML"):
            clients(aws, attempts=1).sts.get_caller_identity()
        server.shutdown()


def test_head_requests_and_streams_are_not_checked(aws: LocalAws):
    s3 = clients(aws, attempts=1).s3
    s3.put_object(Bucket=aws.bucket, Key="k", Body=b"content")
    assert s3.head_object(Bucket=aws.bucket, Key="k")["ContentLength"] == 7
    assert s3.get_object(Bucket=aws.bucket, Key="k")["Body"].read(3) == b"con"
    s3.delete_object(Bucket=aws.bucket, Key="k")
    s3.close()
