"""The fault grid: which error is injected into which call of which operation.

The operations are those that an undisturbed run calls, so a new call enters the grid automatically. The errors are
those that botocore's service models declare for them, those that every service can return, and connection errors. The
expected end of a run is in ``documented``.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import count
from typing import NamedTuple

from deployments.local.aws.connection import ConnectionFault
from deployments.local.aws.shapes import operation_model

ATTEMPTS = 2
"""botocore's attempts for one call in these tests."""


@dataclass(frozen=True)
class Case:
    """A fault and the call that it is injected into.

    Attributes:
        operation: such as ``s3:PutObject``.
        error: AWS's code, a bare HTTP status, or a connection error.
        nth: which call of the operation fails.
        again: whether it fails in the second run, which finds everything done.
        after_effect: whether the call takes effect first, and only its response is lost.
        lasting: whether it outlasts botocore's own attempts.
        endless: whether it is permanent.
    """

    operation: str
    error: str
    nth: int = 1
    again: bool = False
    after_effect: bool = False
    lasting: bool = False
    endless: bool = False

    @property
    def service(self) -> str:
        return self.operation.partition(":")[0]

    @property
    def message(self) -> str:
        return MESSAGES.get(self.error, f"{self.error} was sent on purpose.")

    @property
    def times(self) -> int:
        return 10_000 if self.endless else ATTEMPTS if self.lasting else 1

    @property
    def in_process(self) -> bool:
        """Whether there is no connection at all, which only ``mock_aws`` can simulate for a single operation."""
        return self.error in IN_PROCESS

    def __str__(self) -> str:
        flags = {
            "after its effect": self.after_effect,
            "lasting": self.lasting,
            "endless": self.endless,
            "of a second run": self.again,
        }
        return " ".join(
            [f"{self.operation} #{self.nth} {self.error}", *(word for word, is_so in flags.items() if is_so)]
        )


# --- Which errors -----------------------------------------------------------------------------------------------------

_CLOCK = "Signature expired: 20260101T000000Z is now earlier than 20260101T001000Z"
MESSAGES = {
    "AccessDenied": "Access Denied",
    "AccessDeniedException": "User: arn:aws:sts::123456789012:assumed-role/x/y is not authorized to perform this",
    "ExpiredToken": "The provided token has expired.",
    "ExpiredTokenException": "The security token included in the request is expired",
    "InvalidSignatureException": _CLOCK,
    "SignatureDoesNotMatch": _CLOCK,
    "RequestTimeTooSkewed": "The difference between the request time and the current time is too large.",
    "ThrottlingException": "Rate exceeded",
    "Throttling": "Rate exceeded",
    "SlowDown": "Please reduce your request rate.",
    "ResourceNotFound": "Requested resource not found.",
    "ResourceInUse": "A compilation job of that name exists.",
    "ResourceLimitExceeded": "The account-level service limit 'compilation jobs' is 0.",
}


class Dialect(NamedTuple):
    """Each service's codes for the errors that every service can return."""

    denied: str
    expired: str
    clock: str
    throttled: str
    failure: str


_JSON = Dialect(
    "AccessDeniedException",
    "ExpiredTokenException",
    "InvalidSignatureException",
    "ThrottlingException",
    "InternalFailure",
)
_QUERY = Dialect("AccessDenied", "ExpiredToken", "SignatureDoesNotMatch", "Throttling", "InternalFailure")
_S3 = Dialect("AccessDenied", "ExpiredToken", "RequestTimeTooSkewed", "SlowDown", "InternalError")
IN_PROCESS = ("connect-timeout", "connection-refused")
NO_ANSWER = ("connection-reset", "read-timeout", "cut-body", *IN_PROCESS)
STATUS = ("429", "500", "503")
LOST_ANSWER = ("read-timeout", "cut-body", "connection-reset")
"""Lost responses: the errors of a call that has taken effect."""
EFFECTS = ("Create", "Put", "Upload", "Complete", "Copy", "Delete")
"""Prefixes of operations that change something."""


