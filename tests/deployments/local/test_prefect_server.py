"""Settings of the stack's processes, and failing starts."""

from __future__ import annotations

import os
import socket
import sys
from pathlib import Path

import pytest

from dda_core.exceptions import Interrupted, LocalStackError
from deployments.local import stack as stack_module
from deployments.local.aws.settings import AwsSettings
from deployments.local.directory import StackDirectory
from deployments.local.discovery import find_stack, stack_variables
from deployments.local.prefect_server import aws_instance, free_port, server_answers, stack_environment
from deployments.local.processes import StackProcesses
from deployments.local.stack import LocalStack, supervisor, take_lock


def _environment(aws_url: str | None = None, auth: str | None = None) -> dict[str, str]:
    return stack_environment(Path("/stack/prefect"), "http://127.0.0.1:1/api", aws_url, "us-east-1", auth)


def test_the_callers_prefect_and_aws_settings_are_not_passed_on(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("PREFECT_PROFILE", "PREFECT_SERVER_DATABASE_CONNECTION_URL", "AWS_PROFILE", "AWS_SESSION_TOKEN"):
        monkeypatch.setenv(name, "mine")
    environment = _environment("http://127.0.0.1:2")
    assert "mine" not in environment.values()
    assert environment["PREFECT_HOME"] == "/stack/prefect"
    assert environment["AWS_ENDPOINT_URL"] == "http://127.0.0.1:2"
    assert environment["PREFECT_SERVER_CONCURRENCY_LEASE_STORAGE"].endswith(".filesystem")


def test_the_pace_is_quick_unless_the_caller_sets_it(monkeypatch: pytest.MonkeyPatch) -> None:
    assert _environment()["DDA_POLL_SECONDS"] == "1"
    monkeypatch.setenv("DDA_POLL_SECONDS", "7")
    assert _environment()["DDA_POLL_SECONDS"] == "7"


def test_requests_to_this_machine_bypass_the_proxy(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("NO_PROXY", "example.org")
    assert _environment()["NO_PROXY"] == "example.org,127.0.0.1,localhost"


def test_server_and_clients_get_the_same_password() -> None:
    environment = _environment(auth="admin:pass")
    assert environment["PREFECT_SERVER_API_AUTH_STRING"] == environment["PREFECT_API_AUTH_STRING"] == "admin:pass"
    assert "PREFECT_API_AUTH_STRING" not in _environment()


def test_a_port_is_reused_while_it_is_free() -> None:
    port = free_port()
    assert free_port(port) == port
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", port))
        taken.listen()
        assert free_port(port) != port


def test_nothing_answers_where_nothing_listens() -> None:
    url = f"http://127.0.0.1:{free_port()}"
    assert server_answers(url) is False
    assert aws_instance(url) is None


def test_a_server_that_fails_to_start_is_reported_with_its_last_log_lines(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    broken = [sys.executable, "-c", "raise SystemExit('database disk image is malformed')"]
    monkeypatch.setattr(stack_module, "server_command", lambda port: broken)
    with (
        pytest.raises(LocalStackError, match=r"(?s)Prefect server ended .*exit code 1.*disk image is malformed"),
        LocalStack(StackDirectory(tmp_path), AwsSettings()) as stack,
    ):
        stack.start()
    assert StackProcesses(tmp_path).running() == {}
    assert supervisor(StackDirectory(tmp_path)) is None


def test_a_start_can_be_interrupted(tmp_path: Path) -> None:
    with LocalStack(StackDirectory(tmp_path), AwsSettings()) as stack:
        stack.stopping.set()
        with pytest.raises(Interrupted):
            stack.start()
    assert StackProcesses(tmp_path).running() == {}
    assert not StackDirectory(tmp_path).local_file.exists()


def test_one_directory_has_one_supervisor(tmp_path: Path) -> None:
    directory = StackDirectory(tmp_path)
    assert supervisor(directory) is None
    with take_lock(directory):
        assert supervisor(directory) == os.getpid()
        with pytest.raises(LocalStackError, match=f"already running in .* .process {os.getpid()}."):
            take_lock(directory)
    assert supervisor(directory) is None


def test_a_killed_stack_does_not_count_as_running(tmp_path: Path) -> None:
    directory = StackDirectory(tmp_path)
    url = f"http://127.0.0.1:{free_port()}"
    directory.write_local({"prefect_api_url": f"{url}/api", "aws_endpoint_url": url, "region": "us-east-1"})
    with pytest.raises(LocalStackError, match="No local stack answers"):
        stack_variables(directory)


def test_variables_of_no_known_stack_fall_back_to_the_default_directory(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("PREFECT_API_URL", "https://prefect.example.com/api")
    assert find_stack(None).path == tmp_path / ".dda"
    assert find_stack(tmp_path / "named").path == tmp_path / "named"
