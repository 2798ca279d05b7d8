"""The embedded AWS in the foreground, until Ctrl-C or SIGTERM."""

from __future__ import annotations

import signal
import threading
from collections.abc import Callable

from dda_core.exceptions import LocalStackError
from deployments.local.aws.client import answers
from deployments.local.aws.server import AwsServer
from deployments.local.aws.settings import AwsSettings
from deployments.local.directory import StackDirectory


def serve(
    directory: StackDirectory,
    settings: AwsSettings,
    *,
    port: int = 0,
    ready: Callable[[str], None] = lambda url: None,
) -> None:
    """Run the embedded AWS of ``directory`` until SIGINT, SIGTERM or SIGHUP.

    ``aws.json`` exists while it answers, and ``ready`` is called with its URL once it does. Call it on the main thread:
    it sets signal handlers, because a shell that starts it with ``&`` makes it ignore SIGINT.

    Raises:
        LocalStackError: one already runs for this directory, or the port is taken.
    """
    running = directory.read_aws()
    if running and answers(str(running.get("aws_endpoint_url"))):
        raise LocalStackError(
            f"A local AWS is already running in {directory.path}, at {running['aws_endpoint_url']}",
            remedy="Use it, stop it, or choose another --dir.",
        )
    ended = threading.Event()
    signals = [signal.SIGINT, signal.SIGTERM]
    if signal.getsignal(signal.SIGHUP) is not signal.SIG_IGN:
        # nohup ignores it on purpose.
        signals.append(signal.SIGHUP)
    before = {number: signal.signal(number, lambda *_: ended.set()) for number in signals}
    server = AwsServer(settings, port=port)
    try:
        server.start()
        try:
            directory.write_aws({"aws_endpoint_url": server.endpoint_url})
            ready(server.endpoint_url)
            ended.wait()
        finally:
            directory.remove_aws()
            server.stop()
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
