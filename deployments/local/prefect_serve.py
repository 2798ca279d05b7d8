"""A Prefect server on SQLite without garbage collection in its event loop.

Run as ``python -m deployments.local.prefect_serve --port 4200``.

A statement that SQLite refused ("database is locked") stays in a reference cycle with its traceback until Python's
garbage collector finds it. Freeing it takes the lock of its connection, which by then serves another request and may
wait up to a minute for SQLite's write lock. If the collector runs in the event loop, the whole server blocks, and so
does the request that holds the write lock and needs the loop to commit.
So garbage is collected in a separate thread, which may block. Measured with bursts of five copies of one webhook:
without the thread the server blocked for over 30 s in 2 of 42 bursts, with it in none of 60 (slowest response: 6 s).
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
"""Time between two collections of young objects. Python's own thresholds would collect more often."""

FULL_EVERY = 60
"""Every so many collections, one covers all generations."""


def collect_in_a_thread() -> threading.Thread:
    """Move garbage collection to a daemon thread, which is returned."""
    gc.disable()
    thread = threading.Thread(target=_collect, name="garbage-collector", daemon=True)
    thread.start()
    return thread


def _collect() -> None:
    for number in itertools.count(1):
        time.sleep(YOUNG_SECONDS)
        gc.collect(1 if number % FULL_EVERY else 2)


def main() -> None:
    """Run ``prefect server start`` with the arguments of this command line."""
    collect_in_a_thread()
    sanitise_logs()
    sys.argv[:] = ["prefect", "server", "start", *sys.argv[1:]]
    runpy.run_module("prefect", run_name="__main__", alter_sys=True)


if __name__ == "__main__":
    main()
