"""The processes of a local stack: start, watch, find again after a crash, and end.

Every process has its stack's directory and its role in its environment, which its children inherit. So the orphaned
processes of a killed stack are found whatever their process id, session or parent, and a process with a reused id is
never mistaken for one of ours. This needs ``/proc``, so Linux; elsewhere only processes that this supervisor started
are known.
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
"""The environment variable that names a process's role in its stack."""

PRIVATE = 0o077
"""The umask of every process of a stack: only the owner may read databases, results and logs."""

TAIL_LINES = 20
_POLL_SECONDS = 0.05
_KILL_SECONDS = 5.0
_PROC = Path("/proc")


@dataclass(frozen=True)
class MarkedProcess:
    """A running process that belongs to some stack."""

    pid: int
    parent: int
    stack: str
    role: str
    environment: Mapping[str, str]


def marked_processes() -> Iterator[MarkedProcess]:
    """Every running process of every local stack of this user, except the caller."""
    for entry in _PROC.glob("[0-9]*"):
        if int(entry.name) == os.getpid():
            continue
        # OSError: the process ended meanwhile, is a zombie, or belongs to another user.
        with suppress(OSError):
            content = (entry / "environ").read_bytes()
            if f"{STACK}=".encode() not in content:
                continue
            pairs = (item.split("=", 1) for item in content.decode(errors="replace").split("\0") if "=" in item)
            environment = dict(pairs)
            if STACK in environment and ROLE in environment:
                # The command's name, in parentheses, may contain spaces; state and parent follow it.
                parent = int((entry / "stat").read_text().rpartition(")")[2].split()[1])
                yield MarkedProcess(int(entry.name), parent, environment[STACK], environment[ROLE], environment)


class Child:
    """A process that this supervisor started, and its log."""

    def __init__(self, role: str, process: subprocess.Popen[bytes], log: Path) -> None:
        self.role = role
        self.process = process
        self.log = log

    @property
    def exit_code(self) -> int | None:
        """The exit code; None while it runs."""
        return self.process.poll()

    def lines(self) -> list[str]:
        """The lines of its log."""
        return self.log.read_text(errors="replace").splitlines()

    def last_lines(self, count: int = TAIL_LINES) -> str:
        """The last lines of its log."""
        return last_lines(self.log, count)


def last_lines(log: Path, count: int = TAIL_LINES) -> str:
    """The last lines of a log, or a note that it is empty or cannot be read."""
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
        """Start a process in its own session, so that Ctrl-C in the terminal reaches only the supervisor.

        Its output goes to ``logs/<role>.log``. The child has the default handlers of SIGINT and SIGTERM, because the
        supervisor handles both, even where a shell's ``&`` made it ignore SIGINT.
        """
        log = self.directory / "logs" / f"{role}.log"
        self.directory.mkdir(mode=0o700, parents=True, exist_ok=True)
        log.parent.mkdir(mode=0o700, exist_ok=True)
        # Earlier versions created it readable by everyone.
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
        """The running processes of this stack, descendants included, by process id."""
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
        """End all processes of ``role`` (None: of every role); kill those still running after ``seconds``.

        Parents get SIGTERM before their children, which they may end themselves.

        Returns:
            Whether any were running.
        """
        deadline = time.monotonic() + seconds
        signalled: set[int] = set()
        while running := self.running(role):
            if time.monotonic() >= deadline:
                self._kill(role)
                return True
            for pid, process in running.items():
                if pid not in signalled and (process is None or process.parent not in running):
                    signalled.add(pid)
                    _send(pid, signal.SIGTERM)
            time.sleep(_POLL_SECONDS)
        return bool(signalled)

    def _kill(self, role: str | None) -> None:
        # In a loop, because a process may start another meanwhile.
        deadline = time.monotonic() + _KILL_SECONDS
        while (running := self.running(role)) and time.monotonic() < deadline:
            for pid in running:
                _send(pid, signal.SIGKILL)
            time.sleep(_POLL_SECONDS)


def _send(pid: int, number: signal.Signals) -> None:
    with suppress(ProcessLookupError, PermissionError):
        os.kill(pid, number)
