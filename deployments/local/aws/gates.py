"""Holding back life cycles of the embedded AWS: what is held ends when it is let go, and not before.

For tests that say in which order things end, or what happens while something is on its way::

    aws.holds.hold("compile", "arm64-cpu")     # jobs for it that are created from now on stay INPROGRESS
    aws.holds.release("compile", "arm64-cpu")  # and end now, those that are due
"""

from __future__ import annotations

import math
import threading
import time
from typing import Literal

from dda_core.targets import find_target

Held = Literal["compile", "publish"]


class Gate:
    """What one job or component version waits for, beside the time it takes."""

    def __init__(self) -> None:
        self.opened = math.inf
        """When it was opened, in seconds since the epoch; infinite while it is shut."""


OPEN = Gate()
OPEN.opened = -math.inf


class Holds:
    """The targets that are held back, per kind of life cycle. Safe to use from several threads."""

    def __init__(self) -> None:
        self._gates: dict[tuple[Held, str | None], Gate] = {}
        self._lock = threading.Lock()

    def hold(self, kind: Held, target: str) -> None:
        """Hold back what is created for the target from now on.

        Raises:
            UnknownTarget: no such target.
        """
        with self._lock:
            self._gates.setdefault((kind, find_target(target).name), Gate())

    def release(self, kind: Held, target: str) -> None:
        """Let go what is held back for the target, and hold nothing more back; nothing happens where nothing is."""
        with self._lock:
            gate = self._gates.pop((kind, find_target(target).name), OPEN)
            gate.opened = min(gate.opened, time.time())

    def held(self, kind: Held) -> list[str]:
        """The targets that are held back."""
        with self._lock:
            return sorted(target for held, target in self._gates if held == kind and target)

    def gate(self, kind: Held, target: str | None) -> Gate:
        """The gate of what is created for the target now; an open one where nothing is held back."""
        with self._lock:
            return self._gates.get((kind, target), OPEN)
