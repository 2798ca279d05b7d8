"""Faults that can be injected into the embedded AWS.

Four kinds: the next compilation jobs of a target end FAILED, or COMPLETED with an archive that no device can load;
the next component versions of a target end FAILED; and an API call fails with an error or a broken connection,
before or after it takes effect.
"""

from __future__ import annotations

import difflib
import re
import threading
from collections import deque
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, model_validator

from dda_core.exceptions import InvalidName, UsageError
from dda_core.targets import find_target
from deployments.local.aws.connection import ConnectionFault
from deployments.local.aws.shapes import service_model
from deployments.local.aws.spoiling import Spoil

Kind = Literal["compile", "compiled", "publish", "call"]
_NEEDED = {
    "compile": ("target", "reason"),
    "compiled": ("target", "spoil"),
    "publish": ("target", "reason"),
    "call": ("operation", "error"),
}

SERVICES = ("sagemaker", "greengrassv2", "s3", "sts", "logs", "events", "iam", "sqs", "resourcegroupstaggingapi")
"""The services whose calls can fail, by their boto3 names."""
_REMEMBERED = 20
_CODE = re.compile(r"[A-Z][A-Za-z0-9.]*|[345][0-9][0-9]")


class Fault(BaseModel):
    """One fault. It occurs ``times`` times; with ``kind="call"``, from the ``nth`` call on.

    ``error`` is an AWS error code, a bare HTTP status such as ``503``, or a :class:`ConnectionFault`.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    kind: Kind
    target: str | None = None
    reason: str | None = None
    spoil: Spoil | None = None
    operation: str | None = None
    error: str | None = None
    message: str | None = None
    nth: Annotated[int, Field(ge=1)] = 1
    times: Annotated[int, Field(ge=1)] = 1
    after_effect: bool = False

    @model_validator(mode="after")
    def _has_what_its_kind_needs(self) -> Fault:
        missing = [name for name in _NEEDED[self.kind] if not getattr(self, name)]
        if missing:
            raise ValueError(f"a fault of kind {self.kind} needs {' and '.join(missing)}")
        if self.after_effect and self.connection and not self.connection.connects:
            raise ValueError(f"{self.error} cannot come after the effect: the call never reaches AWS")
        return self

    @property
    def connection(self) -> ConnectionFault | None:
        """The connection fault; None where the call gets an error response."""
        return ConnectionFault(self.error) if self.error in set(ConnectionFault) else None

    @property
    def has_effect(self) -> bool:
        """Whether the call takes effect before it fails. It does where its response body is truncated."""
        return self.after_effect or self.connection is ConnectionFault.CUT_BODY


def known_error(name: str) -> str:
    """``name``, validated: an AWS error code, an HTTP status, or a connection fault.

    Raises:
        InvalidName: it is none of these.
    """
    if name in set(ConnectionFault) or _CODE.fullmatch(name):
        return name
    close = difflib.get_close_matches(name, list(ConnectionFault), n=1)
    raise InvalidName(
        f"{name!r} is not an error{f' (did you mean {close[0]}?)' if close else ''}",
        name=name,
        expected="an AWS error code (ThrottlingException), an HTTP status (503), or one of "
        + ", ".join(ConnectionFault),
    )


def known_operation(name: str) -> str:
    """``name``, validated: an operation such as ``CreateCompilationJob`` or ``s3:PutObject``.

    Raises:
        InvalidName: there is no such operation; the message suggests similar names.
    """
    service, _, operation = name.rpartition(":")
    services = (service,) if service else SERVICES
    known = [o for s in services if s in SERVICES for o in service_model(s).operation_names]
    if operation in known:
        return name
    close = difflib.get_close_matches(operation, known, n=3)
    hint = f" (did you mean {' or '.join(close)}?)" if close else ""
    raise InvalidName(
        f"{name!r} is not an operation of {', '.join(SERVICES)}{hint}",
        name=name,
        expected="an AWS operation such as CreateCompilationJob, or s3:PutObject to name the service",
    )


def known_spoil(name: str, target: str) -> Spoil:
    """The spoil of that name, validated for a target.

    Raises:
        UnknownTarget: there is no such target.
        InvalidName: there is no such spoil.
        UsageError: the target's archives cannot be spoiled in that way.
    """
    if name not in set(Spoil):
        raise InvalidName(
            f"{name!r} is not a known way to spoil an archive",
            name=name,
            expected=f"one of {', '.join(Spoil)}",
        )
    accelerator = find_target(target).accelerator
    if name == Spoil.CUDA_ON_CPU and accelerator:
        raise UsageError(f"{name} is for CPU targets; archives of {target} have code for {accelerator} anyway")
    return Spoil(name)


class _Entry:
    def __init__(self, number: int, fault: Fault) -> None:
        self.number = number
        self.fault = fault
        self.seen = 0
        self.struck = 0
        self.requests: deque[str] = deque(maxlen=_REMEMBERED)

    def strikes(self, request: str = "") -> bool:
        self.seen += 1
        if self.seen < self.fault.nth or self.struck >= self.fault.times:
            return False
        self.struck += 1
        if request:
            self.requests.append(request)
        return True

    def listed(self) -> dict[str, Any]:
        fault = {"number": self.number, **self.fault.model_dump(exclude_none=True)}
        return fault | {"seen": self.seen, "struck": self.struck, "requests": list(self.requests)}


class FaultBook:
    """The active faults. Thread-safe."""

    def __init__(self) -> None:
        self._entries: list[_Entry] = []
        self._count = 0
        self._lock = threading.Lock()

    def add(self, kind: Kind, **fields: Any) -> Fault:
        """Add a fault.

        Raises:
            UnknownTarget: there is no such target.
            InvalidName: there is no such operation, error or spoil.
            UsageError: the target's archives cannot be spoiled in that way.
        """
        if fields.get("target"):
            fields["target"] = find_target(fields["target"]).name
        if fields.get("operation"):
            fields["operation"] = known_operation(fields["operation"])
        if fields.get("error"):
            fields["error"] = known_error(fields["error"])
        if fields.get("target") and fields.get("spoil"):
            fields["spoil"] = known_spoil(fields["spoil"], fields["target"])
        fault = Fault(kind=kind, **fields)
        with self._lock:
            self._count += 1
            self._entries.append(_Entry(self._count, fault))
        return fault

    def reason_for(self, kind: Literal["compile", "publish"], target: str | None) -> str | None:
        """The failure reason of the job or component that starts now; None when it is not to fail."""
        struck = self._next_for(kind, target)
        return struck.reason if struck else None

    def spoil_for(self, target: str | None) -> Spoil | None:
        """How to spoil the archive of the compilation job that starts now; None for a good one."""
        struck = self._next_for("compiled", target)
        return struck.spoil if struck else None

    def _next_for(self, kind: Kind, target: str | None) -> Fault | None:
        with self._lock:
            for entry in self._entries:
                if entry.fault.kind == kind and entry.fault.target == target and entry.strikes():
                    return entry.fault
        return None

    def for_call(self, service: str, operation: str, request: str = "") -> Fault | None:
        """The fault for this call, or None; ``request`` describes the call.

        Where several faults name the operation, those after the one that occurs do not count the call.
        """
        struck: Fault | None = None
        with self._lock:
            for entry in self._entries:
                named = entry.fault.operation in (operation, f"{service}:{operation}")
                if entry.fault.kind == "call" and named and struck is None and entry.strikes(request):
                    struck = entry.fault
        return struck

    def listed(self) -> list[dict[str, Any]]:
        """Every fault with its number, the calls it has ``seen``, how often it ``struck``, and which ``requests``."""
        with self._lock:
            return [entry.listed() for entry in self._entries]

    def clear(self) -> int:
        """Remove all faults; return how many there were."""
        with self._lock:
            count = len(self._entries)
            self._entries.clear()
        return count
