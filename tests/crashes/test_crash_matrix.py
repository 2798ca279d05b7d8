"""A run's process is killed at every effect, at every moment of it, for every target, and is then restarted.

Each case is one flow run whose process is killed four times in a row, once for each target, and then not any further.
Its results are those of an undisturbed run of the same work.
"""

from __future__ import annotations

import contextvars
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from tests.crashes.killing import TARGETS, Outcome, carry_out
from tests.crashes.processes import Ended
from tests.crashes.victim import Kill

pytestmark = [pytest.mark.slow, pytest.mark.timeout(900)]

EVEN = TARGETS[::2]
MOMENTS = ["before", "not recorded", "recorded"]
KEPT = {
    "jetson-xavier": "compile",
    "x86_64-cpu": "package",
    "x86_64-cuda": "wait-until-deployable",
    "arm64-cpu": "package",
}
"""The task whose state and result are being written when a target's process is killed there."""
WRITTEN = {
    "jetson-xavier": "status=not-started",
    "x86_64-cpu": "compilation_job",
    "x86_64-cuda": "package",
    "arm64-cpu": "status=deployable",
}
"""A target's entry in the record write during which its process is killed: in the first write, and in later ones."""

CREATE = "before CreateComponentVersion"
GATES = {
    "create job": "before CreateCompilationJob",
    "describe job": "before DescribeCompilationJob",
    "download": "before GetObject",
    "ZIP upload": "archive read",
    "create version": CREATE,
    "describe component": CREATE,
    "artifact write": CREATE,
}
"""How far targets get whose kill is in a later process."""


def points(target: str) -> dict[str, tuple[str, str, str]]:
    """The moments of each effect: before it; after it, before it is recorded; and once it is recorded."""
    task, written, even = KEPT[target], WRITTEN[target], target in EVEN
    return {
        "create job": ("before CreateCompilationJob", "after CreateCompilationJob", "recorded compilation_job"),
        "describe job": ("before DescribeCompilationJob", "after DescribeCompilationJob", "recorded compiled_artifact"),
        # Once the staged upload is complete, it has the downloaded data.
        "download": ("before GetObject", "archive read", "after CompleteMultipartUpload"),
        "ZIP upload": (
            "before CompleteMultipartUpload" if even else "before CopyObject",
            "after CopyObject" if even else "after DeleteObject",
            "recorded package",
        ),
        "create version": (CREATE, "after CreateComponentVersion", "recorded version"),
        "describe component": (
            "before DescribeComponent",
            "after DescribeComponent",
            "recorded status=deployable",
        ),
        "state write": (
            f"before state of {task}",
            f"after state of {task}" if even else f"half result of {task}",
            f"after result of {task}",
        ),
        "artifact write": (f"before write {written}", f"after write {written}", f"noted write {written}"),
    }


def gate(effect: str, target: str) -> str:
    """Where a target is held until its own kill."""
    if effect == "state write":
        return CREATE if KEPT[target] == "wait-until-deployable" else f"before state of {KEPT[target]}"
    return GATES[effect]


def kills(effect: str, moment: str) -> list[Kill]:
    """One kill for each target, in their order."""
    return [
        Kill(
            points(target)[effect][MOMENTS.index(moment)],
            target,
            {later: gate(effect, later) for later in TARGETS[number + 1 :]},
        )
        for number, target in enumerate(TARGETS)
    ]


CASES = [(effect, moment) for effect in points(TARGETS[0]) for moment in MOMENTS]


class Matrix:
    """The selected cases, two at a time."""

    def __init__(self, cases: list[tuple[str, str]], archive: Path, folder: Path) -> None:
        self._pool = ThreadPoolExecutor(2)
        self.undisturbed = self._submit("undisturbed", [], archive, folder)
        self.cases = {
            case: self._submit(" ".join(case), kills(*case), archive, folder) for case in dict.fromkeys(cases)
        }

    def _submit(self, *arguments: Any) -> Future[tuple[Outcome, list[Ended]]]:
        # The Prefect server is set in the tests' context.
        return self._pool.submit(contextvars.copy_context().run, carry_out, *arguments)

    def close(self) -> None:
        self._pool.shutdown(cancel_futures=True)


@pytest.fixture(scope="module")
def matrix(request: pytest.FixtureRequest, archive: Path, place: Path) -> Iterator[Matrix]:
    mine = [item for item in request.session.items if item.path == request.path and isinstance(item, pytest.Function)]
    asked = [item.callspec.params for item in mine if "matrix" in item.fixturenames]
    running = Matrix([(params["effect"], params["moment"]) for params in asked], archive, place)
    try:
        yield running
    finally:
        running.close()


@pytest.mark.parametrize(("effect", "moment"), CASES)
def test_a_killed_run_ends_like_an_undisturbed_one(matrix: Matrix, effect: str, moment: str, counted: Any) -> None:
    left, processes = matrix.cases[effect, moment].result()
    undisturbed, _ = matrix.undisturbed.result()
    assert left.jobs == undisturbed.jobs
    assert left.versions == undisturbed.versions
    assert left.keys == undisturbed.keys
    counted("crash matrix: kills", sum(process.killed_at is not None for process in processes))


def test_the_matrix_has_all_its_cases() -> None:
    planned = [(effect, moment, kill.target) for effect, moment in CASES for kill in kills(effect, moment)]
    assert len(set(planned)) == 8 * 3 * 4 == 96
