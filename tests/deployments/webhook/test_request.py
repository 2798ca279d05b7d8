"""The webhook's request, which EventBridge would build from the template and an event."""

from __future__ import annotations

import base64
import json
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest
from cfnlint import decode
from cfnlint.api import lint
from hypothesis import given, settings
from hypothesis import strategies as st
from moto.events.models import EventPattern
from moto.events.utils import EventTemplateParser

from dda_core.exceptions import (
    DdaError,
    FileMissing,
    InvalidEvent,
    PrefectUnreachable,
    RunParametersRefused,
    UnknownUseCase,
)
from dda_core.naming import JOB_NAME_PATTERN
from dda_core.training.events import dead_letter_queue_name, parse_training_event, queue_name
from deployments.webhook import request as webhook
from deployments.webhook.request import (
    TEMPLATE,
    WebhookRequest,
    api_url,
    fill,
    read_event,
    read_template,
    send,
    transform,
    webhook_request,
)
from deployments.webhook.stack import QUEUE_TEMPLATE
from tests.fixtures.events import sagemaker_event

DEPLOYMENT = "5a4f3c1e-0000-4000-8000-0123456789ab"
PARAMETERS = {
    "UseCase": "lids",
    "ApiUrl": "https://prefect.example.com/api",
    "DeploymentId": DEPLOYMENT,
    "User": "dda",
    "Password": "pass:word",
}
TEMPLATES = sorted(
    path for path in TEMPLATE.parent.glob("*.yaml") if "AWSTemplateFormatVersion" in path.read_text(encoding="utf-8")
)


def target(template: Path = TEMPLATE) -> dict[str, Any]:
    [found] = fill(read_template(template)["Resources"], PARAMETERS)["TrainingCompleted"]["Properties"]["Targets"]
    assert isinstance(found, dict)
    return found


@pytest.mark.parametrize("path", TEMPLATES, ids=lambda path: path.name)
def test_cfn_lint_accepts_the_template(path: Path):
    assert [str(match) for match in lint(path.read_text(encoding="utf-8"))] == []


def test_both_templates_are_linted_and_read_as_cfn_lint_reads_them():
    assert {TEMPLATE, QUEUE_TEMPLATE} <= set(TEMPLATES)
    for path in (TEMPLATE, QUEUE_TEMPLATE):
        theirs, matches = decode.decode(str(path))
        assert matches == []
        # cfn-lint expands a short GetAtt to a list.
        ours = json.loads(json.dumps(read_template(path)))
        assert _lists(ours) == json.loads(json.dumps(theirs))


def _lists(value: Any) -> Any:
    if isinstance(value, list):
        return [_lists(each) for each in value]
    if not isinstance(value, dict):
        return value
    return {
        key: each.split(".", 1) if key == "Fn::GetAtt" and isinstance(each, str) else _lists(each)
        for key, each in value.items()
    }


def test_the_request_is_valid_for_prefects_api():
    request = webhook_request(sagemaker_event("lid-7"), PARAMETERS)
    credentials = base64.b64encode(b"dda:pass:word").decode()
    assert request == WebhookRequest(
        method="POST",
        url=f"https://prefect.example.com/api/deployments/{DEPLOYMENT}/create_flow_run",
        headers={
            "User-Agent": "Amazon/EventBridge/ApiDestinations",
            "Content-Type": "application/json",
            "Authorization": f"Basic {credentials}",
        },
        body={
            "name": "lid-7",
            "parameters": {"training_job_name": "lid-7"},
            "idempotency_key": "sagemaker/123456789012/us-east-1/lids/lid-7",
            "tags": ["trigger:eventbridge"],
        },
    )


def test_without_a_password_no_credentials_are_sent():
    request = webhook_request(sagemaker_event(), {**PARAMETERS, "User": "", "Password": ""})
    assert "Authorization" not in request.headers


def test_only_name_account_and_region_are_taken_from_the_event():
    transformer = target()["InputTransformer"]
    assert set(transformer["InputPathsMap"].values()) == {"$.detail.TrainingJobName", "$.account", "$.region"}
    assert len(transformer["InputTemplate"]) < 8192
    assert "\n" not in transformer["InputTemplate"]


names = st.from_regex(JOB_NAME_PATTERN, fullmatch=True).map(lambda name: name[:63].rstrip("-"))
accounts = st.from_regex(r"[0-9]{12}", fullmatch=True)
regions = st.sampled_from(["us-east-1", "eu-central-1", "ap-southeast-2", "us-gov-west-1"])
use_cases = st.from_regex(r"[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?", fullmatch=True)


@settings(max_examples=200, deadline=None)
@given(names, accounts, regions, use_cases)
def test_the_idempotency_key_is_the_one_that_the_drain_uses(job: str, account: str, region: str, use_case: str):
    event = sagemaker_event(job, account=account, region=region)
    request = webhook_request(event, {**PARAMETERS, "UseCase": use_case})
    same = parse_training_event(json.dumps(event), "here")
    assert request.body["idempotency_key"] == same.idempotency_key(use_case)
    assert request.body["name"] == request.body["parameters"]["training_job_name"] == same.training_job


