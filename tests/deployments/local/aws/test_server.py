from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import boto3
import pytest
from moto import mock_aws
from moto.moto_api._internal.models import moto_api_backend

from dda_core.exceptions import FileMissing, InvalidName, LocalStackError, UnknownTarget
from deployments.local.aws import AwsControl, AwsServer, AwsSettings, LocalAws, answers, local_aws
from tests.deployments.local.aws.conftest import Aws, compile_request, put_input, recipe

# With SIGINT ignored, as a script's "&" starts it.
IN_BACKGROUND = (
    "import os, signal, sys; signal.signal(signal.SIGINT, signal.SIG_IGN); os.execv(sys.executable, sys.argv[1:])"
)


@pytest.fixture
def served() -> Iterator[Aws]:
    with local_aws() as local:
        yield Aws(local)


def start(directory: Path, *options: str) -> subprocess.Popen[str]:
    command = [sys.executable, "-m", "deployments.local.aws", "--dir", str(directory), *options]
    return subprocess.Popen(
        [sys.executable, "-c", IN_BACKGROUND, *command], stderr=subprocess.PIPE, text=True, cwd=Path.cwd()
    )


def endpoint(directory: Path) -> str:
    deadline = time.monotonic() + 20
    while not (directory / "aws.json").exists():
        assert time.monotonic() < deadline
        time.sleep(0.02)
    url: str = json.loads((directory / "aws.json").read_text())["aws_endpoint_url"]
    return url


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM], ids=["SIGINT", "SIGTERM"])
def test_in_the_foreground_it_answers_and_cleans_up_at_its_end(tmp_path: Path, number: int) -> None:
    process = start(tmp_path, "--compile-seconds", "0.5")
    try:
        url = endpoint(tmp_path)
        assert answers(url), "aws.json is written only once it answers"
        assert AwsControl(url).health()["compile_seconds"] == 0.5
        os.kill(process.pid, number)
        assert process.wait(10) == 0
    finally:
        process.kill()
        _, stderr = process.communicate()
    assert "answers at http://127.0.0.1:" in stderr
    assert "Traceback" not in stderr
    assert not answers(url)
    assert list(tmp_path.iterdir()) == []


def test_a_second_server_for_the_same_directory_is_refused(tmp_path: Path, served: Aws) -> None:
    (tmp_path / "aws.json").write_text(json.dumps({"aws_endpoint_url": served.endpoint_url}))
    process = start(tmp_path)
    _, stderr = process.communicate(timeout=20)
    assert process.returncode == 3
    assert served.endpoint_url in stderr
    assert stderr.startswith("error: ")
    assert (tmp_path / "aws.json").exists()


def test_the_error_names_a_port_that_is_taken(served: Aws) -> None:
    port = int(served.endpoint_url.rpartition(":")[2])
    with pytest.raises(LocalStackError, match=str(port)):
        AwsServer(AwsSettings.instant(), port=port).start()


def test_eight_concurrent_clients(served: Aws) -> None:
    """Of several clients that create the same job or version, exactly one succeeds."""
    put_input(served)
    served.client("s3").put_object(Bucket=served.bucket, Key="package.zip", Body=b"a zip")

    def work(number: int) -> list[str]:
        s3, sagemaker, greengrass = (served.client(s) for s in ("s3", "sagemaker", "greengrassv2"))
        done = []
        for round_ in range(5):
            s3.put_object(Bucket=served.bucket, Key=f"{number}/{round_}", Body=bytes(1000))
            for call, request in (
                (sagemaker.create_compilation_job, compile_request(served, f"shared-{round_}")),
                (sagemaker.create_compilation_job, compile_request(served, f"own-{number}-{round_}")),
                (greengrass.create_component_version, {"inlineRecipe": recipe(served, version=f"{round_ + 1}.0.0")}),
            ):
                try:
                    call(**request)
                    done.append(f"{request.get('CompilationJobName', 'version')}")
                except (sagemaker.exceptions.ResourceInUse, greengrass.exceptions.ConflictException):
                    pass
        return done

    with ThreadPoolExecutor(8) as threads:
        done = [name for names in threads.map(work, range(8)) for name in names]
    assert len(done) == len(set(done)) + 4, "all five versions are called version"
    assert len([name for name in done if name.startswith("shared")]) == 5
    assert len([name for name in done if name.startswith("own")]) == 40
    assert done.count("version") == 5
    pages = served.client("sagemaker").get_paginator("list_compilation_jobs").paginate()
    assert {j["CompilationJobStatus"] for p in pages for j in p["CompilationJobSummaries"]} == {"COMPLETED"}
    assert len(served.client("s3").list_objects_v2(Bucket=served.bucket, Delimiter="-")["Contents"]) >= 40


