"""Every API call passes through here: its operation is identified, counted, and failed where there is a fault for it.

An operation that is not emulated gets a 501 ``NotImplemented`` in the form of an AWS error.
"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress
from typing import Any

from moto.core.request import determine_request_protocol
from moto.core.routing import get_service_router
from moto.core.serialize import get_serializer_class
from moto.core.utils import get_service_model
from werkzeug.exceptions import HTTPException

from deployments.local.aws.connection import Answer, broken
from deployments.local.aws.environment import current
from deployments.local.aws.errors import AwsError
from deployments.local.aws.shapes import operation_model

Handler = Callable[[Any, str, Any], Answer]

_STATUS = {
    "403": (
        "AccessDenied",
        "ExpiredTokenException",
        "InvalidAccessKeyId",
        "InvalidClientTokenId",
        "InvalidSignatureException",
        "RequestTimeTooSkewed",
        "SignatureDoesNotMatch",
        "UnrecognizedClientException",
    ),
    "404": ("NoSuchBucket", "NoSuchKey", "NoSuchUpload", "NoSuchEntity", "NotFound"),
    "409": ("BucketAlreadyExists", "BucketAlreadyOwnedByYou", "ConditionalRequestConflict", "OperationAborted"),
    "412": ("PreconditionFailed",),
    "416": ("InvalidRange",),
    "429": ("TooManyRequestsException",),
    "500": ("InternalError", "InternalFailure", "InternalServerError", "InternalServerException"),
    "501": ("NotImplemented",),
    "503": ("ServiceUnavailable", "ServiceUnavailableException", "SlowDown"),
}
"""HTTP status -> error codes to which no service model gives a status. All others are 400."""

_DESCRIBED = 300
"""How many characters of a JSON request are kept in a fault's list of requests."""
_JSON_400 = ("ExpiredTokenException", "InvalidSignatureException", "UnrecognizedClientException")
"""Codes that services of the JSON protocol send with 400."""


def guarded(service: str, handler: Handler) -> Handler:
    """moto's ``handler``, with calls counted and faults applied."""

    def handled(request: Any, url: str, headers: Any, operation: str) -> Answer:
        try:
            return handler(request, url, headers)
        except NotImplementedError:
            if not operation:
                raise
            return error_answer(service, operation, request, "NotImplemented", f"The local AWS has no {operation}.")

    def answer(request: Any, url: str, headers: Any) -> Answer:
        environment = current()
        operation = operation_name(service, request)
        environment.count(service, operation)
        fault = environment.faults.for_call(service, operation, described(request))
        if fault is None:
            return handled(request, url, headers, operation)
        done: Answer | None = None
        if fault.has_effect:
            # An error of the service itself is hidden by the injected fault.
            with suppress(HTTPException):
                done = handled(request, url, headers, operation)
        if fault.connection:
            streaming = operation_model(service, operation).has_streaming_output
            return broken(fault.connection, request, done, streaming=streaming)
        return error_answer(service, operation, request, str(fault.error), fault.message)

    return answer


def described(request: Any) -> str:
    """A request in one line: method, path and the beginning of a JSON body."""
    line = f"{request.method} {request.full_path.rstrip('?')}"
    body = request.get_data() if request.headers.get("X-Amz-Target") else b""
    return f"{line} {body.decode(errors='replace')[:_DESCRIBED]}".rstrip()


def operation_name(service: str, request: Any) -> str:
    """The operation of a request; an empty string when there is none."""
    target = request.headers.get("X-Amz-Target")
    if target:
        return str(target).rpartition(".")[2]
    action = request.values.get("Action") if service in ("sts", "iam", "sqs") else None
    if action:
        return str(action)
    try:
        operation, _ = get_service_router(service).match(request)
    except (HTTPException, NotImplementedError):
        return ""
    return str(operation.name)


def error_status(service: str, operation: str, code: str) -> int:
    """The HTTP status that the real service sends with this error code."""
    if code.isdigit():
        return int(code)
    model = operation_model(service, operation)
    for shape in model.error_shapes:
        modelled = shape.metadata.get("error", {})
        if code in (shape.name, modelled.get("code")) and "httpStatusCode" in modelled:
            return int(modelled["httpStatusCode"])
        if code == shape.name and shape.metadata.get("fault"):
            return 500
    if code in _JSON_400 and model.service_model.protocol == "json":
        return 400
    return next((int(status) for status, codes in _STATUS.items() if code in codes), 400)


def error_answer(service: str, operation: str, request: Any, code: str, message: str | None) -> Answer:
    """An error response as the real service sends it. A numeric code is an HTTP status without a body."""
    status = error_status(service, operation, code)
    if code.isdigit() or request.method == "HEAD":
        return status, {"content-length": "0"}, b""
    error = AwsError(code, message or f"{code} (injected by the local AWS)")
    headers: dict[str, Any] = {}
    if (service, code) == ("greengrassv2", "ThrottlingException"):
        headers["Retry-After"] = "1"
    model = get_service_model(service)
    protocol = determine_request_protocol(model, request.content_type)
    serialized = get_serializer_class(model.service_name, protocol)(model.operation_model(operation)).serialize(error)
    return status, {**serialized["headers"], **headers}, serialized["body"]
