"""What is installed where: the locks, the extra for the local AWS, and what a worker does not need."""

from __future__ import annotations

import re
import tomllib
from pathlib import Path

ROOT = Path(__file__).parents[1]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())


def pins(lock: str) -> set[str]:
    """``name==version`` of every package in a lock."""
    return set(re.findall(r"^[a-z0-9._-]+==[^ ]+", (ROOT / lock).read_text(), re.MULTILINE))


def names(lines: list[str]) -> set[str]:
    return {re.split(r"[\[<>=;]", line)[0] for line in lines}


def locked(lock: str) -> set[str]:
    return {pin.partition("==")[0] for pin in pins(lock)}


def test_a_worker_has_the_versions_that_are_tested() -> None:
    assert pins("requirements-worker.lock") < pins("requirements.lock")


def test_everything_that_is_declared_is_locked() -> None:
    project, groups = PROJECT["project"], PROJECT["dependency-groups"]
    worker = names(project["dependencies"]) | names(groups["build"])
    rest = names(project["optional-dependencies"]["local"]) | names([e for e in groups["dev"] if isinstance(e, str)])
    assert worker <= locked("requirements-worker.lock")
    assert worker | rest <= locked("requirements.lock")


def test_a_worker_has_no_emulator_and_no_test_tools() -> None:
    assert names(PROJECT["project"]["optional-dependencies"]["local"]) == {"moto"}
    assert locked("requirements-worker.lock").isdisjoint({"moto", "flask", "werkzeug", "pytest", "mypy", "uv"})


def test_every_pin_has_hashes() -> None:
    for lock in ("requirements.lock", "requirements-worker.lock"):
        text = (ROOT / lock).read_text()
        for block in re.split(r"\n(?=[a-z])", text)[1:]:
            assert "--hash=sha256:" in block, block
