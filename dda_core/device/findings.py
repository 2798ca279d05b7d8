"""Findings on a package: which rule it breaks, where, and what happens on a device."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from enum import StrEnum

from pydantic import BaseModel, ConfigDict

from dda_core.exceptions import DeviceWouldRefuse


class Failure(StrEnum):
    """How a package that breaks a rule fails on a device, from the earliest failure to the least visible."""

    STARTUP = "startup"
    LOAD = "load"
    FRAME = "frame"
    WRONG = "wrong"

    @property
    def effect(self) -> str:
        """What happens on the device, as a clause."""
        return f"on the device, {_EFFECTS[self]}"

    @property
    def doubt(self) -> str:
        """What may happen on the device, as a clause."""
        return f"on the device, it is possible that {_EFFECTS[self]}"


_EFFECTS = {
    Failure.STARTUP: "the component's startup fails and the deployment rolls back",
    Failure.LOAD: "the model never becomes ready, although the component is RUNNING",
    Failure.FRAME: "every inference fails, although the component is RUNNING",
    Failure.WRONG: "the model runs but gives wrong results",
}


class Severity(StrEnum):
    """An error refuses the package. A warning: the package runs, or only the device can tell whether it does."""

    ERROR = "error"
    WARNING = "warning"


class DeviceFinding(BaseModel):
    """One rule that a package breaks.

    Attributes:
        rule: the rule's name in ``device_rules.yaml``.
        severity: ``error`` refuses the package.
        failure: how it fails on a device.
        key: where it is, such as ``stages[0].threshold`` or ``mochi/libdlr.so``.
        found: what was found, as the predicate of a sentence that begins with ``key``: ``is null``.
        expected: what was expected; empty where ``found`` implies it.
        remedy: what to do, as a sentence.
    """

    model_config = ConfigDict(frozen=True)

    rule: str
    severity: Severity
    failure: Failure
    key: str
    found: str
    expected: str
    remedy: str

    @property
    def message(self) -> str:
        """The finding in one line: what was found where, what was expected, the effect on the device, the remedy."""
        expected = f" (expected: {self.expected})" if self.expected else ""
        effect = self.failure.effect if self.severity is Severity.ERROR else self.failure.doubt
        return f"{self.key} {self.found}{expected}: {effect}. {self.remedy}"

    @property
    def as_warning(self) -> DeviceFinding:
        """The same finding as a warning."""
        return self.model_copy(update={"severity": Severity.WARNING})

    def __str__(self) -> str:
        return self.message


def broken_rule(rule: str, key: str, found: str, expected: str, remedy: str, failure: Failure) -> DeviceFinding:
    """An error for a broken rule; the arguments are the fields of ``DeviceFinding``."""
    return DeviceFinding(
        rule=rule, severity=Severity.ERROR, failure=failure, key=key, found=found, expected=expected, remedy=remedy
    )


def errors(findings: Iterable[DeviceFinding]) -> list[DeviceFinding]:
    """The findings that refuse the package."""
    return [finding for finding in findings if finding.severity is Severity.ERROR]


def warnings(findings: Iterable[DeviceFinding]) -> list[DeviceFinding]:
    """The findings that do not refuse the package."""
    return [finding for finding in findings if finding.severity is Severity.WARNING]


def refuse_errors(findings: Sequence[DeviceFinding], where: str) -> None:
    """Raise if any finding is an error; ``where`` names what the package is made from.

    Raises:
        DeviceWouldRefuse: with every error.
    """
    if refused := errors(findings):
        raise DeviceWouldRefuse(where, refused)
