"""The processes of a local stack: how they are begun, watched, found again after a crash, and ended.

Every process carries its stack's directory and its role in its environment, and hands both on to its children. So
what a killed stack left behind is found again whatever its process id, session or parent is now, and a process that
merely has a reused id is never taken for one of ours. Finding needs ``/proc``, that is Linux; elsewhere only the
processes begun by this supervisor are known.
"""

from __future__ import annotations

import os
import signal
import subprocess
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

STACK = "DDA_LOCAL_STACK"
"""The environment variable that names the stack's directory."""

ROLE = "DDA_LOCAL_ROLE"
"""The environment variable that says what a process does for its stack."""

PRIVATE = 0o077
"""The file mode mask of every process of a stack: databases, results and logs are for their owner alone."""

TAIL_LINES = 20
_POLL_SECONDS = 0.05
_KILL_SECONDS = 5.0
_PROC = Path("/proc")


@dataclass(frozen=True)
class MarkedProcess:
    """A running process that some stack began, itself or through its children."""

    pid: int
    parent: int
    stack: str
    role: str
    environment: Mapping[str, str]


def marked_processes() -> Iterator[MarkedProcess]:
    """Every running process of every local stack of this user, but the caller."""
    for entry in _PROC.glob("[0-9]*"):
        if int(entry.name) == os.getpid():
            continue
        # A process may end, or turn out to be somebody else's, between two looks at it. A zombie has no environment.
        with suppress(OSError):
            content = (entry / "environ").read_bytes()
            if f"{STACK}=".encode() not in content:
                continue
            pairs = (item.split("=", 1) for item in content.decode(errors="replace").split("\0") if "=" in item)
            environment = dict(pairs)
            if STACK in environment and ROLE in environment:
                # The command's name, in brackets, may hold blanks; state and parent follow it.
                parent = int((entry / "stat").read_text().rpartition(")")[2].split()[1])
                yield MarkedProcess(int(entry.name), parent, environment[STACK], environment[ROLE], environment)


class Child:
    """A process that this supervisor began, and its log."""

    def __init__(self, role: str, process: subprocess.Popen[bytes], log: Path) -> None:
        self.role = role
        self.process = process
        self.log = log

    @property
    def exit_code(self) -> int | None:
        """None while it runs."""
        return self.process.poll()

    def lines(self) -> list[str]:
        """What it has written to its log."""
        return self.log.read_text(errors="replace").splitlines()

    def last_lines(self, count: int = TAIL_LINES) -> str:
        """The end of its log."""
        return last_lines(self.log, count)


def last_lines(log: Path, count: int = TAIL_LINES) -> str:
    """The last lines of a log; says so when there are none."""
    try:
        lines = log.read_text(errors="replace").splitlines()
    except OSError as error:
        return f"({log} cannot be read: {error})"
    return "\n".join(lines[-count:]) or f"({log} is empty)"


class StackProcesses:
    """The processes of one stack, by role."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self.children: dict[str, Child] = {}

    def start(
        self, role: str, command: Sequence[str], environment: Mapping[str, str], *, append_log: bool = False
    ) -> Child:
        """Begin a process in a session of its own, so that a Ctrl-C at the terminal reaches the supervisor alone.

        Its output goes to ``logs/<role>.log``. The supervisor handles SIGINT and SIGTERM, so the child begins with
        their defaults, also where a shell started the supervisor with ``&`` and had SIGINT ignored.
        """
        log = self.directory / "logs" / f"{role}.log"
        self.directory.mkdir(mode=0o700, parents=True, exist_ok=True)
        log.parent.mkdir(mode=0o700, exist_ok=True)
        # Those of an earlier version were open to all.
        log.parent.chmod(0o700)
        with log.open("ab" if append_log else "wb") as output:
            log.chmod(0o600)
            process = subprocess.Popen(  # noqa: S603 - the command is the stack's own
                list(command),
                env={**environment, STACK: str(self.directory), ROLE: role, "PYTHONUNBUFFERED": "1"},
                cwd=self.directory,
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                start_new_session=True,
                umask=PRIVATE,
            )
        child = Child(role, process, log)
        self.children[role] = child
        return child

    def running(self, role: str | None = None) -> dict[int, MarkedProcess | None]:
        """The processes of this stack that run now, children of children included, by process id."""
        found: dict[int, MarkedProcess | None] = {
            process.pid: process
            for process in marked_processes()
            if process.stack == str(self.directory) and role in (None, process.role)
        }
        for child in self.children.values():
            if role in (None, child.role) and child.exit_code is None:
                found.setdefault(child.process.pid, None)
        return found

    def end(self, role: str | None, seconds: float) -> bool:
        """End all processes of ``role`` (None: of every role), and kill what outlives ``seconds``.

        Who began others is asked first and may end them in good order. Whether any had been there.
        """
        deadline = time.monotonic() + seconds
        asked: set[int] = set()
        while running := self.running(role):
            if time.monotonic() >= deadline:
                self._kill(role)
                return True
            for pid, process in running.items():
                if pid not in asked and (process is None or process.parent not in running):
                    asked.add(pid)
                    _send(pid, signal.SIGTERM)
            time.sleep(_POLL_SECONDS)
        return bool(asked)

    def _kill(self, role: str | None) -> None:
        # Again and again: a process may begin another while it is looked for.
        deadline = time.monotonic() + _KILL_SECONDS
        while (running := self.running(role)) and time.monotonic() < deadline:
            for pid in running:
                _send(pid, signal.SIGKILL)
            time.sleep(_POLL_SECONDS)


def _send(pid: int, number: signal.Signals) -> None:
    with suppress(ProcessLookupError, PermissionError):
        os.kill(pid, number)
