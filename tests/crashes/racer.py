"""One of several processes that do the same work at the same time, each for its own flow run."""

from __future__ import annotations

import os
import time
from collections.abc import Mapping
from pathlib import Path
from threading import Barrier
from typing import Any

from prefect.settings import PREFECT_TASKS_REFRESH_CACHE, temporary_settings

from tests.crashes.victim import Trap, go_on

GUN_SECONDS = 60


class StartingLine(Trap):
    """Holds the process at each point until all others have arrived, once per point."""

    def __init__(self, barriers: Mapping[tuple[str, str], Barrier], journal: Path) -> None:
        super().__init__(None, journal)
        self._barriers = dict(barriers)

    def reach(self, point: str, target: str) -> None:
        barrier = self._barriers.pop((point, target), None)
        if barrier is not None:
            barrier.wait(GUN_SECONDS)


def race(
    flow_run_id: str,
    environment: dict[str, str],
    barriers: Mapping[tuple[str, str], Any],
    delay: float,
    folder: Path,
    name: str,
) -> None:
    """Take part: start after ``delay`` seconds, without reading any Prefect cache."""
    os.environ.update(environment)
    time.sleep(delay)
    with temporary_settings({PREFECT_TASKS_REFRESH_CACHE: True}):
        go_on(flow_run_id, StartingLine(barriers, folder / f"{name}.jsonl"), folder / f"{name}.log")
