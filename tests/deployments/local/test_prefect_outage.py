"""A run survives a restart of the Prefect server and a locked database without loss.

Server, worker and embedded AWS are started with the commands and settings of ``dda local up``, but without its
supervisor, which would stop all of them when the server ends.
"""

from __future__ import annotations

import json
import os
import signal
import sqlite3
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import boto3
import pytest

from deployments.local.directory import StackDirectory
from deployments.local.prefect_server import (
    WORK_POOL,
    ask,
    free_port,
    server_answers,
    server_command,
    stack_environment,
    worker_command,
    worker_polls,
)
from deployments.local.processes import StackProcesses
from tests.deployments.local.conftest import PYTHON, api, dda, shell, until
from tests.fixtures.archives import trained_archive

pytestmark = [pytest.mark.slow, pytest.mark.timeout(900)]

ACCOUNT, REGION = "123456789012", "us-east-1"
FOUR = ["arm64-cpu", "jetson-xavier-jp5", "x86_64-cpu", "x86_64-cuda"]
COMPILE_SECONDS = 8
AWAY_SECONDS = 5
LOCKED_SECONDS = 30
END_SECONDS = 400
"""Waiters for SQLite's lock continue one by one, and Prefect's client backs off with every refusal."""


class Installation:
    """An embedded AWS, a Prefect server, a worker and the use case ``local``."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.directory = StackDirectory(folder / "stack")
        self.directory.path.mkdir()
        self.processes = StackProcesses(self.directory.path)
        self.port = free_port()
        self.api_url = f"http://127.0.0.1:{self.port}/api"
        self.aws_url = ""

    def environment(self) -> dict[str, str]:
        home = self.directory.path / "prefect"
        return stack_environment(home, self.api_url, self.aws_url or None, REGION, None)

    def start(self) -> None:
        words = f"aws --dir {self.directory.path} --compile-seconds {COMPILE_SECONDS} --publish-seconds 1"
        self.start_server()
        registration = self.processes.start(
            "registration",
            [PYTHON, "-m", "deployments.local.bootstrap", "local", ACCOUNT, REGION, "dda-local-artifacts"],
            self.environment(),
        )
        aws = [PYTHON, "-m", "deployments.local", *words.split(), "--component-versions-per-second", "0"]
        self.processes.start("aws", aws, self.environment())
        self.aws_url = str(until(self.directory.read_aws)["aws_endpoint_url"])
        self.until_server_answers()
        ask(f"{self.api_url}/work_pools/", {"name": WORK_POOL, "type": "process"})
        self.processes.start("worker", worker_command(), self.environment())
        until(lambda: registration.exit_code == 0, 90)
        until(lambda: worker_polls(self.api_url, None, ""), 60)

    def start_server(self) -> None:
        self.processes.start("server", server_command(self.port), self.environment(), append_log=True)

    def until_server_answers(self) -> None:
        until(lambda: server_answers(self.api_url), 90)

    def end_server(self, number: signal.Signals) -> None:
        server = self.processes.children["server"].process
        os.kill(server.pid, number)
        server.wait(30)

    @property
    def content(self) -> dict[str, Any]:
        """What ``local.json`` would contain."""
        return {"prefect_api_url": self.api_url, "aws_endpoint_url": self.aws_url, "region": REGION}

    def dda(self, *words: str) -> Any:
        ended = dda(shell(self.content, self.folder), *words, "--json")
        assert ended.returncode == 0, ended.stderr
        return json.loads(ended.stdout)

    def client(self, service: str) -> Any:
        keys = {"aws_access_key_id": "local", "aws_secret_access_key": "local"}
        return boto3.client(service, endpoint_url=self.aws_url, region_name=REGION, **keys)

    def jobs(self, training_job: str) -> dict[str, str]:
        found = self.client("sagemaker").list_compilation_jobs(NameContains=training_job)["CompilationJobSummaries"]
        return {job["CompilationJobName"]: job["CompilationJobStatus"] for job in found}

    def train(self, training_job: str) -> None:
        archive = trained_archive(self.folder / f"{training_job}.tar.gz")
        words = ("local", "train", training_job, "--model-archive", str(archive))
        assert dda(shell(self.content, self.folder), *words).returncode == 0

    def compile(self, training_job: str) -> str:
        """Start a run for four targets; return its id."""
        return str(self.dda("compile", training_job, "--use-case", "local")["flow_run_id"])

    def begin(self, training_job: str) -> str:
        """Train and compile; return the run's id once all four compilation jobs exist and some are in progress."""
        self.train(training_job)
        run = self.compile(training_job)
        until(lambda: len(jobs := self.jobs(training_job)) == len(FOUR) and "INPROGRESS" in jobs.values(), 120)
        return run

    def end_of(self, run: str) -> dict[str, Any]:
        """Wait for the run's final state; the server may be slow."""

        def final() -> Any:
            state = (ask(f"{self.api_url}/flow_runs/{run}") or {}).get("state") or {}
            return state if state.get("type") in ("COMPLETED", "FAILED", "CRASHED", "CANCELLED") else None

        state: dict[str, Any] = until(final, END_SECONDS)
        return state

    def versions(self, training_job: str) -> list[tuple[str, str, str]]:
        greengrass = self.client("greengrassv2")
        return sorted(
            (
                component["componentName"],
                row["componentVersion"],
                greengrass.describe_component(arn=row["arn"])["status"]["componentState"],
            )
            for component in greengrass.list_components()["components"]
            if component["componentName"].startswith(f"model-{training_job}-")
            for row in greengrass.list_component_versions(arn=component["arn"])["componentVersions"]
        )


