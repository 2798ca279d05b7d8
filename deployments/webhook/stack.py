"""Creates, changes and deletes the CloudFormation stack that reports completed training jobs.

A use case has at most one stack, from the webhook's template or the queue's; installing the other one changes the
stack. Every operation can be repeated, and resumes after an interruption.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, NamedTuple

import httpx
from botocore.exceptions import ClientError

from dda_core.aws.errors import error_message, is_stack_missing, is_stack_unchanged, is_template_refused
from dda_core.exceptions import StackFailed, WebhookRefused
from dda_core.sanitise import bare_url
from deployments.webhook.request import ANSWER_SECONDS, TEMPLATE

QUEUE_TEMPLATE = TEMPLATE.with_name("training-events-queue.yaml")
SETTLE_SECONDS = 900.0
"""Time limit for CloudFormation."""
POLL_SECONDS = 3.0
DONE = ("CREATE_COMPLETE", "UPDATE_COMPLETE")
UNUSABLE = ("CREATE_FAILED", "ROLLBACK_COMPLETE", "ROLLBACK_FAILED", "DELETE_FAILED")
"""Statuses of a stack that was never created completely; it can only be deleted."""


class Stack(NamedTuple):
    """A stack in CloudFormation. Only ``arn`` still identifies it once it is deleted."""

    arn: str
    status: str
    outputs: dict[str, str]


def stack_name(use_case: str) -> str:
    """The name of a use case's stack; ``use_case`` is the name of its deployment."""
    return f"dda-webhook-{use_case}"


def check_reachable_by_aws(parameters: Mapping[str, str], deployment_is_open: Callable[[str], bool]) -> None:
    """Check that EventBridge can call the server, and that a password protects it.

    Args:
        parameters: of the template.
        deployment_is_open: whether the server returns what is at a URL without a password.

    Raises:
        WebhookRefused: the URL is not https, there is no password, or the server asks for none.
    """
    url = parameters["ApiUrl"]
    if not url.startswith("https://"):
        raise WebhookRefused(
            f"EventBridge only calls https URLs, and the Prefect server's is {url}",
            remedy="Give its public one with --url https://.../api; if AWS cannot reach the server at all, install "
            "with --queue.",
        )
    if not parameters["Password"]:
        raise WebhookRefused(
            "PREFECT_API_AUTH_STRING is not set, and EventBridge needs a user and a password",
            remedy="Start the server with PREFECT_SERVER_API_AUTH_STRING=user:password and set PREFECT_API_AUTH_STRING "
            "to the same. (Prefect Cloud has its own webhooks: see docs/operate.md.)",
        )
    if deployment_is_open(f"{url}/deployments/{parameters['DeploymentId']}"):
        raise WebhookRefused(
            f"the Prefect server at {url} answers without a password, so anyone who finds it could start runs",
            remedy="Start it with PREFECT_SERVER_API_AUTH_STRING=user:password.",
        )


def answers_without_password(url: str) -> bool:
    """Whether the URL answers without a password. False also if it cannot be reached from here."""
    try:
        return httpx.get(url, timeout=ANSWER_SECONDS).is_success
    except (httpx.TransportError, httpx.InvalidURL):
        return False


