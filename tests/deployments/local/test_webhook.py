"""Events of completed training jobs start runs, with a real password-protected server and a real worker."""

from __future__ import annotations

import base64
import json
import signal
import subprocess
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, NamedTuple

import pytest

from deployments.local.aws.client import AwsControl, boto3_client
from tests.deployments.local.conftest import QUICK, Up, dda, shell, until
from tests.fixtures.archives import trained_archive
from tests.fixtures.events import sagemaker_event

pytestmark = [pytest.mark.slow, pytest.mark.timeout(600)]

AUTH = "dda:pass:word"
COPIES = 5


class Stack(NamedTuple):
    """A stack whose Prefect server requires a password."""

    content: dict[str, Any]
    environment: dict[str, str]
    folder: Path

    def dda(self, *words: str) -> subprocess.CompletedProcess[str]:
        return dda(self.environment, *words)

    def train(self, name: str, **options: Any) -> None:
        archive = trained_archive(self.folder / f"{name}.tar.gz")
        AwsControl(self.content["aws_endpoint_url"]).train(name, archive, **options)

    def event(self, name: str, **options: Any) -> str:
        file = self.folder / f"{name}.json"
        file.write_text(json.dumps(sagemaker_event(name, **options)))
        return str(file)

    def request(self, name: str, **options: Any) -> dict[str, Any]:
        """The output of ``dda webhook request``."""
        printed = self.dda(
            "webhook", "request", "--event", self.event(name, **options), "--use-case", "local", "--json"
        )
        assert printed.returncode == 0, printed.stderr
        request: dict[str, Any] = json.loads(printed.stdout)
        return request

    def ask(self, path: str, body: Any = None) -> Any:
        headers = {"Content-Type": "application/json", "Authorization": basic(AUTH)}
        method = "GET" if body is None else "POST"
        request = {
            "method": method,
            "url": f"{self.content['prefect_api_url']}/{path}",
            "headers": headers,
            "body": body,
        }
        for _ in range(30):
            status, content = send(request)
            if status != 503:
                break
            time.sleep(1)  # SQLite is busy
        assert status < 300, content
        return content

    def runs(self, name: str) -> list[dict[str, Any]]:
        found: list[dict[str, Any]] = self.ask("flow_runs/filter", {"flow_runs": {"name": {"any_": [name]}}})
        return found

    def ended(self, flow_run_id: str) -> dict[str, Any]:
        """Wait for the run to end; return it."""

        def look() -> dict[str, Any] | None:
            run: dict[str, Any] = self.ask(f"flow_runs/{flow_run_id}")
            return run if run["state_type"] in ("COMPLETED", "FAILED", "CRASHED", "CANCELLED") else None

        found: dict[str, Any] = until(look, 90)
        return found

    def versions(self, name: str) -> dict[str, str]:
        """The component versions of a training job, with their states."""
        greengrass = boto3_client("greengrassv2", self.content["aws_endpoint_url"], self.content["region"])
        found = {}
        for component in greengrass.list_components(maxResults=100)["components"]:
            for row in greengrass.list_component_versions(arn=component["arn"])["componentVersions"]:
                described = greengrass.describe_component(arn=row["arn"])
                if described["tags"]["dda-portal:training-id"] == name:
                    found[row["arn"]] = described["status"]["componentState"]
        return found


def basic(auth: str) -> str:
    return f"Basic {base64.b64encode(auth.encode()).decode()}"


def send(request: dict[str, Any]) -> tuple[int, Any]:
    """Send a request as printed, once; return the HTTP status and the response's content."""
    body = request["body"]
    sent = urllib.request.Request(
        request["url"],
        data=None if body is None else body.encode() if isinstance(body, str) else json.dumps(body).encode(),
        headers=request["headers"],
        method=request["method"],
    )
    try:
        with urllib.request.urlopen(sent, timeout=30) as answer:
            return answer.status, json.load(answer)
    except urllib.error.HTTPError as error:
        return error.code, error.read().decode()


def send_as_eventbridge(request: dict[str, Any]) -> tuple[int, Any]:
    """Send with retries on 5xx and 429 only. The server answers 503 while SQLite is busy."""
    for _ in range(20):
        status, content = send(request)
        if status < 500 and status != 429:
            break
        time.sleep(0.5)
    return status, content


@pytest.fixture(scope="module")
def stack(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stack]:
    folder = tmp_path_factory.mktemp("webhook")
    up = Up(folder / "stack", environment={"PREFECT_SERVER_API_AUTH_STRING": AUTH}, options=QUICK)
    try:
        content = up.ready()
        yield Stack(content, {**shell(content, folder), "PREFECT_API_AUTH_STRING": AUTH}, folder)
    finally:
        up.signal(signal.SIGTERM)


