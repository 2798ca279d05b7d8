"""What the one embedded AWS of this process currently is: its settings, its faults, the calls it has seen.

moto keeps its services' state in module-level dictionaries, so a process can hold one embedded AWS at a time;
this is the part of its state that is not moto's.
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
    """Settings, faults and calls of the embedded AWS."""

    def __init__(self, settings: AwsSettings) -> None:
        self.settings = settings
        self.instance = uuid.uuid4().hex
        """Names this state: another embedded AWS, or this one started again or reset, has another."""
        self.faults = FaultBook()
        self.holds = Holds()
        self.in_force = False
        """Whether it is that of an embedded AWS; else moto is used without one, or with its Greengrass alone."""
        self._calls: Counter[str] = Counter()
        self._lock = threading.Lock()

    def saw(self, service: str, operation: str) -> None:
        """Count one API call."""
        with self._lock:
            self._calls[f"{service}:{operation}"] += 1

    @property
    def calls(self) -> Counter[str]:
        """How often each operation was called, by names such as ``s3:GetObject``."""
        with self._lock:
            return self._calls.copy()


_current = Environment(AwsSettings())


def current() -> Environment:
    """The environment in force."""
    return _current


def begin(settings: AwsSettings) -> Environment:
    """Start with new settings, no faults and no calls."""
    global _current
    _current = Environment(settings)
    _current.in_force = True
    return _current


def end() -> None:
    """The embedded AWS is in force no more; what it has seen can still be read."""
    _current.in_force = False


def now() -> float:
    """Seconds since the epoch; every life cycle of the emulator is measured with this clock."""
    return time.time()


def moment(seconds: float) -> datetime:
    """A time of :func:`now` as AWS's answers carry it."""
    return datetime.fromtimestamp(seconds, UTC)


def partition(region: str) -> str:
    """The partition of a Region, as its ARNs begin: ``aws``, ``aws-cn``, ``aws-us-gov``.

    moto's table, because the roles and buckets that it makes must have the partition that ours have.
    """
    return str(get_partition(region))
