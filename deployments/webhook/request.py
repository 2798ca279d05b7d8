"""The request with which EventBridge starts a run when a training job completes, built from the template.

``deployments/aws/webhook.yaml`` alone defines the request. This module applies the rules of EventBridge's input
transformer to an event, so that the request can be shown and sent before anything is installed.
"""

from __future__ import annotations

import base64
import json
import re
import time
from collections.abc import Mapping
from functools import cache
from pathlib import Path
from typing import Any, NamedTuple

import httpx
import yaml
from prefect import get_client
from prefect.settings import PREFECT_API_URL, get_current_settings

from dda_core.exceptions import FileMissing, InvalidEvent, PrefectUnreachable, RunParametersRefused, UnknownUseCase
from dda_core.training.events import parse_training_event
from deployments.services.runs import prefect_errors, read_deployment
from tasks.store.use_cases import block_name

TEMPLATE = Path(__file__).parents[1] / "aws" / "webhook.yaml"
ANSWER_SECONDS = 30.0
"""Timeout for an answer. EventBridge waits 5 s and then repeats the request, with the same result."""
TRIES = 5
PAUSE_SECONDS = 1.0
"""Between tries: short, for a person at a shell. EventBridge retries for 24 hours."""
USER_AGENT = "Amazon/EventBridge/ApiDestinations"

_PARAMETER = re.compile(r"\$\{(\w+)\}")
_VARIABLE = re.compile(r"<([^<>\"]+)>")
_STRING_OR_VARIABLE = re.compile(r'"(?:[^"\\]|\\.)*"|<[^<>"]+>')


class WebhookRequest(NamedTuple):
    """What EventBridge sends. The headers contain the server's password, if it has one."""

    method: str
    url: str
    headers: dict[str, str]
    body: dict[str, Any]


class StartedRun(NamedTuple):
    """The run in the server's answer: ``status`` 201 means that it is new, 200 that it existed already."""

    status: int
    flow_run_id: str
    name: str
    state: str


async def webhook_parameters(use_case: str, url: str | None = None) -> dict[str, str]:
    """The template's parameters for a use case.

    Args:
        use_case: its id or name.
        url: the server's URL for AWS, if not ``PREFECT_API_URL``; with or without ``/api``.

    Raises:
        UnknownUseCase: it has no deployment.
        PrefectUnreachable: there is no server to ask.
    """
    with prefect_errors():
        async with get_client() as client:
            deployment = await read_deployment(client, use_case)
    auth = get_current_settings().api.auth_string
    user, _, password = auth.get_secret_value().partition(":") if auth else ("", "", "")
    return {
        "UseCase": block_name(use_case),
        "ApiUrl": api_url(url) if url else (PREFECT_API_URL.value() or "").rstrip("/"),
        "DeploymentId": str(deployment.id),
        "User": user,
        "Password": password,
    }


def api_url(server: str) -> str:
    """The URL of a Prefect server's API, from the API's or the UI's URL.

    Without ``/api`` the server would answer with a page of the UI, or with 404, which looks like a missing deployment.
    """
    url = server.rstrip("/")
    # Prefect Cloud's API URL continues after it: /api/accounts/...
    path = url.partition("://")[2].partition("/")[2]
    return url if f"/{path}".endswith("/api") or "/api/" in f"/{path}" else f"{url}/api"


def read_event(path: Path) -> dict[str, Any]:
    """The event of a completed training job in a file.

    Raises:
        FileMissing: there is no such file.
        InvalidEvent: it contains something else.
    """
    try:
        text = path.read_bytes()
    except (FileNotFoundError, IsADirectoryError) as error:
        raise FileMissing(
            "no such file", path=path, where=str(path), remedy="Give a file with the event as JSON."
        ) from error
    except OSError as error:
        raise InvalidEvent(f"{path} cannot be read: {error.strerror or error}") from error
    parse_training_event(text, str(path))
    event: dict[str, Any] = json.loads(text)
    return event


def webhook_request(event: Mapping[str, Any], parameters: Mapping[str, str]) -> WebhookRequest:
    """The request that EventBridge sends for ``event`` once the template is installed with ``parameters``."""
    resources = fill(read_template(TEMPLATE)["Resources"], parameters)
    [target] = resources["TrainingCompleted"]["Properties"]["Targets"]
    transformer = target["InputTransformer"]
    destination = resources["CreateFlowRun"]["Properties"]
    basic = resources["PrefectServer"]["Properties"]["AuthParameters"]["BasicAuthParameters"]
    headers = {"User-Agent": USER_AGENT, **target["HttpParameters"]["HeaderParameters"]}
    if basic["Username"] or basic["Password"]:
        credentials = f"{basic['Username']}:{basic['Password']}".encode()
        headers["Authorization"] = f"Basic {base64.b64encode(credentials).decode()}"
    body = json.loads(transform(transformer["InputTemplate"], transformer["InputPathsMap"], event))
    return WebhookRequest(destination["HttpMethod"], destination["InvocationEndpoint"], headers, body)


