"""Faults that can be put into the embedded AWS by name.

Three kinds: the next compilation jobs of a target end FAILED, the next component versions of a target end
FAILED, and an API call answers with an error, before or after its effect.
"""

from __future__ import annotations

import difflib
import threading
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, model_validator

from dda_core.exceptions import InvalidName
from dda_core.targets import find_target
from deployments.local.aws.shapes import service_model

SERVICES = ("sagemaker", "greengrassv2", "s3", "sts", "logs", "events", "iam", "sqs")
"""The services whose calls can be made to fail, by boto3's names."""


class Fault(BaseModel):
    """One fault. ``times`` is how often it strikes; of a call, the first ``nth - 1`` pass before it does."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    kind: Literal["compile", "publish", "call"]
    target: str | None = None
    reason: str | None = None
    operation: str | None = None
    error: str | None = None
    message: str | None = None
    nth: Annotated[int, Field(ge=1)] = 1
    times: Annotated[int, Field(ge=1)] = 1
    after_effect: bool = False

    @model_validator(mode="after")
    def _has_what_its_kind_needs(self) -> Fault:
        needed = ("operation", "error") if self.kind == "call" else ("target", "reason")
        missing = [name for name in needed if not getattr(self, name)]
        if missing:
            raise ValueError(f"a fault of kind {self.kind} needs {' and '.join(missing)}")
        return self


def known_operation(name: str) -> str:
    """``name``, checked: an operation of one of the services, as ``CreateCompilationJob`` or ``s3:PutObject``.

    Raises:
        InvalidName: no such operation; the closest names are told.
    """
    service, _, operation = name.rpartition(":")
    services = (service,) if service else SERVICES
    known = [o for s in services if s in SERVICES for o in service_model(s).operation_names]
    if operation in known:
        return name
    close = difflib.get_close_matches(operation, known, n=3)
    hint = f"; did you mean {' or '.join(close)}?" if close else ""
    raise InvalidName(
        f"{name!r} is no operation of {', '.join(SERVICES)}{hint} "
        "Operations are written as AWS does: CreateCompilationJob, or s3:PutObject to name the service."
    )


class _Entry:
    def __init__(self, number: int, fault: Fault) -> None:
        self.number = number
        self.fault = fault
        self.seen = 0
        self.struck = 0

    def strikes(self) -> bool:
        self.seen += 1
        if self.seen < self.fault.nth or self.struck >= self.fault.times:
            return False
        self.struck += 1
        return True


class FaultBook:
    """The faults in force. Safe to use from several threads."""

    def __init__(self) -> None:
        self._entries: list[_Entry] = []
        self._count = 0
        self._lock = threading.Lock()

    def add(self, kind: Literal["compile", "publish", "call"], **fields: Any) -> Fault:
        """Put a fault in force.

        Raises:
            UnknownTarget: its target is in no row of the table.
            InvalidName: its operation is none.
        """
        if fields.get("target"):
            fields["target"] = find_target(fields["target"]).name
        if fields.get("operation"):
            fields["operation"] = known_operation(fields["operation"])
        fault = Fault(kind=kind, **fields)
        with self._lock:
            self._count += 1
            self._entries.append(_Entry(self._count, fault))
        return fault

    def reason_for(self, kind: Literal["compile", "publish"], target: str | None) -> str | None:
        """The reason with which the job or component that starts now will fail; None when it will not."""
        with self._lock:
            for entry in self._entries:
                if entry.fault.kind == kind and entry.fault.target == target and entry.strikes():
                    return entry.fault.reason
        return None

    def for_call(self, service: str, operation: str) -> Fault | None:
        """The fault that strikes this call. Every fault that names the operation counts the call."""
        struck: Fault | None = None
        with self._lock:
            for entry in self._entries:
                named = entry.fault.operation in (operation, f"{service}:{operation}")
                if entry.fault.kind == "call" and named and struck is None and entry.strikes():
                    struck = entry.fault
        return struck

    def listed(self) -> list[dict[str, Any]]:
        """Every fault with its number, how many calls it ``seen`` and how often it ``struck``."""
        with self._lock:
            return [
                {"number": e.number, **e.fault.model_dump(exclude_none=True), "seen": e.seen, "struck": e.struck}
                for e in self._entries
            ]

    def clear(self) -> int:
        """Take every fault out of force; how many there were."""
        with self._lock:
            count = len(self._entries)
            self._entries.clear()
        return count
