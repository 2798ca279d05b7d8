from __future__ import annotations

from tests.deployments.local.aws.conftest import (
    Aws,
    compile_request,
    error_of,
    put_input,
    put_package,
    recipe,
    settings,
)

JOB = "CompilationJobName"


@settings(concurrent_compilation_jobs=1)
def test_a_held_job_keeps_its_slot_until_its_release(aws: Aws) -> None:
    sagemaker = aws.client("sagemaker")
    put_input(aws)
    request = compile_request(aws)
    target = request["OutputConfig"]["S3OutputLocation"].rpartition("/")[2]
    other = compile_request(aws, f"{request[JOB]}0")
    aws.local.holds.hold("compile", target)
    assert aws.local.holds.held("compile") == [target]

    sagemaker.create_compilation_job(**request)
    assert sagemaker.describe_compilation_job(CompilationJobName=request[JOB])["CompilationJobStatus"] == "INPROGRESS"
    assert error_of(sagemaker.create_compilation_job, **other)["Code"] == "ResourceLimitExceeded"

    aws.local.holds.release("compile", target)
    job = sagemaker.describe_compilation_job(CompilationJobName=request[JOB])
    assert job["CompilationJobStatus"] == "COMPLETED"
    assert job["CompilationEndTime"] > job["CreationTime"]
    sagemaker.create_compilation_job(**other)
    assert sagemaker.describe_compilation_job(CompilationJobName=other[JOB])["CompilationJobStatus"] == "COMPLETED"
    assert aws.local.holds.held("compile") == []


def test_a_held_job_can_be_stopped(mocked: Aws) -> None:
    sagemaker = mocked.client("sagemaker")
    put_input(mocked)
    request = compile_request(mocked)
    mocked.local.holds.hold("compile", request["OutputConfig"]["S3OutputLocation"].rpartition("/")[2])
    sagemaker.create_compilation_job(**request)
    sagemaker.stop_compilation_job(CompilationJobName=request[JOB])
    job = sagemaker.describe_compilation_job(CompilationJobName=request[JOB])
    assert job["CompilationJobStatus"] == "STOPPED"


def test_a_held_version_stays_deployable_after_its_release(mocked: Aws) -> None:
    greengrass = mocked.client("greengrassv2")
    put_package(mocked)
    mocked.local.holds.hold("publish", "jetson-xavier")
    made = greengrass.create_component_version(inlineRecipe=recipe(mocked))

    def state() -> str:
        return str(greengrass.describe_component(arn=made["arn"])["status"]["componentState"])

    assert state() == "INITIATED"
    mocked.local.holds.release("publish", "jetson-xavier")
    assert state() == "DEPLOYABLE"
    mocked.local.holds.hold("publish", "jetson-xavier")
    assert state() == "DEPLOYABLE"
    mocked.local.holds.release("publish", "jetson-xavier")
    mocked.local.holds.release("publish", "jetson-xavier")
