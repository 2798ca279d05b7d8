"""Shared fixtures: tests use no AWS account, Prefect profile or settings of the person who runs them."""

from __future__ import annotations

import os
import ssl
import subprocess
from collections import Counter
from collections.abc import Callable, Iterator
from functools import cache

import pytest

from dda_core import sanitise

COUNTED = "counted"
"""The key of a test's counts in its report, which also reaches pytest-xdist's main process."""


@pytest.fixture
def counted(record_property: Callable[[str, object], None]) -> Callable[..., None]:
    """``counted("crash matrix: kills", 4)`` adds to a sum that is printed at the end of the test run."""

    def count(what: str, number: int = 1) -> None:
        record_property(COUNTED, (what, number))

    return count


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """Print the counts of the tests that passed."""
    sums: Counter[str] = Counter()
    for report in terminalreporter.stats.get("passed", []):
        for name, value in report.user_properties:
            if name == COUNTED:
                sums[value[0]] += value[1]
    if sums:
        terminalreporter.section("counted")
    for what, number in sorted(sums.items()):
        terminalreporter.write_line(f"{what}: {number}")


@pytest.fixture(autouse=True)
def _own_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in list(os.environ):
        if name.startswith(("AWS_", "DDA_")):
            monkeypatch.delenv(name)
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "testing")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "testing")
    monkeypatch.setenv("AWS_DEFAULT_REGION", "us-east-1")
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")
    monkeypatch.setenv("AWS_CONFIG_FILE", os.devnull)
    monkeypatch.setenv("AWS_SHARED_CREDENTIALS_FILE", os.devnull)
    # A test's external ids are not secrets in the next one.
    monkeypatch.setattr(sanitise, "_known", {})


@pytest.fixture(scope="session")
def prefect_server() -> Iterator[None]:
    """The session's own Prefect server, set up for fast runs."""
    # Imported here, so that tests without Prefect start fast.
    import botocore.session
    from prefect.server.api.server import SubprocessASGIServer
    from prefect.settings import PREFECT_FLOWS_HEARTBEAT_FREQUENCY, get_current_settings, temporary_settings
    from prefect.testing.utilities import prefect_test_harness

    from deployments.local.prefect_server import server_command

    def serve(server: SubprocessASGIServer) -> subprocess.Popen[bytes]:
        assert server.port
        environment = get_current_settings().to_environment_variables(exclude_unset=True)
        return subprocess.Popen(
            server_command(server.port),
            env={**os.environ, **environment, "PREFECT_UI_ENABLED": "0"},
            stdout=subprocess.DEVNULL,
        )

    patch = pytest.MonkeyPatch()
    # As in a local stack, so that the server's event loop does not wait for its own database.
    patch.setattr(SubprocessASGIServer, "_run_uvicorn_command", serve)
    # Written one by one, task runs would keep SQLite busy longer than the flows run.
    patch.setenv("PREFECT_SERVER_SERVICES_TASK_RUN_RECORDER_BATCH_SIZE", "100")
    patch.setenv("PREFECT_SERVER_SERVICES_TASK_RUN_RECORDER_READ_BATCH_SIZE", "100")
    patch.setenv("PREFECT_SERVER_SERVICES_TASK_RUN_RECORDER_FLUSH_INTERVAL", "2")
    patch.setenv("PREFECT_SERVER_ANALYTICS_ENABLED", "false")
    # An eighth of the CPU time; tests of what automations do have a server of their own.
    patch.setenv("PREFECT_SERVER_SERVICES_TRIGGERS_ENABLED", "false")
    patch.setenv("PREFECT_LOGGING_LEVEL", "WARNING")
    # Prefect's client creates an SSL context each time, a third of the time of a flow in these tests.
    patch.setattr(ssl, "create_default_context", cache(ssl.create_default_context))
    # Each use case's session would parse its service models again.
    patch.setattr(botocore.session, "create_loader", cache(botocore.session.create_loader))
    with (
        prefect_test_harness(server_startup_timeout=150),
        temporary_settings({PREFECT_FLOWS_HEARTBEAT_FREQUENCY: None}),
    ):
        yield
    patch.undo()
