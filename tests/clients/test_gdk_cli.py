"""The Greengrass Development Kit CLI (gdk), which builds a component and publishes its next version."""

from __future__ import annotations

import json
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

from deployments.local.aws import LocalAws

pytestmark = [pytest.mark.slow, pytest.mark.clients]

NAME = "com.example.Hello"
RECIPE = """
RecipeFormatVersion: 2020-01-25
ComponentName: "{COMPONENT_NAME}"
ComponentVersion: "{COMPONENT_VERSION}"
ComponentPublisher: "{COMPONENT_AUTHOR}"
Manifests:
  - Platform: {os: linux}
    Lifecycle: {run: "python3 {artifacts:decompressedPath}/hello/main.py"}
    Artifacts:
      - URI: s3://BUCKET_NAME/COMPONENT_NAME/COMPONENT_VERSION/hello.zip
        Unarchive: ZIP
"""


@pytest.fixture
def gdk(installed: Callable[[str], Path]) -> str:
    """The command on the PATH, or else from PyPI."""
    return shutil.which("gdk") or str(installed("aws-greengrass-gdk-cli") / "gdk")


def test_each_publication_is_the_next_version(
    gdk: str, client_environment: dict[str, str], local: LocalAws, tmp_path: Path
) -> None:
    project = tmp_path / "hello"
    project.mkdir()
    (project / "main.py").write_text("print('hello')\n")
    (project / "recipe.yaml").write_text(RECIPE)
    component = {
        "author": "me",
        "version": "NEXT_PATCH",
        "build": {"build_system": "zip"},
        "publish": {"bucket": "gdk", "region": "us-east-1"},
    }
    (project / "gdk-config.json").write_text(json.dumps({"component": {NAME: component}, "gdk_version": "1.0.0"}))
    for _ in range(2):
        for verb in ("build", "publish"):
            done = subprocess.run(
                [gdk, "component", verb], cwd=project, env=client_environment, capture_output=True, text=True
            )
            assert done.returncode == 0, done.stdout + done.stderr
    arn = f"arn:aws:greengrass:us-east-1:123456789012:components:{NAME}"
    versions = local.client("greengrassv2").list_component_versions(arn=arn)["componentVersions"]
    assert [version["componentVersion"] for version in versions] == ["1.0.1", "1.0.0"]
