"""Every task and flow has the wrapper that masks secrets in exceptions."""

from __future__ import annotations

import ast
import importlib
import inspect
import logging
import subprocess
import sys
from pathlib import Path
from typing import Any

import prefect
import pytest
from prefect.utilities.hashing import file_hash

import flows
import tasks
from tasks.decorators import flow, hiding_secrets, task

KEY = "AKIA" + "ABCDEFGH12345678"
FOLDERS = [Path(str(package.__file__)).parent for package in (tasks, flows)]
ROOT = FOLDERS[0].parent
MODULES = [path for folder in FOLDERS for path in sorted(folder.rglob("*.py")) if path.stem != "__init__"]


def found(kind: type[Any]) -> dict[str, Any]:
    """Every task or flow of the pipeline, by module and name."""
    every = {}
    for path in MODULES:
        module = importlib.import_module(".".join(path.relative_to(ROOT).with_suffix("").parts))
        own = {name: each for name, each in vars(module).items() if isinstance(each, kind)}
        every |= {f"{each.fn.__module__}.{name}": each for name, each in own.items()}
    return every


def wrapper_code() -> set[object]:
    async def asynchronous() -> None: ...

    def synchronous() -> None: ...

    return {hiding_secrets(asynchronous).__code__, hiding_secrets(synchronous).__code__}


@pytest.mark.parametrize(("kind", "some"), [(prefect.Task, "tasks.compilation.compile_model"), (prefect.Flow, None)])
def test_every_task_and_every_flow_hides_secrets(kind: type[Any], some: str | None) -> None:
    every = found(kind)
    assert len(every) >= 7
    assert some is None or some in every
    assert [name for name, each in every.items() if each.fn.__code__ not in wrapper_code()] == []


@pytest.mark.parametrize("path", MODULES, ids=lambda path: f"{path.parent.name}/{path.name}")
def test_no_module_takes_the_decorators_from_prefect(path: Path) -> None:
    taken = {
        alias.name
        for node in ast.walk(ast.parse(path.read_text()))
        if isinstance(node, ast.ImportFrom) and node.module in ("prefect", "prefect.tasks", "prefect.flows")
        for alias in node.names
    }
    assert taken & {"task", "flow"} == set()


def test_the_wrapper_does_not_change_a_results_cache_key() -> None:
    from tasks.compilation import compile_model

    plain = inspect.unwrap(compile_model.fn)
    assert compile_model.source_code == inspect.getsource(plain)
    assert compile_model.source_code.startswith("@task(")
    assert inspect.signature(compile_model.fn) == inspect.signature(plain)


def test_a_flows_version_is_the_hash_of_its_own_file() -> None:
    from flows import reconcile

    assert reconcile.reconcile.version == file_hash(str(reconcile.__file__))
    assert reconcile.reconcile._entrypoint == "flows.reconcile:reconcile"


@task(name="failing")
def failing(text: str) -> None:
    raise KeyError(text)


@flow(name="failing-flow")
async def failing_flow(text: str) -> None:
    try:
        failing.fn(text)
    except KeyError as error:
        raise RuntimeError(text) from error


async def test_an_exception_keeps_its_class_and_loses_its_secret() -> None:
    with pytest.raises(KeyError, match=r"\*\*\*") as left:
        failing.fn(f"key {KEY}")
    assert KEY not in repr(left.value)
    with pytest.raises(RuntimeError) as failed:
        await failing_flow.fn(f"key {KEY}")
    assert KEY not in repr(failed.value)
    assert isinstance(failed.value.__cause__, KeyError)
    assert KEY not in repr(failed.value.__cause__)


@pytest.mark.parametrize("module", ["tasks.run", "flows.compile_training_job", "flows.reconcile"])
def test_importing_any_package_keeps_secrets_out_of_logs(module: str) -> None:
    code = f"import logging, {module}; logging.getLogger('any').error('key %s', {KEY!r})"
    ended = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=120)
    assert ended.returncode == 0, ended.stderr
    assert "key ***" in ended.stderr
    assert KEY not in ended.stderr
    assert type(logging.getLogRecordFactory()).__name__ == "_SanitisedRecords"
