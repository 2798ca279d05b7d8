"""The local stack: an embedded AWS, a Prefect server and a worker, for work without an AWS account."""

from __future__ import annotations

from importlib.util import find_spec

from dda_core.exceptions import EmulatorMissing

EMULATOR = "moto"
"""The package that the extra ``local`` installs."""


def require_emulator() -> None:
    """Check that the emulator is installed, without importing it.

    Raises:
        EmulatorMissing: it is not.
    """
    if find_spec(EMULATOR) is None:
        raise EmulatorMissing(EMULATOR)
