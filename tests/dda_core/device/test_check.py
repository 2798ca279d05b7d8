"""The model of the device: its steps, its startup command, and where it stops."""

from __future__ import annotations

import json
import zipfile
from pathlib import Path
from typing import Any

import pytest

from dda_core.components.published import check_file
from dda_core.components.recipe import RecipeValues, component_recipe, parse_recipe
from dda_core.device.check import NOT_KNOWN, DeviceCheck
from dda_core.device.startup import arguments, read_start_up
from dda_core.exceptions import FileMissing, RecipeInvalid
from dda_core.targets import find_target
from tests.dda_core.device.cases import CASES, Case

NAME = "0123456789ab_greengrass_model_component.zip"
URI = f"s3://dda-models/model_artifacts/model-0123456789ab/{NAME}"
STEPS = ["unarchive", "start-up", "convert", "configure", "load", "frame"]


def recipe(**changes: Any) -> dict[str, Any]:
    given = {
        "component": "model-cookie-x86-64-cpu",
        "version": "3.0.0",
        "friendly_name": "Cookie",
        "target": find_target("x86_64-cpu"),
        "localserver": "aws.edgeml.dda.LocalServer.amd64",
        "artifact_uri": URI,
    }
    return component_recipe(RecipeValues(**{**given, **changes}))


def package(case: Case, folder: Path) -> Path:
    path = folder / NAME
    with zipfile.ZipFile(path, "w") as written:
        for name, content in case.package_files().items():
            written.writestr(name, content)
    return path


def case_named(name: str) -> Case:
    return next(case for case in CASES if case.name == name)


def rules_of(check: DeviceCheck) -> set[str]:
    return {finding.rule for finding in check.findings}


def test_a_good_package_goes_through_every_step(tmp_path: Path):
    done = check_file(package(case_named("base"), tmp_path), recipe())
    assert [step.step for step in done.steps] == STEPS
    assert done.ok
    said = {step.step: step.message for step in done.steps}
    assert "model-cookie-x86-64-cpu/3.0.0/0123456789ab_greengrass_model_component/" in said["unarchive"]
    assert "(it keeps 3)" in said["start-up"]
    assert "base_model-cookie-x86-64-cpu, marshal_model-cookie-x86-64-cpu" in said["convert"]
    assert "a blank frame of 320 x 256" in said["frame"]
    assert len(NOT_KNOWN) >= 4


def test_with_pixel_classes_the_server_takes_one_size(tmp_path: Path):
    done = check_file(package(case_named("seg"), tmp_path))
    assert done.ok
    assert "exactly 320 x 256" in done.steps[3].message
    assert done.steps[5].message.endswith("post-processing gives a score and mask")
    assert rules_of(done) == {"frame-size"}


@pytest.mark.parametrize("case", CASES, ids=[case.name for case in CASES])
def test_every_case_stops_at_the_step_of_its_verdict(case: Case, tmp_path: Path):
    done = check_file(package(case, tmp_path), recipe())
    runs = case.verdict in ("runs", "warns")
    assert done.ok == runs
    stops = {
        "startup": ("convert", "configure"),
        "load": ("load", "configure"),
        "frame": ("frame",),
        "refuse": ("frame",),
    }
    if not runs:
        broken = next(step for step in done.steps if not step.ok)
        assert broken.step in stops[case.verdict]
        after = done.steps[done.steps.index(broken) + 1 :]
        assert all((step.ok, step.message) == (False, "not reached") for step in after)


@pytest.mark.parametrize(
    ("change", "rule"),
    [
        ({"component": "cookie"}, "recipe-name"),
        ({"version": "0.0.0"}, "recipe-version"),
        ({"version": "1.2.0"}, "recipe-version"),
        ({"artifact_uri": URI.replace("0123456789ab_", "ba9876543210_")}, "recipe-artifact"),
    ],
)
def test_a_recipe_that_the_device_cannot_run_fails_at_startup(tmp_path: Path, change: dict[str, Any], rule: str):
    done = check_file(package(case_named("base"), tmp_path), recipe(**change))
    assert not done.ok
    assert [step.ok for step in done.steps] == [True, False, False, False, False, False]
    assert rule in rules_of(done)


