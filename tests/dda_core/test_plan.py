from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dda_core.archives.source import FileSource
from dda_core.components.component import ComponentNames
from dda_core.components.recipe import check_recipe
from dda_core.exceptions import InvalidName
from dda_core.model.manifest import TrainedModel
from dda_core.model.trained import read_trained_archive
from dda_core.plan import plan
from dda_core.targets import CompilationTarget, find_target, find_targets, target_names
from dda_core.use_case import UseCase
from tests.fixtures.archives import GRAPH, trained_archive

ACCOUNT = "123456789012"
USE_CASE = UseCase(usecase_id="cookies", account_id=ACCOUNT, region="eu-central-1", s3_bucket="dda-cookies")


def model(**changes: Any) -> TrainedModel:
    fields = {
        "uri": "/archives/model.tar.gz",
        "etag": None,
        "model_file": "mochi.pt",
        "model_file_size": 1,
        "model_file_sha256": "00",
        "input_shape": (1, 3, 768, 576),
        "image_width": 576,
        "image_height": 768,
        "model_graph": GRAPH,
    }
    return TrainedModel.model_validate(fields | changes)


def planned(use_case: UseCase = USE_CASE, targets: tuple[CompilationTarget, ...] | None = None, **given: Any) -> Any:
    chosen = targets or use_case.default_targets()
    called = {field: given.pop(field) for field in ComponentNames._fields if field in given}
    names = ComponentNames(**{"model_name": "cookie"} | called)
    return plan(given.pop("model", model()), use_case, chosen, names, **given)


def test_the_request_is_the_contracts_letter_by_letter() -> None:
    request = planned()["compile_requests"]["jetson-xavier"]
    name = request.pop("CompilationJobName")
    assert re.fullmatch(r"cookie-jetson-[0-9a-f]{8}-1", name)
    request.pop("Tags")
    assert request == {
        "RoleArn": f"arn:aws:iam::{ACCOUNT}:role/DDASageMakerExecutionRole",
        "InputConfig": {
            "S3Uri": "s3://dda-cookies/models/training/cookie/output/model_for_compilation.tar.gz",
            "DataInputConfig": '{"input_shape": [1, 3, 768, 576]}',
            "Framework": "PYTORCH",
            "FrameworkVersion": "1.8",
        },
        "OutputConfig": {
            "S3OutputLocation": f"s3://dda-cookies/models/compilation/{name}/jetson-xavier",
            "TargetPlatform": {"Os": "LINUX", "Arch": "ARM64", "Accelerator": "NVIDIA"},
            "CompilerOptions": '{"cuda-ver": "10.2", "gpu-code": "sm_72", "trt-ver": "8.2.1", '
            '"max-workspace-size": "2147483648", "precision-mode": "fp16", "jetson-platform": "xavier"}',
        },
        "StoppingCondition": {"MaxRuntimeInSeconds": 3600},
    }


def test_a_target_without_accelerator_has_neither_that_key_nor_options() -> None:
    output = planned()["compile_requests"]["x86_64-cpu"]["OutputConfig"]
    assert output["TargetPlatform"] == {"Os": "LINUX", "Arch": "X86_64"}
    assert "CompilerOptions" not in output


def test_the_component_is_the_contracts() -> None:
    component = planned()["components"]["x86_64-cuda"]
    assert (component["name"], component["version"]) == ("model-cookie-x86-64-cuda", "1.0.0")
    recipe = component["recipe"]
    assert recipe["ComponentName"] == "model-cookie-x86-64-cuda"
    assert recipe["ComponentVersion"] == "1.0.0"
    assert recipe["ComponentConfiguration"]["DefaultConfiguration"]["ModelName"] == "model-cookie (x86_64-cuda)"
    assert list(recipe["ComponentDependencies"]) == ["aws.edgeml.dda.LocalServer.amd64"]
    (manifest,) = recipe["Manifests"]
    assert manifest["Platform"] == {"os": "linux", "architecture": "amd64"}
    assert manifest["Artifacts"][0]["Uri"] == (
        "s3://dda-cookies/model_artifacts/model-000000000000/000000000000_greengrass_model_component.zip"
    )


def test_the_manifest_is_that_of_the_archive(tmp_path: Path) -> None:
    archive = trained_archive(tmp_path / "model.tar.gz", width=640, height=480)
    made = planned(model=read_trained_archive(FileSource(archive)))
    assert made["manifest"]["model_graph"]["stages"][0]["input_shape"] == [1, 3, 480, 640]
    assert made["manifest"]["dataset"] == {"image_width": 640, "image_height": 480}
    sent = json.loads(made["compile_requests"]["arm64-cpu"]["InputConfig"]["DataInputConfig"])
    assert sent == {"input_shape": [1, 3, 480, 640]}


def test_an_archive_in_s3_keeps_its_place() -> None:
    made = planned(model=model(uri="s3://elsewhere/some/where/model.tar.gz"))
    for request in made["compile_requests"].values():
        assert request["InputConfig"]["S3Uri"] == "s3://elsewhere/some/where/model_for_compilation.tar.gz"
        assert request["OutputConfig"]["S3OutputLocation"].startswith("s3://dda-cookies/models/compilation/")


