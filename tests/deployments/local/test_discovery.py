"""Waiting for a stack that has just been started, as by ``dda local up &`` and ``dda local env`` right after it."""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from dda_core.exceptions import LocalStackError
from deployments.local.directory import StackDirectory
from deployments.local.discovery import wait_for_stack
from deployments.local.stack import take_lock

ANSWERS = {"/api/health": True, "/_dda/health": {"instance": "one"}}


class Healthy(BaseHTTPRequestHandler):
    """A Prefect server and an embedded AWS, as far as their health goes."""

    def do_GET(self) -> None:
        self.send_response(200)
        self.end_headers()
        self.wfile.write(json.dumps(ANSWERS[self.path]).encode())

    def log_message(self, format: str, *args: object) -> None:
        """Keep quiet."""


@pytest.fixture
def url() -> Iterator[str]:
    server = ThreadingHTTPServer(("127.0.0.1", 0), Healthy)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield f"http://127.0.0.1:{server.server_port}"
    server.shutdown()
    server.server_close()


def test_a_stack_that_is_starting_is_waited_for_and_its_aws_alone_is_not_enough(url: str, tmp_path: Path) -> None:
    stack = StackDirectory(tmp_path)
    said: list[str] = []
    with take_lock(stack):
        stack.write_aws({"aws_endpoint_url": url})
        ready = {"prefect_api_url": f"{url}/api", "aws_endpoint_url": url, "region": "us-east-1"}
        later = threading.Timer(0.5, stack.write_local, [ready])
        later.start()
        variables = wait_for_stack(stack, 20, notify=said.append)
    assert (variables["PREFECT_API_URL"], variables["AWS_ENDPOINT_URL"]) == (f"{url}/api", url)
    assert said == [f"Waiting for the local stack in {tmp_path}, which is starting."]


def test_a_stack_that_takes_too_long_is_an_error_that_says_where_to_look(tmp_path: Path) -> None:
    stack = StackDirectory(tmp_path)
    with take_lock(stack), pytest.raises(LocalStackError, match=r"still starting after 0\.3 s") as error:
        wait_for_stack(stack, 0.3)
    assert str(tmp_path / "logs") in str(error.value)


def test_the_shell_may_be_quicker_than_the_stack_that_it_started(url: str, tmp_path: Path) -> None:
    stack = StackDirectory(tmp_path)
    threading.Timer(0.5, stack.write_aws, [{"aws_endpoint_url": url}]).start()
    assert wait_for_stack(stack, 20)["AWS_ENDPOINT_URL"] == url


def test_an_answer_is_not_waited_for_where_nobody_wants_to(tmp_path: Path) -> None:
    began = time.monotonic()
    with pytest.raises(LocalStackError, match="dda local up"):
        wait_for_stack(StackDirectory(tmp_path), 0)
    assert time.monotonic() - began < 1
