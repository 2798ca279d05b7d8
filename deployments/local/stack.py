"""The whole local stack under one supervisor: embedded AWS, Prefect server, worker, use case and deployments.

Used by ``dda local up``, the demo and tests::

    with LocalStack(StackDirectory(".dda"), AwsSettings(), notify=print) as stack:
        stack.start()
        stack.watch()

However the ``with`` ends, all processes of the stack end with it. When the supervisor was killed, the next one in the
same directory ends them, and keeps Prefect's state.
"""

from __future__ import annotations

import fcntl
import json
import os
import shutil
import sys
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from datetime import UTC, datetime
from types import TracebackType
from typing import Any, TextIO

from dda_core.exceptions import Interrupted, LocalProcessFailed, LocalStackError
from deployments.local.aws.settings import AwsSettings
from deployments.local.bootstrap import NOTICE
from deployments.local.directory import StackDirectory
from deployments.local.prefect_server import (
    HOST,
    SERVER_AUTH,
    WORK_POOL,
    ask,
    aws_instance,
    free_port,
    server_answers,
    server_command,
    stack_environment,
    worker_command,
    worker_polls,
)
from deployments.local.processes import Child, StackProcesses

ACCOUNT = "123456789012"
USE_CASE = "local"
START_SECONDS = 180.0
STOP_SECONDS = 20.0
WORKER_STOP_SECONDS = 10.0
"""The worker's share of ``STOP_SECONDS``: it is stopped first, so that the server has time to shut down cleanly."""
_POLL_SECONDS = 0.1
_WATCH_SECONDS = 0.5
_AWS_CHECK_SECONDS = 5.0
_LOCK = "up.lock"
_LOCK_TRIES = 5
STATE_FILE = "stack.json"

AWS, SERVER, WORKER, REGISTRATION = "aws", "prefect-server", "prefect-worker", "registration"


