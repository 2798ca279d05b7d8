"""``dda device check``: on files, and on components of the local AWS."""

from __future__ import annotations

import json
import zipfile
from pathlib import Path
from typing import Any

import pytest

from dda_core.components.recipe import RecipeValues, component_recipe
from dda_core.targets import find_target
from deployments.local.aws import local_aws
from tests.deployments.cli.command import dda, dda_json, refusal
from tests.fixtures.archives import compiled_archive, trained_archive

COMPONENT = "model-cookie-x86-64-cpu"


@pytest.fixture
def package(tmp_path: Path) -> Path:
    trained, compiled = trained_archive(tmp_path / "model.tar.gz"), compiled_archive(tmp_path / "compiled.tar.gz")
    built = dda_json("package", "build", trained, compiled, "--target", "x86_64-cpu", "--out", tmp_path, "--json")
    return Path(built["path"])


def recipe(package: Path, bucket: str = "dda-models", version: str = "1.0.0") -> dict[str, Any]:
    return component_recipe(
        RecipeValues(
            component=COMPONENT,
            version=version,
            friendly_name="Cookie",
            target=find_target("x86_64-cpu"),
            localserver="aws.edgeml.dda.LocalServer.amd64",
            artifact_uri=f"s3://{bucket}/{package.name}",
            startup_wait_seconds=600,
        )
    )


def test_every_step_is_shown_and_what_the_simulation_cannot_know(package: Path):
    result = dda("device", "check", package)
    assert result.exit_code == 0
    for word in ("unarchive", "start-up", "convert", "configure", "load", "frame", "cannot know"):
        assert word in result.stdout


def test_as_json_it_has_the_keys_of_the_contract(package: Path, tmp_path: Path):
    file = tmp_path / "recipe.json"
    file.write_text(json.dumps(recipe(package)))
    said = dda_json("device", "check", package, "--recipe", file, "--json")
    assert said["ok"] is True
    assert [set(step) for step in said["steps"]] == [{"step", "ok", "message"}] * 6
    assert said["findings"] == []


def test_a_package_that_would_not_run_ends_with_1_and_says_why(package: Path, tmp_path: Path):
    broken = tmp_path / "broken" / package.name
    broken.parent.mkdir()
    with zipfile.ZipFile(package) as whole, zipfile.ZipFile(broken, "w") as part:
        for name in whole.namelist():
            if not name.endswith("libdlr.so"):
                part.writestr(name, whole.read(name))
    said = dda_json("device", "check", broken, "--json", code=1)
    assert said["ok"] is False
    (finding,) = said["findings"]
    assert (finding["rule"], finding["severity"]) == ("loader-library", "error")
    assert [step["step"] for step in said["steps"] if not step["ok"]] == ["load", "frame"]
    assert "error: mochi/ has no libdlr.so" in dda("device", "check", broken).stdout


def test_another_packages_recipe_fails_at_start_up(package: Path, tmp_path: Path):
    file = tmp_path / "recipe.json"
    file.write_text(json.dumps(recipe(Path("ba9876543210_greengrass_model_component.zip"))))
    said = dda_json("device", "check", package, "--recipe", file, "--json", code=1)
    assert said["steps"][1]["ok"] is False
    assert {finding["rule"] for finding in said["findings"]} >= {"recipe-artifact", "startup-line"}


def test_wrong_paths_and_recipes_are_usage_errors(package: Path, tmp_path: Path):
    assert "missing.zip" in refusal("device", "check", tmp_path / "missing.zip", code=2)
    assert "none.json" in refusal("device", "check", package, "--recipe", tmp_path / "none.json", code=2)
    (tmp_path / "empty.json").write_text("")
    assert "empty.json" in refusal("device", "check", package, "--recipe", tmp_path / "empty.json", code=1)
    assert "has its own recipe" in refusal("device", "check", "model-x", "--recipe", tmp_path / "r.json", code=2)


def test_a_component_of_the_local_aws_is_checked_with_its_own_recipe(package: Path, monkeypatch: pytest.MonkeyPatch):
    with local_aws(publish_seconds=0) as aws:
        for name, value in aws.environ.items():
            monkeypatch.setenv(name, value)
        aws.client("s3").upload_file(str(package), aws.bucket, package.name)
        greengrass = aws.client("greengrassv2")
        for version in ("1.0.0", "10.0.0", "2.0.0"):
            blob = json.dumps(recipe(package, aws.bucket, version)).encode()
            made = greengrass.create_component_version(inlineRecipe=blob)
        said = dda_json("device", "check", COMPONENT, "--json")
        assert said["ok"], said
        assert f"{COMPONENT} 10.0.0" in said["steps"][1]["message"]
        assert f"{COMPONENT} 2.0.0" in dda("device", "check", f"{COMPONENT}:2.0.0").stdout
        assert dda("device", "check", made["arn"]).exit_code == 0
        assert "does not exist" in refusal("device", "check", "model-none", code=2)
        assert "version 7.0.0" in refusal("device", "check", f"{COMPONENT}:7.0.0", code=2)
        assert "does not exist" in refusal("device", "check", made["arn"].replace("2.0.0", "9.0.0"), code=2)
