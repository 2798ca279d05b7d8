"""The failure catalogue: ``failures.yaml``, validated and frozen, and a lookup that always returns an answer.

The longest match wins, so a specific text beats the error code in front of it::

    >>> explain("ClientError: InputConfiguration: No model file found.").retry
    'never'
"""

from __future__ import annotations

import re
from functools import cache
from pathlib import Path
from typing import Annotated, Any, Literal

import yaml
from botocore.exceptions import BotoCoreError, ClientError
from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, ValidationError

from dda_core.exceptions import AwsCallFailed, CompilationFailed, InvalidCatalogue, PublishFailed, TargetFailed

CATALOGUE = Path(__file__).with_name("failures.yaml")

Retry = Literal["never", "backoff", "quota", "reconcile"]
"""Whether a retry can help: no; later; once a slot is free; only after reading the state in AWS again."""
RETRY_HELPS: dict[Retry, str] = {
    "never": "No. The same input fails again.",
    "backoff": "Possibly: the cause may be transient.",
    "quota": "Yes, once other compilation jobs have ended.",
    "reconcile": "Possibly: check the state in AWS first.",
}
"""The sentence that a run records and people read."""
Service = Literal["neo", "greengrass"]

Sentence = Annotated[str, Field(min_length=10, pattern=r"\S[.!]$")]


def _fragments(value: object) -> object:
    return (value,) if isinstance(value, str) else value


class CatalogueRow(BaseModel):
    """One row of the YAML file. Any entry of ``match`` identifies the failure; all its fragments must appear."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    match: tuple[Annotated[tuple[str, ...], BeforeValidator(_fragments), Field(min_length=1)], ...] = Field(
        min_length=1
    )
    errors: tuple[str, ...] = ()
    service: Service | None = None
    cause: Sentence
    remedy: Sentence
    retry: Retry
    source: Annotated[str, Field(min_length=3)]
    fallback: bool = False


class Failure(BaseModel):
    """What the catalogue says about an error.

    Attributes:
        match: the text fragments that matched; empty for the last resort and for an error matched by its class.
        cause: what happened, as a sentence.
        remedy: what the operator does now, as a sentence.
        retry: whether a retry can help.
        source: where the rule comes from.
        fallback: whether only a general row matched.
    """

    model_config = ConfigDict(frozen=True)

    match: tuple[str, ...]
    cause: str
    remedy: str
    retry: Retry
    source: str
    fallback: bool = False


class Catalogue:
    """The rows of one YAML file, with lookups."""

    def __init__(self, rows: tuple[CatalogueRow, ...]) -> None:
        self.rows = rows
        # The sort is stable: among matches of the same length the earlier row wins.
        self._matches = sorted(
            ((tuple(map(_normal, fragments)), fragments, row) for row in rows for fragments in row.match),
            key=lambda each: (each[2].fallback, -sum(map(len, each[0]))),
        )
        self._errors = {name: row for row in rows for name in row.errors}

    def explain(self, text: str, service: Service | None = None) -> Failure:
        """The row with the longest match in ``text``; see the function ``explain``."""
        plain = _normal(text)
        folded = plain.casefold()
        for wanted, fragments, row in self._matches:
            if service and row.service and row.service != service:
                continue
            if all(_appears(fragment, plain, folded) for fragment in wanted):
                return _failure(row, tuple(filter(None, fragments)))
        raise AssertionError("unreachable: the catalogue's last resort matches every text")

    def of_class(self, error: BaseException) -> Failure | None:
        """The row of the error's class, or of its nearest base class."""
        for cls in type(error).__mro__:
            if row := self._errors.get(cls.__name__):
                return _failure(row, ())
        return None


def _failure(row: CatalogueRow, match: tuple[str, ...]) -> Failure:
    return Failure(
        match=match, cause=row.cause, remedy=row.remedy, retry=row.retry, source=row.source, fallback=row.fallback
    )


def _normal(text: str) -> str:
    return " ".join(text.split())


