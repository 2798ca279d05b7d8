from __future__ import annotations

import hashlib
import io
import json
import tarfile
import time
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from moto.logs.models import LogGroup

from dda_core.targets import CompilationTarget, all_targets, find_target
from deployments.local.aws.services.compilation import target_of
from deployments.local.aws.services.neo import compile_model
from deployments.local.aws.spoiling import Spoil
from tests.deployments.local.aws.conftest import Aws, archive, compile_request, error_of, put_input, settings

TVM_FILES = {"compiled.meta", "compiled.params", "compiled.so", "compiled_model.json"}
RUNTIME_FILES = {"dlr.h", "libdlr.so"}
CREATED = datetime(2026, 5, 4, 3, 2, 1, tzinfo=UTC)


def ended(sagemaker: Any, name: str, seconds: float = 5) -> dict[str, Any]:
    deadline = time.monotonic() + seconds
    while True:
        job: dict[str, Any] = sagemaker.describe_compilation_job(CompilationJobName=name)
        if job["CompilationJobStatus"] in ("COMPLETED", "FAILED", "STOPPED"):
            return job
        assert time.monotonic() < deadline, job["CompilationJobStatus"]
        time.sleep(0.02)


def test_a_compilation_writes_the_files_of_a_neo_build(aws: Aws) -> None:
    sagemaker, s3 = aws.client("sagemaker"), aws.client("s3")
    put_input(aws)
    request = compile_request(aws, Tags=[{"Key": "dda:flow-run", "Value": "1"}])
    arn = sagemaker.create_compilation_job(**request)["CompilationJobArn"]
    job = ended(sagemaker, request["CompilationJobName"])

    assert job["CompilationJobStatus"] == "COMPLETED"
    assert job["CompilationJobArn"] == arn
    assert job["FailureReason"] == ""
    for member in ("InputConfig", "OutputConfig", "StoppingCondition", "RoleArn"):
        assert job[member] == request[member]
    uri = job["ModelArtifacts"]["S3ModelArtifacts"]
    assert uri == f"{request['OutputConfig']['S3OutputLocation']}/model_for_compilation-LINUX_ARM64_NVIDIA.tar.gz"
    compiled = s3.get_object(Bucket=aws.bucket, Key=uri.removeprefix(f"s3://{aws.bucket}/"))["Body"].read()
    assert job["ModelDigests"]["ArtifactDigest"] == hashlib.sha256(compiled).hexdigest()
    with tarfile.open(fileobj=io.BytesIO(compiled)) as tar:
        assert set(tar.getnames()) == {*TVM_FILES, *RUNTIME_FILES, "manifest"}
        assert tar.getmember("compiled.params").size == 7000
    assert sagemaker.list_tags(ResourceArn=arn)["Tags"] == request["Tags"]


@settings(compile_seconds=1)
def test_a_job_goes_through_its_states(aws: Aws) -> None:
    sagemaker = aws.client("sagemaker")
    put_input(aws)
    request = compile_request(aws)
    sagemaker.list_compilation_jobs()  # the first call loads the service model, which is slow
    sagemaker.create_compilation_job(**request)
    seen: list[str] = []
    while not seen or seen[-1] != "COMPLETED":
        job = sagemaker.describe_compilation_job(CompilationJobName=request["CompilationJobName"])
        status = job["CompilationJobStatus"]
        if status not in seen:
            seen.append(status)
        assert ("CompilationStartTime" in job) == (status != "STARTING")
        assert ("CompilationEndTime" in job) == (status == "COMPLETED")
        assert bool(job["ModelArtifacts"]["S3ModelArtifacts"]) == (status == "COMPLETED")
        time.sleep(0.01)
    assert seen == ["STARTING", "INPROGRESS", "COMPLETED"]
    took = job["CompilationEndTime"] - job["CreationTime"]
    assert timedelta(seconds=0.99) < took < timedelta(seconds=1.01)