@settings(max_examples=100, deadline=None)
@given(names, accounts, regions)
def test_motos_transformer_gives_the_same_result(job: str, account: str, region: str):
    """moto inserts strings without quotes, so its template has the quotes that EventBridge adds."""
    transformer = target()["InputTransformer"]
    event: Any = sagemaker_event(job, account=account, region=region, **{"ingestion-time": 0.0})
    quoted = transformer["InputTemplate"].replace(": <job>", ': "<job>"')
    theirs = EventTemplateParser.parse(quoted, transformer["InputPathsMap"], event)
    assert webhook_request(event, PARAMETERS).body == theirs


@pytest.mark.parametrize(
    ("template", "made"),
    [
        ("<text>", '"lid"'),
        ('{"a": <text>, "b": "<text>-<text>"}', '{"a": "lid", "b": "lid-lid"}'),
        ('{"n": <number>, "s": "no <number>"}', '{"n": 7, "s": "no 7"}'),
        ('{"list": <list>, "map": <map>, "none": <none>}', '{"list": [1, "x"], "map": {"k": true}, "none": null}'),
        (r'{"escaped": "\"<text>\""}', r'{"escaped": "\"lid\""}'),
        ('{"not escaped": <hostile>}', '{"not escaped": "a", "b": "c"}'),
    ],
)
def test_the_rules_of_the_transformer(template: str, made: str):
    event = {
        "text": "lid",
        "number": 7,
        "list": [1, "x"],
        "map": {"k": True},
        "none": None,
        "hostile": 'a", "b": "c',
    }
    assert transform(template, {name: f"$.{name}" for name in event}, event) == made


def test_a_value_missing_in_the_event_is_named():
    with pytest.raises(InvalidEvent, match=r"\$\.detail\.TrainingJobName"):
        transform("<job>", {"job": "$.detail.TrainingJobName"}, {"detail": {}})


@pytest.mark.parametrize("path", [TEMPLATE, QUEUE_TEMPLATE], ids=lambda path: path.name)
@pytest.mark.parametrize(
    ("event", "matches"),
    [
        (sagemaker_event(), True),
        (sagemaker_event(status="Failed"), False),
        (sagemaker_event(status="InProgress"), False),
        (sagemaker_event(source="aws.s3"), False),
        (sagemaker_event(**{"detail-type": "SageMaker Model State Change"}), False),
    ],
)
def test_the_rules_pattern_matches_what_is_accepted_as_an_event(path: Path, event: Any, matches: bool):
    pattern = read_template(path)["Resources"]["TrainingCompleted"]["Properties"]["EventPattern"]
    assert EventPattern.load(json.dumps(pattern)).matches_event(event) is matches
    if not matches:
        with pytest.raises(InvalidEvent):
            parse_training_event(json.dumps(event), "here")


@pytest.mark.parametrize("path", [TEMPLATE, QUEUE_TEMPLATE], ids=lambda path: path.name)
def test_events_that_cannot_be_delivered_are_kept_and_raise_an_alarm(path: Path):
    resources = fill(read_template(path)["Resources"], PARAMETERS)
    found = target(path)
    assert found["RetryPolicy"] == {"MaximumEventAgeInSeconds": 86400, "MaximumRetryAttempts": 185}
    assert found["DeadLetterConfig"] == {"Arn": {"Fn::GetAtt": "Undelivered.Arn"}}
    assert resources["Undelivered"]["Properties"]["QueueName"] == dead_letter_queue_name("lids")
    assert resources["Undelivered"]["Properties"]["MessageRetentionPeriod"] == 14 * 24 * 3600
    alarm = resources["SomethingUndelivered"]["Properties"]
    assert alarm["Dimensions"] == [{"Name": "QueueName", "Value": {"Fn::GetAtt": "Undelivered.QueueName"}}]
    [policy] = [each["Properties"] for each in resources.values() if each["Type"] == "AWS::SQS::QueuePolicy"]
    [statement] = policy["PolicyDocument"]["Statement"]
    assert statement["Action"] == "sqs:SendMessage"
    assert statement["Condition"] == {"ArnEquals": {"aws:SourceArn": {"Fn::GetAtt": "TrainingCompleted.Arn"}}}


def test_the_queue_has_the_name_that_the_drain_uses():
    resources = fill(read_template(QUEUE_TEMPLATE)["Resources"], PARAMETERS)
    queue = resources["TrainingEvents"]["Properties"]
    assert queue["QueueName"] == queue_name("lids")
    assert queue["RedrivePolicy"]["deadLetterTargetArn"] == {"Fn::GetAtt": "Undelivered.Arn"}


def test_the_role_may_call_the_one_destination_and_nothing_else():
    resources = read_template(TEMPLATE)["Resources"]
    [role] = [each["Properties"] for each in resources.values() if each["Type"] == "AWS::IAM::Role"]
    [policy] = role["Policies"]
    assert policy["PolicyDocument"]["Statement"] == [
        {
            "Effect": "Allow",
            "Action": "events:InvokeApiDestination",
            "Resource": {"Fn::GetAtt": "CreateFlowRun.Arn"},
        }
    ]


