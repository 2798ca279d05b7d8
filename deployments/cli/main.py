"""The process of the command ``dda``: its signals and its streams, which are in order before anything is imported."""

from __future__ import annotations

import os
import signal
import sys
from types import FrameType

CANNOT_WRITE = 4
INTERRUPTED = 130
ENDING = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
"""Being terminated, or losing the terminal, is being interrupted: half-written files are removed, uploads aborted."""


def main() -> None:
    """The console script ``dda``."""
    # While modules are imported nothing is open yet, and an exception could come up anywhere, and be swallowed.
    _on_signals(_end_at_once)
    if sys.stderr is None:
        sys.stderr = open(os.devnull, "w")  # noqa: SIM115 - for as long as the process lasts
    if sys.stdout is None:
        # The next file to be opened would get its number, and what is printed.
        print("error: standard output is closed. Redirect it to /dev/null if nobody reads it.", file=sys.stderr)
        sys.exit(CANNOT_WRITE)
    # Importing Prefect on a terminal would send usage data; whoever wants that sets DO_NOT_TRACK=0.
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
        _let_go_of_output()
        _on_signals(_end_at_once)  # what is left is Python's own end


def _on_signals(handler: object) -> None:
    for number in ENDING:
        # Who starts a command by nohup, or in the background of a script, does not want it to end by that signal.
        if signal.getsignal(number) != signal.SIG_IGN:
            signal.signal(number, handler)  # type: ignore[arg-type]


def _end_at_once(number: int, frame: FrameType | None) -> None:
    os._exit(INTERRUPTED)


def _let_go_of_output() -> None:
    """What cannot be written by now never will be: leave nothing for Python's end to fail at."""
    try:
        sys.stdout.flush()
    except OSError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


if __name__ == "__main__":
    main()