@settings(compile_seconds=60, stop_seconds=0.2)
def test_a_stopped_job_is_stopping_and_then_stopped(aws: Aws) -> None:
    sagemaker = aws.client("sagemaker")
    put_input(aws)
    name = compile_request(aws)["CompilationJobName"]
    sagemaker.create_compilation_job(**compile_request(aws))
    refused = error_of(sagemaker.delete_compilation_job, CompilationJobName=name)
    assert (refused["Code"], refused["Status"]) == ("ValidationException", 400)
    sagemaker.stop_compilation_job(CompilationJobName=name)
    assert sagemaker.describe_compilation_job(CompilationJobName=name)["CompilationJobStatus"] == "STOPPING"
    job = ended(sagemaker, name)
    assert job["CompilationJobStatus"] == "STOPPED"
    assert job["ModelArtifacts"]["S3ModelArtifacts"] == ""
    assert error_of(sagemaker.stop_compilation_job, CompilationJobName=name)["Code"] == "ValidationException"


@settings(compile_seconds=3)
def test_a_job_over_its_time_limit_is_stopped(aws: Aws) -> None:
    sagemaker = aws.client("sagemaker")
    put_input(aws)
    request = compile_request(aws, StoppingCondition={"MaxRuntimeInSeconds": 1})
    sagemaker.create_compilation_job(**request)
    assert ended(sagemaker, request["CompilationJobName"])["CompilationJobStatus"] == "STOPPED"


def test_a_name_is_taken_until_its_job_is_deleted(aws: Aws) -> None:
    sagemaker = aws.client("sagemaker")
    put_input(aws)
    request = compile_request(aws)
    name = request["CompilationJobName"]
    sagemaker.create_compilation_job(**request)
    assert error_of(sagemaker.create_compilation_job, **request)["Code"] == "ResourceInUse"
    ended(sagemaker, name)
    assert error_of(sagemaker.create_compilation_job, **request)["Code"] == "ResourceInUse"
    sagemaker.delete_compilation_job(CompilationJobName=name)
    for operation in ("describe_compilation_job", "stop_compilation_job", "delete_compilation_job"):
        assert error_of(getattr(sagemaker, operation), CompilationJobName=name)["Code"] == "ResourceNotFound"
    sagemaker.create_compilation_job(**request)


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"CompilationJobName": "a" * 64}, "Member must have length less than or equal to 63"),
        ({"CompilationJobName": "-cookie"}, "[a-zA-Z0-9](-*[a-zA-Z0-9]){0,62}"),
        ({"CompilationJobName": "cookie_1"}, "[a-zA-Z0-9](-*[a-zA-Z0-9]){0,62}"),
        ({"RoleArn": "arn:aws:iam::1:role/too-short"}, "roleArn"),
        (
            {"OutputConfig": {"S3OutputLocation": "s3://b/o", "TargetPlatform": {"Os": "LINUX", "Arch": "SPARC"}}},
            "enum",
        ),
        ({"OutputConfig": {"S3OutputLocation": "s3://b/o"}}, "TargetDevice and TargetPlatform"),
        ({"StoppingCondition": {"MaxRuntimeInSeconds": 0}}, "greater than or equal to 1"),
        ({"Tags": [{"Key": "a", "Value": "1"}, {"Key": "a", "Value": "2"}]}, "Duplicate tag keys"),
    ],
)
def test_a_request_that_sagemaker_refuses_is_refused(mocked: Aws, change: dict[str, Any], words: str) -> None:
    sagemaker = mocked.client("sagemaker", parameter_validation=False)
    refused = error_of(sagemaker.create_compilation_job, **compile_request(mocked, **change))
    assert (refused["Code"], refused["Status"]) == ("ValidationException", 400)
    assert words in refused["Message"]
    assert sagemaker.list_compilation_jobs()["CompilationJobSummaries"] == []


