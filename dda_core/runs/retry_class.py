"""The retry class of a target that failed: what its run records, and all that a retry goes by.

It is found once, from the error itself, while there still is one. What is said about it to people plays no part.
"""

from __future__ import annotations

from enum import StrEnum

from dda_core.exceptions import CompilationStopped, PublishingRejected, RunCancelled, StepTimedOut
from dda_core.failures import guidance_for
from dda_core.settings import Settings


class RetryClass(StrEnum):
    """What kind of end a target came to, as far as doing it again is concerned."""

    NEVER = "never"
    BACKOFF = "backoff"
    QUOTA = "quota"
    RECONCILE = "reconcile"
    CRASHED = "crashed"
    TIMED_OUT = "timed-out"
    STOPPED = "stopped"

    def maximum(self, settings: Settings) -> int:
        """How many attempts may be made in all, the first included."""
        if self in (RetryClass.NEVER, RetryClass.STOPPED):
            return 1
        maximum = getattr(settings, f"retry_attempts_{self.name.lower()}")
        assert isinstance(maximum, int)
        return maximum


def retry_class_of(error: BaseException) -> RetryClass:
    """The class of a target, or of a whole run, that this error ended.

    A step's own time limit and a person's decision are classes of their own; for the rest the failure catalogue's row
    decides. That a process died is no error that anybody could raise: ``CRASHED`` comes from the run's state.
    """
    if isinstance(error, StepTimedOut):
        return RetryClass.TIMED_OUT
    if isinstance(error, CompilationStopped):
        return RetryClass.TIMED_OUT if error.time_limit_reached else RetryClass.STOPPED
    if isinstance(error, RunCancelled | PublishingRejected):
        return RetryClass.STOPPED
    return RetryClass(guidance_for(error).retry)
