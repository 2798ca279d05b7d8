"""Processes of a stack are found and ended whatever has happened to their parents."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from pathlib import Path

import pytest

from deployments.local.processes import ROLE, STACK, StackProcesses, last_lines
from tests.deployments.local.conftest import until

STUBBORN = (
    "import signal, time; signal.signal(signal.SIGTERM, signal.SIG_IGN); print('ready', flush=True); time.sleep(60)"
)
FORKING = """
import subprocess, sys, time
subprocess.Popen([sys.executable, "-c", "import time; time.sleep(60)"], start_new_session=True)
print("ready", flush=True)
time.sleep(60)
"""


@pytest.fixture
def processes(tmp_path: Path) -> StackProcesses:
    return StackProcesses(tmp_path)


def _start(processes: StackProcesses, role: str, program: str) -> None:
    child = processes.start(role, [sys.executable, "-c", program], dict(os.environ))
    until(lambda: "ready" in child.log.read_text())


def test_a_process_that_ignores_sigterm_is_killed_in_time(processes: StackProcesses) -> None:
    _start(processes, "aws", STUBBORN)
    began = time.monotonic()
    assert processes.end("aws", 0.5) is True
    assert time.monotonic() - began < 3
    assert processes.running() == {}
    assert processes.children["aws"].exit_code == -9


def test_a_child_in_another_session_is_ended_too(processes: StackProcesses) -> None:
    _start(processes, "prefect-worker", FORKING)
    until(lambda: len(processes.running("prefect-worker")) == 2)
    processes.end("prefect-worker", 10)
    assert processes.running() == {}


def test_a_supervisor_finds_processes_orphaned_by_another(processes: StackProcesses) -> None:
    _start(processes, "prefect-server", FORKING)
    assert StackProcesses(processes.directory).end("prefect-server", 10) is True
    assert processes.running() == {}


def test_other_roles_and_other_stacks_are_not_ended(processes: StackProcesses, tmp_path: Path) -> None:
    _start(processes, "aws", FORKING)
    other = StackProcesses(tmp_path / "other")
    _start(other, "prefect-worker", FORKING)
    assert processes.end("prefect-worker", 1) is False
    assert len(processes.running("aws")) == 2
    assert len(other.running()) == 2
    processes.end(None, 5)
    assert len(other.running()) == 2
    other.end(None, 5)


def test_an_unmarked_process_is_never_found(processes: StackProcesses) -> None:
    environment = {name: value for name, value in os.environ.items() if name not in (STACK, ROLE)}
    with subprocess.Popen(
        [sys.executable, "-c", f"import time; '{STACK}'; time.sleep(60)"], env=environment
    ) as stranger:
        assert stranger.pid not in processes.running()
        stranger.kill()


def test_children_get_default_signal_handlers_even_if_the_shell_ignored_sigint(tmp_path: Path) -> None:
    # A script's & ignores SIGINT and the supervisor sets a handler; the child must inherit neither.
    program = f"""
import os, signal, sys
from pathlib import Path
from deployments.local.processes import StackProcesses
signal.signal(signal.SIGINT, lambda *_: None)
show = "import signal; print(signal.getsignal(signal.SIGINT) is signal.default_int_handler)"
child = StackProcesses(Path({str(tmp_path)!r})).start("aws", [sys.executable, "-c", show], dict(os.environ))
child.process.wait()
print(child.last_lines())
"""
    script = '"$@" & wait $!'
    done = subprocess.run(["bash", "-c", script, "bash", sys.executable, "-c", program], capture_output=True, text=True)
    assert done.stdout.strip() == "True", done.stderr


def test_the_last_lines_of_a_log(tmp_path: Path) -> None:
    log = tmp_path / "x.log"
    assert "cannot be read" in last_lines(log)
    log.write_text("")
    assert last_lines(log) == f"({log} is empty)"
    log.write_text("\n".join(map(str, range(50))))
    assert last_lines(log, 3) == "47\n48\n49"


def test_only_the_owner_can_read_what_a_process_writes(tmp_path: Path) -> None:
    (tmp_path / "logs").mkdir(mode=0o755)
    log = tmp_path / "logs" / "aws.log"
    log.touch(mode=0o644)
    before = os.umask(0)
    try:
        stack = StackProcesses(tmp_path)
        child = stack.start("aws", [sys.executable, "-c", "open('file', 'w').close(); print(1)"], dict(os.environ))
        assert child.process.wait(30) == 0
    finally:
        os.umask(before)
    assert child.log == log
    modes = {name: (tmp_path / name).stat().st_mode & 0o777 for name in ("logs", "logs/aws.log", "file")}
    assert modes == {"logs": 0o700, "logs/aws.log": 0o600, "file": 0o600}