def test_the_printed_request_starts_one_run_however_often_it_is_sent(
    stack: Stack, counted: Callable[..., None]
) -> None:
    stack.train("hooked-1", model_name="hooked")
    request = stack.request("hooked-1")
    with ThreadPoolExecutor(COPIES) as pool:
        answers = list(pool.map(send_as_eventbridge, [request] * COPIES))
    assert sorted(status for status, _ in answers) == [200] * (COPIES - 1) + [201]
    [run_id] = {content["id"] for _, content in answers}

    run = stack.ended(run_id)
    assert (run["state_type"], run["state"]["message"]) == ("COMPLETED", "4/4 targets deployable")
    assert "trigger:eventbridge" in run["tags"]
    versions = stack.versions("hooked-1")
    assert set(versions.values()) == {"DEPLOYABLE"}
    assert len(versions) == 4

    # Late, out of order and with another id: AWS rules out none of these.
    late = stack.request("hooked-1", id="another", time="2020-01-01T00:00:00Z")
    assert late["body"] == request["body"]
    status, content = send_as_eventbridge(late)
    assert (status, content["id"], content["state_type"]) == (200, run_id, "COMPLETED")
    assert len(stack.runs("hooked-1")) == 1
    assert stack.versions("hooked-1") == versions
    counted("webhook: copies of one event", COPIES + 1)


def test_a_wrong_password_gets_401_and_no_run(stack: Stack) -> None:
    request = stack.request("barred-1")
    for headers in ({**request["headers"], "Authorization": basic("dda:wrong")}, {"Content-Type": "application/json"}):
        assert send_as_eventbridge({**request, "headers": headers})[0] == 401
    environment = {**stack.environment, "PREFECT_API_AUTH_STRING": "dda:wrong"}
    sent = dda(environment, "webhook", "test", "--event", stack.event("barred-1"), "--use-case", "local")
    assert (sent.returncode, sent.stdout) == (3, "")
    assert "Set PREFECT_API_AUTH_STRING" in sent.stderr
    assert stack.runs("barred-1") == []


def test_a_malformed_body_gets_409_or_422_and_no_run(stack: Stack) -> None:
    request = stack.request("malformed-1")
    body = request["body"]
    bodies: list[Any] = [
        {**body, "parameters": {}},
        {**body, "parameters": {"training_job_name": "not a name!"}},
        {**body, "parameters": {"training_job_name": 7}},
        {**body, "parameters": {**body["parameters"], "targets": ["toaster"]}},
        {**body, "parameters": "malformed-1"},
        {**body, "tags": "trigger:eventbridge"},
        [body],
        "{",
        "",
    ]
    for wrong in bodies:
        assert send_as_eventbridge({**request, "body": wrong})[0] in (409, 422), wrong
    assert stack.runs("malformed-1") == []


def test_a_run_for_an_unknown_training_job_fails_fast_and_names_account_and_region(stack: Stack) -> None:
    began = time.monotonic()
    status, content = send_as_eventbridge(stack.request("nowhere-1"))
    assert status == 201
    run = stack.ended(content["id"])
    assert time.monotonic() - began < 60, "most of the time is the worker's, which starts a process"
    assert run["state_type"] == "FAILED"
    assert run["total_run_time"] < 20
    assert "'nowhere-1' is not in account 123456789012, Region us-east-1" in run["state"]["message"]
    assert run["run_count"] == 1
    states = stack.ask(f"flow_run_states/?flow_run_id={run['id']}")
    assert "AwaitingRetry" not in [state["name"] for state in states]


def test_dda_webhook_test_sends_an_event_and_another_use_cases_training_job_is_ignored(stack: Stack) -> None:
    stack.train("foreign-1", tags={"dda:use-case": "bottles"})
    # With only one use case, --use-case may be omitted.
    sent = stack.dda("webhook", "test", "--event", stack.event("foreign-1"), "--json")
    assert sent.returncode == 0, sent.stderr
    started = json.loads(sent.stdout)
    assert (started["status"], started["name"]) == (201, "foreign-1")
    run = stack.ended(started["flow_run_id"])
    assert run["state_type"] == "COMPLETED"
    assert run["state"]["message"].startswith("ignored: ")
    assert {"status:ignored", "trigger:eventbridge"} <= set(run["tags"])
    assert stack.versions("foreign-1") == {}


def test_an_event_in_the_queue_starts_a_run_without_a_webhook(stack: Stack) -> None:
    installed = stack.dda("webhook", "install", "--queue", "--use-case", "local")
    assert installed.returncode == 0, installed.stderr
    assert "prefect --no-prompt deploy" not in installed.stderr, "the stack has the deployment"
    stack.train("queued-1", model_name="queued", tags={"dda:targets": "arm64-cpu x86_64-cpu"})
    deployment = stack.ask("deployments/name/drain-training-events/drain-training-events")
    assert [schedule["active"] for schedule in deployment["schedules"]] == [True]
    # A scheduled run may be first.
    stack.ended(stack.ask(f"deployments/{deployment['id']}/create_flow_run", {})["id"])
    [run] = until(lambda: stack.runs("queued-1"), 150)
    assert "trigger:queue" in run["tags"]
    assert stack.ended(run["id"])["state"]["message"] == "2/2 targets deployable"
    assert set(stack.versions("queued-1").values()) == {"DEPLOYABLE"}

    # The same event by the webhook has the same idempotency key, so it gets the same run.
    status, content = send_as_eventbridge(stack.request("queued-1"))
    assert (status, content["id"]) == (200, run["id"])
    assert stack.dda("webhook", "uninstall", "--use-case", "local").stdout.startswith("deleted: ")