@pytest.mark.parametrize(
    ("content", "config", "options", "reason"),
    [
        (b"no gzip", None, None, "Unable to untar input model. Please confirm the model is a tar.gz file"),
        (archive(), None, None, "No model file found."),
        (archive(readme_txt=b"x"), None, None, "No pth file found for PyTorch model"),
        (archive(a_pt=b"1", b_pt=b"2"), None, None, "Exactly one .pth file is allowed"),
        (None, "{'input_shape': [1, 3, 8, 8]}", None, "Cannot load DataInputConfig. Incorrect json format"),
        (None, "5", None, "DataInputConfig is not dictionary or list"),
        (None, '{"input_shape": [1, 768, 576, 3]}', None, "has wrong shape in Input Shape dictionary"),
        (None, None, '{"cuda-ver": "12.2"}', "cuda-ver 12.2"),
    ],
    ids=["no gzip", "empty", "no model", "two models", "bad json", "scalar", "layout", "cuda"],
)
def test_a_model_that_neo_refuses_ends_failed_with_neos_text(
    mocked: Aws, content: bytes | None, config: str | None, options: str | None, reason: str
) -> None:
    sagemaker = mocked.client("sagemaker")
    put_input(mocked, content)
    request = compile_request(mocked)
    if config:
        request["InputConfig"]["DataInputConfig"] = config
    if options:
        request["OutputConfig"]["CompilerOptions"] = options
    sagemaker.create_compilation_job(**request)
    job = ended(sagemaker, request["CompilationJobName"])
    assert job["CompilationJobStatus"] == "FAILED"
    assert job["FailureReason"].startswith("ClientError: ")
    assert reason in job["FailureReason"]


def test_a_missing_input_fails_the_job_not_the_call(aws: Aws) -> None:
    sagemaker = aws.client("sagemaker")
    sagemaker.create_compilation_job(**compile_request(aws))
    job = ended(sagemaker, compile_request(aws)["CompilationJobName"])
    assert job["FailureReason"] == (
        "ClientError: InputConfiguration: S3 object does not exist. "
        f"Bucket: {aws.bucket}, Key: in/model_for_compilation.tar.gz"
    )


def test_an_input_in_another_region_is_refused(mocked: Aws) -> None:
    s3, sagemaker = mocked.client("s3", "eu-west-1"), mocked.client("sagemaker")
    s3.create_bucket(Bucket="far", CreateBucketConfiguration={"LocationConstraint": "eu-west-1"})
    s3.put_object(Bucket="far", Key="m.tar.gz", Body=archive(mochi_pt=b"w"))
    request = compile_request(mocked)
    request["InputConfig"]["S3Uri"] = "s3://far/m.tar.gz"
    sagemaker.create_compilation_job(**request)
    reason = ended(sagemaker, request["CompilationJobName"])["FailureReason"]
    assert "is in region eu-west-1" in reason
    assert "different from AWS Sagemaker service region us-east-1" in reason


def request_for(target: CompilationTarget) -> dict[str, Any]:
    """The parts of a CreateCompilationJob request for a target that the compiler reads."""
    output: dict[str, Any] = {"S3OutputLocation": "s3://b/o", "TargetPlatform": target.neo_platform()}
    if target.compiler_options:
        output["CompilerOptions"] = target.compiler_options
    shape = '{"input_shape": [1, 3, 768, 576]}'
    return {
        "InputConfig": {"DataInputConfig": shape, "Framework": "PYTORCH", "FrameworkVersion": "1.8"},
        "OutputConfig": output,
    }


def compiled_for(target: CompilationTarget, spoil: Spoil | None = None) -> dict[str, bytes]:
    """The files that the compiler writes for a target."""
    trained = archive(mochi_pt=b"weights" * 1000)
    packed = compile_model(trained, request_for(target), created=CREATED.timestamp(), spoil=spoil)
    with tarfile.open(fileobj=io.BytesIO(packed)) as tar:
        return {name: tar.extractfile(name).read() for name in tar.getnames()}  # type: ignore[union-attr]


