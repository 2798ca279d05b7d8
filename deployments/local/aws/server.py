"""The embedded AWS as an HTTP server in a thread of this process."""

from __future__ import annotations

import logging
import threading
from typing import Any

from moto.moto_server.werkzeug_app import (
    DomainDispatcherApplication,
    MotoRequestHandler,
    create_backend_app,
)
from moto.sagemaker.models import sagemaker_backends
from werkzeug.serving import make_server

from dda_core.exceptions import LocalStackError
from deployments.local.aws import initial_state
from deployments.local.aws.connection import BreakingApp
from deployments.local.aws.control import ControlApp
from deployments.local.aws.moto_patches import install
from deployments.local.aws.services.training_events import announce
from deployments.local.aws.settings import AwsSettings

log = logging.getLogger(__name__)

TICK_SECONDS = 0.2
"""How often due jobs are ended, even when no client asks for them."""


class _QuietHandler(MotoRequestHandler):  # type: ignore[misc]
    # Otherwise every successful request would be a line on stderr.
    def log(self, type: str, message: str, *args: object) -> None:
        if type == "error":
            log.error(message, *args)

    def connection_dropped(self, error: BaseException, environ: dict[str, Any] | None = None) -> None:
        # Otherwise it would wait for another request on the closed connection.
        self.close_connection = True


class AwsServer:
    """The embedded AWS, answering at ``endpoint_url`` between :meth:`start` and :meth:`stop`."""

    def __init__(self, settings: AwsSettings, *, host: str = "127.0.0.1", port: int = 0) -> None:
        self.settings = settings
        self.endpoint_url = ""
        self._address = (host, port)
        self._stopped = threading.Event()
        self._threads: list[threading.Thread] = []

    def start(self) -> None:
        """Start with the initial state and listen.

        Raises:
            LocalStackError: the port is taken.
        """
        install()
        initial_state.start(self.settings)
        host, port = self._address
        app = ControlApp(BreakingApp(DomainDispatcherApplication(create_backend_app)))
        try:
            self._server = make_server(host, port, app, threaded=True, request_handler=_QuietHandler)
        except (OSError, SystemExit) as error:
            # werkzeug raises SystemExit when the port is taken.
            raise LocalStackError(
                f"The local AWS cannot listen on {host}:{port} ({error})", remedy="Choose another port."
            ) from None
        self.endpoint_url = f"http://{host}:{self._server.server_port}"
        for target, name in ((self._serve, "local-aws"), (self._tick, "local-aws-clock")):
            thread = threading.Thread(target=target, name=name, daemon=True)
            thread.start()
            self._threads.append(thread)

    def stop(self) -> None:
        """Stop, and discard all state."""
        self._stopped.set()
        self._server.shutdown()
        self._server.server_close()
        for thread in self._threads:
            thread.join()
        initial_state.stop()

    def _serve(self) -> None:
        # A short poll interval, because werkzeug's half second would delay the end of every test.
        self._server.serve_forever(poll_interval=0.05)

    def _tick(self) -> None:
        while not self._stopped.wait(TICK_SECONDS):
            for account in list(sagemaker_backends.values()):
                for backend in list(account.values()):
                    for training_job in list(backend.training_jobs.values()):
                        announce(training_job)
                    for job in list(backend.compilation_jobs.values()):
                        try:
                            job.status()
                        except Exception:
                            # DescribeCompilationJob raises the same error; the other jobs must still end.
                            log.exception("compilation job %s", job.name)
