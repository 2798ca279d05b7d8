"""Who runs a command: an open-source Prefect server does not know it, so commands say it."""

from __future__ import annotations

import getpass
import os


def caller() -> str:
    """The caller's user name; the number where the system has no name for it."""
    try:
        return getpass.getuser()
    except (KeyError, OSError):
        return str(os.getuid())


def caller_tag() -> str:
    """The tag of a flow run that says who started it."""
    return f"by:{caller()}"
