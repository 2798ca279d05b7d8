"""The stack's Prefect server collects garbage in a thread, so that its event loop never waits for SQLite's lock."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

LOCKED_SECONDS = 4

WAITS = f"""
import sqlite3, sys, threading, time
from deployments.local import prefect_serve

prefect_serve.YOUNG_SECONDS = 0.1
if sys.argv[2] == "thread":
    prefect_serve.collect_in_a_thread()

def connect():
    return sqlite3.connect(sys.argv[1], timeout={LOCKED_SECONDS}, isolation_level=None, check_same_thread=False)

def begin():
    try:
        lent.execute("BEGIN IMMEDIATE")
    except sqlite3.OperationalError:
        pass

writer, lent = connect(), connect()
writer.execute("PRAGMA journal_mode = WAL")
writer.execute("CREATE TABLE run (id)")
lent.execute("BEGIN")
lent.execute("SELECT id FROM run").fetchall()
writer.execute("INSERT INTO run VALUES (1)")
garbage = [lent.cursor()]
try:
    garbage[0].execute("INSERT INTO run VALUES (2)")
except sqlite3.OperationalError as error:
    assert "locked" in str(error)
lent.execute("ROLLBACK")
writer.execute("BEGIN IMMEDIATE")
waiting = threading.Thread(target=begin)
waiting.start()
time.sleep(0.5)
garbage.append(garbage)
del garbage

# This thread plays the event loop: it creates objects and must never block.
longest, last = 0.0, time.monotonic()
while waiting.is_alive():
    [[] for _ in range(10_000)]
    now = time.monotonic()
    longest, last = max(longest, now - last), now
print(longest)
"""


def seconds_blocked(database: Path, collector: str) -> float:
    """The longest time that the main thread was blocked while another waited for SQLite's lock."""
    command = [sys.executable, "-c", WAITS, str(database), collector]
    return float(subprocess.run(command, capture_output=True, text=True, timeout=60, check=True).stdout)


@pytest.mark.slow
def test_freeing_a_refused_statement_does_not_block_the_event_loop(tmp_path: Path) -> None:
    assert seconds_blocked(tmp_path / "without.db", "loop") > LOCKED_SECONDS - 2, "else the thread is not needed"
    assert seconds_blocked(tmp_path / "with.db", "thread") < LOCKED_SECONDS - 3