class LocalStack:
    """One local stack; the calling process is its supervisor."""

    def __init__(
        self, directory: StackDirectory, aws_settings: AwsSettings, *, notify: Callable[[str], None] = lambda line: None
    ) -> None:
        self.directory = directory
        self.aws_settings = aws_settings
        self.stopping = threading.Event()
        """Set it, from a signal handler or another thread, to make :meth:`start` or :meth:`watch` return."""
        self.auth = os.environ.get(SERVER_AUTH) or None
        self._notify = notify
        self._processes = StackProcesses(directory.path)
        self._home = directory.path / "prefect"
        self._joined: tuple[str, str] | None = None
        self._lock: TextIO | None = None

    def __enter__(self) -> LocalStack:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()

    def start(self) -> dict[str, Any]:
        """Start everything; return the content of ``local.json``.

        Raises:
            LocalStackError: a stack already runs in this directory, or a part did not come up; the message has the
                last lines of its log.
            Interrupted: ``stopping`` was set meanwhile.
        """
        self._lock = take_lock(self.directory)
        self.directory.remove_local()
        state = self._read_state()
        running_aws = self._end_orphans()
        kept = self._keep_or_delete_prefect(state, running_aws[1] if running_aws else None)
        port = free_port(state.get("prefect_port"))
        ui_url = f"http://{HOST}:{port}"
        api_url = f"{ui_url}/api"
        region, bucket = self.aws_settings.region, self.aws_settings.bucket

        def environment(aws_endpoint_url: str | None = None) -> dict[str, str]:
            return stack_environment(self._home, api_url, aws_endpoint_url, region, self.auth)

        # Every process of an earlier stack has ended, and none of this one has started.
        began = datetime.now(UTC).isoformat()
        server = self._processes.start(SERVER, server_command(port), environment(), append_log=kept)
        # Started now because it loads as slowly as the server; it waits for the server itself.
        registration = self._processes.start(
            REGISTRATION,
            [
                *(sys.executable, "-m", "deployments.local.bootstrap", USE_CASE, ACCOUNT, region, str(bucket)),
                *([began] if kept else []),
            ],
            environment(running_aws[0] if running_aws else None),
        )
        aws_url, instance = running_aws or self._start_aws(environment())
        self._wait(server, lambda: server_answers(api_url), "the Prefect server", f"at {api_url}/health")
        # Not before: a database whose creation was interrupted must not be reused.
        self._write_state({"prefect_port": port, "aws_instance": instance, "auth": self.auth})
        ask(f"{api_url}/work_pools/", {"name": WORK_POOL, "type": "process"}, auth=self.auth)
        worker = self._processes.start(WORKER, worker_command(), environment(aws_url), append_log=kept)
        self._wait(registration, lambda: registration.exit_code == 0, "the registration of the deployments", "")
        for line in registration.lines():
            if line.startswith(NOTICE):
                self._notify(line.removeprefix(NOTICE))
        self._wait(worker, lambda: worker_polls(api_url, self.auth, began), "the Prefect worker", "to the server")
        content = {
            "aws_endpoint_url": aws_url,
            "prefect_api_url": api_url,
            "ui_url": ui_url,
            "use_case": USE_CASE,
            "bucket": bucket,
            "region": region,
            "account_id": ACCOUNT,
        }
        self.directory.write_local(content)
        return content

    def watch(self) -> None:
        """Block until ``stopping`` is set.

        Raises:
            LocalStackError: a process of the stack ended; the message has the last lines of its log.
        """
        checked = time.monotonic()
        while not self.stopping.wait(_WATCH_SECONDS):
            for child in self._processes.children.values():
                if child.role != REGISTRATION and child.exit_code is not None:
                    raise _died(child, f"The local stack's process {child.role} ended unexpectedly")
            if self._joined and time.monotonic() - checked > _AWS_CHECK_SECONDS:
                checked = time.monotonic()
                # Ask twice: it may just be slow.
                if (
                    aws_instance(self._joined[0]) != self._joined[1]
                    and aws_instance(self._joined[0]) != self._joined[1]
                ):
                    raise LocalStackError(
                        f"The embedded AWS at {self._joined[0]}, which this stack had joined, no longer answers; its "
                        f"state is lost",
                        remedy="Start the stack again, with an empty state.",
                    )

    def stop(self) -> None:
        """End every process of the stack, the worker first, and delete ``local.json``."""
        if self._lock is None:
            return
        self.directory.remove_local()
        deadline = time.monotonic() + STOP_SECONDS
        self._processes.end(WORKER, WORKER_STOP_SECONDS)
        for role in (SERVER, AWS, None):
            self._processes.end(role, max(0.0, deadline - time.monotonic()))
        if self._joined is None:
            # The embedded AWS deletes its file itself, unless it had to be killed.
            self.directory.remove_aws()
        self._lock.close()
        self._lock = None

    def _end_orphans(self) -> tuple[str, str] | None:
        """End orphaned processes. An embedded AWS that answers is kept: its URL and instance, else None."""
        for role in (WORKER, REGISTRATION, SERVER):
            if self._processes.end(role, WORKER_STOP_SECONDS):
                self._notify(f"Ended {role}, orphaned by a stack that was killed.")
        url = (self.directory.read_aws() or {}).get("aws_endpoint_url")
        instance = aws_instance(str(url)) if url else None
        if instance is None:
            self._processes.end(AWS, WORKER_STOP_SECONDS)
            self.directory.remove_aws()
            return None
        if not self._processes.running(AWS):
            self._joined = (str(url), instance)
        self._notify(f"Joined the embedded AWS running at {url}; its own settings apply.")
        return str(url), instance

    def _keep_or_delete_prefect(self, state: dict[str, Any], instance: str | None) -> bool:
        """Whether Prefect keeps its state. It is deleted when the AWS that its runs used is not running any more."""
        if not self._home.exists():
            return False
        if instance is not None and instance == state.get("aws_instance"):
            self._notify("Prefect keeps its state.")
            # Earlier versions created it readable by everyone.
            self._home.chmod(0o700)
            return True
        shutil.rmtree(self._home)
        self._notify(
            "The embedded AWS that Prefect's runs used no longer runs, so Prefect starts with an empty state too."
        )
        return False

    def _start_aws(self, environment: dict[str, str]) -> tuple[str, str]:
        words = ["--dir", str(self.directory.path), *self.aws_settings.options()]
        child = self._processes.start(AWS, [sys.executable, "-m", "deployments.local.aws", *words], environment)
        found: list[tuple[str, str]] = []

        def answers() -> bool:
            url = (self.directory.read_aws() or {}).get("aws_endpoint_url")
            if url and (instance := aws_instance(str(url))):
                found.append((str(url), instance))
            return bool(found)

        self._wait(child, answers, "the embedded AWS", f"in {self.directory.aws_file}")
        return found[0]

    def _wait(self, child: Child, done: Callable[[], bool], what: str, where: str) -> None:
        deadline = time.monotonic() + START_SECONDS
        while not done():
            if child.exit_code not in (None, 0) or (child.exit_code == 0 and not done()):
                raise _died(child, f"{what[0].upper()}{what[1:]} ended while starting")
            if time.monotonic() > deadline:
                raise _died(child, f"{what[0].upper()}{what[1:]} did not answer {where} within {START_SECONDS:.0f} s")
            if self.stopping.wait(_POLL_SECONDS):
                raise Interrupted("the local stack was stopped before it was up")

    def _read_state(self) -> dict[str, Any]:
        try:
            content = json.loads((self.directory.path / STATE_FILE).read_text())
        except (OSError, ValueError):
            return {}
        return content if isinstance(content, dict) else {}

    def _write_state(self, content: dict[str, Any]) -> None:
        # It may hold the API's password, so only its owner may ever read it.
        path = self.directory.path / STATE_FILE
        written = path.with_suffix(".new")
        written.unlink(missing_ok=True)
        with open(os.open(written, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w") as file:
            json.dump(content, file)
        written.replace(path)


def take_lock(directory: StackDirectory) -> TextIO:
    """Make the caller the supervisor of the directory for as long as the returned file is open.

    Raises:
        LocalStackError: there is one already.
    """
    directory.path.mkdir(mode=0o700, parents=True, exist_ok=True)
    lock = (directory.path / _LOCK).open("a+")
    # Retried, because `supervisor` below takes the lock briefly.
    for _ in range(_LOCK_TRIES):
        with suppress(BlockingIOError):
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            break
        time.sleep(_POLL_SECONDS)
    else:
        lock.close()
        raise already_running(directory)
    lock.truncate(0)
    lock.write(str(os.getpid()))
    lock.flush()
    return lock


def already_running(directory: StackDirectory) -> LocalStackError:
    """The error of a second supervisor in the same directory."""
    return LocalStackError(
        f"A local stack is already running in {directory.path} (process {supervisor(directory)})",
        remedy=f"Use it, stop it with `dda local down --dir {directory.path}`, or choose another --dir.",
    )


def supervisor(directory: StackDirectory) -> int | None:
    """The process id of the directory's supervisor; None when there is none, 0 when it is not known yet."""
    path = directory.path / _LOCK
    if not path.exists():
        return None
    with path.open("a+") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            lock.seek(0)
            # Empty between taking the lock and writing the process id.
            return int(lock.read() or 0)
    return None


def _died(child: Child, what: str) -> LocalProcessFailed:
    code = "" if child.exit_code is None else f" (exit code {child.exit_code})"
    return LocalProcessFailed(f"{what}{code}", log=child.log, last_lines=child.last_lines())