@pytest.mark.parametrize(
    ("old", "new", "what"),
    [
        ("--model_version 3.0.0", "--model_version 4.0.0", "has --model_version 4.0.0"),
        ("--model_name model-cookie-x86-64-cpu", "", "has no --model_name"),
        ("{artifacts:decompressedPath}", "/tmp", "--unarchived_model_path /tmp/"),
        ("/aws_dda/model_convertor.py", "/aws_dda/other.py", "does not run the converter"),
        ("--model_name", "--model_name '", "cannot be parsed"),
    ],
)
def test_a_startup_command_with_other_arguments_is_found(old: str, new: str, what: str):
    given = recipe()
    step = given["Manifests"][0]["Lifecycle"]["Startup"]
    assert old in step["Script"]
    step["Script"] = step["Script"].replace(old, new)
    assert any(what in finding.message for finding in read_start_up(given, NAME).findings)


def test_recipe_keys_are_case_insensitive(tmp_path: Path):
    def lowered(value: Any) -> Any:
        if isinstance(value, dict):
            return {key[0].lower() + key[1:]: lowered(item) for key, item in value.items()}
        return [lowered(item) for item in value] if isinstance(value, list) else value

    assert check_file(package(case_named("base"), tmp_path), lowered(recipe())).ok


def test_a_package_for_another_architecture_than_the_recipes_does_not_load(tmp_path: Path):
    done = check_file(package(case_named("base"), tmp_path), recipe(target=find_target("arm64-cpu")))
    assert not done.ok
    assert "library-machine" in rules_of(done)


def test_a_startup_without_a_wait_is_a_warning():
    plain = recipe()
    step = plain["Manifests"][0]["Lifecycle"]["Startup"]
    line = step["Script"].splitlines()[-1]
    step["Script"] = line
    assert [finding.rule for finding in read_start_up(plain, NAME).findings] == ["startup-wait"]
    step["Script"] = f"until [ -f /aws_dda/model_convertor.py ]; do sleep 5; done\n{line}"
    assert read_start_up(plain, NAME).findings == []
    assert arguments(step["Script"]) == arguments(line)


def test_a_file_that_is_not_a_package_stops_at_the_first_step(tmp_path: Path):
    path = tmp_path / NAME
    path.write_bytes(b"no zip")
    done = check_file(path)
    assert [step.ok for step in done.steps] == [False] * 6
    with pytest.raises(FileMissing):
        check_file(tmp_path / "missing.zip")


@pytest.mark.parametrize(
    "text",
    [
        b"{",
        b"[1]",
        b"a: [",
        b"\xff",
        b'{"ComponentName": "a", "ComponentName": "b"}',
        b'{"Manifests": [{"Platform": {}, "Platform": {}}]}',
        b'{"a": ' * 50_000,
        b"ComponentName: a\nComponentName: b\n",
        b"a: &a [1, 1, 1]\nb: [" + b"*a, " * 10_000 + b"]\n",
        b"a: !!python/object:os.system x\n",
        b'{"a": "' + b"x" * (1 << 20) + b'"}',
    ],
    ids=lambda text: text[:30].decode(errors="replace"),
)
def test_an_invalid_recipe_is_refused(text: bytes):
    with pytest.raises(RecipeInvalid, match=r"recipe\.json"):
        parse_recipe(text, "recipe.json")


def test_a_recipe_may_be_yaml():
    assert parse_recipe(b"ComponentName: model-a\n", "r")["ComponentName"] == "model-a"
    assert parse_recipe(json.dumps(recipe()).encode(), "r") == recipe()
