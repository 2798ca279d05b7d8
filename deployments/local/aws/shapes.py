"""Validation against botocore's service models.

The emulator rejects invalid requests with AWS's own texts, and its tests validate every response against the same
shapes, so that an unmodified SDK gets what it expects.
"""

from __future__ import annotations

import re
from datetime import datetime
from functools import cache
from typing import Any

import botocore.session
from botocore.model import OperationModel, ServiceModel, Shape

_TYPES: dict[str, tuple[type, ...]] = {
    "string": (str,),
    "integer": (int,),
    "long": (int,),
    "float": (int, float),
    "double": (int, float),
    "boolean": (bool,),
    "timestamp": (datetime, int, float, str),
    "list": (list, tuple),
    "map": (dict,),
    "structure": (dict,),
}


@cache
def service_model(service: str) -> ServiceModel:
    """botocore's model of a service, by its boto3 name."""
    return botocore.session.get_session().get_service_model(service)


def operation_model(service: str, operation: str) -> OperationModel:
    """botocore's model of one operation."""
    return service_model(service).operation_model(operation)


@cache
def _pattern(text: str) -> re.Pattern[str]:
    # Python's re has no Unicode categories; its word and space classes are close enough.
    return re.compile(text.replace(r"\p{L}", r"\w").replace(r"\p{N}", r"\w").replace(r"\p{Z}", r"\s"))


def request_violations(service: str, operation: str, request: dict[str, Any]) -> list[str]:
    """AWS's validation errors for a request, in its own words; empty for a valid request."""
    shape = operation_model(service, operation).input_shape
    return [] if shape is None else _violations(shape, request, "", constraints=True)


def response_violations(service: str, operation: str, response: dict[str, Any]) -> list[str]:
    """How a parsed response differs from botocore's model: missing or unknown members, wrong types or enum values."""
    shape = operation_model(service, operation).output_shape
    body = {key: value for key, value in response.items() if key != "ResponseMetadata"}
    if shape is None:
        return [f"{key} is not modelled" for key in body]
    return _violations(shape, body, "", constraints=False)


def _violations(shape: Any, value: Any, path: str, *, constraints: bool) -> list[str]:
    where = path or shape.name
    kind = shape.type_name
    if kind == "blob":
        readable = isinstance(value, bytes | bytearray | str) or hasattr(value, "read")
        return [] if readable else [f"Value at '{where}' is no blob: {type(value).__name__}"]
    typed = isinstance(value, _TYPES[kind]) and (kind == "boolean" or not isinstance(value, bool))
    if not typed:
        return [f"Value at '{where}' has type {type(value).__name__}, expected {kind}"]
    found: list[str] = []
    if kind == "structure":
        for name in shape.required_members:
            if value.get(name) is None:
                found.append(
                    f"Value null at '{_join(path, name)}' failed to satisfy constraint: Member must not be null"
                )
        for name, inner in value.items():
            if name not in shape.members:
                found.append(f"'{_join(path, name)}' is not modelled")
            elif inner is not None:
                found += _violations(shape.members[name], inner, _join(path, name), constraints=constraints)
    elif kind == "list":
        found += _length(shape, value, where) if constraints else []
        for index, inner in enumerate(value):
            found += _violations(shape.member, inner, f"{where}.{index + 1}.member", constraints=constraints)
    elif kind == "map":
        found += _length(shape, value, where) if constraints else []
        for key, inner in value.items():
            found += _violations(shape.key, key, f"{where} (map key)", constraints=constraints)
            found += _violations(shape.value, inner, f"{where}.{key}.member", constraints=constraints)
    elif kind == "string":
        found += _text(shape, value, where, constraints=constraints)
    elif kind in ("integer", "long", "float", "double") and constraints:
        found += _range(shape, value, where)
    return found


def _join(path: str, name: str) -> str:
    lowered = name[0].lower() + name[1:]
    return f"{path}.{lowered}" if path else lowered


def _text(shape: Shape, value: str, where: str, *, constraints: bool) -> list[str]:
    enum = shape.metadata.get("enum")
    if enum and value not in enum:
        return [
            f"Value '{value}' at '{where}' failed to satisfy constraint: "
            f"Member must satisfy enum value set: [{', '.join(enum)}]"
        ]
    if not constraints:
        return []
    found = _length(shape, value, where)
    pattern = shape.metadata.get("pattern")
    if pattern and not found and not _pattern(pattern).fullmatch(value):
        found.append(
            f"Value '{value}' at '{where}' failed to satisfy constraint: "
            f"Member must satisfy regular expression pattern: {pattern}"
        )
    return found


def _length(shape: Shape, value: Any, where: str) -> list[str]:
    shown = f"'{value}' " if isinstance(value, str) else ""
    least, most = shape.metadata.get("min"), shape.metadata.get("max")
    if least is not None and len(value) < least:
        return [
            f"Value {shown}at '{where}' failed to satisfy constraint: "
            f"Member must have length greater than or equal to {least}"
        ]
    if most is not None and len(value) > most:
        return [
            f"Value {shown}at '{where}' failed to satisfy constraint: "
            f"Member must have length less than or equal to {most}"
        ]
    return []


def _range(shape: Shape, value: float, where: str) -> list[str]:
    least, most = shape.metadata.get("min"), shape.metadata.get("max")
    for bound, wrong, words in (
        (least, least is not None and value < least, "greater than or equal to"),
        (most, most is not None and value > most, "less than or equal to"),
    ):
        if wrong:
            return [
                f"Value '{value}' at '{where}' failed to satisfy constraint: Member must have value {words} {bound}"
            ]
    return []


def summary(violations: list[str]) -> str:
    """AWS's one-line message for a list of violations."""
    errors = "error" if len(violations) == 1 else "errors"
    return f"{len(violations)} validation {errors} detected: {'; '.join(violations)}"