def test_due_jobs_end_without_a_request(served: Aws) -> None:
    put_input(served)
    request = compile_request(served)
    served.client("sagemaker").create_compilation_job(**request)
    s3 = served.client("s3")
    deadline = time.monotonic() + 5
    while "Contents" not in s3.list_objects_v2(Bucket=served.bucket, Prefix="models/compilation/"):
        assert time.monotonic() < deadline
        time.sleep(0.05)


def test_each_local_aws_starts_without_state() -> None:
    for _ in range(2):
        with local_aws(server=True) as aws:
            assert aws.client("s3").list_objects_v2(Bucket=aws.bucket)["KeyCount"] == 0
            assert aws.calls["s3:ListObjectsV2"] == 1
            assert aws.faults.listed() == []
            aws.faults.add("call", operation="PutObject", error="SlowDown", nth=2)
            aws.client("s3").put_object(Bucket=aws.bucket, Key="k", Body=b"")


ROLE_NAME = "DDASageMakerExecutionRole"


def by_moto(aws: Aws) -> None:
    if aws.endpoint_url is None:
        moto_api_backend.reset()
    else:
        request = urllib.request.Request(f"{aws.endpoint_url}/moto-api/reset", method="POST")
        with urllib.request.urlopen(request, timeout=5) as answer:
            assert json.load(answer) == {"status": "ok"}


@pytest.mark.parametrize("reset", [LocalAws.reset, by_moto], ids=["ours", "moto's"])
def test_a_reset_returns_to_the_initial_state(aws: Aws, reset: Callable[[Any], None]) -> None:
    s3, iam, sagemaker = aws.client("s3"), aws.client("iam"), aws.client("sagemaker")
    for _ in range(2):
        s3.create_bucket(Bucket="another")
        s3.put_object(Bucket=aws.bucket, Key="k", Body=b"x")
        put_input(aws)
        sagemaker.create_compilation_job(**compile_request(aws))
        aws.faults.add("call", operation="ListUsers", error="ServiceFailure")
        aws.holds.hold("compile", "arm64-cpu")
        iam.create_role(RoleName=ROLE_NAME, AssumeRolePolicyDocument='{"Statement": []}')
        reset(aws.local)
        assert aws.calls == {}
        assert (aws.faults.listed(), aws.holds.held("compile")) == ([], [])
        assert [bucket["Name"] for bucket in s3.list_buckets()["Buckets"]] == [aws.bucket]
        assert s3.list_objects_v2(Bucket=aws.bucket)["KeyCount"] == 0
        assert [user["UserName"] for user in iam.list_users()["Users"]] == ["local"]
        trust = iam.get_role(RoleName=ROLE_NAME)["Role"]["AssumeRolePolicyDocument"]
        assert trust["Statement"], "the initial role, not the caller's"
        assert sagemaker.list_compilation_jobs()["CompilationJobSummaries"] == []


def test_a_reset_of_moto_without_a_local_aws_creates_nothing() -> None:
    with local_aws(server=False):
        pass
    with mock_aws():
        moto_api_backend.reset()
        assert boto3.client("s3", region_name="us-east-1").list_buckets()["Buckets"] == []
        assert boto3.client("iam", region_name="us-east-1").list_roles()["Roles"] == []


