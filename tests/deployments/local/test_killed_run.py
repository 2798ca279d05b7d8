"""Killing a flow run's process and stopping a worker, with the real processes of a real stack."""

from __future__ import annotations

import json
import os
import signal
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import boto3
import pytest

from deployments.local.processes import marked_processes
from tests.deployments.local.conftest import Up, api, dda, shell, until
from tests.fixtures.archives import trained_archive

pytestmark = [pytest.mark.slow, pytest.mark.timeout(600)]

TARGETS = ["--targets", "arm64-cpu,x86_64-cpu"]


class Stack(NamedTuple):
    """A stack whose compilation jobs take 20 seconds, and a shell that uses it."""

    up: Up
    content: dict[str, Any]
    environment: dict[str, str]

    def dda(self, *words: str) -> subprocess.CompletedProcess[str]:
        return dda(self.environment, *words)

    def client(self, service: str) -> Any:
        return boto3.client(
            service,
            endpoint_url=self.content["aws_endpoint_url"],
            region_name=self.content["region"],
            aws_access_key_id="local",
            aws_secret_access_key="local",
        )

    def jobs(self) -> dict[str, str]:
        summaries = self.client("sagemaker").list_compilation_jobs(MaxResults=100)["CompilationJobSummaries"]
        return {job["CompilationJobName"]: job["CompilationJobStatus"] for job in summaries}

    def start(self, training_job: str, folder: Path) -> str:
        """Train and compile; return the run's id once both its jobs exist and one is in progress."""
        archive = trained_archive(folder / f"{training_job}.tar.gz")
        assert self.dda("local", "train", training_job, "--model-archive", str(archive)).returncode == 0
        started = self.dda("compile", training_job, "--use-case", "local", *TARGETS, "--json")
        until(lambda: sum(name.startswith(training_job) for name in self.jobs()) == 2, 60)
        until(lambda: "INPROGRESS" in [status for name, status in self.jobs().items() if name.startswith(training_job)])
        return str(json.loads(started.stdout)["flow_run_id"])


@pytest.fixture(scope="module")
def stack(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stack]:
    folder = tmp_path_factory.mktemp("killed")
    options = ("--compile-seconds", "20", "--publish-seconds", "1", "--component-versions-per-second", "0")
    up = Up(folder / "stack", options=options)
    try:
        content = up.ready()
        environment = shell(content, folder)
        yield Stack(up, content, environment)
    finally:
        up.signal(signal.SIGTERM)


def flow_processes(stack: Stack, flow_run_id: str) -> list[int]:
    """The processes of a flow run, which have its id in their environment."""
    found = []
    for process in marked_processes():
        environ = Path(f"/proc/{process.pid}/environ")
        if environ.exists() and flow_run_id.encode() in environ.read_bytes():
            found.append(process.pid)
    return found


def kill(stack: Stack, flow_run_id: str) -> None:
    """Send SIGKILL to the run's processes, and wait until the worker has reported the crash."""
    processes = flow_processes(stack, flow_run_id)
    assert processes
    for pid in processes:
        os.kill(pid, signal.SIGKILL)
    until(lambda: "Crashed" in states(stack, flow_run_id), 90)


def states(stack: Stack, flow_run_id: str) -> list[str]:
    """The names of the run's states, the oldest first."""
    found = api(stack.content, f"flow_run_states/?flow_run_id={flow_run_id}")
    return [state["name"] for state in sorted(found, key=lambda state: state["timestamp"])]


def test_a_killed_run_is_restarted_and_joins_its_jobs(stack: Stack, tmp_path: Path) -> None:
    run = stack.start("killed-1", tmp_path)
    kill(stack, run)
    until(lambda: api(stack.content, f"flow_runs/{run}")["state_name"] == "Completed", 180)
    assert states(stack, run).count("Crashed") == 1
    assert "AwaitingRetry" in states(stack, run)

    view = json.loads(stack.dda("status", "killed-1", "--json").stdout)
    assert view["flow_run_id"] == run
    assert {target["status"] for target in view["targets"].values()} == {"deployable"}
    assert {target["attempt"] for target in view["targets"].values()} == {1}
    assert {target["version"] for target in view["targets"].values()} == {"1.0.0"}
    assert sum(name.startswith("killed-1") for name in stack.jobs()) == 2

    rows = json.loads(stack.dda("history", "killed-1", "--json").stdout)
    assert {row["flow_run_id"] for row in rows} == {run}
    for target in view["targets"]:
        *earlier, last = [row["status"] for row in rows if row["target"] == target]
        assert last == "deployable"
        assert set(earlier) <= {"crashed"}
    actions = api(stack.content, "artifacts/latest/filter", {"artifacts": {"key": {"any_": ["reconcile"]}}})
    assert f"flow-run/{run}" in actions[0]["data"], "the restart is recorded in an artifact"


def test_the_next_run_joins_the_jobs_of_a_killed_one(stack: Stack, tmp_path: Path) -> None:
    run = stack.start("killed-2", tmp_path)
    kill(stack, run)
    again = stack.dda("compile", "killed-2", "--use-case", "local", *TARGETS, "--wait", "--json")
    assert again.returncode == 0, again.stderr
    view = json.loads(again.stdout)
    assert {target["status"] for target in view["targets"].values()} <= {"deployable", "skipped"}
    assert {target["attempt"] for target in view["targets"].values()} == {1}
    assert {target["version"] for target in view["targets"].values()} == {"1.0.0"}
    assert sum(name.startswith("killed-2") for name in stack.jobs()) == 2
    if states(stack, run)[-1] == "Crashed":
        # It has nothing left to do, so reconcile does not restart it; a person may still retry it.
        retried = api(
            stack.content,
            f"flow_runs/{run}/set_state",
            {"state": {"type": "SCHEDULED", "name": "AwaitingRetry"}, "force": True},
        )
        assert retried["status"] == "ACCEPT"
    until(lambda: api(stack.content, f"flow_runs/{run}")["state_name"] == "Completed", 120)
    assert sum(name.startswith("killed-2") for name in stack.jobs()) == 2


def test_a_cancelled_run_stops_its_jobs(stack: Stack, tmp_path: Path) -> None:
    run = stack.start("cancelled-1", tmp_path)
    api(stack.content, f"flow_runs/{run}/set_state", {"state": {"type": "CANCELLING", "name": "Cancelling"}})
    until(lambda: {stack.jobs()[name] for name in stack.jobs() if name.startswith("cancelled-1")} == {"STOPPED"})
    until(lambda: api(stack.content, f"flow_runs/{run}")["state_name"] == "Cancelled", 120)
    view = json.loads(stack.dda("status", "cancelled-1", "--json").stdout)
    assert {target["status"] for target in view["targets"].values()} == {"stopped"}
    assert (view["state"], view["status"]) == ("Cancelled", "failed")


def test_a_stopped_worker_does_not_stop_compilation_jobs(stack: Stack, tmp_path: Path) -> None:
    run = stack.start("left-1", tmp_path)
    for pid in flow_processes(stack, run):
        os.kill(pid, signal.SIGTERM)
    until(lambda: not flow_processes(stack, run), 90)
    statuses = [status for name, status in stack.jobs().items() if name.startswith("left-1")]
    assert len(statuses) == 2
    assert set(statuses) <= {"STARTING", "INPROGRESS", "COMPLETED"}
