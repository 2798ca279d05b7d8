"""A Prefect server on SQLite that does not wait for itself: ``python -m deployments.local.prefect_serve --port 4200``.

A statement that SQLite refused ("database is locked") lies in a reference cycle with its traceback until Python's
garbage collector finds it. To free it takes the lock of its connection, which has long been lent to the next request
and may be waiting for the write lock, for up to a minute. Where the collector happens to run in the event loop, the
loop waits too, with everybody it serves, and so does whoever holds the write lock and would commit in that loop.
So here a thread of its own collects; it may wait as long as it likes. Measured with five copies of one webhook at a
time: before, the server stood still for over 30 s in 2 of 42 bursts; since, in none of 60 (longest answer: 6 s).
"""

from __future__ import annotations

import gc
import itertools
import runpy
import sys
import threading
import time

from dda_core.sanitised_logs import sanitise_logs

YOUNG_SECONDS = 1.0
"""What became garbage lately is freed this often: by number of objects the collector would run still more often."""

FULL_EVERY = 60
"""Each collection of this number goes through all objects, old ones too."""


def collect_in_a_thread() -> threading.Thread:
    """From now on no thread but the one returned, which ends with the process, collects garbage cycles."""
    gc.disable()
    thread = threading.Thread(target=_collect, name="garbage-collector", daemon=True)
    thread.start()
    return thread


def _collect() -> None:
    for number in itertools.count(1):
        time.sleep(YOUNG_SECONDS)
        gc.collect(1 if number % FULL_EVERY else 2)


def main() -> None:
    """Run ``prefect server start`` with the words of this command line."""
    collect_in_a_thread()
    sanitise_logs()
    sys.argv[:] = ["prefect", "server", "start", *sys.argv[1:]]
    runpy.run_module("prefect", run_name="__main__", alter_sys=True)


if __name__ == "__main__":
    main()