class TestControl:
    """The control routes, as used from another process."""

    def test_a_training_job(self, served: Aws, tmp_path: Path) -> None:
        archive = tmp_path / "model.tar.gz"
        archive.write_bytes(b"an archive")
        control = AwsControl(served.endpoint_url)
        made = control.train("cookie-1", archive, model_name="cookie")
        uri = f"s3://{served.bucket}/models/training/cookie-1/output/model.tar.gz"
        assert made["model_artifact"] == uri
        job = served.client("sagemaker").describe_training_job(TrainingJobName="cookie-1")
        assert (job["TrainingJobArn"], job["ModelArtifacts"]["S3ModelArtifacts"]) == (made["arn"], uri)
        archive.write_bytes(b"another")
        with pytest.raises(InvalidName, match="already"):
            control.train("cookie-1", archive)
        kept = served.client("s3").get_object(Bucket=served.bucket, Key=uri.split("/", 3)[3])["Body"].read()
        assert kept == b"an archive"
        with pytest.raises(InvalidName):
            control.train("cookie_1", archive)
        with pytest.raises(FileMissing):
            control.train("cookie-2", tmp_path / "none")

    def test_faults(self, served: Aws) -> None:
        control = AwsControl(served.endpoint_url)
        control.add_fault("compile", target="jetson", reason="r", times=2)
        control.add_fault("call", operation="PutObject", error="SlowDown")
        assert control.faults() == served.faults.listed()
        assert [f["target"] for f in control.faults() if "target" in f] == ["jetson-xavier"]
        with pytest.raises(UnknownTarget):
            control.add_fault("compile", target="riscv", reason="r")
        with pytest.raises(InvalidName):
            control.add_fault("call", operation="Nothing", error="E")
        assert control.clear_faults() == 2
        assert control.faults() == []

    def test_a_reset(self, served: Aws) -> None:
        control = AwsControl(served.endpoint_url)
        control.add_fault("call", operation="PutObject", error="SlowDown")
        served.client("s3").list_buckets()
        control.reset()
        assert (control.faults(), control.calls()) == ([], {})
        assert served.client("s3").list_objects_v2(Bucket=served.bucket)["KeyCount"] == 0

    def test_devices_and_calls(self, served: Aws) -> None:
        control = AwsControl(served.endpoint_url)
        control.add_device(thing="press-1", installed=[{"name": "c", "version": "1.0.0"}])
        installed = served.client("greengrassv2").list_installed_components(coreDeviceThingName="press-1")
        assert [c["componentName"] for c in installed["installedComponents"]] == ["c"]
        assert control.calls() == {"greengrassv2:ListInstalledComponents": 1}

    @pytest.mark.parametrize(
        ("method", "route", "body", "status"),
        [
            ("POST", "faults", b"{no json", 400),
            ("POST", "faults", b'{"kind": "melt"}', 400),
            ("POST", "training-jobs", b'{"name": "a"}', 400),
            ("POST", "devices", b'{"thing": ""}', 400),
            ("GET", "nothing", None, 404),
        ],
    )
    def test_bad_requests_get_an_error(
        self, served: Aws, method: str, route: str, body: bytes | None, status: int
    ) -> None:
        request = urllib.request.Request(f"{served.endpoint_url}/_dda/{route}", data=body, method=method)
        with pytest.raises(urllib.error.HTTPError) as refused:
            urllib.request.urlopen(request, timeout=5)
        assert refused.value.code == status
        content: dict[str, Any] = json.load(refused.value)
        assert content["error"]

    def test_no_server(self) -> None:
        with local_aws() as aws:
            url = aws.endpoint_url
        assert url is not None
        with pytest.raises(LocalStackError, match="dda local up"):
            AwsControl(url).faults()
        assert not answers(url)