def dialect_of(operation: str) -> Dialect:
    return {"s3": _S3, "sts": _QUERY, "iam": _QUERY}.get(operation.partition(":")[0], _JSON)


def modelled(operation: str) -> list[str]:
    """The error codes that botocore's model declares for the operation, as sent."""
    service, _, name = operation.partition(":")
    shapes = operation_model(service, name).error_shapes
    return [str(shape.metadata.get("error", {}).get("code") or shape.name) for shape in shapes]


# --- One fault at a time ----------------------------------------------------------------------------------------------


def grid(first_run: Counter[str], second_run: Counter[str]) -> list[Case]:
    """Every case for the calls that the two runs made.

    Each operation gets each error of its model, and a permanent one. Its first, second and last call each get expired
    credentials and a clock skew, which last until a person fixes them, and an error that outlasts botocore's attempts;
    if the call changes something, also every kind of lost response.
    """
    cases: list[Case] = []
    turn = count()
    for operation, calls in sorted(first_run.items()):
        cases += _of_operation(operation, calls, turn, again=False)
    for operation, calls in sorted(second_run.items()):
        if operation not in first_run:
            cases += _of_operation(operation, calls, turn, again=True)
    return cases


def places(calls: int) -> list[int]:
    """The first, second and last of that many calls, each once."""
    return sorted({1, min(2, calls), calls})


def _of_operation(operation: str, calls: int, turn: Iterator[int], *, again: bool) -> Iterator[Case]:
    name, here, dialect = operation.partition(":")[2], places(calls), dialect_of(operation)
    until_fixed = (dialect.denied, dialect.expired, dialect.clock)
    modelled_errors = [error for error in dict.fromkeys(modelled(operation)) if error not in until_fixed]
    for number, error in enumerate(modelled_errors):
        yield Case(operation, error, here[number % len(here)], again)
    yield Case(operation, dialect.denied, here[next(turn) % len(here)], again, endless=True)
    for place in here:
        yield Case(operation, dialect.expired, place, again, endless=True)
        yield Case(operation, dialect.clock, place, again, endless=True)
        yield Case(operation, _pick((*NO_ANSWER, *STATUS), next(turn)), place, again, lasting=True)
        if name.startswith(EFFECTS):
            for error in LOST_ANSWER:
                yield Case(operation, error, place, again, after_effect=True)
    yield Case(operation, _pick(("503", "connection-reset"), next(turn)), 1, again, endless=True)
    if name.startswith(EFFECTS):
        yield Case(operation, "cut-body", 1, again, after_effect=True, endless=True)
    if "ResourceLimitExceeded" in modelled_errors:
        yield Case(operation, "ResourceLimitExceeded", endless=True)


def _pick(errors: Sequence[str], turn: int) -> str:
    return errors[turn % len(errors)]


# --- Everything at the same time --------------------------------------------------------------------------------------


class Storm(NamedTuple):
    """One transient error, injected into the same call of every operation of a run."""

    error: str
    place: int
    cases: tuple[Case, ...]

    @property
    def in_process(self) -> bool:
        return self.error in IN_PROCESS

    def __str__(self) -> str:
        return f"{self.error} at call {self.place} of {len(self.cases)} operations"


def storms(run: Counter[str]) -> Iterator[Storm]:
    """Each transient error, at the first, second and last call of every operation that has that many."""
    for error in ("throttled", "failure", *STATUS, *NO_ANSWER):
        for place in range(3):
            cases = [
                Case(
                    operation,
                    getattr(dialect_of(operation), error, error),
                    places(calls)[place],
                    after_effect=error == ConnectionFault.READ_TIMEOUT,
                )
                for operation, calls in sorted(run.items())
                if place < len(places(calls))
            ]
            yield Storm(error, place + 1, tuple(cases))
