"""``dda local up --background``: start a detached supervisor and wait until the stack is up."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from contextlib import suppress
from typing import Any

from dda_core.exceptions import LocalProcessFailed
from deployments.local.aws.settings import AwsSettings
from deployments.local.directory import StackDirectory
from deployments.local.processes import last_lines
from deployments.local.stack import STOP_SECONDS, already_running, supervisor

LOG = "up.log"
_POLL_SECONDS = 0.1


def start_in_background(directory: StackDirectory, settings: AwsSettings) -> dict[str, Any]:
    """Run ``dda local up`` in its own session, which outlives the terminal; return the content of ``local.json``.

    Its output goes to ``logs/up.log``. On Ctrl-C while waiting, the new stack is stopped.

    Raises:
        LocalStackError: a stack already runs in this directory, or the new one did not come up; the message has the
            last lines of the log.
    """
    if supervisor(directory) is not None:
        raise already_running(directory)
    # A killed supervisor may have left its file, which would pass for the new one's.
    directory.remove_local()
    log = directory.path / "logs" / LOG
    log.parent.mkdir(parents=True, exist_ok=True)
    command = [sys.executable, "-m", "deployments.local", "up", "--dir", str(directory.path), *settings.options()]
    with log.open("wb") as output:
        process = subprocess.Popen(  # noqa: S603 - the command is our own
            command, stdin=subprocess.DEVNULL, stdout=output, stderr=subprocess.STDOUT, start_new_session=True
        )
    try:
        # No timeout here: the supervisor has one for each of its steps.
        while (content := directory.read_local()) is None:
            if process.poll() is not None:
                raise LocalProcessFailed(
                    f"The local stack of {directory.path} did not come up (exit code {process.returncode})",
                    log=log,
                    last_lines=last_lines(log),
                )
            time.sleep(_POLL_SECONDS)
    except KeyboardInterrupt:
        with suppress(ProcessLookupError):
            os.kill(process.pid, signal.SIGTERM)
        with suppress(subprocess.TimeoutExpired):
            process.wait(STOP_SECONDS)
        raise
    return content
