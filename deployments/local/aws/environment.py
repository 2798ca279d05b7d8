"""The state of this process's embedded AWS that is not moto's: settings, faults, holds and call counts.

There is only one at a time, because moto keeps the state of its services in module-level dictionaries.
"""

from __future__ import annotations

import threading
import time
import uuid
from collections import Counter
from datetime import UTC, datetime

from moto.utilities.utils import get_partition

from deployments.local.aws.faults import FaultBook
from deployments.local.aws.gates import Holds
from deployments.local.aws.settings import AwsSettings


class Environment:
    """Settings, faults, holds and call counts of the embedded AWS."""

    def __init__(self, settings: AwsSettings) -> None:
        self.settings = settings
        self.instance = uuid.uuid4().hex
        """Identifies this state; it changes with every start or reset."""
        self.faults = FaultBook()
        self.holds = Holds()
        self.active = False
        """Whether an embedded AWS is running; else moto is used alone, or only with our Greengrass."""
        self._calls: Counter[str] = Counter()
        self._lock = threading.Lock()

    def count(self, service: str, operation: str) -> None:
        """Count one API call."""
        with self._lock:
            self._calls[f"{service}:{operation}"] += 1

    @property
    def calls(self) -> Counter[str]:
        """The number of calls by operation, such as ``s3:GetObject``."""
        with self._lock:
            return self._calls.copy()


_current = Environment(AwsSettings())


def current() -> Environment:
    """The current environment."""
    return _current


def begin(settings: AwsSettings) -> Environment:
    """Start with new settings, no faults and no calls."""
    global _current
    _current = Environment(settings)
    _current.active = True
    return _current


def end() -> None:
    """Mark the embedded AWS as stopped; its call counts can still be read."""
    _current.active = False


def now() -> float:
    """Seconds since the epoch: the clock of every life cycle in the emulator."""
    return time.time()


def moment(seconds: float) -> datetime:
    """A time of :func:`now` in the form of AWS's responses."""
    return datetime.fromtimestamp(seconds, UTC)


def partition(region: str) -> str:
    """The partition of a Region, as in its ARNs: ``aws``, ``aws-cn``, ``aws-us-gov``.

    From moto's table, so that ours matches that of the roles and buckets that moto creates.
    """
    return str(get_partition(region))
