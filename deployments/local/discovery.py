"""Find a running stack from another shell, wait for it, connect to it, and stop it."""

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
"""How long ``dda local up &`` may take until its stack is seen to be starting."""
_POLL_SECONDS = 0.1


def find_stack(directory: Path | None) -> StackDirectory:
    """The stack that a command is to use.

    Args:
        directory: the value of ``--dir``. Without one, the stack that ``PREFECT_API_URL`` or ``AWS_ENDPOINT_URL``
            points at, else that in the default directory.
    """
    if directory is not None:
        return StackDirectory(directory)
    given = {name: os.environ[name] for name in ("PREFECT_API_URL", "AWS_ENDPOINT_URL") if os.environ.get(name)}
    for process in marked_processes() if given else ():
        if any(process.environment.get(name) == value.rstrip("/") for name, value in given.items()):
            return StackDirectory(process.stack)
    return StackDirectory(DEFAULT_DIRECTORY)


def stack_variables(stack: StackDirectory) -> dict[str, str]:
    """The environment variables that point Prefect and AWS clients at the stack.

    Only those of AWS where the embedded AWS runs alone.

    Raises:
        LocalStackError: neither runs.
    """
    local = stack.read_local() or {}
    api_url = local.get("prefect_api_url")
    aws_url = local.get("aws_endpoint_url") or (stack.read_aws() or {}).get("aws_endpoint_url")
    if (api_url and not server_answers(api_url)) or not aws_url or not aws_instance(aws_url):
        raise LocalStackError(
            f"No local stack answers in {stack.path}",
            remedy=f"Start one with `dda local up --dir {stack.path}` and wait for {stack.local_file.name}, or give "
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
    stack: StackDirectory, seconds: float, *, notify: Callable[[str], None] = lambda line: None
) -> dict[str, str]:
    """:func:`stack_variables`, but waits for a stack that is still starting.

    Args:
        stack: the stack.
        seconds: how long to wait at most; at most ``APPEAR_SECONDS`` where nothing is starting.
        notify: called once, with a message, when there is a stack to wait for.

    Raises:
        LocalStackError: no stack runs or starts, or it was not up in time.
    """
    began = time.monotonic()
    notified = False
    while True:
        # Without this, a starting stack would count as ready when only its AWS answers.
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
                f"The local stack in {stack.path} was still starting after {seconds:g} s",
                remedy=f"Wait longer with --wait, or see its logs in {stack.path / 'logs'}.",
            )
        elif not notified:
            notify(f"Waiting for the local stack in {stack.path}, which is starting.")
            notified = True
        time.sleep(_POLL_SECONDS)


def end_stack(stack: StackDirectory) -> None:
    """Stop the stack, or the processes of one that was killed, and wait until all have ended.

    Raises:
        LocalStackError: none was running.
    """
    ended = False
    deadline = time.monotonic() + DOWN_SECONDS
    signalled: int | None = None
    while (pid := supervisor(stack)) is not None and time.monotonic() < deadline:
        if pid and pid != signalled:
            # The lock is held, so the process id cannot have been reused.
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGTERM)
            signalled, ended = pid, True
        time.sleep(_POLL_SECONDS)
    if pid:
        os.kill(pid, signal.SIGKILL)
    if StackProcesses(stack.path).end(None, STOP_SECONDS):
        ended = True
        stack.remove_local()
    if not ended:
        raise LocalStackError(f"No local stack is running in {stack.path}", remedy="Give its directory with --dir.")


def _api_password(stack: StackDirectory) -> str | None:
    try:
        auth = json.loads((stack.path / STATE_FILE).read_text()).get("auth")
    except (OSError, ValueError):
        return None
    return str(auth) if auth else None