def is_loadable(files: dict[str, bytes], machine: int) -> bool:
    """Whether DLR finds one compiled model, its metadata and the runtime, all for that ELF machine number."""
    graphs = [name for name in files if name.endswith(".json") and name != "model-shapes.json" and "/" not in name]
    libraries = [name for name in files if name.endswith(".so") and "/" not in name]
    if sorted(libraries) != ["compiled.so", "libdlr.so"] or graphs != ["compiled_model.json"]:
        return False
    meta = json.loads(files.get("compiled.meta", b"{}"))
    return (
        [name for name in files if name.endswith((".params", ".ro"))] == ["compiled.params"]
        and meta.get("Requirements", {}).get("TargetDeviceType") in ("cpu", "gpu", "opencl")
        and all(files[name].startswith(b"\x7fELF\x02\x01") for name in libraries)
        and all(int.from_bytes(files[name][18:20], "little") == machine for name in libraries)
    )


MACHINES = {"amd64": 62, "aarch64": 183}


@pytest.mark.parametrize("target", all_targets(), ids=lambda t: t.name)
def test_a_device_of_the_target_can_load_the_compiled_archive(target: CompilationTarget) -> None:
    files = compiled_for(target)
    assert is_loadable(files, MACHINES[target.platform])
    only_there = "manifest" if target.accelerator else "model-shapes.json"
    assert set(files) == {*TVM_FILES, *RUNTIME_FILES, only_there}
    meta = json.loads(files["compiled.meta"])
    assert meta["Requirements"]["TargetDeviceType"] == ("gpu" if target.accelerator else "cpu")
    assert meta["Model"]["Inputs"] == [{"name": "input_shape", "shape": [1, 3, 768, 576], "dtype": "float32"}]
    assert meta["Model"]["Outputs"]


@pytest.mark.parametrize(
    ("device", "kind", "machine"), [("jetson_xavier", "gpu", 183), ("ml_c5", "cpu", 62), ("rasp4b", "cpu", 183)]
)
def test_a_target_device_is_compiled_like_a_platform(device: str, kind: str, machine: int) -> None:
    request = request_for(all_targets()[0])
    request["OutputConfig"] = {"S3OutputLocation": "s3://b/o", "TargetDevice": device}
    packed = compile_model(archive(mochi_pt=b"w"), request, created=0)
    with tarfile.open(fileobj=io.BytesIO(packed)) as tar:
        meta = json.loads(tar.extractfile("compiled.meta").read())  # type: ignore[union-attr]
        library = tar.extractfile("compiled.so").read()  # type: ignore[union-attr]
    assert meta["Requirements"] == {"TargetDevice": device.upper(), "TargetDeviceType": kind}
    assert library[18] == machine


@pytest.mark.parametrize("spoil", [spoil for spoil in Spoil if spoil is not Spoil.CUDA_ON_CPU])
@pytest.mark.parametrize("target", all_targets(), ids=lambda t: t.name)
def test_no_device_can_load_a_spoiled_archive(target: CompilationTarget, spoil: Spoil) -> None:
    assert not is_loadable(compiled_for(target, spoil), MACHINES[target.platform])


@pytest.mark.parametrize("name", ["x86_64-cpu", "arm64-cpu"])
def test_a_cpu_target_can_get_an_archive_compiled_for_cuda(name: str) -> None:
    target = find_target(name)
    spoiled = compiled_for(target, Spoil.CUDA_ON_CPU)
    assert "manifest" in spoiled
    assert json.loads(spoiled["compiled.meta"])["Requirements"]["TargetDeviceType"] == "gpu"
    assert is_loadable(spoiled, MACHINES[target.platform]), "the loader does not check this; our own check must"


def test_the_next_jobs_of_a_target_complete_with_a_spoiled_archive(aws: Aws) -> None:
    sagemaker, s3 = aws.client("sagemaker"), aws.client("s3")
    put_input(aws)
    aws.faults.add("compiled", target="arm64-cpu", spoil="no-libdlr")
    found = []
    for number in (1, 2):
        name = f"cookie-arm64cpu-0123abcd-{number}"
        output = {
            "S3OutputLocation": f"s3://{aws.bucket}/{name}/arm64-cpu",
            "TargetPlatform": {"Os": "LINUX", "Arch": "ARM64"},
        }
        sagemaker.create_compilation_job(**compile_request(aws, name, OutputConfig=output))
        job = ended(sagemaker, name)
        assert job["CompilationJobStatus"] == "COMPLETED"
        key = job["ModelArtifacts"]["S3ModelArtifacts"].removeprefix(f"s3://{aws.bucket}/")
        with tarfile.open(fileobj=s3.get_object(Bucket=aws.bucket, Key=key)["Body"], mode="r|gz") as tar:
            found.append("libdlr.so" in tar.getnames())
    assert found == [False, True]


