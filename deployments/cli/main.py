"""The ``dda`` process: its signal handlers and streams, which are set up before anything else is imported."""

from __future__ import annotations

import os
import signal
import sys
from types import FrameType

CANNOT_WRITE = 4
INTERRUPTED = 130
ENDING = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
"""Signals treated as an interruption: partial files are removed and uploads aborted."""


def main() -> None:
    """The console script ``dda``."""
    # Until the imports are done nothing is open, and an exception raised in the middle of one could be swallowed.
    _on_signals(_exit_immediately)
    if sys.stderr is None:
        sys.stderr = open(os.devnull, "w")  # noqa: SIM115 - for as long as the process lasts
    if sys.stdout is None:
        # The next file opened would get its file descriptor, and the output.
        print("error: standard output is closed. Redirect it to /dev/null if nobody reads it.", file=sys.stderr)
        sys.exit(CANNOT_WRITE)
    # Importing Prefect on a terminal would send usage data; DO_NOT_TRACK=0 opts in.
    os.environ.setdefault("DO_NOT_TRACK", "1")
    from dda_core.sanitised_logs import sanitise_logs
    from deployments.cli.app import app

    sanitise_logs()
    try:
        _on_signals(signal.default_int_handler)
        app()
    except KeyboardInterrupt:
        sys.exit(INTERRUPTED)
    finally:
        _discard_unwritable_output()
        _on_signals(_exit_immediately)  # only interpreter shutdown is left


def _on_signals(handler: object) -> None:
    for number in ENDING:
        # Under nohup, or in the background of a script, the signal is ignored on purpose.
        if signal.getsignal(number) != signal.SIG_IGN:
            signal.signal(number, handler)  # type: ignore[arg-type]


def _exit_immediately(number: int, frame: FrameType | None) -> None:
    os._exit(INTERRUPTED)


def _discard_unwritable_output() -> None:
    """Drop output that cannot be written, so that interpreter shutdown does not fail on it."""
    try:
        sys.stdout.flush()
    except OSError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


if __name__ == "__main__":
    main()
