"""The AWS CLI: version 1 from PyPI, and version 2 if it is on the PATH."""

from __future__ import annotations

import base64
import json
import os
import re
import shutil
import subprocess
import urllib.request
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from deployments.local.aws import LocalAws
from tests.deployments.local.aws.conftest import archive, compile_request, recipe

pytestmark = [pytest.mark.slow, pytest.mark.clients]

NAME = "model-cookie-jetson-xavier"
COMPONENT = f"arn:aws:greengrass:us-east-1:123456789012:components:{NAME}"
LARGE = 20 * 1024 * 1024
"""Above the CLI's threshold for multipart uploads."""


def version_2_on_the_path() -> str | None:
    """The first ``aws`` on the PATH that is version 2."""
    for folder in os.get_exec_path():
        found = shutil.which("aws", path=folder)
        if found is None:
            continue
        version = subprocess.run([found, "--version"], capture_output=True, text=True)
        if version.stdout.startswith("aws-cli/2"):
            return found
    return None


def knows_endpoint_variable(version: str) -> bool:
    """Whether this version reads AWS_ENDPOINT_URL: 1.29, 2.13 and later."""
    match = re.match(r"aws-cli/(\d+)\.(\d+)", version)
    assert match, version
    major, minor = int(match[1]), int(match[2])
    return minor >= {1: 29, 2: 13}[major]


@pytest.fixture(params=["1", "2"])
def aws(
    request: pytest.FixtureRequest,
    installed: Callable[[str], Path],
    client_environment: dict[str, str],
    local: LocalAws,
    tmp_path: Path,
) -> Callable[..., Any]:
    """``aws("s3", "ls")`` returns its output, parsed if it is JSON."""
    if request.param == "1":
        command = [str(installed("awscli") / "aws")]
    else:
        found = version_2_on_the_path()
        if found is None:
            pytest.skip("no version 2 of the AWS CLI is on the PATH; it is not on PyPI")
        command = [found]
    version = subprocess.run([*command, "--version"], capture_output=True, text=True, check=True).stdout
    if not knows_endpoint_variable(version):
        command += ["--endpoint-url", str(local.endpoint_url)]

    def run(*arguments: str) -> Any:
        done = subprocess.run(
            [*command, *arguments], capture_output=True, text=True, env=client_environment, cwd=tmp_path, timeout=120
        )
        assert done.returncode == 0, done.stderr
        try:
            return json.loads(done.stdout)
        except ValueError:
            return done.stdout

    return run


def test_objects_are_uploaded_and_downloaded_unchanged(
    aws: Callable[..., Any], local: LocalAws, tmp_path: Path
) -> None:
    large = tmp_path / "large"
    large.write_bytes(os.urandom(LARGE))
    uri = f"s3://{local.bucket}/large"
    aws("s3", "cp", "--no-progress", "large", uri)
    aws("s3", "cp", "--no-progress", uri, "again")
    assert (tmp_path / "again").read_bytes() == large.read_bytes()
    aws("s3api", "get-object", "--bucket", local.bucket, "--key", "large", "--checksum-mode", "ENABLED", "whole")
    assert (tmp_path / "whole").read_bytes() == large.read_bytes()
    assert str(LARGE) in aws("s3", "ls", uri)


def test_a_component_is_published_found_and_deleted(aws: Callable[..., Any], local: LocalAws, tmp_path: Path) -> None:
    (tmp_path / "package.zip").write_bytes(b"a zip")
    (tmp_path / "recipe.json").write_bytes(recipe(local))
    greengrass = ("greengrassv2",)
    assert aws(*greengrass, "list-component-versions", "--arn", COMPONENT)["componentVersions"] == []
    aws("s3", "cp", "--no-progress", "package.zip", f"s3://{local.bucket}/package.zip")
    create = (*greengrass, "create-component-version", "--inline-recipe", "fileb://recipe.json")
    arn = aws(*create, "--tags", "dda-portal:managed=true")["arn"]
    assert aws(*greengrass, "describe-component", "--arn", arn)["status"]["componentState"] == "DEPLOYABLE"
    stored = json.loads(base64.b64decode(aws(*greengrass, "get-component", "--arn", arn)["recipe"]))
    assert stored["ComponentName"] == NAME
    assert [c["arn"] for c in aws(*greengrass, "list-components")["components"]] == [COMPONENT]
    found = aws("resourcegroupstaggingapi", "get-resources", "--tag-filters", "Key=dda-portal:managed,Values=true")
    assert [each["ResourceARN"] for each in found["ResourceTagMappingList"]] == [arn]
    download = (*greengrass, "get-component-version-artifact", "--artifact-name", "package.zip", "--arn", arn)
    with urllib.request.urlopen(aws(*download)["preSignedUrl"], timeout=5) as answer:
        assert answer.read() == b"a zip"
    aws(*greengrass, "delete-component", "--arn", arn)
    assert aws(*greengrass, "list-components")["components"] == []


def test_jobs_are_started_waited_for_and_described(aws: Callable[..., Any], local: LocalAws, tmp_path: Path) -> None:
    local.train("cookie-1", archive(mochi_pt=b"weights"), model_name="cookie")
    job = ("--training-job-name", "cookie-1")
    aws("sagemaker", "wait", "training-job-completed-or-stopped", *job)
    assert aws("sagemaker", "describe-training-job", *job)["TrainingJobStatus"] == "Completed"
    local.client("s3").put_object(
        Bucket=local.bucket, Key="in/model_for_compilation.tar.gz", Body=archive(mochi_pt=b"weights")
    )
    request = compile_request(local)
    aws("sagemaker", "create-compilation-job", "--cli-input-json", json.dumps(request))
    name = ("--compilation-job-name", request["CompilationJobName"])
    described = aws("sagemaker", "describe-compilation-job", *name)
    assert described["CompilationJobStatus"] == "COMPLETED"
    aws("s3", "cp", "--no-progress", described["ModelArtifacts"]["S3ModelArtifacts"], "compiled.tar.gz")
    assert (tmp_path / "compiled.tar.gz").stat().st_size
    streams = aws("logs", "describe-log-streams", "--log-group-name", "/aws/sagemaker/CompilationJobs")
    assert request["CompilationJobName"] in {stream["logStreamName"] for stream in streams["logStreams"]}


def test_the_caller_is_the_user_of_the_local_aws(aws: Callable[..., Any]) -> None:
    assert aws("sts", "get-caller-identity")["Arn"] == "arn:aws:iam::123456789012:user/local"


@pytest.mark.parametrize(
    ("version", "knows"),
    [
        ("aws-cli/1.28.9 Python/3.11", False),
        ("aws-cli/1.29.0 Python/3.11", True),
        ("aws-cli/2.9.19 Python/3.11.2 Linux", False),
        ("aws-cli/2.13.0 Python/3.11.4", True),
    ],
)
def test_older_versions_need_the_endpoint_as_an_option(version: str, knows: bool) -> None:
    assert knows_endpoint_variable(version) is knows