def test_the_use_case_decides_role_localserver_and_tags() -> None:
    use_case = UseCase(
        usecase_id="cookies",
        account_id=ACCOUNT,
        region="eu-central-1",
        s3_bucket="dda-cookies",
        sagemaker_execution_role_arn=f"arn:aws:iam::{ACCOUNT}:role/Own",
        localserver={"jetson": "aws.edgeml.dda.LocalServer.arm64JP4"},
        tags={"cost-centre": "7"},
    )
    made = planned(use_case)
    request = made["compile_requests"]["jetson-xavier"]
    assert request["RoleArn"] == f"arn:aws:iam::{ACCOUNT}:role/Own"
    assert {"Key": "cost-centre", "Value": "7"} in request["Tags"]
    dependencies = made["components"]["jetson-xavier"]["recipe"]["ComponentDependencies"]
    assert list(dependencies) == ["aws.edgeml.dda.LocalServer.arm64JP4"]


def test_names_version_and_training_job_are_taken_as_given() -> None:
    made = planned(
        targets=find_targets(["x86_64"]),
        model_name="Lid inspection (4)",
        component_name="model-lid-inspection",
        component_version="12.0.0",
        friendly_name="Lid inspection",
        training_job="lid-2024-06-01",
    )
    (request,) = made["compile_requests"].values()
    assert request["CompilationJobName"].startswith("lid-2024-06-01-x86cpu-")
    component = made["components"]["x86_64-cpu"]
    assert (component["name"], component["version"]) == ("model-lid-inspection-x86-64-cpu", "12.0.0")
    recipe = component["recipe"]
    assert recipe["ComponentConfiguration"]["DefaultConfiguration"]["ModelName"] == "Lid inspection (x86_64-cpu)"
    script = recipe["Manifests"][0]["Lifecycle"]["Startup"]
    assert "--model_version 12.0.0 --model_name model-lid-inspection-x86-64-cpu" in json.dumps(script)


def test_a_model_name_that_no_job_can_have_names_the_job_as_far_as_it_can() -> None:
    request = planned(model_name="Lid inspection (4)")["compile_requests"]["x86_64-cpu"]
    assert request["CompilationJobName"].startswith("Lid-inspection-4-x86cpu-")
    assert "/models/training/Lid-inspection-4/output/" in request["InputConfig"]["S3Uri"]


@pytest.mark.parametrize(
    "wrong",
    [
        {"training_job": "lid inspection"},
        {"training_job": "x" * 64},
        {"training_job": ""},
        {"component_name": "lid-inspection"},
        {"component_name": "model-lid inspection"},
        {"component_name": "model-" + "x" * 120},
        {"model_name": "…"},
        {"component_version": "0.0.0"},
        {"component_version": "1.2.0"},
        {"component_version": "1.0"},
        {"component_version": "1.0.0\n"},
        {"component_version": "١.0.0"},
        {"component_version": "v1.0.0"},
        {"component_version": ""},
    ],
)
def test_a_name_that_cannot_be_is_refused(wrong: dict[str, str]) -> None:
    with pytest.raises(InvalidName):
        planned(**wrong)


@given(
    model_name=st.text(st.characters(codec="utf-8"), min_size=1, max_size=80).filter(
        lambda name: re.search("[a-zA-Z0-9]", name)
    ),
    size=st.tuples(st.integers(1, 4096), st.integers(1, 4096)),
    targets=st.lists(st.sampled_from(target_names()), min_size=1, unique=True),
    major=st.integers(1, 999_999),
)
def test_whatever_is_planned_obeys_the_services(
    model_name: str, size: tuple[int, int], targets: list[str], major: int
) -> None:
    height, width = size
    chosen = find_targets(targets)
    made = planned(
        targets=chosen,
        model=model(input_shape=(1, 3, height, width), image_width=width, image_height=height),
        model_name=model_name,
        component_version=f"{major}.0.0",
    )
    assert list(made["compile_requests"]) == list(made["components"]) == [target.name for target in chosen]
    names = {request["CompilationJobName"] for request in made["compile_requests"].values()}
    assert len(names) == len(chosen)
    for name in names:
        assert re.fullmatch(r"[a-zA-Z0-9](-*[a-zA-Z0-9]){0,62}", name)
        assert len(name) <= 63
    for name, component in made["components"].items():
        check_recipe(component["recipe"])
        assert component["name"].endswith(find_target(name).component_suffix)
    assert "null" not in json.dumps(made["compile_requests"])


def test_other_work_has_another_name() -> None:
    def job(**given: Any) -> str:
        return str(planned(**given)["compile_requests"]["x86_64-cpu"]["CompilationJobName"])

    assert job() == job()
    assert job() == job(friendly_name="Cookie", component_name="model-other", component_version="3.0.0")
    others = {
        job(),
        job(training_job="other"),
        job(model=model(input_shape=(1, 3, 576, 768))),
        job(model=model(uri="s3://dda-cookies/other/model.tar.gz")),
        job(use_case=USE_CASE.model_copy(update={"account_id": "210987654321"})),
    }
    assert len(others) == 5