def test_content_depends_on_the_work_and_the_target_only(aws: Aws) -> None:
    sagemaker, s3 = aws.client("sagemaker"), aws.client("s3")
    put_input(aws)
    contents = []
    for name, arch in (("a-1", "ARM64"), ("a-2", "ARM64"), ("a-3", "X86_64")):
        request = compile_request(aws, name)
        request["OutputConfig"]["TargetPlatform"]["Arch"] = arch
        sagemaker.create_compilation_job(**request)
        job = ended(sagemaker, name)
        key = job["ModelArtifacts"]["S3ModelArtifacts"].removeprefix(f"s3://{aws.bucket}/")
        packed = s3.get_object(Bucket=aws.bucket, Key=key)["Body"].read()
        with tarfile.open(fileobj=io.BytesIO(packed)) as tar:
            members = tar.getmembers()
            contents.append({m.name: tar.extractfile(m).read() for m in members})  # type: ignore[union-attr]
        assert {m.mtime for m in members} == {int(job["CreationTime"].timestamp())}, "the times are the job's"
    assert contents[0] == contents[1]
    assert {name for name in contents[0] if contents[0][name] != contents[2][name]} == {
        "compiled.meta", "compiled.params", "compiled.so", "libdlr.so",
    }  # fmt: skip


@settings(compile_seconds=60, concurrent_compilation_jobs=2)
def test_the_quota_of_concurrent_jobs_is_enforced(aws: Aws) -> None:
    sagemaker = aws.client("sagemaker")
    for name in ("one", "two"):
        sagemaker.create_compilation_job(**compile_request(aws, name))
    assert (
        error_of(sagemaker.create_compilation_job, **compile_request(aws, "three"))["Code"] == "ResourceLimitExceeded"
    )
    sagemaker.stop_compilation_job(CompilationJobName="one")
    ended(sagemaker, "one")
    sagemaker.create_compilation_job(**compile_request(aws, "three"))


def test_jobs_are_listed_in_pages_filtered_and_sorted(aws: Aws) -> None:
    sagemaker = aws.client("sagemaker")
    put_input(aws)
    before = datetime.now(UTC) - timedelta(seconds=1)
    for number in range(12):
        request = compile_request(aws, f"job-{number:02}-x86cpu-00000000-1")
        request["OutputConfig"] = {
            "S3OutputLocation": f"s3://{aws.bucket}/o",
            "TargetPlatform": {"Os": "LINUX", "Arch": "X86_64"},
        }
        sagemaker.create_compilation_job(**request)
    first = sagemaker.list_compilation_jobs()
    assert len(first["CompilationJobSummaries"]) == 10, "SageMaker's own page size: callers must follow NextToken"
    pages = sagemaker.get_paginator("list_compilation_jobs")
    names = [
        j["CompilationJobName"]
        for p in pages.paginate(SortBy="Name", SortOrder="Descending")
        for j in p["CompilationJobSummaries"]
    ]
    assert names == [f"job-{number:02}-x86cpu-00000000-1" for number in reversed(range(12))]

    def found(**filters: Any) -> int:
        return sum(len(p["CompilationJobSummaries"]) for p in pages.paginate(**filters))

    assert found(NameContains="job-0") == 10
    assert found(StatusEquals="COMPLETED") == 12
    assert found(StatusEquals="FAILED") == 0
    assert found(CreationTimeAfter=before) == 12
    assert found(CreationTimeBefore=before) == 0
    assert found(LastModifiedTimeAfter=before, NameContains="11") == 1
    summary = first["CompilationJobSummaries"][0]
    assert "CompilationTargetPlatformAccelerator" not in summary
    assert error_of(sagemaker.list_compilation_jobs, NextToken="!")["Code"] == "ValidationException"