def install(
    cloudformation: Any, template: Path, parameters: Mapping[str, str], tags: Mapping[str, str]
) -> tuple[str, Stack]:
    """Create the use case's stack, or update it if it differs: ``created``, ``changed`` or ``unchanged``.

    Args:
        cloudformation: boto3's client.
        template: one of the two.
        parameters: of the template; ``UseCase`` is the name of the use case's deployment.
        tags: of the stack, which CloudFormation copies to its resources.

    Raises:
        StackFailed: CloudFormation failed; the message has its first reason. A new stack is deleted again.
    """
    use_case = parameters["UseCase"]
    name = stack_name(use_case)
    request: dict[str, Any] = {
        "StackName": name,
        "TemplateBody": template.read_text(encoding="utf-8"),
        "Parameters": [{"ParameterKey": key, "ParameterValue": value} for key, value in parameters.items()],
        "Capabilities": ["CAPABILITY_IAM"],
        "Tags": [{"Key": key, "Value": value} for key, value in tags.items()],
    }
    there = settled(cloudformation, name)
    if there and there.status in UNUSABLE:
        uninstall(cloudformation, use_case)
        there = None
    try:
        if there is None:
            outcome, made = "created", cloudformation.create_stack(**request, OnFailure="DELETE")
        else:
            outcome, made = "changed", cloudformation.update_stack(**request)
    except ClientError as error:
        if there and is_stack_unchanged(error):
            return "unchanged", there
        if is_template_refused(error):
            raise _refused(cloudformation, name, template, error) from error
        raise
    # By its ARN, because OnFailure deletes a stack that could not be created.
    stack = settled(cloudformation, made["StackId"])
    if stack is None or stack.status not in DONE:
        status = stack.status if stack else "deleted"
        raise StackFailed(
            f"stack {name} could not be {outcome} ({status}): {_first_failure(cloudformation, made)}", stack=name
        )
    return outcome, stack


def _refused(cloudformation: Any, name: str, template: Path, error: ClientError) -> StackFailed:
    """The error for a template that CloudFormation refuses, with the likely reason."""
    found = f"CloudFormation refuses {template.name}: {error_message(error).rstrip('.')}"
    endpoint, remedy = cloudformation.meta.endpoint_url, "Check the parameters, then install again."
    if ".amazonaws." not in endpoint:
        remedy = (
            f"The AWS at {bare_url(endpoint)} is emulated and may lack what the template needs: the local AWS has no "
            f"API destinations. Install with --queue there."
        )
    return StackFailed(found, where=f"stack {name}", stack=name, remedy=remedy)


def uninstall(cloudformation: Any, use_case: str) -> bool:
    """Delete the use case's stack and its resources; False if there is none.

    Raises:
        StackFailed: CloudFormation failed.
    """
    name = stack_name(use_case)
    there = settled(cloudformation, name)
    if there is None:
        return False
    cloudformation.delete_stack(StackName=name)
    after = settled(cloudformation, there.arn)
    if after and after.status != "DELETE_COMPLETE":
        why = _first_failure(cloudformation, {"StackId": there.arn})
        raise StackFailed(f"stack {name} could not be deleted ({after.status}): {why}", stack=name)
    return True


def settled(cloudformation: Any, stack: str) -> Stack | None:
    """The stack of that name or ARN once no operation is in progress; None if there is none.

    Raises:
        StackFailed: the operation takes longer than ``SETTLE_SECONDS``.
    """
    deadline = time.monotonic() + SETTLE_SECONDS
    while (found := _describe(cloudformation, stack)) and found.status.endswith("_IN_PROGRESS"):
        if time.monotonic() > deadline:
            raise StackFailed(
                f"stack {stack} was still {found.status} after {SETTLE_SECONDS:g} s",
                stack=stack,
                remedy="Check the stack in the CloudFormation console, then repeat the command.",
            )
        time.sleep(POLL_SECONDS)
    return found


def _describe(cloudformation: Any, stack: str) -> Stack | None:
    try:
        [found] = cloudformation.describe_stacks(StackName=stack)["Stacks"]
    except ClientError as error:
        if is_stack_missing(error):
            return None
        raise
    outputs = {each["OutputKey"]: each["OutputValue"] for each in found.get("Outputs", [])}
    return Stack(found["StackId"], found["StackStatus"], outputs)


def _first_failure(cloudformation: Any, made: Mapping[str, str]) -> str:
    """Why the last change of a stack failed, in CloudFormation's words. Events are listed newest first."""
    reason = "see its events in the CloudFormation console"
    for page in cloudformation.get_paginator("describe_stack_events").paginate(StackName=made["StackId"]):
        for event in page["StackEvents"]:
            status, why = event.get("ResourceStatus", ""), event.get("ResourceStatusReason", "")
            if event["PhysicalResourceId"] == made["StackId"] and why == "User Initiated":
                return reason
            if status.endswith("_FAILED") and "cancelled" not in why:
                reason = f"{event['LogicalResourceId']}: {why}"
    return reason