def transform(template: str, paths: Mapping[str, str], event: Mapping[str, Any]) -> str:
    """The output of EventBridge's input transformer for an event.

    A variable inside a string of the template is replaced by its value as text; one outside a string by its value as
    JSON, with quotes around a string. Like EventBridge, this does not escape strings.

    Raises:
        InvalidEvent: the event has no value at a path.
    """
    values = {name: _value_at(path, event) for name, path in paths.items()}

    def bare(match: re.Match[str]) -> str:
        value = values[match[1]]
        return value if isinstance(value, str) else json.dumps(value)

    def replaced(match: re.Match[str]) -> str:
        if match[0].startswith('"'):
            return _VARIABLE.sub(bare, match[0])
        value = values[match[0][1:-1]]
        return f'"{value}"' if isinstance(value, str) else json.dumps(value)

    return _STRING_OR_VARIABLE.sub(replaced, template)


def _value_at(path: str, event: Mapping[str, Any]) -> Any:
    value: Any = event
    for key in path.removeprefix("$.").split("."):
        if not isinstance(value, Mapping) or key not in value:
            raise InvalidEvent(f"the event has no {path}, which the webhook's template uses")
        value = value[key]
    return value


@cache
def read_template(path: Path) -> dict[str, Any]:
    """A CloudFormation template, its short forms expanded: ``!Ref X`` is ``{"Ref": "X"}``. Do not change it."""
    template: dict[str, Any] = yaml.load(path.read_text(encoding="utf-8"), _TemplateLoader)  # noqa: S506 - a safe one
    return template


class _TemplateLoader(yaml.SafeLoader):
    """YAML with CloudFormation's tags."""


def _function(loader: _TemplateLoader, name: str, node: yaml.Node) -> dict[str, Any]:
    if isinstance(node, yaml.ScalarNode):
        value: Any = loader.construct_scalar(node)
    elif isinstance(node, yaml.SequenceNode):
        value = loader.construct_sequence(node, deep=True)
    else:
        assert isinstance(node, yaml.MappingNode)
        value = loader.construct_mapping(node, deep=True)
    return {name if name in ("Ref", "Condition") else f"Fn::{name}": value}


_TemplateLoader.add_multi_constructor("!", _function)


def fill(value: Any, parameters: Mapping[str, str]) -> Any:
    """Part of a template with the parameters filled in; references that only AWS can resolve stay."""
    if isinstance(value, list):
        return [fill(each, parameters) for each in value]
    if not isinstance(value, dict):
        return value
    match value:
        case {"Ref": str(name)} if name in parameters:
            return parameters[name]
        case {"Fn::Sub": str(text)}:
            return _PARAMETER.sub(lambda found: parameters.get(found[1], found[0]), text)
    return {key: fill(each, parameters) for key, each in value.items()}


def send(request: WebhookRequest) -> StartedRun:
    """Send the request as EventBridge would, retrying after a 429 or 5xx, which a busy server on SQLite returns.

    Raises:
        PrefectUnreachable: there is no answer in time, the server keeps failing, or it refuses the password.
        UnknownUseCase: the server has no such deployment.
        RunParametersRefused: the server refuses the body.
    """
    try:
        answer = _sent(request)
        for _ in range(TRIES - 1):
            if answer.status_code < 500 and answer.status_code != 429:
                break
            time.sleep(PAUSE_SECONDS)
            answer = _sent(request)
    except (httpx.TransportError, httpx.InvalidURL) as error:
        why = f"no answer within {ANSWER_SECONDS:g} s" if isinstance(error, httpx.TimeoutException) else str(error)
        raise PrefectUnreachable(
            why,
            url=request.url,
            where=request.url,
            remedy="EventBridge would retry for 24 hours. Start the server, or correct the URL.",
        ) from error
    status = answer.status_code
    if status in (401, 403):
        raise PrefectUnreachable(
            f"{request.url} answered {status}: the server refuses the user and password",
            url=request.url,
            remedy="EventBridge would not retry. Set PREFECT_API_AUTH_STRING to the server's "
            "PREFECT_SERVER_API_AUTH_STRING, and install again.",
        )
    if status == 404:
        raise UnknownUseCase(
            f"{request.url} answered 404: the server has no such deployment",
            remedy="EventBridge would not retry. Register the use case with `dda use-case save FILE`, and install "
            "again.",
        )
    if 400 <= status < 500 and status != 429:
        raise RunParametersRefused(
            f"{request.url} answered {status}: {answer.text}",
            answer=answer.text,
            remedy="EventBridge would not retry, and would put the event into the dead-letter queue.",
        )
    if status not in (200, 201):
        raise PrefectUnreachable(
            f"{request.url} answered {status} {answer.reason_phrase}",
            url=request.url,
            remedy="EventBridge would retry for 24 hours.",
        )
    try:
        run = answer.json()
        return StartedRun(status, run["id"], run["name"], run["state"]["name"])
    except (ValueError, KeyError, TypeError) as error:
        raise PrefectUnreachable(f"{request.url} does not answer as a Prefect API does", url=request.url) from error


def _sent(request: WebhookRequest) -> httpx.Response:
    return httpx.request(
        request.method, request.url, headers=request.headers, json=request.body, timeout=ANSWER_SECONDS
    )
