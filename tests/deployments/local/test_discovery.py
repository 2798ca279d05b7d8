"""Waiting for a stack that has just been started, as with ``dda local up &`` followed by ``dda local env``."""

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
    """The health endpoints of a Prefect server and an embedded AWS."""

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


def test_a_starting_stack_is_waited_for_even_if_its_aws_already_answers(url: str, tmp_path: Path) -> None:
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


def test_the_timeout_error_names_the_logs(tmp_path: Path) -> None:
    stack = StackDirectory(tmp_path)
    with take_lock(stack), pytest.raises(LocalStackError, match=r"still starting after 0\.3 s") as error:
        wait_for_stack(stack, 0.3)
    assert str(tmp_path / "logs") in str(error.value)


def test_env_may_run_before_the_stack_is_seen_to_start(url: str, tmp_path: Path) -> None:
    stack = StackDirectory(tmp_path)
    threading.Timer(0.5, stack.write_aws, [{"aws_endpoint_url": url}]).start()
    assert wait_for_stack(stack, 20)["AWS_ENDPOINT_URL"] == url


def test_zero_seconds_do_not_wait(tmp_path: Path) -> None:
    began = time.monotonic()
    with pytest.raises(LocalStackError, match="dda local up"):
        wait_for_stack(StackDirectory(tmp_path), 0)
    assert time.monotonic() - began < 1
