"""Describing what is wrong with a file of fields without quoting its values.

A value is quoted only if its field is known to be harmless: a misspelt name, a nested object or an anchor may hold a
secret.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Iterable, Iterator, Mapping
from typing import Any

import yaml
from pydantic import ValidationError

from dda_core.sanitise import mask_values, without_url_secrets

_LONGEST_QUOTED = 200
_NAME = re.compile(r"[\w.-]{1,64}")


def explained(error: ValidationError, *, quoted: Collection[str], secrets: Iterable[str] = ()) -> str:
    """What pydantic found, in one line: each field with the rule that it breaks.

    Args:
        error: what pydantic raised.
        quoted: the fields whose values may be shown, except objects and lists, which may hold anything.
        secrets: values of other fields of the same file, masked wherever they appear.
    """
    return mask_values("; ".join(_sentence(problem, quoted) for problem in error.errors()), secrets)


def unquoted_values(fields: object, quoted: Collection[str]) -> list[str]:
    """Every scalar value, at any depth, under a field that is not in ``quoted``."""
    if not isinstance(fields, Mapping):
        return []
    return [text for name, value in fields.items() if name not in quoted for text in _texts(value)]


def yaml_problem(error: Exception) -> str:
    """The YAML parser's message with line and column, without the line of the file, tag or anchor that it quotes."""
    if not isinstance(error, yaml.MarkedYAMLError):
        return " ".join(str(error).split())
    mark = error.problem_mark or error.context_mark
    place = f" in line {mark.line + 1}, column {mark.column + 1}" if mark else ""
    return without_quotes(error) + place


def without_quotes(error: yaml.MarkedYAMLError) -> str:
    """The YAML parser's message without its position and without the line, tag or anchor that it quotes."""
    said = " ".join(" ".join(filter(None, (error.context, error.problem))).split())
    # Single characters stay, such as the one that cannot start a token.
    return re.sub(r"'[^']*'|\"[^\"]*\"", lambda quoted: quoted[0] if len(quoted[0]) == 3 else "'...'", said)


def _sentence(problem: Any, quoted: Collection[str]) -> str:
    place = ".".join(str(part) if _NAME.fullmatch(str(part)) else "(a key)" for part in problem["loc"])
    if problem["type"] == "extra_forbidden":
        # Not "name: ...", which masking would read as a name and its value.
        return f"unknown field {place}"
    field = next((part for part in problem["loc"] if isinstance(part, str)), None)
    found = problem["input"]
    shown = ""
    if problem["type"] != "missing" and field in quoted:
        if isinstance(found, str | int | float):
            text = repr(without_url_secrets(found) if isinstance(found, str) else found)
            shown = f" (found {text})" if len(text) <= _LONGEST_QUOTED else f" (found {len(text)} characters)"
        else:
            shown = f" (found {type(found).__name__})"
    return ": ".join(filter(None, (place, problem["msg"]))) + shown


def _texts(value: object) -> Iterator[str]:
    if isinstance(value, Mapping):
        for each in value.values():
            yield from _texts(each)
    elif isinstance(value, list | tuple):
        for each in value:
            yield from _texts(each)
    elif value is not None and not isinstance(value, bool):
        yield str(value)
