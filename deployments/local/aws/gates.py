"""Holds on life cycles of the embedded AWS: a held job or component version does not end before its release.

For tests that control the order in which things end, or check what happens while something is in progress::

    aws.holds.hold("compile", "arm64-cpu")     # new jobs for the target stay INPROGRESS
    aws.holds.release("compile", "arm64-cpu")  # those that are due end now
"""

from __future__ import annotations

import math
import threading
import time
from typing import Literal

from dda_core.targets import find_target

Held = Literal["compile", "publish"]


class Gate:
    """What a job or component version waits for besides its duration."""

    def __init__(self) -> None:
        self.opened = math.inf
        """When it was opened, in seconds since the epoch; infinite while it is closed."""


OPEN = Gate()
OPEN.opened = -math.inf


class Holds:
    """The held targets per kind of life cycle. Thread-safe."""

    def __init__(self) -> None:
        self._gates: dict[tuple[Held, str | None], Gate] = {}
        self._lock = threading.Lock()

    def hold(self, kind: Held, target: str) -> None:
        """Hold what is created for the target from now on.

        Raises:
            UnknownTarget: there is no such target.
        """
        with self._lock:
            self._gates.setdefault((kind, find_target(target).name), Gate())

    def release(self, kind: Held, target: str) -> None:
        """Release what is held for the target and end the hold; without a hold, do nothing."""
        with self._lock:
            gate = self._gates.pop((kind, find_target(target).name), OPEN)
            gate.opened = min(gate.opened, time.time())

    def held(self, kind: Held) -> list[str]:
        """The held targets."""
        with self._lock:
            return sorted(target for held, target in self._gates if held == kind and target)

    def gate(self, kind: Held, target: str | None) -> Gate:
        """The gate for what is created for the target now; open where there is no hold."""
        with self._lock:
            return self._gates.get((kind, target), OPEN)