def test_the_log_of_a_job_is_in_cloudwatch(aws: Aws) -> None:
    sagemaker, logs = aws.client("sagemaker"), aws.client("logs")
    request = compile_request(aws)
    name = request["CompilationJobName"]
    sagemaker.create_compilation_job(**request)
    ended(sagemaker, name)
    group = "/aws/sagemaker/CompilationJobs"
    streams = logs.describe_log_streams(logGroupName=group, logStreamNamePrefix=name)["logStreams"]
    assert [s["logStreamName"] for s in streams] == [name, f"{name}/model-info-extraction"]
    events = logs.get_log_events(logGroupName=group, logStreamName=name)["events"]
    assert "S3 object does not exist" in events[0]["message"]
    assert events[-1]["message"].endswith("FAILED.")


def test_jobs_that_end_at_the_same_time_all_have_their_logs(mocked: Aws, monkeypatch: pytest.MonkeyPatch) -> None:
    class SlowLogGroup(LogGroup):  # type: ignore[misc]
        def __init__(self, *args: Any, **kwargs: Any) -> None:
            time.sleep(0.1)
            super().__init__(*args, **kwargs)

    monkeypatch.setattr("moto.logs.models.LogGroup", SlowLogGroup)
    sagemaker, logs = mocked.client("sagemaker"), mocked.client("logs")
    put_input(mocked)
    names = [f"cookie-jetson-0123abcd-{number}" for number in range(1, 5)]
    for name in names:
        sagemaker.create_compilation_job(**compile_request(mocked, name))
    with ThreadPoolExecutor(len(names)) as pool:
        statuses = pool.map(lambda name: ended(sagemaker, name)["CompilationJobStatus"], names)
    assert set(statuses) == {"COMPLETED"}
    streams = logs.describe_log_streams(logGroupName="/aws/sagemaker/CompilationJobs")["logStreams"]
    assert [stream["logStreamName"] for stream in streams if "/" not in stream["logStreamName"]] == names


def test_tags_are_added_replaced_and_removed(aws: Aws) -> None:
    sagemaker = aws.client("sagemaker")
    arn = sagemaker.create_compilation_job(**compile_request(aws))["CompilationJobArn"]
    sagemaker.add_tags(ResourceArn=arn, Tags=[{"Key": "a", "Value": "1"}, {"Key": "b", "Value": "2"}])
    sagemaker.add_tags(ResourceArn=arn, Tags=[{"Key": "a", "Value": "3"}])
    sagemaker.delete_tags(ResourceArn=arn, TagKeys=["b"])
    assert sagemaker.list_tags(ResourceArn=arn)["Tags"] == [{"Key": "a", "Value": "3"}]
    assert error_of(sagemaker.list_tags, ResourceArn=arn + "x")["Code"] == "ValidationException"


@pytest.mark.parametrize("target", all_targets(), ids=lambda t: t.name)
def test_the_target_of_a_job_follows_from_output_location_name_or_platform(target: CompilationTarget) -> None:
    output: dict[str, Any] = {"S3OutputLocation": "s3://b/elsewhere", "TargetPlatform": target.neo_platform()}
    if target.compiler_options:
        output["CompilerOptions"] = target.compiler_options
    place = output | {"S3OutputLocation": f"s3://b/models/compilation/job/{target.name}"}
    assert target_of({"CompilationJobName": "job", "OutputConfig": place}) == target.name
    assert target_of({"CompilationJobName": f"job-{target.suffix}-0a1b2c3d-1", "OutputConfig": output}) == target.name
    by_platform = target_of({"CompilationJobName": "job", "OutputConfig": output})
    twins = [t.name for t in all_targets() if (t.arch, t.compiler_options) == (target.arch, target.compiler_options)]
    assert by_platform in twins
