"""How the parts may know each other, and what the project must not name."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
# From the inside out: each part may import itself and those before it.
PARTS = ("dda_core", "tasks", "flows", "deployments")
SOURCES = [path for part in PARTS for path in sorted((ROOT / part).rglob("*.py"))]
WITH_PREFECT = {"prefect", "prefect_aws", "httpx"}
# Written in two halves, so that this file does not name what it looks for.
PLACES = ("/" + "work/", "../" + "shared", "file:" + "///")
REGISTRIES = ("pypi" + ".org", "python" + "hosted.org", "npm" + "js.org", "index-" + "url http", "/opt/" + "pypi")
LONGEST_MODULE = 400
LISTS = {"dda_core/exceptions.py"}
"""Modules that are one list, looked things up in and not read: of them the length says nothing."""


def imports(path: Path) -> Iterator[tuple[str, int]]:
    """The whole names that a module imports anywhere, also inside functions, each with its line."""
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            yield from ((alias.name, node.lineno) for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert not node.level, f"{path}:{node.lineno}: import it by its whole name"
            yield node.module or "", node.lineno


def named(path: Path) -> str:
    return str(path.relative_to(ROOT))


@pytest.mark.parametrize("path", SOURCES, ids=named)
def test_imports_point_inwards(path: Path):
    part = path.relative_to(ROOT).parts[0]
    outer = set(PARTS[PARTS.index(part) + 1 :]) | {"tests"}
    if part == "dda_core":
        outer |= WITH_PREFECT
    wrong = [f"line {line}: {name}" for name, line in imports(path) if name.partition(".")[0] in outer]
    assert wrong == []


def test_every_part_is_looked_at():
    assert {path.relative_to(ROOT).parts[0] for path in SOURCES} == set(PARTS)
    assert "prefect" in {name.partition(".")[0] for name, _ in imports(ROOT / "tasks" / "run.py")}


@pytest.mark.parametrize("path", [path for path in SOURCES if named(path) not in LISTS], ids=named)
def test_a_module_is_short_enough_to_be_read(path: Path):
    assert len(path.read_text(encoding="utf-8").splitlines()) <= LONGEST_MODULE


def texts() -> Iterator[tuple[str, str]]:
    """Every text of the project by its path; what tools make is left out."""
    for path in sorted(ROOT.rglob("*")):
        parts = path.relative_to(ROOT).parts
        if parts[0].startswith(".") and parts[0] not in (".ci", ".gitignore"):
            continue
        if path.is_file() and "__pycache__" not in parts and path.suffix != ".png":
            yield "/".join(parts), path.read_text(encoding="utf-8", errors="ignore")


@pytest.mark.parametrize("words", [PLACES, REGISTRIES], ids=["places of one machine", "registries"])
def test_nothing_names(words: tuple[str, ...]):
    found = [f"{name}: {word}" for name, text in texts() for word in words if word in text]
    assert found == []
