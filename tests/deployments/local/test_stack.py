"""The whole stack: real processes, a real Prefect server, and runs by its worker."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import time
import urllib.request
from pathlib import Path

import pytest

from deployments.local.aws.client import boto3_client
from tests.deployments.local.conftest import PYTHON, RunningStack, Up, api, local, processes_of, until
from tests.fixtures.archives import trained_archive
from tests.fixtures.device_checks import refused_by_devices

pytestmark = pytest.mark.timeout(300)
COMPILE = [PYTHON, "-m", "deployments.cli.main", "compile"]


def _train(stack: RunningStack, name: str, folder: Path) -> None:
    archive = trained_archive(folder / "model.tar.gz")
    assert local("train", name, "--model-archive", archive, env=stack.environment()).returncode == 0


@pytest.mark.slow
def test_local_json_has_the_addresses_of_everything(stack: RunningStack) -> None:
    content = stack.content
    assert set(content) == {
        "aws_endpoint_url",
        "prefect_api_url",
        "ui_url",
        "use_case",
        "bucket",
        "region",
        "account_id",
    }
    assert (content["use_case"], content["bucket"]) == ("local", "dda-local-artifacts")
    assert (content["region"], content["account_id"]) == ("us-east-1", "123456789012")
    assert api(stack.content, "health") is True
    with urllib.request.urlopen(content["ui_url"]) as page:
        assert b"<html" in page.read().lower()


@pytest.mark.slow
def test_deployments_exist_and_enforce_their_schema(stack: RunningStack) -> None:
    for name in ("local", "any-use-case"):
        deployment = api(stack.content, f"deployments/name/compile-training-job/{name}")
        assert deployment["enforce_parameter_schema"] is True
        assert deployment["global_concurrency_limit"]["limit"] >= 10
        assert deployment["concurrency_options"]["collision_strategy"] == "ENQUEUE"
        assert deployment["pull_steps"] in (None, [])
        assert deployment["entrypoint"] == "flows.compile_training_job.compile_training_job"
    assert api(stack.content, "deployments/name/compile-training-job/local")["parameters"] == {"use_case": "local"}


@pytest.mark.slow
def test_env_points_an_unmodified_boto3_program_at_the_stack(stack: RunningStack) -> None:
    program = "import boto3; print([b['Name'] for b in boto3.client('s3').list_buckets()['Buckets']])"
    script = f'eval "$({PYTHON} -m deployments.local env --dir {stack.directory})"; {PYTHON} -c "{program}"'
    environment = {name: value for name, value in os.environ.items() if not name.startswith("AWS_")}
    done = subprocess.run(["bash", "-c", script], capture_output=True, text=True, env=environment)
    assert done.stdout.strip() == "['dda-local-artifacts']", done.stderr


@pytest.mark.slow
def test_env_finds_the_stack_by_its_variables(stack: RunningStack, tmp_path: Path) -> None:
    found = local("env", cwd=tmp_path, env=stack.environment())
    assert found.stdout == local("env", "--dir", stack.directory).stdout != ""


def test_env_without_a_stack_says_how_to_start_one(tmp_path: Path) -> None:
    done = local("env", "--dir", tmp_path)
    assert done.returncode == 3
    assert done.stdout == ""
    assert f"dda local up --dir {tmp_path}" in done.stderr


@pytest.mark.slow
def test_second_up_in_the_same_directory_is_refused(stack: RunningStack) -> None:
    before = processes_of(stack.directory)
    done = local("up", "--dir", stack.directory)
    assert done.returncode == 3
    assert f"A local stack is already running in {stack.directory}" in done.stderr
    assert before.items() <= processes_of(stack.directory).items()


@pytest.mark.slow
def test_the_callers_own_settings_do_not_reach_the_stack(stack: RunningStack) -> None:
    worker = next(pid for pid, role in processes_of(stack.directory).items() if role == "prefect-worker")
    environment = Path(f"/proc/{worker}/environ").read_bytes().decode().split("\0")
    assert not [line for line in environment if line.startswith("AWS_PROFILE=")]
    assert f"PREFECT_API_URL={stack.content['prefect_api_url']}" in environment
    assert f"PREFECT_HOME={stack.directory}/prefect" in environment


@pytest.mark.slow
def test_a_run_from_the_command_line_publishes_components_that_devices_can_run(
    stack: RunningStack, tmp_path: Path
) -> None:
    _train(stack, "lid-1", tmp_path)
    done = subprocess.run(
        [*COMPILE, "lid-1", "--use-case", "local", "--wait", "--json"],
        capture_output=True,
        text=True,
        env=stack.environment(),
    )
    assert done.returncode == 0, done.stderr
    view = json.loads(done.stdout)
    assert view["status"] == "completed"
    assert {target["status"] for target in view["targets"].values()} == {"deployable"}
    assert len(view["targets"]) == 4
    address, region = stack.content["aws_endpoint_url"], stack.content["region"]
    assert refused_by_devices(lambda service: boto3_client(service, address, region)) == {}


@pytest.mark.slow
def test_a_scheduled_run_is_executed(stack: RunningStack, tmp_path: Path) -> None:
    _train(stack, "lid-2", tmp_path)
    # With incompatible package versions the server starts, but never creates scheduled runs.
    deployment = api(stack.content, "deployments/name/compile-training-job/local")["id"]
    first = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(time.time() + 8))
    [made] = api(
        stack.content,
        f"deployments/{deployment}/schedules",
        [
            {
                "schedule": {"interval": 20, "anchor_date": first},
                "active": True,
                "parameters": {"training_job_name": "lid-2"},
            }
        ],
    )
    # The scheduler handles changed deployments within five seconds, others within a minute.
    api(stack.content, f"deployments/{deployment}", {"description": "scheduled"}, method="PATCH")
    query = {
        "flow_runs": {"state": {"type": {"any_": ["COMPLETED", "FAILED", "CRASHED"]}}},
        "deployments": {"id": {"any_": [deployment]}},
        "sort": "START_TIME_DESC",
    }

    def scheduled_run() -> dict[str, object] | None:
        runs = api(stack.content, "flow_runs/filter", query)
        return next((run for run in runs if run["auto_scheduled"]), None)

    try:
        run = until(scheduled_run, 90)
    finally:
        api(stack.content, f"deployments/{deployment}/schedules/{made['id']}", method="DELETE")
    assert run["state_type"] == "COMPLETED", run["state"]
    assert run["state"]["message"] == "4/4 targets deployable"


@pytest.mark.slow
def test_prefect_keeps_its_state_after_kill_9_and_down_ends_everything(tmp_path: Path) -> None:
    directory = tmp_path / "dda"
    alone = subprocess.Popen(
        [PYTHON, "-m", "deployments.local", "aws", "--dir", str(directory)], stderr=subprocess.DEVNULL
    )
    try:
        until((directory / "aws.json").exists)
        first = Up(directory)
        before = first.ready()
        api(before, "variables/", {"name": "kept", "value": "yes"})
        orphans = processes_of(directory)
        first.signal(signal.SIGKILL)
        assert orphans.items() <= processes_of(directory).items(), "only the next up ends them"

        second = Up(directory)
        until(lambda: "Prefect keeps its state" in second.said)
        after = second.ready()
        assert after == before, "links into the UI stay valid"
        assert api(after, "variables/name/kept")["value"] == "yes"
        assert not orphans.keys() & processes_of(directory).keys()

        # From another folder, only by the variables.
        found = {"PREFECT_API_URL": after["prefect_api_url"]}
        down = local("down", cwd=tmp_path, env={**os.environ, **found})
        assert down.returncode == 0, down.stderr
        assert second.process.wait(30) == 0
        assert processes_of(directory) == {}
        assert not (directory / "local.json").exists()
        assert alone.poll() is None, "a joined embedded AWS is not stopped"
        assert (directory / "aws.json").exists()
    finally:
        alone.terminate()
        alone.wait()


@pytest.mark.slow
def test_prefect_starts_empty_without_its_aws_and_a_dead_worker_ends_the_stack(tmp_path: Path) -> None:
    directory = tmp_path / "dda"
    (directory / "prefect").mkdir(parents=True)
    (directory / "prefect" / "of-another-aws").touch()
    (directory / "stack.json").write_text('{"aws_instance": "earlier"}')
    up = Up(directory)
    up.ready()
    assert "so Prefect starts with an empty state" in up.said
    assert not (directory / "prefect" / "of-another-aws").exists()

    worker = next(pid for pid, role in processes_of(directory).items() if role == "prefect-worker")
    os.kill(worker, signal.SIGKILL)
    assert up.process.wait(40) == 3
    assert "prefect-worker ended unexpectedly" in up.said
    assert "Worker 'local' started!" in up.said, "the log's last lines are shown"
    assert processes_of(directory) == {}
    assert not (directory / "local.json").exists()
    assert local("down", "--dir", directory).returncode == 3
