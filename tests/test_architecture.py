"""Which parts, folders and modules may import each other, and the limits on functions of the domain."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
# From the inside out: each part may import itself and the parts before it.
PARTS = ("dda_core", "tasks", "flows", "deployments")
SOURCES = [path for part in PARTS for path in sorted((ROOT / part).rglob("*.py"))]
WITH_PREFECT = {"prefect", "prefect_aws", "httpx"}
MOST_PARAMETERS = 6
LONGEST_FUNCTION = 60
"""Longest function of the domain in lines, including its docstring: about a screen."""

Arrows = dict[str, set[str]]
"""For each module, the modules that it imports."""


def imports(path: Path) -> Iterator[tuple[str, int]]:
    """The full names that a module imports anywhere, including inside functions, each with its line."""
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


def test_every_part_is_checked():
    assert {path.relative_to(ROOT).parts[0] for path in SOURCES} == set(PARTS)
    assert "prefect" in {name.partition(".")[0] for name, _ in imports(ROOT / "tasks" / "run.py")}


def module_name(path: Path) -> str:
    parts = path.relative_to(ROOT).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


MODULES = {module_name(path): path for path in SOURCES}


def arrows_between_modules() -> Arrows:
    """The import graph, including imports for type checkers and inside functions, which only hide a cycle."""
    arrows: Arrows = {}
    for module, path in MODULES.items():
        found = arrows.setdefault(module, set())
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.ImportFrom) and node.module in MODULES:
                inside = {f"{node.module}.{alias.name}" for alias in node.names}
                found |= {name if name in MODULES else node.module for name in inside}
            elif isinstance(node, ast.Import):
                found |= {alias.name for alias in node.names if alias.name in MODULES}
        found.discard(module)
    return arrows


def folder_of(module: str) -> str:
    """The folder of a module inside its part; a module at the root of its part counts as its own folder."""
    return ".".join(module.split(".")[:2])


def arrows_between_folders(part: str) -> Arrows:
    arrows: Arrows = {}
    for module, imported in arrows_between_modules().items():
        if module.split(".")[0] == part:
            others = {folder_of(name) for name in imported if name.split(".")[0] == part}
            arrows.setdefault(folder_of(module), set()).update(others - {folder_of(module), part})
    return arrows


def cycle(arrows: Arrows) -> list[str]:
    """Names that each import the next one, and the last the first; empty if there is no cycle."""
    done: set[str] = set()

    def search(name: str, way: list[str]) -> list[str]:
        if name in way:
            return way[way.index(name) :]
        if name in done:
            return []
        for following in sorted(arrows.get(name, ())):
            if found := search(following, [*way, name]):
                return found
        done.add(name)
        return []

    return next((found for name in sorted(arrows) if (found := search(name, []))), [])


def test_a_cycle_is_found():
    assert cycle({"a": {"b"}, "b": {"c", "d"}, "c": set(), "d": {"b"}}) == ["b", "d"]
    assert cycle({"a": {"b", "c"}, "b": {"c"}, "c": set()}) == []


def test_no_modules_import_each_other_in_a_cycle():
    arrows = arrows_between_modules()
    assert "dda_core.compilation.job" in arrows["dda_core.compilation.attempts"]
    assert cycle(arrows) == []


@pytest.mark.parametrize("part", ["dda_core", "tasks"])
def test_no_folders_import_each_other_in_a_cycle(part: str):
    arrows = arrows_between_folders(part)
    assert len(arrows) > 5
    assert cycle(arrows) == []


def functions_of_the_domain() -> Iterator[tuple[str, ast.FunctionDef | ast.AsyncFunctionDef]]:
    """Every function of ``dda_core`` by location, without exceptions, whose parameters are their fields."""
    for module, path in MODULES.items():
        if folder_of(module).split(".")[0] != "dda_core" or module == "dda_core.exceptions":
            continue
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
                yield f"{module}:{node.lineno} {node.name}", node


def test_no_function_of_the_domain_takes_more_than_six_parameters():
    found = {}
    for place, function in functions_of_the_domain():
        given = function.args
        names = [each.arg for each in (*given.posonlyargs, *given.args, *given.kwonlyargs)]
        found[place] = len([name for name in names if name not in ("self", "cls")])
    assert len(found) > 300
    assert {place: count for place, count in found.items() if count > MOST_PARAMETERS} == {}


def test_no_function_of_the_domain_is_longer_than_a_screen():
    lengths = {
        place: (function.end_lineno or function.lineno) - function.lineno + 1
        for place, function in functions_of_the_domain()
    }
    assert {place: length for place, length in lengths.items() if length > LONGEST_FUNCTION} == {}
