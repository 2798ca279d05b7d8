"""The stack of ``dda webhook``, with moto's CloudFormation and with stubbed responses."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime
from typing import Any

import boto3
import pytest
from botocore.stub import Stubber

from dda_core.exceptions import StackFailed, WebhookRefused
from deployments.local.aws import LocalAws, local_aws
from deployments.webhook import stack
from deployments.webhook.request import TEMPLATE
from deployments.webhook.stack import QUEUE_TEMPLATE, check_reachable_by_aws, install, settled, uninstall

ARN = "arn:aws:cloudformation:us-east-1:123456789012:stack/dda-webhook-lids/1"
PARAMETERS = {
    "UseCase": "lids",
    "ApiUrl": "https://prefect.example.com/api",
    "DeploymentId": "5a4f3c1e-0000-4000-8000-0123456789ab",
    "User": "dda",
    "Password": "secret",
    "AlarmTopic": "",
}
TAGS = {"cost-center": "4711"}
AT = datetime(2026, 1, 2, tzinfo=UTC)


@pytest.fixture(autouse=True)
def _no_pauses(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(stack, "POLL_SECONDS", 0.0)


@pytest.fixture
def aws() -> Iterator[LocalAws]:
    with local_aws(server=False) as local:
        yield local


@pytest.mark.filterwarnings("ignore:Tried to parse .* not supported by moto:UserWarning")
def test_the_queues_stack_is_created_changed_and_deleted(aws: LocalAws):
    cloudformation, sqs = aws.client("cloudformation"), aws.client("sqs")
    queue = {"UseCase": "lids", "AlarmTopic": ""}
    outcome, stack = install(cloudformation, QUEUE_TEMPLATE, queue, TAGS)
    assert (outcome, stack.status) == ("created", "CREATE_COMPLETE")
    assert sqs.get_queue_url(QueueName="dda-training-lids")["QueueUrl"] == stack.outputs["TrainingEvents"]
    [described] = cloudformation.describe_stacks(StackName="dda-webhook-lids")["Stacks"]
    assert described["Tags"] == [{"Key": "cost-center", "Value": "4711"}]
    assert len(aws.client("events").list_rules()["Rules"]) == 1

    topic = "arn:aws:sns:us-east-1:123456789012:alarms"
    outcome, changed = install(cloudformation, QUEUE_TEMPLATE, {**queue, "AlarmTopic": topic}, TAGS)
    assert (outcome, changed.arn) == ("changed", stack.arn)

    assert uninstall(cloudformation, "lids") is True
    assert uninstall(cloudformation, "lids") is False
    assert sqs.list_queues().get("QueueUrls", []) == []
    assert aws.client("events").list_rules()["Rules"] == []


class Answering:
    """A CloudFormation client with stubbed responses, in order."""

    def __init__(self) -> None:
        self.client: Any = boto3.client("cloudformation", region_name="us-east-1")
        self.stub = Stubber(self.client)
        self.stub.activate()

    def status(self, *statuses: str | None) -> Answering:
        for status in statuses:
            if status is None:
                self.stub.add_client_error(
                    "describe_stacks", "ValidationError", "Stack with id dda-webhook-lids does not exist"
                )
            else:
                stack = {"StackId": ARN, "StackName": "dda-webhook-lids", "CreationTime": AT, "StackStatus": status}
                self.stub.add_response("describe_stacks", {"Stacks": [stack]})
        return self

    def call(self, operation: str, answer: dict[str, Any] | None = None, expected: Any = None) -> Answering:
        self.stub.add_response(operation, {"StackId": ARN} if answer is None else answer, expected)
        return self

    def events(self, *rows: tuple[str, str, str]) -> Answering:
        """Stack events, newest first: resource, status, reason."""
        return self.call(
            "describe_stack_events",
            {
                "StackEvents": [
                    {
                        "StackId": ARN,
                        "EventId": str(number),
                        "StackName": "dda-webhook-lids",
                        "Timestamp": AT,
                        "LogicalResourceId": resource,
                        "PhysicalResourceId": ARN if resource == "dda-webhook-lids" else resource,
                        "ResourceStatus": status,
                        "ResourceStatusReason": reason,
                    }
                    for number, (resource, status, reason) in enumerate(rows)
                ]
            },
        )


@pytest.fixture
def answering() -> Iterator[Answering]:
    given = Answering()
    yield given
    given.stub.assert_no_pending_responses()


def request_of(parameters: dict[str, str]) -> dict[str, Any]:
    return {
        "StackName": "dda-webhook-lids",
        "TemplateBody": TEMPLATE.read_text(),
        "Parameters": [{"ParameterKey": key, "ParameterValue": value} for key, value in parameters.items()],
        "Capabilities": ["CAPABILITY_IAM"],
        "Tags": [{"Key": "cost-center", "Value": "4711"}],
    }


def test_the_error_for_a_refused_template_has_the_reason(answering: Answering):
    answering.status(None)
    answering.stub.add_client_error("create_stack", "ValidationError", "Parameters: [ApiUrl] must have values.")
    with pytest.raises(StackFailed) as refused:
        install(answering.client, TEMPLATE, PARAMETERS, TAGS)
    assert str(refused.value) == (
        "stack dda-webhook-lids: CloudFormation refuses webhook.yaml: Parameters: [ApiUrl] must have values. Check the "
        "parameters, then install again."
    )


def test_an_emulated_aws_without_api_destinations_has_its_own_remedy():
    with (
        local_aws() as aws,
        pytest.raises(StackFailed, match="has no API destinations") as refused,
    ):
        install(aws.client("cloudformation"), TEMPLATE, PARAMETERS, TAGS)
    assert refused.value.exit_code == 4


def test_the_webhooks_stack_is_created_with_its_parameters_and_waited_for(answering: Answering):
    answering.status(None)
    answering.call("create_stack", expected={**request_of(PARAMETERS), "OnFailure": "DELETE"})
    answering.status("CREATE_IN_PROGRESS", "CREATE_IN_PROGRESS", "CREATE_COMPLETE")
    outcome, stack = install(answering.client, TEMPLATE, PARAMETERS, TAGS)
    assert (outcome, stack.status) == ("created", "CREATE_COMPLETE")


def test_an_unchanged_stack_is_left_alone(answering: Answering):
    answering.status("UPDATE_COMPLETE")
    answering.stub.add_client_error("update_stack", "ValidationError", "No updates are to be performed.")
    assert install(answering.client, TEMPLATE, PARAMETERS, TAGS)[0] == "unchanged"


def test_an_interrupted_install_is_waited_for_first(answering: Answering):
    answering.status("CREATE_IN_PROGRESS", "CREATE_COMPLETE").call("update_stack", expected=request_of(PARAMETERS))
    answering.status("UPDATE_IN_PROGRESS", "UPDATE_COMPLETE_CLEANUP_IN_PROGRESS", "UPDATE_COMPLETE")
    assert install(answering.client, TEMPLATE, PARAMETERS, TAGS)[0] == "changed"


@pytest.mark.parametrize("status", stack.UNUSABLE)
def test_a_stack_that_was_never_created_completely_is_replaced(answering: Answering, status: str):
    answering.status(status, status).call("delete_stack", {}).status("DELETE_IN_PROGRESS", "DELETE_COMPLETE")
    answering.call("create_stack").status("CREATE_COMPLETE")
    assert install(answering.client, TEMPLATE, PARAMETERS, TAGS)[0] == "created"


def test_a_failure_says_the_first_reason_of_the_last_change(answering: Answering):
    answering.status("CREATE_COMPLETE").call("update_stack").status("UPDATE_ROLLBACK_COMPLETE")
    answering.events(
        ("dda-webhook-lids", "UPDATE_ROLLBACK_COMPLETE", ""),
        ("CallPrefect", "UPDATE_FAILED", "Resource update cancelled"),
        ("PrefectServer", "UPDATE_FAILED", "User: me is not authorized to perform: events:UpdateConnection"),
        ("dda-webhook-lids", "UPDATE_IN_PROGRESS", "User Initiated"),
        ("Undelivered", "CREATE_FAILED", "of an earlier change"),
        ("dda-webhook-lids", "CREATE_IN_PROGRESS", "User Initiated"),
    )
    with pytest.raises(StackFailed) as failed:
        install(answering.client, TEMPLATE, PARAMETERS, TAGS)
    assert str(failed.value) == (
        "stack dda-webhook-lids could not be changed (UPDATE_ROLLBACK_COMPLETE): PrefectServer: User: me is not "
        "authorized to perform: events:UpdateConnection"
    )
    assert failed.value.exit_code == 4


def test_a_stack_that_cannot_be_deleted_says_why(answering: Answering):
    answering.status("CREATE_COMPLETE").call("delete_stack", {}).status("DELETE_FAILED")
    answering.events(("Undelivered", "DELETE_FAILED", "Access denied"))
    with pytest.raises(StackFailed, match=r"could not be deleted \(DELETE_FAILED\): Undelivered: Access denied"):
        uninstall(answering.client, "lids")


def test_a_stack_that_never_settles_is_left_alone(answering: Answering, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(stack, "SETTLE_SECONDS", -1.0)
    answering.status("UPDATE_IN_PROGRESS")
    with pytest.raises(StackFailed, match="still UPDATE_IN_PROGRESS"):
        settled(answering.client, "dda-webhook-lids")


def nobody(url: str) -> bool:
    return False


def test_a_server_with_https_and_a_password_is_accepted():
    asked: list[str] = []

    def asks(url: str) -> bool:
        asked.append(url)
        return False

    check_reachable_by_aws(PARAMETERS, asks)
    assert asked == ["https://prefect.example.com/api/deployments/5a4f3c1e-0000-4000-8000-0123456789ab"]


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"ApiUrl": "http://127.0.0.1:4200/api"}, "calls https URLs, and the Prefect server's is http://127.0.0.1"),
        ({"ApiUrl": ""}, "https"),
        ({"User": "", "Password": ""}, "PREFECT_API_AUTH_STRING is not set"),
    ],
)
def test_eventbridge_calls_no_other_server(changes: dict[str, str], said: str):
    with pytest.raises(WebhookRefused, match=said) as refused:
        check_reachable_by_aws({**PARAMETERS, **changes}, nobody)
    assert refused.value.exit_code == 3
    assert "secret" not in str(refused.value)


def test_a_server_without_a_password_is_refused():
    with pytest.raises(WebhookRefused, match="answers without a password"):
        check_reachable_by_aws(PARAMETERS, lambda url: True)
