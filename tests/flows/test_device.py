"""DEPLOYABLE means that it runs on the device: a model that no device could load fails its target."""

from __future__ import annotations

import io
import json
import zipfile

import pytest

from dda_core.runs.status import RunStatus, TargetStatus
from deployments.local.aws.spoiling import Spoil
from tests.fixtures.device_checks import device_checks, refused_by_devices, refused_here
from tests.flows.conftest import Pipeline

pytestmark = [pytest.mark.xdist_group("prefect")]

SPOILT = {
    "x86_64-cpu": Spoil.NO_LIBDLR,
    "x86_64-cuda": Spoil.NO_META,
    "jetson-xavier": Spoil.META_DEVICE_TYPE,
    "jetson-xavier-jp5": Spoil.WRONG_MACHINE,
    "jetson-xavier-jp6": Spoil.TWO_GRAPHS,
}
"""What each target's compiled archive lacks; arm64-cpu's is complete."""


async def test_everything_published_for_current_fleets_runs_on_the_device(pipeline: Pipeline) -> None:
    pipeline.train("lid-7", model_name="Lid")
    targets = ["jetson-xavier-jp5", "jetson-xavier-jp6", "x86_64-cpu", "x86_64-cuda", "arm64-cpu", "jetson-xavier"]
    assert (await pipeline.run("lid-7", targets=targets)).status is RunStatus.COMPLETED
    checks = device_checks(pipeline.aws.client)
    assert len(checks) == len(targets)
    for name, check in checks.items():
        assert check.ok, (name, [str(finding) for finding in check.findings])
        assert check.findings == ()


async def test_an_archive_that_a_device_cannot_load_fails_its_target_and_no_other(pipeline: Pipeline) -> None:
    pipeline.train()
    for target, spoil in SPOILT.items():
        pipeline.aws.faults.add("compiled", target=target, spoil=spoil.value)
    view = await pipeline.run(targets=[*SPOILT, "arm64-cpu"])
    assert view.status is RunStatus.PARTIAL
    for target in SPOILT:
        bad = view.targets[target]
        assert bad.status is TargetStatus.FAILED
        assert "a device could not load what was compiled: mochi/" in str(bad.reason)
        assert "RUNNING and inspect nothing" in str(bad.cause)
        assert "--force" in str(bad.remedy)
        assert bad.package is None
    assert view.targets["arm64-cpu"].status is TargetStatus.DEPLOYABLE
    assert pipeline.versions() == ["model-lid-7-arm64-cpu 1.0.0"]
    bucket = pipeline.aws.client("s3").list_objects_v2(Bucket=pipeline.aws.bucket, Prefix="model_artifacts/")
    assert len([item for item in bucket["Contents"] if item["Key"].endswith(".zip")]) == 1


@pytest.mark.slow
async def test_such_an_archive_is_refused_again_until_it_is_recompiled(pipeline: Pipeline) -> None:
    pipeline.train()
    pipeline.aws.faults.add("compiled", target="x86_64-cpu", spoil=Spoil.WRAPPER_FOLDER.value)
    for _ in range(2):
        assert (await pipeline.run(targets=["x86_64-cpu"])).targets["x86_64-cpu"].status is TargetStatus.FAILED
    assert len(pipeline.jobs()) == 1
    assert (await pipeline.run(targets=["x86_64-cpu"], force=True)).status is RunStatus.COMPLETED
    assert len(pipeline.jobs()) == 2


@pytest.mark.slow
async def test_code_for_an_accelerator_on_a_cpu_target_is_a_warning_in_the_log(
    pipeline: Pipeline, caplog: pytest.LogCaptureFixture
) -> None:
    pipeline.train()
    pipeline.aws.faults.add("compiled", target="x86_64-cpu", spoil=Spoil.CUDA_ON_CPU.value)
    view = await pipeline.run(targets=["x86_64-cpu"])
    assert view.status is RunStatus.COMPLETED
    assert "Requirements.TargetDeviceType is gpu" in caplog.text


@pytest.mark.slow
async def test_a_deployable_version_that_a_device_cannot_run_does_not_count(pipeline: Pipeline) -> None:
    """As an earlier release made them: DEPLOYABLE, and without the loader's library."""
    pipeline.train()
    first = (await pipeline.run(targets=["x86_64-cpu"])).targets["x86_64-cpu"]
    bad = publish_without_loader(pipeline, str(first.arn), "2.0.0")
    assert list(refused_here()) == list(refused_by_devices(pipeline.aws.client)) == ["model-lid-7-x86-64-cpu 2.0.0"]

    view = await pipeline.run(targets=["x86_64-cpu"])
    found = view.targets["x86_64-cpu"]
    assert (found.status, found.version) == (TargetStatus.SKIPPED, "1.0.0")

    pipeline.aws.client("greengrassv2").delete_component(arn=str(first.arn))
    view = await pipeline.run(targets=["x86_64-cpu"])
    found = view.targets["x86_64-cpu"]
    assert (found.status, found.version) == (TargetStatus.DEPLOYABLE, "3.0.0")
    pipeline.aws.client("greengrassv2").delete_component(arn=bad)


def publish_without_loader(pipeline: Pipeline, arn: str, version: str) -> str:
    """Create another version of that component, with the same tags and a package without libdlr.so; its ARN."""
    s3, greengrass = pipeline.aws.client("s3"), pipeline.aws.client("greengrassv2")
    made = greengrass.get_component(arn=arn)
    recipe = json.loads(made["recipe"])
    uri = recipe["Manifests"][0]["Artifacts"][0]["Uri"]
    bucket, _, key = uri.removeprefix("s3://").partition("/")
    part = io.BytesIO()
    with (
        zipfile.ZipFile(io.BytesIO(s3.get_object(Bucket=bucket, Key=key)["Body"].read())) as whole,
        zipfile.ZipFile(part, "w") as package,
    ):
        for name in whole.namelist():
            if not name.endswith("libdlr.so"):
                package.writestr(name, whole.read(name))
    digits = key.rpartition("/")[2].partition("_")[0]
    s3.put_object(Bucket=bucket, Key=key.replace(digits, "ffffffffffff"), Body=part.getvalue())
    text = json.dumps(recipe | {"ComponentVersion": version}).replace(digits, "ffffffffffff")
    text = text.replace("--model_version 1.0.0", f"--model_version {version}")
    return str(greengrass.create_component_version(inlineRecipe=text.encode(), tags=made["tags"])["arn"])
