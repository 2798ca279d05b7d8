from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import pytest
import typer
from typer.testing import CliRunner

from dda_core.exceptions import DdaError, FileMissing, InvalidName, LocalStackError, UnknownTarget, UsageError
from deployments.local.aws import LocalAws, local_aws
from deployments.local.aws.cli import register
from deployments.local.directory import StackDirectory

app = typer.Typer()
register(app)


@pytest.fixture
def stack(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[LocalAws]:
    """A running local AWS, found by ``.dda`` in the current folder."""
    monkeypatch.delenv("AWS_ENDPOINT_URL", raising=False)
    monkeypatch.chdir(tmp_path)
    with local_aws() as aws:
        StackDirectory(".dda").write_aws({"aws_endpoint_url": aws.endpoint_url})
        yield aws


def run(*words: str) -> str:
    result = CliRunner().invoke(app, list(words))
    if isinstance(result.exception, DdaError):
        raise result.exception
    assert result.exit_code == 0, result.output
    return result.output


def test_train_with_tags(stack: LocalAws, tmp_path: Path) -> None:
    (tmp_path / "m.tar.gz").write_bytes(b"archive")
    tags = ("--tag", "dda:targets=arm64-cpu,x86_64-cpu", "--tag", "note=a=b", "--model-name", "cookie")
    made = json.loads(run("train", "cookie-1", "--model-archive", "m.tar.gz", *tags, "--json"))
    listed = stack.client("sagemaker").list_tags(ResourceArn=made["arn"])["Tags"]
    assert {each["Key"]: each["Value"] for each in listed} == {
        "dda:targets": "arm64-cpu,x86_64-cpu",
        "note": "a=b",
        "dda:model-name": "cookie",
    }
    with pytest.raises(UsageError, match="'dda:targets' is not KEY=VALUE"):
        run("train", "cookie-2", "--model-archive", "m.tar.gz", "--tag", "dda:targets")


def test_train(stack: LocalAws, tmp_path: Path) -> None:
    (tmp_path / "m.tar.gz").write_bytes(b"archive")
    made = json.loads(run("train", "cookie-1", "--model-archive", "m.tar.gz", "--model-name", "cookie", "--json"))
    assert made == {
        "training_job": "cookie-1",
        "arn": "arn:aws:sagemaker:us-east-1:123456789012:training-job/cookie-1",
        "model_artifact": "s3://dda-local-artifacts/models/training/cookie-1/output/model.tar.gz",
        "status": "Completed",
    }
    assert "Failed" in run("train", "cookie-2", "--model-archive", "m.tar.gz", "--status", "Failed")
    described = stack.client("sagemaker").describe_training_job(TrainingJobName="cookie-2")
    assert described["TrainingJobStatus"] == "Failed"
    with pytest.raises(InvalidName) as refused:
        run("train", "cookie 1", "--model-archive", "m.tar.gz")
    assert refused.value.exit_code == 2
    with pytest.raises(FileMissing):
        run("train", "cookie-3", "--model-archive", "none")


def test_faults(stack: LocalAws) -> None:
    added = json.loads(
        run("fault", "compile", "--target", "x86_64", "--reason", "ClientError: x", "--times", "2", "--json")
    )
    assert (added["kind"], added["target"], added["reason"], added["times"]) == (
        "compile",
        "x86_64-cpu",
        "ClientError: x",
        2,
    )
    run("fault", "publish", "--target", "arm64-cpu", "--reason", "broken")
    run(
        "fault", "call", "CreateCompilationJob", "--error", "ThrottlingException", "--message", "Rate exceeded",
        "--nth", "2", "--times", "3", "--after-effect",
    )  # fmt: skip
    listed = json.loads(run("fault", "list", "--json"))
    assert [f["kind"] for f in listed] == ["compile", "publish", "call"]
    assert listed[2]["after_effect"] is True
    assert (listed[2]["nth"], listed[2]["times"], listed[2]["message"]) == (2, 3, "Rate exceeded")
    assert len(run("fault", "list").splitlines()) == 3
    with pytest.raises(UnknownTarget):
        run("fault", "compile", "--target", "riscv", "--reason", "r")
    assert json.loads(run("fault", "clear", "--json")) == {"cleared": 3}
    assert run("fault", "list") == "No faults are active.\n"
    assert json.loads(run("fault", "list", "--json")) == []


def test_a_fault_that_spoils_archives(stack: LocalAws) -> None:
    said = run("fault", "compiled", "--target", "aarch64", "--spoil", "no-libdlr", "--times", "2")
    assert said == "compiled arm64-cpu: 2 times - no-libdlr\n"
    [listed] = stack.faults.listed()
    assert (listed["kind"], listed["target"], listed["spoil"]) == ("compiled", "arm64-cpu", "no-libdlr")
    refused = CliRunner().invoke(app, ["fault", "compiled", "--target", "arm64-cpu", "--spoil", "no-dlr"])
    assert refused.exit_code == 2
    with pytest.raises(UsageError, match="CPU targets"):
        run("fault", "compiled", "--target", "x86_64-cuda", "--spoil", "cuda-on-cpu")


def test_device_add(stack: LocalAws) -> None:
    said = run("device", "add", "press-1", "--component", "model-a", "--version", "2.0.0", "--group", "hall")
    assert said == "press-1 is a core device with model-a 2.0.0.\n"
    assert json.loads(run("device", "add", "press-2", "--unhealthy", "--json"))["status"] == "UNHEALTHY"
    greengrass = stack.client("greengrassv2")
    devices = {row["coreDeviceThingName"]: row["status"] for row in greengrass.list_core_devices()["coreDevices"]}
    assert devices == {"press-1": "HEALTHY", "press-2": "UNHEALTHY"}
    installed = greengrass.list_installed_components(coreDeviceThingName="press-1")["installedComponents"]
    assert [(row["componentName"], row["componentVersion"]) for row in installed] == [("model-a", "2.0.0")]
    with pytest.raises(UsageError, match="one version for each"):
        run("device", "add", "press-3", "--component", "model-a")


def test_a_command_finds_its_stack(stack: LocalAws, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    run("fault", "list")
    elsewhere = tmp_path / "elsewhere"
    with pytest.raises(LocalStackError, match="dda local up") as none:
        run("fault", "list", "--dir", str(elsewhere))
    assert none.value.exit_code == 3
    StackDirectory(elsewhere).write_local({"aws_endpoint_url": stack.endpoint_url, "bucket": "b"})
    run("fault", "list", "--dir", str(elsewhere))
    monkeypatch.chdir("/")
    with pytest.raises(LocalStackError, match="AWS_ENDPOINT_URL is not set"):
        run("fault", "list")
    monkeypatch.setenv("AWS_ENDPOINT_URL", str(stack.endpoint_url))
    run("fault", "list")
    monkeypatch.setenv("AWS_ENDPOINT_URL", "http://127.0.0.1:1")
    with pytest.raises(LocalStackError, match=r"127\.0\.0\.1:1 "):
        run("fault", "list")
    run("fault", "list", "--dir", str(tmp_path / ".dda"))
