"""Finding a running stack from another shell, waiting for it, speaking to it, and ending it."""

from __future__ import annotations

import json
import os
import signal
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

from dda_core.exceptions import LocalStackError
from deployments.local.aws.settings import AwsSettings
from deployments.local.directory import CREDENTIALS, DEFAULT_DIRECTORY, StackDirectory
from deployments.local.prefect_server import CLIENT_AUTH, aws_instance, server_answers
from deployments.local.processes import StackProcesses, marked_processes
from deployments.local.stack import STATE_FILE, STOP_SECONDS, supervisor

DOWN_SECONDS = STOP_SECONDS + 20
APPEAR_SECONDS = 5.0
"""How long ``dda local up &`` may take until it can be seen that a stack is starting."""
_POLL_SECONDS = 0.1


def find_stack(directory: Path | None) -> StackDirectory:
    """The stack that a verb is about.

    Args:
        directory: what ``--dir`` says. None when it was not given: then the stack that the environment's
            ``PREFECT_API_URL`` or ``AWS_ENDPOINT_URL`` speaks to, else the one of the default directory.
    """
    if directory is not None:
        return StackDirectory(directory)
    asked = {name: os.environ[name] for name in ("PREFECT_API_URL", "AWS_ENDPOINT_URL") if os.environ.get(name)}
    for process in marked_processes() if asked else ():
        if any(process.environment.get(name) == value.rstrip("/") for name, value in asked.items()):
            return StackDirectory(process.stack)
    return StackDirectory(DEFAULT_DIRECTORY)


def stack_variables(stack: StackDirectory) -> dict[str, str]:
    """The environment variables with which every Prefect and AWS program speaks to the stack.

    Where only the embedded AWS runs, those of AWS alone.

    Raises:
        LocalStackError: neither runs.
    """
    local = stack.read_local() or {}
    api_url = local.get("prefect_api_url")
    aws_url = local.get("aws_endpoint_url") or (stack.read_aws() or {}).get("aws_endpoint_url")
    if (api_url and not server_answers(api_url)) or not aws_url or not aws_instance(aws_url):
        raise LocalStackError(
            f"No local stack answers for {stack.path}",
            remedy=f"Start one with `dda local up --dir {stack.path}` and wait for {stack.local_file.name}, or name "
            f"the directory of a running one with --dir.",
        )
    variables = {"PREFECT_API_URL": api_url} if api_url else {}
    variables |= {
        "AWS_ENDPOINT_URL": aws_url,
        **CREDENTIALS,
        "AWS_DEFAULT_REGION": local.get("region", AwsSettings().region),
    }
    if api_url and (auth := _api_password(stack)):
        variables[CLIENT_AUTH] = auth
    return variables


def wait_for_stack(
    stack: StackDirectory, seconds: float, *, tell: Callable[[str], None] = lambda line: None
) -> dict[str, str]:
    """:func:`stack_variables`, of a stack that has been started a moment ago too.

    Args:
        stack: which one.
        seconds: how long to wait at most. Where nothing is starting, ``APPEAR_SECONDS`` at most.
        tell: is told once that there is something to wait for.

    Raises:
        LocalStackError: nothing runs or starts, or it was not up in time.
    """
    began = time.monotonic()
    told = False
    while True:
        # The embedded AWS answers before the rest does: while a whole stack is starting, it alone is not enough.
        starting = supervisor(stack) is not None and stack.read_local() is None
        waited = time.monotonic() - began
        if not starting:
            try:
                return stack_variables(stack)
            except LocalStackError:
                if waited >= min(seconds, APPEAR_SECONDS):
                    raise
        elif waited >= seconds:
            raise LocalStackError(
                f"The local stack of {stack.path} was still starting after {seconds:g} s",
                remedy=f"Wait longer with --wait, or see {stack.path / 'logs'} for what it is doing.",
            )
        elif not told:
            tell(f"Waiting for the local stack of {stack.path}, which is starting.")
            told = True
        time.sleep(_POLL_SECONDS)


def end_stack(stack: StackDirectory) -> None:
    """End the stack and wait until it is gone; also what a killed one left running.

    Raises:
        LocalStackError: there is none.
    """
    ended = False
    deadline = time.monotonic() + DOWN_SECONDS
    asked: int | None = None
    while (pid := supervisor(stack)) is not None and time.monotonic() < deadline:
        if pid and pid != asked:
            # The lock is held, so the number cannot be another process's by now.
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGTERM)
            asked, ended = pid, True
        time.sleep(_POLL_SECONDS)
    if pid:
        os.kill(pid, signal.SIGKILL)
    if StackProcesses(stack.path).end(None, STOP_SECONDS):
        ended = True
        stack.remove_local()
    if not ended:
        raise LocalStackError(f"No local stack of {stack.path} is running", remedy="Name its directory with --dir.")


def _api_password(stack: StackDirectory) -> str | None:
    try:
        auth = json.loads((stack.path / STATE_FILE).read_text()).get("auth")
    except (OSError, ValueError):
        return None
    return str(auth) if auth else None
