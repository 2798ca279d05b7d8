"""Who runs a command. An open-source Prefect server does not know, so commands record it."""

from __future__ import annotations

import getpass
import os


def caller() -> str:
    """The caller's user name; the user id if the system has no name for it."""
    try:
        return getpass.getuser()
    except (KeyError, OSError):
        return str(os.getuid())


def caller_tag() -> str:
    """The flow run tag that records who started it."""
    return f"by:{caller()}"
