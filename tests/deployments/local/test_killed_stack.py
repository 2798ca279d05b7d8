"""All processes of ``dda local up`` are killed together, several times; the next ``up`` recovers without help."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import boto3
import pytest

from deployments.local.prefect_server import ask
from tests.deployments.local.conftest import PYTHON, Up, api, dda, processes_of, shell, until
from tests.fixtures.archives import trained_archive
from tests.fixtures.device_checks import refused_by_devices

pytestmark = [pytest.mark.slow, pytest.mark.timeout(900)]

JOB = "killed-stack-1"
RECOVERY_SECONDS = 120
AWS_OPTIONS = ("--compile-seconds", "40", "--publish-seconds", "10")


class Machine:
    """A separate embedded AWS, and a stack that is killed and started again."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.directory = folder / "dda"
        command = [PYTHON, "-m", "deployments.local", "aws", "--dir", str(self.directory), *AWS_OPTIONS]
        self.aws = subprocess.Popen(command, stderr=subprocess.DEVNULL)
        until((self.directory / "aws.json").exists)
        url = json.loads((self.directory / "aws.json").read_text())["aws_endpoint_url"]
        self.clients = {
            name: boto3.client(
                name,
                endpoint_url=url,
                region_name="us-east-1",
                aws_access_key_id="local",
                aws_secret_access_key="local",
            )
            for name in ("s3", "sagemaker", "greengrassv2")
        }
        self.ups: list[Up] = []
        self.began = 0.0
        self.stack: dict[str, Any] = {}

    def begin(self) -> Up:
        self.began = time.monotonic()
        self.ups.append(Up(self.directory, options=()))
        return self.ups[-1]

    def up(self) -> Up:
        up = self.begin()
        # local.json alone proves nothing: the killed stack's exists until the new one deletes it.
        until(lambda: "The local stack is up" in up.said or up.process.poll() is not None, 150)
        self.stack = up.ready()
        return up

    def kill(self, up: Up) -> None:
        """Send SIGKILL to the supervisor and all its processes; the embedded AWS keeps running."""
        for pid in (up.pid, *processes_of(self.directory)):
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        up.process.wait(10)
        while left := processes_of(self.directory):
            for pid in left:
                with suppress(ProcessLookupError):
                    os.kill(pid, signal.SIGKILL)
        assert self.aws.poll() is None

    def environment(self) -> dict[str, str]:
        return shell(self.stack, self.folder)

    def jobs(self) -> dict[str, str]:
        listed = self.clients["sagemaker"].get_paginator("list_compilation_jobs").paginate()
        summaries = [job for page in listed for job in page["CompilationJobSummaries"]]
        return {job["CompilationJobName"]: job["CompilationJobStatus"] for job in summaries}

    def packages(self) -> list[str]:
        listed = self.clients["s3"].list_objects_v2(Bucket=self.stack["bucket"], Prefix="model_artifacts/")
        return [item["Key"] for item in listed.get("Contents", [])]

    def versions(self) -> dict[str, list[str]]:
        greengrass = self.clients["greengrassv2"]
        return {
            component["componentName"]: [
                row["componentVersion"]
                for row in greengrass.list_component_versions(arn=component["arn"])["componentVersions"]
            ]
            for component in greengrass.list_components()["components"]
        }

    def state(self, run: str) -> str | None:
        """The type of the run's state; None while no server answers."""
        answer = ask(f"{self.stack['prefect_api_url']}/flow_runs/{run}")
        return str(answer["state_type"]) if answer else None


@pytest.fixture
def machine(tmp_path: Path) -> Iterator[Machine]:
    machine = Machine(tmp_path)
    try:
        yield machine
    finally:
        for up in machine.ups:
            if up.process.poll() is None:
                machine.kill(up)
        machine.aws.terminate()
        machine.aws.wait()


def test_a_stack_killed_at_any_moment_is_recovered_by_the_next_up(
    machine: Machine, tmp_path: Path, counted: Callable[..., None]
) -> None:
    up = machine.up()
    archive = trained_archive(tmp_path / "model.tar.gz")
    assert dda(machine.environment(), "local", "train", JOB, "--model-archive", str(archive)).returncode == 0
    started = dda(machine.environment(), "compile", JOB, "--use-case", "local", "--json")
    run = str(json.loads(started.stdout)["flow_run_id"])

    moments: dict[str, Callable[[], object]] = {
        "pending": lambda: machine.state(run) == "PENDING",
        "first job created": lambda: machine.jobs(),
        "again in progress": lambda: len(machine.jobs()) == 4 and machine.state(run) == "RUNNING",
        "in the middle of an up": lambda: "registration" in processes_of(machine.directory).values(),
        "first package": lambda: machine.packages(),
        "first component version": lambda: machine.versions(),
    }
    for moment, reached in moments.items():
        # Some of these moments come while `up` is still starting.
        until(reached, RECOVERY_SECONDS)
        machine.kill(up)
        print(f"killed: {moment}, {time.monotonic() - machine.began:.0f} s after its `up` began")
        counted("killed stacks")
        up = machine.begin()
    machine.kill(up)

    up = machine.up()
    try:
        assert f"compile-training-job {JOB} was restarted" in up.said
        until(lambda: machine.state(run) == "COMPLETED", RECOVERY_SECONDS)
        seconds = time.monotonic() - machine.began
        assert seconds < RECOVERY_SECONDS
        print(f"recovered {seconds:.0f} s after the last `up` began")

        view = json.loads(dda(machine.environment(), "status", JOB, "--json").stdout)
        assert (view["flow_run_id"], view["status"]) == (run, "completed")
        assert len(view["targets"]) == 4
        assert {target["status"] for target in view["targets"].values()} == {"deployable"}
        jobs = machine.jobs()
        assert (len(jobs), set(jobs.values())) == (4, {"COMPLETED"})
        assert all(name.endswith("-1") for name in jobs)
        versions = machine.versions()
        assert len(versions) == 4
        assert set(map(tuple, versions.values())) == {("1.0.0",)}
        assert refused_by_devices(machine.clients.__getitem__) == {}
        assert len([key for key in machine.packages() if "/.staging/" not in key]) == 4

        rows = json.loads(dda(machine.environment(), "history", JOB, "--json").stdout)
        assert {row["flow_run_id"] for row in rows} == {run}
        assert {row["compilation_job"] for row in rows} == set(jobs)
        for target in view["targets"]:
            statuses = [row["status"] for row in rows if row["target"] == target]
            assert statuses[-1] == "deployable"
            assert set(statuses[:-1]) <= {"crashed"}
        states = [state["name"] for state in api(machine.stack, f"flow_run_states/?flow_run_id={run}")]
        assert states.count("Crashed") >= 3
    finally:
        assert up.signal(signal.SIGTERM) == 0, up.said
