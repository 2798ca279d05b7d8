"""Waiting for a compilation: through its attempts to the compiled archive, or to the failure that no attempt cures."""

from __future__ import annotations

import time
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Protocol

from dda_core.aws.calls import pause, with_retries
from dda_core.aws.tags import Maker
from dda_core.compilation.attempts import Attempts, NextStep, StepKind, next_step
from dda_core.compilation.job import CompilationJob, CompilationWork, CompiledModel, describe_job, newest_job
from dda_core.compilation.own_jobs import JobLedger, NoLedger, create_job
from dda_core.compilation.status import CompilationStatus
from dda_core.exceptions import CompilationFailed, CompilationStopped, QuotaReached, StepTimedOut
from dda_core.settings import Settings

if TYPE_CHECKING:
    from mypy_boto3_sagemaker import SageMakerClient

_TIME_LIMIT = "MaxRuntimeInSeconds"
"""By this name AWS's reason tells that a job's own time limit stopped it."""


class Observer(Protocol):
    """Who is told what goes on while a compilation is waited for."""

    def log(self, sentence: str) -> None:
        """Something happened that a reader of the run's log wants to know."""

    def note(self, job: CompilationJob) -> None:
        """This is what the job looks like now; called at every look at it."""

    def waiting(self, why: str | None) -> None:
        """The compilation waits for a free slot; None when it goes on."""


def begin_compilation(
    sagemaker: SageMakerClient,
    work: CompilationWork,
    attempts: Attempts,
    maker: Maker | None,
    ledger: JobLedger | None = None,
) -> CompilationJob | None:
    """Make sure that a compilation job exists for the work: the newest that counts, else a new one.

    Returns None where a new one must wait: for a free slot, or after a failure that may pass.
    """
    newest = newest_job(sagemaker, work)
    step = next_step(newest, attempts)
    if step.kind is not StepKind.CREATE:
        return newest
    if step.retry:
        return None
    try:
        return create_job(sagemaker, work, step.attempt, maker, ledger)
    except QuotaReached:
        return None


@dataclass
class CompilationWaiter:
    """Waits for the compilation of ``work``, making new attempts as ``maker`` where a failure may pass."""

    sagemaker: SageMakerClient
    work: CompilationWork
    settings: Settings
    observer: Observer
    maker: Maker | None = None
    ledger: JobLedger = field(default_factory=NoLedger)
    _full_since: float | None = field(default=None, init=False)

    async def wait(self, attempts: Attempts) -> CompiledModel:
        """Wait until the compilation has ended.

        Raises:
            CompilationFailed: the last attempt that the run may make has failed.
            CompilationStopped: the job was stopped.
            StepTimedOut: one job took longer than its limit.
            QuotaReached: the wait for a slot took longer than its limit.
        """
        while True:
            # Looked at anew each time: another run may have created, or a person stopped, the newest job meanwhile.
            newest = await with_retries(self.settings, self.observer.log, newest_job, self.sagemaker, self.work)
            step = next_step(newest, attempts)
            # A job from before this run's first attempt is no business of its record, unless it goes on with it.
            if newest and (step.kind is not StepKind.CREATE or newest.attempt >= attempts.first):
                self.observer.note(newest)
            if step.kind is StepKind.CREATE or step.job is None:
                await self._create(step)
                continue
            self._slot_was_free()
            if step.kind is StepKind.FOLLOW:
                await self._until_ended(step.attempt)
            elif step.kind is StepKind.ADOPT and step.job.artifact:
                return CompiledModel(compilation_job=step.job.name, attempt=step.attempt, artifact=step.job.artifact)
            else:
                # Given up on, or COMPLETED without an archive: SageMaker will not add one to a job that has ended.
                raise end_of(step.job)

    async def _create(self, step: NextStep) -> None:
        """Create the next attempt, or wait where there is no slot for it: the loop then looks again."""
        settings, log = self.settings, self.observer.log
        if step.retry and step.job:
            wait = settings.backoff_seconds * 2 ** (step.retry - 1)
            log(f"{step.job.name} failed: {step.job.reason}. It may pass: attempt {step.attempt} in {wait:g} s")
            await pause(wait, settings)
        try:
            made = await with_retries(
                settings, log, create_job, self.sagemaker, self.work, step.attempt, self.maker, self.ledger
            )
        except QuotaReached as full:
            await self._wait_for_slot(full)
        else:
            if made:
                self.observer.note(made)

    async def _wait_for_slot(self, full: QuotaReached) -> None:
        limit = self.settings.quota_timeout_seconds
        if self._full_since is None:
            self._full_since = time.monotonic()
            self.observer.log(f"{full}; waiting for a slot, {limit:g} s at most")
            self.observer.waiting("waiting for a slot of the account's quota of compilation jobs")
        # The limit is for the whole wait, over all attempts to get a slot.
        if time.monotonic() - self._full_since > limit:
            self.observer.waiting(None)
            raise full
        await pause(self.settings.quota_wait_seconds, self.settings)

    def _slot_was_free(self) -> None:
        if self._full_since is not None:
            self.observer.log(f"went on after {time.monotonic() - self._full_since:.0f} s of waiting for a slot")
        self._full_since = None
        self.observer.waiting(None)

    async def _until_ended(self, attempt: int) -> None:
        """Look at the job until it has ended, or has been deleted."""
        settings, began = self.settings, time.monotonic()
        while job := await with_retries(settings, self.observer.log, describe_job, self.sagemaker, self.work, attempt):
            self.observer.note(job)
            if job.status.ended:
                return
            if time.monotonic() - began > settings.compile_timeout_seconds:
                raise StepTimedOut(
                    f"compilation job {job.name} was still {job.status} after {settings.compile_timeout_seconds:g} s",
                    name=job.name,
                    limit=settings.compile_timeout_seconds,
                    remedy="It was left running: compile again to wait for it, or raise DDA_COMPILE_TIMEOUT_SECONDS.",
                )
            await pause(settings.poll_seconds, settings)


def end_of(job: CompilationJob) -> CompilationFailed | CompilationStopped:
    """The error that tells why the job ended without a compiled archive."""
    if job.status is CompilationStatus.STOPPED:
        reached = f"STOPPED: {_TIME_LIMIT} ({job.max_runtime_seconds}) was reached"
        unknown = "STOPPED: stopped by a person, or its time limit was reached"
        # Both look the same in AWS but for the time that they took; where AWS gives a reason, its word counts.
        at_limit = _TIME_LIMIT in job.reason if job.reason else job.reached_time_limit
        reason = job.reason or (reached if at_limit else unknown)
        return CompilationStopped(
            f"compilation job {job.name} was stopped: {reason}",
            name=job.name,
            reason=reason,
            time_limit_reached=at_limit,
        )
    reason = job.reason or (
        "COMPLETED without a compiled archive" if job.status is CompilationStatus.COMPLETED else "no reason was given"
    )
    return CompilationFailed(f"compilation job {job.name} failed: {reason}", name=job.name, reason=reason)