def _appears(fragment: str, plain: str, folded: str) -> bool:
    # STOPPED is a status; "stopped" is prose.
    if fragment.isalpha() and fragment.isupper() and len(fragment) > 3:
        return re.search(rf"(?<![A-Za-z]){fragment}(?![A-Za-z])", plain) is not None
    return fragment.casefold() in folded


def read_catalogue(path: Path) -> Catalogue:
    """Read a failure catalogue.

    Raises:
        InvalidCatalogue: the file is not a list of valid rows, two rows share a match or a class, or the last resort
            is missing; the message names the file and the row.
    """
    try:
        given: Any = yaml.safe_load(path.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError, yaml.YAMLError) as error:
        raise InvalidCatalogue(str(error), where=str(path)) from error
    if not isinstance(given, list):
        raise InvalidCatalogue(
            f"it holds {type(given).__name__}", where=str(path), expected="a list of rows with match, cause..."
        )
    rows = []
    for number, fields in enumerate(given, 1):
        try:
            rows.append(CatalogueRow.model_validate(fields))
        except ValidationError as error:
            problems = "; ".join(
                f"{'.'.join(map(str, problem['loc']))}: {problem['msg']}" for problem in error.errors()
            )
            name = fields.get("match") if isinstance(fields, dict) else fields
            raise InvalidCatalogue(problems, where=f"{path}, row {number} ({name!r})") from error
    seen: dict[object, int] = {}
    for number, row in enumerate(rows, 1):
        keys = [(row.service, frozenset(_normal(part).casefold() for part in fragments)) for fragments in row.match]
        for key in [*keys, *row.errors]:
            if key in seen:
                raise InvalidCatalogue(
                    f"row {seen[key]} has the same match or class",
                    where=f"{path}, row {number} ({row.match[0]!r})",
                    expected="each in one row only",
                )
            seen[key] = number
    if not any(("",) in row.match and row.fallback and row.service is None for row in rows):
        raise InvalidCatalogue(
            "it has no last resort", where=str(path), expected="a row with match [''] and fallback true"
        )
    return Catalogue(tuple(rows))


@cache
def catalogue() -> Catalogue:
    """The catalogue that ships with the code."""
    return read_catalogue(CATALOGUE)


def explain(text: str, *, service: Service | None = None) -> Failure:
    """What an error's text means and what to do; every text has an answer.

    Args:
        text: the text from AWS or the pipeline.
        service: the service it comes from, if known; rows of the other service are then ignored.
    """
    return catalogue().explain(text, service)


def guidance_for(error: BaseException) -> Failure:
    """What an exception means and what to do; every exception has an answer.

    AWS errors are looked up by code, message and HTTP status, failed jobs and components by AWS's reason, and every
    other error by its class, then by its text.
    """
    if isinstance(error, ClientError):
        return _client_error(error)
    known = catalogue().of_class(error)
    if isinstance(error, CompilationFailed):
        return explain(error.reason, service="neo")
    if isinstance(error, PublishFailed):
        found = explain(error.reason, service="greengrass")
        return found if found.match or known is None else known
    if isinstance(error, AwsCallFailed) and isinstance(error.__cause__, ClientError | BotoCoreError | OSError):
        found = guidance_for(error.__cause__)
        if not found.fallback:
            return found
    if known and not known.fallback:
        return known
    return explain(error.reason if isinstance(error, TargetFailed) else f"{type(error).__name__}: {error}")


def _client_error(error: ClientError) -> Failure:
    details = error.response.get("Error", {})
    status = error.response.get("ResponseMetadata", {}).get("HTTPStatusCode", 0)
    found = explain(f"{details.get('Code', '')}: {details.get('Message', '')}")
    if not found.fallback:
        return found
    if status == 429:
        return explain("Too Many Requests")
    if status >= 500:
        return explain("InternalFailure")
    return explain("ServerError" if found.retry == "backoff" else "ClientError")
