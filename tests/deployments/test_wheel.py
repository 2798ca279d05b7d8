"""The project's wheel, installed as the Dockerfile installs it, used in an empty folder.

The environment is installed from the locks; without PyPI or pip's cache the tests are skipped.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import urllib.request
from pathlib import Path

import pytest
import yaml

ROOT = Path(__file__).parents[2]
pytestmark = [pytest.mark.slow, pytest.mark.timeout(1500)]
LOCKED = ("--quiet", "--disable-pip-version-check", "--no-deps", "--require-hashes", "--requirement")


class Installed:
    """An environment with the wheel, and an empty folder to work in."""

    def __init__(self, environment: Path, folder: Path) -> None:
        self.bin = environment / "bin"
        self.folder = folder

    def run(self, *words: str, seconds: float = 300) -> subprocess.CompletedProcess[str]:
        kept = {name: value for name, value in os.environ.items() if not name.startswith(("PREFECT_", "PYTHON"))}
        given = {**kept, "PATH": f"{self.bin}:{os.environ['PATH']}"}
        return subprocess.run(words, cwd=self.folder, env=given, capture_output=True, text=True, timeout=seconds)

    def dda(self, *words: str, code: int = 0) -> str:
        done = self.run("dda", *words)
        assert done.returncode == code, done.stderr
        return done.stdout if code == 0 else done.stderr

    def install(self, lock: str) -> None:
        done = self.run(str(self.bin / "pip"), "install", *LOCKED, str(ROOT / lock), seconds=900)
        if done.returncode and ("Could not find a version" in done.stderr or "onnection" in done.stderr):
            pytest.skip(f"{lock} cannot be installed from here: {done.stderr.strip().splitlines()[-1]}")
        assert done.returncode == 0, done.stderr


@pytest.fixture(scope="module")
def worker(tmp_path_factory: pytest.TempPathFactory) -> Installed:
    """What the Dockerfile installs: a worker's packages and the wheel, nothing else."""
    place = tmp_path_factory.mktemp("wheel")
    (place / "empty").mkdir()
    subprocess.run([sys.executable, "-m", "venv", place / "env"], check=True)
    installed = Installed(place / "env", place / "empty")
    installed.install("requirements-worker.lock")
    pip = str(installed.bin / "pip")
    dist = str(place / "dist")
    build = ("wheel", "--quiet", "--no-deps", "--no-build-isolation", "--wheel-dir", dist, str(ROOT))
    for words in (build, ("install", "--quiet", "--no-deps", *map(str, [place / "dist" / wheel_name()]))):
        done = installed.run(pip, *words)
        assert done.returncode == 0, done.stderr
    return installed


def wheel_name() -> str:
    import tomllib

    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    return f"{project['name'].replace('-', '_')}-{project['version']}-py3-none-any.whl"


def test_all_tracked_files_are_in_the_wheel(worker: Installed) -> None:
    wheel = worker.folder.parent / "dist" / wheel_name()
    listed = set(worker.run("python", "-m", "zipfile", "--list", str(wheel)).stdout.split())
    parts = ("dda_core", "tasks", "flows", "deployments")
    tracked = subprocess.run(["git", "ls-files", *parts], cwd=ROOT, capture_output=True, text=True, check=True)
    assert [name for name in tracked.stdout.splitlines() if name not in listed] == []
    assert {name.partition("/")[0] for name in listed if "/" in name} - set(parts) == {f"{wheel_name()[:18]}.dist-info"}


def test_the_offline_verbs_work_in_an_empty_folder(worker: Installed) -> None:
    assert "x86_64-cpu" in worker.dda("targets")
    worker.dda("local", "sample", "-o", "model.tar.gz", "--compiled", "compiled.tar.gz", "--target", "x86_64-cpu")
    assert json.loads(worker.dda("manifest", "build", "model.tar.gz"))
    worker.dda("package", "build", "model.tar.gz", "compiled.tar.gz", "--target", "x86_64-cpu", "--out", ".")
    [package] = worker.folder.glob("*.zip")
    assert worker.dda("package", "verify", package.name) == "ok\n"
    assert "what to do" in worker.dda("explain", "No pth file found for PyTorch model").lower()
    policies = "import json; from deployments.policies import *; print(json.dumps(policy_names()))"
    assert "worker" in json.loads(worker.run("python", "-c", policies).stdout)


def test_a_worker_has_no_emulator_and_says_how_to_get_it(worker: Installed) -> None:
    if worker.run("python", "-c", "import moto").returncode == 0:
        pytest.skip("another test has installed it meanwhile")
    assert "[local]" in worker.dda("local", "up", code=3)
    everything = (
        "import importlib, pkgutil\n"
        "for part in ('dda_core', 'tasks', 'flows', 'deployments'):\n"
        "    for each in pkgutil.walk_packages(importlib.import_module(part).__path__, f'{part}.'):\n"
        "        if not each.name.startswith('deployments.local.aws') and not each.name.endswith('__main__'):\n"
        "            importlib.import_module(each.name)\n"
    )
    assert worker.run("python", "-c", everything).stderr == ""


def test_a_local_stack_registers_every_deployment(worker: Installed) -> None:
    worker.install("requirements.lock")
    worker.dda("local", "up", "--background")
    try:
        variables = json.loads(worker.dda("local", "env", "--json"))
        request = urllib.request.Request(
            f"{variables['PREFECT_API_URL']}/deployments/filter",
            data=b"{}",
            headers={"Content-Type": "application/json"},
        )
        with urllib.request.urlopen(request, timeout=30) as answer:
            registered = sorted(each["entrypoint"] for each in json.load(answer))
        declared = yaml.safe_load((ROOT / "deployments" / "prefect.yaml").read_text())["deployments"]
        # Plus those of the use case `local`.
        own = ["flows.artifact_links.artifact_links", "flows.compile_training_job.compile_training_job"]
        assert registered == sorted([*(each["entrypoint"] for each in declared), *own])
    finally:
        worker.dda("local", "down")
    assert not (worker.folder / ".dda" / "local.json").exists()
