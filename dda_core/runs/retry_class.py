"""The retry class of a failed target, which its run records and which alone decides about retries.

It is determined once, from the error object; no sentence plays a part.
"""

from __future__ import annotations

from enum import StrEnum

from dda_core.exceptions import CompilationStopped, PublishingRejected, RunCancelled, StepTimedOut
from dda_core.failures import guidance_for
from dda_core.settings import Settings


class RetryClass(StrEnum):
    """How a target ended, with regard to retrying it."""

    NEVER = "never"
    BACKOFF = "backoff"
    QUOTA = "quota"
    RECONCILE = "reconcile"
    CRASHED = "crashed"
    TIMED_OUT = "timed-out"
    STOPPED = "stopped"

    def maximum(self, settings: Settings) -> int:
        """The maximum number of attempts, including the first."""
        if self in (RetryClass.NEVER, RetryClass.STOPPED):
            return 1
        maximum = getattr(settings, f"retry_attempts_{self.name.lower()}")
        assert isinstance(maximum, int)
        return maximum


def retry_class_of(error: BaseException) -> RetryClass:
    """The class of a target, or of a whole run, that this error ended.

    A step's time limit and a person's decision have their own classes; otherwise the failure catalogue's row decides.
    A dead process cannot raise an error, so ``CRASHED`` comes from the run's state.
    """
    if isinstance(error, StepTimedOut):
        return RetryClass.TIMED_OUT
    if isinstance(error, CompilationStopped):
        return RetryClass.TIMED_OUT if error.time_limit_reached else RetryClass.STOPPED
    if isinstance(error, RunCancelled | PublishingRejected):
        return RetryClass.STOPPED
    return RetryClass(guidance_for(error).retry)
