"""Component versions created by several processes concurrently, while their Prefect server is killed."""

from __future__ import annotations

import itertools
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from dda_core.components.component import ComponentNames, ComponentPlan
from dda_core.components.versions import ensure_version
from dda_core.settings import Settings
from dda_core.targets import find_target
from dda_core.use_case import UseCase
from deployments.local.aws import LocalAws, local_aws
from deployments.local.prefect_server import ask
from tests.deployments.local.conftest import until
from tests.fixtures.servers import Server

pytestmark = [pytest.mark.slow, pytest.mark.timeout(600)]

ACCOUNT, REGION, BUCKET = "123456789012", "us-east-1", "dda-local-artifacts"
NAME = f"dda-create-component-version-{ACCOUNT}-{REGION}"
RATES = {
    "DDA_SAGEMAKER_CALLS_PER_SECOND": "0",
    "DDA_GREENGRASS_CALLS_PER_SECOND": "0",
}


def publish(worker: str, versions: int) -> None:
    """One worker: its own component and that many versions of it, each as soon as the limit allows."""
    from tasks.rate_limits import limited_clients

    use_case = UseCase(usecase_id="lids", account_id=ACCOUNT, region=REGION, s3_bucket=BUCKET)
    clients = limited_clients(use_case, Settings())
    plan = ComponentPlan.of(
        use_case, find_target("arm64-cpu"), training_job="lid-7", names=ComponentNames(f"worker {worker}")
    )
    print("ready", flush=True)
    sys.stdin.readline()
    for number in range(versions):
        package = f"s3://{BUCKET}/model_artifacts/model-{worker}-{number}/{number}_greengrass_model_component.zip"
        print(ensure_version(clients.greengrass, plan, package, compilation_job="lid-7-arm64cpu-0a1b2c3d-1").version)
        sys.stdout.flush()


class Workers:
    """Processes that publish concurrently, started together."""

    def __init__(self, server: Server, aws: LocalAws, count: int, versions: int, label: str, **environ: str) -> None:
        for worker, number in itertools.product(range(count), range(versions)):
            key = f"model_artifacts/model-{label}{worker}-{number}/{number}_greengrass_model_component.zip"
            aws.client("s3").put_object(Bucket=BUCKET, Key=key, Body=key.encode())
        self.errors = [server.home.parent / f"{label}{worker}.log" for worker in range(count)]
        self.processes = [
            subprocess.Popen(
                [sys.executable, "-m", __name__, f"{label}{worker}", str(versions)],
                env=server.environment(aws.endpoint_url) | environ,
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=self.errors[worker].open("w"),
                text=True,
            )
            for worker in range(count)
        ]
        for process in self.processes:
            assert process.stdout
            assert process.stdout.readline() == "ready\n"
        for process in self.processes:
            assert process.stdin
            process.stdin.write("go\n")
            process.stdin.flush()

    def ended(self, of: slice = slice(None)) -> list[str]:
        """What the workers said, when they have ended."""
        said = [process.communicate(timeout=300)[0].split() for process in self.processes[of]]
        assert [process.returncode for process in self.processes[of]] == [0] * len(said), self.log()
        return list(itertools.chain(*said))

    def log(self) -> str:
        return "".join(error.read_text() for error in self.errors)


def limit(server: Server) -> Any:
    return ask(f"{server.api_url}/v2/concurrency_limits/{NAME}", seconds=30)


@pytest.fixture
def server(tmp_path: Path) -> Iterator[Server]:
    server = Server(tmp_path / "prefect", REGION, RATES)
    yield server
    server.kill()


@pytest.fixture
def aws() -> Iterator[LocalAws]:
    # It throttles as AWS does.
    with local_aws(component_versions_per_second=1) as running:
        yield running


def made_at(aws: LocalAws) -> list[float]:
    """When each component version was made, by the clock of AWS."""
    greengrass = aws.client("greengrassv2")
    times = [
        greengrass.describe_component(arn=version["arn"])["creationTimestamp"].timestamp()
        for component in greengrass.list_components()["components"]
        for version in greengrass.list_component_versions(arn=component["arn"])["componentVersions"]
    ]
    return sorted(times)


def gaps(times: list[float]) -> list[float]:
    return [later - earlier for earlier, later in itertools.pairwise(times)]


def test_no_two_component_versions_within_a_second_whoever_makes_them(server: Server, aws: LocalAws, counted: Any):
    workers = Workers(server, aws, 5, 3, "a")
    until(lambda: len(made_at(aws)) >= 4, 180)
    # A process that has had slots and waits for the next: others do not wait for the slots it held.
    workers.processes[4].send_signal(signal.SIGKILL)
    said = workers.ended(slice(0, 4))
    assert len(said) == 12
    assert aws.calls["greengrassv2:CreateComponentVersion"] == len(made_at(aws)), "none was throttled, and repeated"
    assert f"Created the missing limit {NAME}" in workers.log()
    assert "cannot be asked" not in workers.log()
    between = gaps(made_at(aws))
    assert min(between) >= 1.0, between
    assert max(between) < 10, between
    counted("limits: component versions made by several processes", len(between) + 1)
    print(f"least {min(between):.2f} s, most {max(between):.2f} s, mean {sum(between) / len(between):.2f} s")


def test_limits_survive_a_killed_server(server: Server, aws: LocalAws, counted: Any):
    workers = Workers(server, aws, 3, 3, "b")
    until(lambda: len(made_at(aws)) >= 3, 180)
    before = limit(server)
    server.kill()
    server.start()
    after = limit(server)
    assert (after["id"], after["limit"], after["slot_decay_per_second"]) == (before["id"], 1, 0.9)
    assert len(workers.ended()) == 9
    if "cannot be asked" not in workers.log():
        # No process had to limit itself in the meantime.
        assert min(gaps(made_at(aws))) >= 1.0
    counted("limits: component versions made while the Prefect server was killed", len(made_at(aws)))


def test_without_a_server_each_process_limits_itself_and_logs_it(server: Server, aws: LocalAws):
    workers = Workers(server, aws, 1, 3, "c", PREFECT_CLIENT_MAX_RETRIES="0")
    until(lambda: made_at(aws), 180)
    server.kill()
    assert len(workers.ended()) == 3
    assert "limits itself to 0.9 calls per second" in workers.log()
    assert min(gaps(made_at(aws))) >= 1.0


if __name__ == "__main__":
    publish(sys.argv[1], int(sys.argv[2]))
