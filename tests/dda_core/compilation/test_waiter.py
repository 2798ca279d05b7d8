"""Waiting for a compilation: time limits, attempts and retries of AWS calls."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import Any

import pytest
from botocore.exceptions import ClientError

from dda_core.aws.tags import Maker
from dda_core.compilation.attempts import Attempts
from dda_core.compilation.job import CompilationJob, CompilationWork, CompiledModel
from dda_core.compilation.waiter import CompilationWaiter
from dda_core.exceptions import CompilationFailed, QuotaReached, StepTimedOut
from dda_core.settings import Settings
from dda_core.targets import find_target
from dda_core.training.job import TrainingJob
from dda_core.use_case import UseCase

USE_CASE = UseCase(usecase_id="lids", account_id="123456789012", region="us-east-1", s3_bucket="dda-local-artifacts")
WORK = CompilationWork.of(
    USE_CASE,
    find_target("arm64-cpu"),
    TrainingJob(
        name="lid-7",
        arn="arn:aws:sagemaker:us-east-1:123456789012:training-job/lid-7",
        status="Completed",
        model_artifact="s3://dda-local-artifacts/models/training/lid-7/output/model.tar.gz",
    ),
    (1, 3, 224, 224),
)
PASSING = "ServerError: There was an internal server error during the compilation job, please try again"
NEVER_ENDS = ["INPROGRESS"]
FAILS = ["INPROGRESS", "FAILED"]
COMPLETES = ["INPROGRESS", "COMPLETED"]


def refusal(operation: str, code: str, message: str = "") -> ClientError:
    return ClientError({"Error": {"Code": code, "Message": message}}, operation)


class Neo:
    """SageMaker's compilation jobs; each describe call moves a job to its next given status.

    The first ``failed_polls`` describe calls of existing jobs fail with an AWS error, and ``full`` create calls find no
    free slot.
    """

    def __init__(self, *scripts: Sequence[str], failed_polls: int = 0, full: int = 0) -> None:
        self.scripts = list(scripts)
        self.jobs: dict[str, dict[str, Any]] = {}
        self.statuses: dict[str, list[str]] = {}
        self.failed_polls = failed_polls
        self.full = full
        self.broken = 0
        self.creations = 0

    def create_compilation_job(self, **request: Any) -> None:
        self.creations += 1
        if self.creations <= self.full:
            raise refusal("CreateCompilationJob", "ResourceLimitExceeded", "no slot")
        name = request["CompilationJobName"]
        if name in self.jobs:
            raise refusal("CreateCompilationJob", "ResourceInUse")
        self.jobs[name] = request
        self.statuses[name] = list(self.scripts.pop(0))

    def describe_compilation_job(self, CompilationJobName: str) -> dict[str, Any]:
        if CompilationJobName not in self.jobs:
            raise refusal("DescribeCompilationJob", "ResourceNotFound")
        if self.broken < self.failed_polls:
            self.broken += 1
            raise refusal("DescribeCompilationJob", "InternalFailure")
        left = self.statuses[CompilationJobName]
        status = left.pop(0) if len(left) > 1 else left[0]
        request = self.jobs[CompilationJobName]
        return {
            **request,
            "CompilationJobArn": f"arn:aws:sagemaker:us-east-1:123456789012:compilation-job/{CompilationJobName}",
            "CompilationJobStatus": status,
            "FailureReason": PASSING if status == "FAILED" else "",
            "ModelArtifacts": {"S3ModelArtifacts": "s3://b/compiled.tar.gz"} if status == "COMPLETED" else {},
        }


class Observed:
    """What the waiter observes: each look at a job, and whether it waits for a slot."""

    def __init__(self) -> None:
        self.seen: list[CompilationJob] = []
        self.waits: list[str | None] = []

    def log(self, sentence: str) -> None:
        pass

    def note(self, job: CompilationJob) -> None:
        self.seen.append(job)

    def waiting(self, why: str | None) -> None:
        self.waits.append(why)


def follow(neo: Neo, observed: Observed | None = None, **changes: Any) -> CompiledModel:
    """Wait for the compilation, with short pauses; a test that hangs fails."""
    quick = {"poll_seconds": 0.001, "jitter": 0, "backoff_seconds": 0.001, "quota_wait_seconds": 0.001}

    async def followed() -> CompiledModel:
        async with asyncio.timeout(20):
            settings = Settings(**{**quick, **changes})
            waiter = CompilationWaiter(
                neo,  # type: ignore[arg-type]
                WORK,
                settings,
                observed or Observed(),
                Maker("run-1"),
            )
            return await waiter.wait(Attempts(1, settings.extra_attempts))

    return asyncio.run(followed())


def test_a_job_that_does_not_end_times_out_and_is_left_running() -> None:
    neo = Neo(NEVER_ENDS)
    with pytest.raises(StepTimedOut, match=r"was still INPROGRESS after 0\.05 s"):
        follow(neo, compile_timeout_seconds=0.05)
    assert len(neo.jobs) == 1


def test_a_job_that_ends_before_its_time_limit_is_waited_for() -> None:
    neo, observed = Neo(["STARTING", *["INPROGRESS"] * 4, "COMPLETED"]), Observed()
    assert follow(neo, observed, compile_timeout_seconds=3600).artifact == "s3://b/compiled.tar.gz"
    assert [str(observed.seen[0].status), str(observed.seen[-1].status)] == ["STARTING", "COMPLETED"]


def test_the_wait_doubles_with_each_attempt(monkeypatch: pytest.MonkeyPatch) -> None:
    slept: list[float] = []

    async def sleep(seconds: float) -> None:
        slept.append(seconds)

    monkeypatch.setattr(asyncio, "sleep", sleep)
    assert follow(Neo(FAILS, FAILS, FAILS, COMPLETES), backoff_seconds=40, extra_attempts=3).attempt == 4
    assert [seconds for seconds in slept if seconds >= 40] == [40, 80, 160]


def test_a_run_makes_at_most_the_allowed_attempts() -> None:
    neo = Neo(FAILS, FAILS, FAILS, COMPLETES)
    with pytest.raises(CompilationFailed, match="internal server error"):
        follow(neo, extra_attempts=2)
    assert len(neo.jobs) == 3


def test_a_target_survives_fewer_failed_polls_than_the_limit() -> None:
    assert follow(Neo(COMPLETES, failed_polls=2), poll_errors=3).attempt == 1


def test_a_target_fails_after_the_limit_of_consecutive_failed_polls() -> None:
    neo = Neo(COMPLETES, failed_polls=99)
    with pytest.raises(ClientError, match="InternalFailure"):
        follow(neo, poll_errors=3)
    assert neo.broken == 3


def test_a_free_slot_ends_the_wait() -> None:
    neo, observed = Neo(COMPLETES, full=3), Observed()
    assert follow(neo, observed).attempt == 1
    assert neo.creations == 4
    assert observed.waits[0] is not None
    assert observed.waits[-1] is None, "it continues"


def test_the_wait_for_a_slot_ends_at_the_limit() -> None:
    with pytest.raises(QuotaReached, match="no free slot"):
        follow(Neo(full=10**9), quota_timeout_seconds=0.05)
