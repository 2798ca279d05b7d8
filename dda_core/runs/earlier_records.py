"""Records of earlier versions, read as if this one had written them.

Those versions kept no retry class, no kind of crash and no way of resuming; they went by their own sentences. Those
sentences are frozen here, whatever the texts of today say, and nothing else goes by a sentence. A record that has the
field is never looked at here.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from dda_core.failures import explain
from dda_core.runs.history import TargetLine
from dda_core.runs.liveness import CrashKind, Resumption
from dda_core.runs.retry_class import RetryClass
from dda_core.runs.status import TargetStatus

_WILL_RETRY_HELP = {
    "No. The same input fails again.": RetryClass.NEVER,
    "It may: the cause can pass by itself.": RetryClass.BACKOFF,
    "Yes, once other compilation jobs have ended.": RetryClass.QUOTA,
    "Look first at what is there; then it may.": RetryClass.RECONCILE,
}
"""What a failed target's record said about doing it again."""
_TIME_LIMIT = "MaxRuntimeInSeconds"
"""What the reason named where a compilation job was stopped by its time limit, and not by a person."""
_TIMED_OUT = (("took longer than its limit of",), ("was still", "_TIMEOUT_SECONDS"), ("StepTimedOut",))
"""By these the failure catalogue found a step that had reached its time limit."""
_CRASHES = {
    "Everything that ran for the stack was ended": CrashKind.STACK_ENDED,
    "No heartbeat of the run came": CrashKind.SILENT,
}
"""How the message of a crash began."""
_RESUMED = "Goes on where it was"
"""How the message of the state after a crash began where the run was resumed, and not retried."""


def target_line(row: Mapping[str, Any]) -> TargetLine:
    """A target's line from its row of a run's record.

    Raises:
        pydantic.ValidationError: the row is no target's line.
    """
    line = TargetLine.model_validate(row)
    if line.status not in (TargetStatus.FAILED, TargetStatus.STOPPED) or line.facts.retry_class is not None:
        return line
    kind = _retry_class(line.status, line.reason or "", line.facts.will_retry_help)
    return line.model_copy(update={"facts": line.facts.model_copy(update={"retry_class": kind})})


def refused_class(message: str | None) -> RetryClass:
    """The retry class of a run that ended, with this message, before it told of any target."""
    return _retry_class(TargetStatus.FAILED, message or "", None)


def crash_kind(message: str | None) -> CrashKind:
    """The kind of a crash with this message."""
    starts = (kind for start, kind in _CRASHES.items() if (message or "").startswith(start))
    return next(starts, CrashKind.OWN)


def resumption(message: str | None) -> Resumption:
    """How a crashed run was begun again, by the message of the state that followed."""
    return Resumption.RESUMED if (message or "").startswith(_RESUMED) else Resumption.RETRIED


def _retry_class(status: TargetStatus, reason: str, will_retry_help: str | None) -> RetryClass:
    if status is TargetStatus.STOPPED:
        return RetryClass.TIMED_OUT if _TIME_LIMIT in reason else RetryClass.STOPPED
    known = explain(reason)
    if known.match in _TIMED_OUT:
        return RetryClass.TIMED_OUT
    return _WILL_RETRY_HELP.get(will_retry_help or "") or RetryClass(known.retry)
