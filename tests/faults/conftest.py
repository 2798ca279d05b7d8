from __future__ import annotations

import os
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.faults.cases import Case, grid, storms
from tests.faults.pipeline import make_runs_short, many_runs


@pytest.fixture(autouse=True)
def _short_runs(monkeypatch: pytest.MonkeyPatch) -> None:
    make_runs_short(monkeypatch)


@pytest.fixture
def go_through(
    prefect_server: None,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    subtests: pytest.Subtests,
    counted: Callable[..., None],
) -> Any:
    """``await go_through(wanted, at_least=99)``: run every selected case of the grid and report each separately.

    ``FAULTS="s3:CopyObject .* lasting" pytest -m slow tests/faults`` runs only the cases that match.
    """
    only = re.compile(os.environ.get("FAULTS", ""))

    async def go(wanted: Callable[[Case], bool], *, at_least: int) -> None:
        checked, cases = 0, list[Case]()
        for server in (True, False):
            async with many_runs(tmp_path, monkeypatch, server=server) as runs:
                cases = cases or [case for case in grid(*await runs.undisturbed()) if wanted(case)]
                for number, case in enumerate(cases):
                    if case.in_process is server or not only.match(str(case)):
                        continue
                    with subtests.test(msg=str(case)):
                        await runs.check(case, retried=number % 2 == 0)
                        checked += 1
                        counted("fault grid: cases", 1)
        assert checked >= at_least or only.pattern

    return go


@pytest.fixture
def survive_all(
    prefect_server: None,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    subtests: pytest.Subtests,
    counted: Callable[..., None],
) -> Any:
    """``await survive_all(at_least=99)``: run every storm; at least that many calls must fail."""

    async def go(*, at_least: int) -> None:
        struck = 0
        for server in (True, False):
            async with many_runs(tmp_path, monkeypatch, server=server) as runs:
                made, _ = await runs.undisturbed()
                for storm in storms(made):
                    if storm.in_process is not server:
                        with subtests.test(msg=str(storm)):
                            struck += await runs.survive(storm)
        counted("fault grid: calls struck in storms", struck)
        assert struck >= at_least

    return go