@pytest.fixture(scope="module")
def installation(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Installation]:
    installation = Installation(tmp_path_factory.mktemp("outage"))
    try:
        installation.start()
        yield installation
    finally:
        installation.processes.end("worker", 10)
        installation.processes.end(None, 10)


def restart(installation: Installation, number: signal.Signals) -> None:
    installation.end_server(number)
    time.sleep(AWAY_SECONDS)
    installation.start_server()
    installation.until_server_answers()


def lock_the_database(installation: Installation) -> None:
    """Hold the write lock of the server's database."""
    database = installation.directory.path / "prefect" / "prefect.db"
    with closing(sqlite3.connect(database, timeout=30, isolation_level=None)) as connection:
        connection.execute("BEGIN EXCLUSIVE")
        time.sleep(LOCKED_SECONDS)
        connection.execute("ROLLBACK")


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM])
def test_a_run_survives_a_server_restart_without_loss(
    installation: Installation, number: signal.Signals, counted: Callable[..., None]
) -> None:
    training_job = f"restarted-{number.name.lower()}"
    run = installation.begin(training_job)
    restart(installation, number)
    assert_nothing_is_lost(installation, training_job, run)
    counted("Prefect outages: server restarted in mid-run")


def test_a_run_survives_a_database_locked_for_30_seconds_without_loss(
    installation: Installation, counted: Callable[..., None]
) -> None:
    installation.train("locked-at-start")
    in_progress = installation.begin("locked-in-mid-run")
    just_begun = installation.compile("locked-at-start")
    lock_the_database(installation)
    assert_nothing_is_lost(installation, "locked-in-mid-run", in_progress)
    assert_nothing_is_lost(installation, "locked-at-start", just_begun)
    counted("Prefect outages: database locked for 30 s", 2)


def assert_nothing_is_lost(installation: Installation, training_job: str, run: str) -> None:
    """Check AWS, record, history and pages: the run must have ended as if nothing had happened."""
    state = installation.end_of(run)
    assert (state["type"], state["message"]) == ("COMPLETED", "4/4 targets deployable")

    assert sorted(installation.jobs(training_job).values()) == ["COMPLETED"] * 4
    versions = installation.versions(training_job)
    assert [(version, state) for _, version, state in versions] == [("1.0.0", "DEPLOYABLE")] * 4

    view = installation.dda("status", training_job)
    assert view["flow_run_id"] == run
    assert {
        target: (row["status"], row["attempt"], row["version"]) for target, row in view["targets"].items()
    } == dict.fromkeys(FOUR, ("deployable", 1, "1.0.0"))
    rows = installation.dda("history", training_job)
    assert sorted((row["target"], row["attempt"], row["status"], row["flow_run_id"]) for row in rows) == [
        (target, 1, "deployable", run) for target in FOUR
    ]

    def asked(path: str, body: Any = None) -> Any:
        return api(installation.content, path, body)

    states = [state["name"] for state in asked(f"flow_run_states/?flow_run_id={run}")]
    assert states[-2:] == ["Running", "Completed"]
    assert set(states) <= {"Scheduled", "Late", "Pending", "Submitting", "Running", "Completed"}
    assert (flow_run := asked(f"flow_runs/{run}"))["run_count"] == 1
    assert {"status:completed", *(f"target:{target}" for target in FOUR)} <= set(flow_run["tags"])
    of_run = {"flow_runs": {"id": {"any_": [run]}}}
    keys = Counter(artifact["key"] for artifact in asked("artifacts/filter", of_run) if artifact["key"])
    assert set(keys.values()) == {1}, keys
    assert {f"record-{training_job}", f"targets-{training_job}"} <= set(keys)
    # The server writes task runs with a delay. Each target has four task runs, all of them completed.
    until(lambda: Counter(task["state_name"] for task in asked("task_runs/filter", of_run))["Completed"] >= 20, 90)
    steps = Counter(task["name"] for task in asked("task_runs/filter", of_run))
    assert set(steps.values()) == {1}, steps
