"""Request validation and pagination, common to all operations of AWS IoT Greengrass V2."""

from __future__ import annotations

import base64
import binascii
import json
from typing import Any
from urllib.parse import unquote

from botocore.model import ListShape, MapShape, Shape, StructureShape
from moto.core.responses import ActionResult, BaseResponse

from deployments.local.aws.greengrassv2.exceptions import ValidationException
from deployments.local.aws.greengrassv2.models import GreengrassV2Backend, greengrassv2_backends
from deployments.local.aws.shapes import operation_model, request_violations, summary

PAGE = 50
"""The default page size of lists."""


class GreengrassRequest(BaseResponse):  # type: ignore[misc]
    """One request to Greengrass."""

    def __init__(self) -> None:
        super().__init__(service_name="greengrassv2")
        self.automated_parameter_parsing = True

    @property
    def _backend(self) -> GreengrassV2Backend:
        backend: GreengrassV2Backend = greengrassv2_backends[self.current_account][self.region]
        return backend

    def _request(self, operation: str) -> dict[str, Any]:
        """The request's members, validated against the service model.

        Raises:
            ValidationException: it is not valid.
        """
        shape = operation_model("greengrassv2", operation).input_shape
        try:
            body = json.loads(self.body) if self.body else {}
        except ValueError:
            raise ValidationException("The request's body is not JSON.") from None
        request: dict[str, Any] = _named(shape, body)
        query = self.normalized_request.args
        for name, member in shape.members.items() if shape else ():
            where, key = member.serialization.get("location"), member.serialization.get("name", name)
            if where == "uri":
                request[name] = unquote(self.uri_match[key])
            elif where == "querystring" and key in query:
                request[name] = query.getlist(key) if member.type_name == "list" else query[key]
            if member.type_name == "integer" and str(request.get(name)).isdecimal():
                request[name] = int(request[name])
        violations = request_violations("greengrassv2", operation, request)
        if violations:
            raise ValidationException(summary(violations))
        return request


def _named(shape: Shape | None, value: Any) -> Any:
    """A part of a request with the names of its members instead of those on the wire, such as ``RoleArn``."""
    if isinstance(shape, StructureShape) and isinstance(value, dict):
        wire = {member.serialization.get("name", name): (name, member) for name, member in shape.members.items()}
        found = {key: wire.get(key, (key, None)) for key in value}
        return {name: _named(member, value[key]) for key, (name, member) in found.items()}
    if isinstance(shape, ListShape) and isinstance(value, list):
        return [_named(shape.member, entry) for entry in value]
    if isinstance(shape, MapShape) and isinstance(value, dict):
        return {key: _named(shape.value, entry) for key, entry in value.items()}
    return value


def page(request: dict[str, Any], member: str, entries: list[dict[str, Any]]) -> ActionResult:
    """The requested page of a list, as a response with it under ``member``.

    Raises:
        ValidationException: the request's ``nextToken`` is not one of ours.
    """
    token = request.get("nextToken")
    try:
        start = int(base64.urlsafe_b64decode(token)) if token else 0
    except (ValueError, binascii.Error):
        raise ValidationException("The nextToken is not valid.") from None
    end = start + request.get("maxResults", PAGE)
    response: dict[str, Any] = {member: entries[start:end]}
    if end < len(entries):
        response["nextToken"] = base64.urlsafe_b64encode(str(end).encode()).decode()
    return ActionResult(response)
