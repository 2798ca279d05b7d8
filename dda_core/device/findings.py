"""What is found about a package: which rule it breaks, where, and what a device would do with it."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from enum import StrEnum

from pydantic import BaseModel, ConfigDict

from dda_core.exceptions import DeviceWouldRefuse


class Failure(StrEnum):
    """What a device does with a package that breaks a rule, from the earliest to the least visible."""

    STARTUP = "startup"
    LOAD = "load"
    FRAME = "frame"
    WRONG = "wrong"

    @property
    def effect(self) -> str:
        """What happens on the device, as a sentence without its end."""
        return f"on the device {_EFFECTS[self]}"

    @property
    def doubt(self) -> str:
        """What may happen on the device, as a sentence without its end."""
        return f"on the device it may be that {_EFFECTS[self]}"


_EFFECTS = {
    Failure.STARTUP: "its start-up fails, and the deployment rolls back",
    Failure.LOAD: "its model never gets ready, though the component is RUNNING",
    Failure.FRAME: "every inference fails, though the component is RUNNING",
    Failure.WRONG: "it runs with false results",
}


class Severity(StrEnum):
    """Whether a finding refuses a package. A warning is given where it runs, or only the device can tell."""

    ERROR = "error"
    WARNING = "warning"


class DeviceFinding(BaseModel):
    """One rule that a package breaks.

    Attributes:
        rule: the rule's name in ``device_rules.yaml``.
        severity: ``error`` refuses the package.
        failure: what a device would do.
        key: where it is, such as ``stages[0].threshold`` or ``mochi/libdlr.so``.
        found: what is there, as the rest of a sentence that begins with ``key``: ``is null``.
        expected: what should be there; empty where ``found`` says it.
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
        """The finding in one line: what was found where, what was expected, what the device does, what to do."""
        expected = f" (expected: {self.expected})" if self.expected else ""
        effect = self.failure.effect if self.severity is Severity.ERROR else self.failure.doubt
        return f"{self.key} {self.found}{expected}: {effect}. {self.remedy}"

    @property
    def as_warning(self) -> DeviceFinding:
        """The same as a warning: the package runs all the same, or only the device can tell."""
        return self.model_copy(update={"severity": Severity.WARNING})

    def __str__(self) -> str:
        return self.message


def broken_rule(rule: str, key: str, found: str, expected: str, remedy: str, failure: Failure) -> DeviceFinding:
    """The error that a package breaks a rule; the arguments are fields of ``DeviceFinding``."""
    return DeviceFinding(
        rule=rule, severity=Severity.ERROR, failure=failure, key=key, found=found, expected=expected, remedy=remedy
    )


def errors(findings: Iterable[DeviceFinding]) -> list[DeviceFinding]:
    """Those that refuse the package."""
    return [finding for finding in findings if finding.severity is Severity.ERROR]


def warnings(findings: Iterable[DeviceFinding]) -> list[DeviceFinding]:
    """Those that do not."""
    return [finding for finding in findings if finding.severity is Severity.WARNING]


def refuse_errors(findings: Sequence[DeviceFinding], where: str) -> None:
    """Do nothing where every finding is a warning; ``where`` names what the package is made from.

    Raises:
        DeviceWouldRefuse: with every error.
    """
    if refused := errors(findings):
        raise DeviceWouldRefuse(where, refused)
