from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest

from dda_core.compilation.job import CompilationJob
from dda_core.compilation.status import CompilationStatus
from dda_core.compilation.waiter import end_of
from dda_core.exceptions import (
    CompilationFailed,
    CompilationStopped,
    PublishingRejected,
    QuotaReached,
    RunCancelled,
    StepTimedOut,
    TrainingJobMissing,
)
from dda_core.runs.retry_class import RetryClass, retry_class_of
from dda_core.settings import Settings

NOW = datetime(2026, 5, 4, 12, 0, tzinfo=UTC)


@pytest.mark.parametrize(
    ("error", "kind"),
    [
        (CompilationFailed("x", reason="ClientError: No model file found."), "never"),
        (CompilationFailed("x", reason="ServerError: There was an internal server error"), "backoff"),
        (QuotaReached("no free slot for compilation job a", reason="ResourceLimitExceeded: full"), "quota"),
        (CompilationFailed("x", reason="ResourceNotFound: no such job"), "reconcile"),
        (StepTimedOut("whatever it says"), "timed-out"),
        (CompilationStopped("x", time_limit_reached=True), "timed-out"),
        (CompilationStopped("x", reason="MaxRuntimeInSeconds is only a text"), "stopped"),
        (RunCancelled("x"), "stopped"),
        (PublishingRejected("x"), "stopped"),
        (TrainingJobMissing("x", account_id="123456789012", region="us-east-1", use_case="lids"), "never"),
        (RuntimeError("nobody ever saw this"), "never"),
    ],
    ids=lambda value: type(value).__name__ if isinstance(value, Exception) else value,
)
def test_the_error_determines_the_class(error: Exception, kind: str) -> None:
    assert retry_class_of(error) == kind


@pytest.mark.parametrize(
    ("seconds", "reason", "kind"),
    [
        (3600, None, "timed-out"),
        (3599, None, "stopped"),
        (None, None, "stopped"),
        (5, "MaxRuntimeInSeconds was exceeded", "timed-out"),
        (3600, "Stopped by the user", "stopped"),
    ],
)
def test_the_time_that_a_stopped_job_took_tells_who_stopped_it_unless_aws_says_so(
    seconds: int | None, reason: str | None, kind: str
) -> None:
    job = CompilationJob(
        name="job-1",
        attempt=1,
        arn="arn",
        status=CompilationStatus.STOPPED,
        started=NOW if seconds else None,
        ended=NOW + timedelta(seconds=seconds or 5),
        max_runtime_seconds=3600,
        reason=reason,
    )
    error = end_of(job)
    assert isinstance(error, CompilationStopped)
    assert retry_class_of(error) == kind


def test_only_classes_that_can_help_allow_more_attempts() -> None:
    once = {kind for kind in RetryClass if kind.maximum(Settings()) == 1}
    assert once == {RetryClass.NEVER, RetryClass.STOPPED}
