"""A local stack as users start it: ``dda local up`` in its own process."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from deployments.local.processes import marked_processes

PYTHON = sys.executable
QUICK = ("--compile-seconds", "1", "--publish-seconds", "1", "--component-versions-per-second", "0")


def local(*words: str | Path, **options: Any) -> subprocess.CompletedProcess[str]:
    """Run ``dda local ...`` to completion."""
    command = [PYTHON, "-m", "deployments.local", *map(str, words)]
    return subprocess.run(command, capture_output=True, text=True, timeout=120, **options)


def processes_of(directory: Path) -> dict[int, str]:
    """The running processes of a directory's stack: process id -> role."""
    return {process.pid: process.role for process in marked_processes() if process.stack == str(directory)}


def until(condition: Callable[[], Any], seconds: float = 60) -> Any:
    """Wait for a condition; return its first true value."""
    deadline = time.monotonic() + seconds
    while not (value := condition()):
        assert time.monotonic() < deadline, f"nothing within {seconds} s"
        time.sleep(0.1)
    return value


class Up:
    """One ``dda local up``; with ``ampersand`` started as by a script with ``&``."""

    def __init__(
        self,
        directory: Path,
        *,
        ampersand: bool = False,
        environment: dict[str, str] | None = None,
        options: tuple[str, ...] = QUICK,
    ) -> None:
        self.directory = directory
        self.output = directory.with_suffix(".out")
        command = [PYTHON, "-m", "deployments.local", "up", "--dir", str(directory), *options]
        if ampersand:
            # Without job control, a shell's & makes the program and its children ignore SIGINT.
            command = ["bash", "-c", '"$@" & echo $! >"$0"; wait $!', str(directory.with_suffix(".pid")), *command]
        with self.output.open("wb") as output:
            self.process = subprocess.Popen(
                command, stdout=output, stderr=subprocess.STDOUT, env={**os.environ, **(environment or {})}
            )
        self.pid = self.process.pid
        if ampersand:
            pid_file = directory.with_suffix(".pid")
            self.pid = int(until(lambda: pid_file.exists() and pid_file.read_text()))

    @property
    def said(self) -> str:
        return self.output.read_text()

    def ready(self) -> dict[str, Any]:
        """Wait for ``local.json``; return its content."""
        file = self.directory / "local.json"
        until(lambda: file.exists() or self.process.poll() is not None, 150)
        assert file.exists(), self.said
        content: dict[str, Any] = json.loads(file.read_text())
        return content

    def signal(self, number: int) -> int:
        """Send a signal and wait for the process to end; return its exit code."""
        os.kill(self.pid, number)
        return self.process.wait(60)


def shell(stack: dict[str, Any], folder: Path) -> dict[str, str]:
    """The environment of a shell that uses a stack, with Prefect's home in ``folder``."""
    return {
        **os.environ,
        "PREFECT_API_URL": stack["prefect_api_url"],
        "PREFECT_HOME": str(folder / "prefect"),
        "AWS_ENDPOINT_URL": stack["aws_endpoint_url"],
        "AWS_ACCESS_KEY_ID": "local",
        "AWS_SECRET_ACCESS_KEY": "local",
        "AWS_DEFAULT_REGION": stack["region"],
    }


def dda(environment: dict[str, str], *words: str) -> subprocess.CompletedProcess[str]:
    """Run ``dda`` in that shell to completion."""
    command = [PYTHON, "-m", "deployments.cli.main", *words]
    return subprocess.run(command, env=environment, capture_output=True, text=True, timeout=180)


def api(stack: dict[str, Any], path: str, body: Any = None, method: str | None = None) -> Any:
    """A call to the Prefect API of a stack."""
    request = urllib.request.Request(
        f"{stack['prefect_api_url']}/{path}",
        data=None if body is None else json.dumps(body).encode(),
        headers={"Content-Type": "application/json"},
        method=method,
    )

    def answer() -> list[bytes] | None:
        try:
            with urllib.request.urlopen(request, timeout=30) as response:
                return [response.read()]
        except urllib.error.HTTPError as error:
            if error.code != 503:
                raise
            return None  # SQLite is busy

    [content] = until(answer, 30)
    return json.loads(content) if content else None


class RunningStack:
    """The stack shared by the tests of a session: its directory and the content of ``local.json``."""

    def __init__(self, directory: Path, content: dict[str, Any]) -> None:
        self.directory = directory
        self.content = content

    def environment(self) -> dict[str, str]:
        """The caller's environment after ``eval "$(dda local env)"``."""
        lines = local("env", "--dir", self.directory).stdout.splitlines()
        exported = dict(line.removeprefix("export ").split("=", 1) for line in lines)
        return {**{k: v for k, v in os.environ.items() if not k.startswith(("AWS_", "PREFECT_"))}, **exported}


@pytest.fixture(scope="session")
def stack(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningStack]:
    import signal

    directory = tmp_path_factory.mktemp("stack") / "dda"
    up = Up(
        directory, ampersand=True, environment={"AWS_PROFILE": "somebody", "PREFECT_API_URL": "http://elsewhere/api"}
    )
    try:
        yield RunningStack(directory, up.ready())
    finally:
        # SIGINT, which a program started with & ignores unless it sets a handler.
        code = up.signal(signal.SIGINT)
        left = processes_of(directory)
    assert code == 0, up.said
    assert left == {}