def test_the_password_is_never_shown():
    template = read_template(TEMPLATE)
    assert template["Parameters"]["User"]["NoEcho"] is template["Parameters"]["Password"]["NoEcho"] is True
    assert "Password" not in json.dumps(template["Outputs"])


def test_an_event_file_that_cannot_be_read_is_named(tmp_path: Path):
    with pytest.raises(FileMissing, match=r"none\.json: no such file"):
        read_event(tmp_path / "none.json")
    with pytest.raises(FileMissing):
        read_event(tmp_path)
    file = tmp_path / "event.json"
    file.write_text("{")
    with pytest.raises(InvalidEvent, match=r"event\.json is not JSON"):
        read_event(file)
    file.write_text(json.dumps(sagemaker_event("lid-8")))
    assert read_event(file) == sagemaker_event("lid-8")


class Answers(BaseHTTPRequestHandler):
    """Answers with the status at the start of the path, "busy" only once, and records the requests."""

    seen: list[dict[str, Any]] = []  # noqa: RUF012 - the one list of the one test server

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers["Content-Length"]))
        self.seen.append({"path": self.path, "headers": dict(self.headers), "body": json.loads(body)})
        status = int(self.path.split("/")[1])
        again = [each["path"] for each in self.seen].count(self.path) > 1
        self.send_response(201 if "busy" in self.path and again else status)
        self.end_headers()
        run = {"id": "run-1", "name": "lid-7", "state": {"name": "Scheduled"}}
        self.wfile.write(json.dumps(run).encode() if "api" in self.path else b"<html>")

    def log_message(self, *_: object) -> None:
        """Print nothing."""


@pytest.fixture(scope="module")
def server() -> Iterator[str]:
    server = ThreadingHTTPServer(("127.0.0.1", 0), Answers)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield f"http://127.0.0.1:{server.server_port}"
    server.shutdown()
    server.server_close()


def request_to(url: str) -> WebhookRequest:
    return webhook_request(sagemaker_event(), {**PARAMETERS, "ApiUrl": url})


def test_the_request_is_sent_as_it_is_printed(server: str):
    request = request_to(f"{server}/201/api")
    started = send(request)
    assert (started.status, started.flow_run_id, started.state) == (201, "run-1", "Scheduled")
    assert Answers.seen[-1]["body"] == request.body
    assert Answers.seen[-1]["headers"].items() >= request.headers.items()
    assert send(request_to(f"{server}/200/api")).status == 200


@pytest.mark.parametrize(
    ("path", "error", "said"),
    [
        ("401/api", PrefectUnreachable, "refuses the user and password"),
        ("403/api", PrefectUnreachable, "PREFECT_API_AUTH_STRING"),
        ("404/api", UnknownUseCase, "no such deployment"),
        ("409/api", RunParametersRefused, "would not retry"),
        ("422/api", RunParametersRefused, "dead-letter queue"),
        ("429/api", PrefectUnreachable, "retry for 24 hours"),
        ("503/api", PrefectUnreachable, "503 Service Unavailable"),
        ("301/api", PrefectUnreachable, "301"),
        ("200/page", PrefectUnreachable, "does not answer as a Prefect API does"),
    ],
)
def test_every_answer_says_what_eventbridge_would_do(
    server: str, path: str, error: type[DdaError], said: str, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(webhook, "PAUSE_SECONDS", 0)
    sent = len(Answers.seen)
    with pytest.raises(error) as refused:
        send(request_to(f"{server}/{path}"))
    assert len(Answers.seen) - sent == (webhook.TRIES if path in ("429/api", "503/api") else 1)
    assert said in str(refused.value)
    assert "pass:word" not in str(refused.value)


@pytest.mark.parametrize("status", [429, 503])
def test_a_busy_server_is_retried(server: str, status: int, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(webhook, "PAUSE_SECONDS", 0)
    assert send(request_to(f"{server}/{status}/api-busy")).status == 201


def test_a_server_that_does_not_answer_is_an_error():
    with pytest.raises(PrefectUnreachable, match=r"http://127\.0\.0\.1:9/api/.*: .*24 hours"):
        send(request_to("http://127.0.0.1:9/api"))


@pytest.mark.parametrize(
    ("given", "url"),
    [
        ("https://prefect.example.com", "https://prefect.example.com/api"),
        ("https://prefect.example.com/", "https://prefect.example.com/api"),
        ("https://prefect.example.com/api", "https://prefect.example.com/api"),
        ("https://prefect.example.com/api/", "https://prefect.example.com/api"),
        ("https://example.com/prefect", "https://example.com/prefect/api"),
        ("https://api/prefect", "https://api/prefect/api"),
        ("https://api", "https://api/api"),
        (
            "https://api.prefect.cloud/api/accounts/a/workspaces/w",
            "https://api.prefect.cloud/api/accounts/a/workspaces/w",
        ),
    ],
)
def test_the_servers_url_may_be_its_uis_or_its_apis(given: str, url: str) -> None:
    assert api_url(given) == url
