"""Connection faults: no response, a truncated one, or none in time.

The server applies them to the real socket, so that any client sees them as it would see network faults. Under
``mock_aws`` there is no socket, so the exception is raised that botocore's HTTP client would raise.
"""

from __future__ import annotations

import select
import socket
import struct
import time
from collections.abc import Callable, Iterable
from enum import StrEnum
from http.client import IncompleteRead
from typing import Any

from botocore.exceptions import (
    ConnectionClosedError,
    ConnectTimeoutError,
    EndpointConnectionError,
    ReadTimeoutError,
)

Answer = tuple[int, dict[str, Any], Any]

HEADER = "X-Dda-Connection-Fault"
"""Carries the fault from the dispatcher to the socket; clients never see it."""
HOLD_SECONDS = 90.0
"""How long a response is held back at most; longer than botocore's default read timeout of a minute."""
_NO_LINGER = struct.pack("ii", 1, 0)


class ConnectionFault(StrEnum):
    """The ways in which a call's connection can break."""

    CONNECT_TIMEOUT = "connect-timeout"
    CONNECTION_REFUSED = "connection-refused"
    CONNECTION_RESET = "connection-reset"
    READ_TIMEOUT = "read-timeout"
    CUT_BODY = "cut-body"

    @property
    def connects(self) -> bool:
        """Whether the call reaches AWS, so that it may take effect."""
        return self not in (ConnectionFault.CONNECT_TIMEOUT, ConnectionFault.CONNECTION_REFUSED)


def broken(fault: ConnectionFault, request: Any, answered: Answer | None, *, streaming: bool) -> Answer:
    """The response, marked for :class:`BreakingApp`; under ``mock_aws`` a truncated one, or botocore's exception.

    Args:
        fault: the fault to apply.
        request: moto's request.
        answered: the service's response; None when it was not called.
        streaming: whether the caller reads the body as a stream, as with GetObject.
    """
    status, headers, body = answered or (200, {}, b"")
    if request.from_wsgi_server:
        return status, {**headers, HEADER: fault.value}, body
    content = body.encode() if isinstance(body, str) else bytes(body or b"")
    if fault is ConnectionFault.CUT_BODY and streaming and content:
        length = {"content-length": str(len(content))}
        kept = {name: value for name, value in headers.items() if name.lower() != "content-length"}
        return status, {**kept, **length}, content[: len(content) // 2]
    raise _exception(fault, request.raw_url, content)


def _exception(fault: ConnectionFault, url: str, content: bytes) -> Exception:
    match fault:
        case ConnectionFault.CONNECT_TIMEOUT:
            return ConnectTimeoutError(endpoint_url=url, error="timed out")
        case ConnectionFault.CONNECTION_REFUSED:
            return EndpointConnectionError(endpoint_url=url, error="[Errno 111] Connection refused")
        case ConnectionFault.READ_TIMEOUT:
            return ReadTimeoutError(endpoint_url=url, error="Read timed out.")
        case ConnectionFault.CONNECTION_RESET:
            return ConnectionClosedError(endpoint_url=url, error=ConnectionResetError(104, "Connection reset by peer"))
        case ConnectionFault.CUT_BODY:
            return ConnectionClosedError(endpoint_url=url, error=IncompleteRead(content[: len(content) // 2]))


class BreakingApp:
    """WSGI middleware that applies the connection fault in a response's header to the socket."""

    def __init__(self, app: Callable[..., Iterable[bytes]]) -> None:
        self._app = app

    def __call__(self, environ: dict[str, Any], start_response: Any) -> Iterable[bytes]:
        """Handle one request, or break its connection."""
        started: list[tuple[str, list[tuple[str, str]]]] = []

        def start(status: str, headers: list[tuple[str, str]], exc_info: Any = None) -> Any:
            started.append((status, headers))
            return lambda data: None

        body = self._app(environ, start)
        status, headers = started[-1]
        named = [value for name, value in headers if name.lower() == HEADER.lower()]
        if not named:
            start_response(status, headers)
            return body
        content = b"".join(body)
        match ConnectionFault(named[0]):
            case ConnectionFault.CUT_BODY if content and environ["REQUEST_METHOD"] != "HEAD":
                kept = [each for each in headers if each[0].lower() not in (HEADER.lower(), "content-length")]
                # A shorter body than Content-Length says.
                start_response(status, [*kept, ("Content-Length", str(len(content)))])
                return [content[: len(content) // 2]]
            case ConnectionFault.READ_TIMEOUT:
                _hold(environ["werkzeug.socket"])
                raise ConnectionAbortedError("the client gave up waiting")
            case _:
                _reset(environ["werkzeug.socket"])
                raise ConnectionResetError("broken on purpose")


def _hold(connection: socket.socket) -> None:
    """Wait until the client closes the connection."""
    ends = time.monotonic() + HOLD_SECONDS
    while time.monotonic() < ends:
        readable, _, _ = select.select([connection], [], [], 1.0)
        # Data may be the rest of the request; an empty read means that the client has closed the connection.
        if readable and not connection.recv(1 << 20):
            return


def _reset(connection: socket.socket) -> None:
    """Close the connection with a TCP reset, as when a process is killed."""
    connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _NO_LINGER)
    connection.close()
