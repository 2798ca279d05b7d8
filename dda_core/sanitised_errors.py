"""Removing secrets from exceptions, which end up in states, logs and stored results."""

from __future__ import annotations

from pathlib import PurePath
from typing import Any

from pydantic import BaseModel

from dda_core.exceptions import SecretWithheld
from dda_core.sanitise import MASK, redact, without_url_secrets


def without_secrets(error: Exception) -> Exception:
    """The exception with secrets masked in its text and attributes, and in those of its causes and members.

    It is changed in place, so that class, attributes and traceback are preserved. An exception whose text cannot be
    changed, such as pydantic's, is replaced by a ``SecretWithheld`` if the text holds a secret.
    """
    cleaned = _cleaned(error, set())
    assert isinstance(cleaned, Exception), "an Exception is changed in place or replaced by another Exception"
    return cleaned


def masked(text: str) -> str:
    """An error's text without secrets, with URLs reduced to scheme, host and path."""
    return redact(without_url_secrets(text))


def _cleaned(error: BaseException, seen: set[int]) -> BaseException:
    if id(error) in seen:
        return error
    seen.add(id(error))
    suppressed = error.__suppress_context__
    if error.__cause__ is not None:
        error.__cause__ = _cleaned(error.__cause__, seen)
    if error.__context__ is not None:
        error.__context__ = _cleaned(error.__context__, seen)
    error.__suppress_context__ = suppressed  # setting the cause changed it
    if isinstance(error, BaseExceptionGroup):
        for member in error.exceptions:
            _cleaned(member, seen)
    error.args = tuple(map(_value, error.args))
    attributes = getattr(error, "__dict__", {})
    attributes.update({name: _named(name, value) for name, value in attributes.items()})
    if isinstance(error, OSError):
        # Its text is built from these, which are not in its __dict__.
        for name in ("strerror", "filename", "filename2"):
            setattr(error, name, _value(getattr(error, name)))
    return error if _holds_no_secret(error) else _replacement(error)


def _holds_no_secret(error: BaseException) -> bool:
    return all(redact(text) == text for text in (str(error), repr(error)))


def _replacement(error: BaseException) -> SecretWithheld:
    replacement = SecretWithheld(type(error).__name__, masked(str(error)))
    replacement.__cause__, replacement.__context__ = error.__cause__, error.__context__
    replacement.__suppress_context__ = error.__suppress_context__
    return replacement.with_traceback(error.__traceback__)


def _value(value: Any) -> Any:
    """The value with its texts masked; the same object if there is nothing to mask."""
    clean = value
    if isinstance(value, str):
        clean = masked(value) if type(value) is str else value
    elif isinstance(value, PurePath):
        clean = type(value)(masked(str(value)))
    elif isinstance(value, dict):
        clean = {key: _named(key, each) for key, each in value.items()}
    elif type(value) in (list, tuple, set, frozenset):
        clean = type(value)(map(_value, value))
    elif isinstance(value, BaseModel):
        clean = value.model_copy(update={name: _named(name, each) for name, each in value})
    return value if clean == value else clean


def _named(name: object, value: Any) -> Any:
    """The value under a name, masked entirely if the name marks it as a secret."""
    if isinstance(name, str) and isinstance(value, str) and redact(f"{name}={value}") == f"{name}={MASK}":
        return MASK
    return _value(value)
