"""Waiting for a compilation through its attempts, until the compiled archive or a final failure."""

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
"""AWS's reason contains this name if the job's own time limit stopped it."""


class Observer(Protocol):
    """Receives the progress of a compilation."""

    def log(self, sentence: str) -> None:
        """Log a sentence in the run's log."""

    def note(self, job: CompilationJob) -> None:
        """The job's current state; called after every poll."""

    def waiting(self, why: str | None) -> None:
        """Why the compilation waits for a free slot; None once it no longer does."""


def begin_compilation(
    sagemaker: SageMakerClient,
    work: CompilationWork,
    attempts: Attempts,
    maker: Maker | None,
    ledger: JobLedger | None = None,
) -> CompilationJob | None:
    """The compilation job for the work: the newest one that counts, else a new one.

    Returns None if a new one has to wait for a free slot, or for the backoff after a transient failure.
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
    """Waits for the compilation of ``work``; makes new attempts as ``maker`` after transient failures."""

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
            CompilationFailed: the run's last attempt failed.
            CompilationStopped: the job was stopped.
            StepTimedOut: one job took longer than its limit.
            QuotaReached: the wait for a slot took longer than its limit.
        """
        while True:
            # Described again each time: meanwhile another run may have created a newer job, or a person stopped it.
            newest = await with_retries(self.settings, self.observer.log, newest_job, self.sagemaker, self.work)
            step = next_step(newest, attempts)
            # A job from before this run's first attempt belongs in its record only if the run joins or adopts it.
            if newest and (step.kind is not StepKind.CREATE or newest.attempt >= attempts.first):
                self.observer.note(newest)
            if step.kind is StepKind.CREATE or step.job is None:
                await self._create(step)
                continue
            self._slot_was_free()
            if step.kind is StepKind.JOIN:
                await self._until_ended(step.attempt)
            elif step.kind is StepKind.ADOPT and step.job.artifact:
                return CompiledModel(compilation_job=step.job.name, attempt=step.attempt, artifact=step.job.artifact)
            else:
                # GIVE_UP, or COMPLETED without an archive: SageMaker does not add one after the job has ended.
                raise end_of(step.job)

    async def _create(self, step: NextStep) -> None:
        """Create the next attempt, or wait if there is no free slot; the loop then checks again."""
        settings, log = self.settings, self.observer.log
        if step.retry and step.job:
            wait = settings.backoff_seconds * 2 ** (step.retry - 1)
            log(f"{step.job.name} failed: {step.job.reason}. It may be transient: attempt {step.attempt} in {wait:g} s")
            await pause(wait, settings)
        try:
            created = await with_retries(
                settings, log, create_job, self.sagemaker, self.work, step.attempt, self.maker, self.ledger
            )
        except QuotaReached as full:
            await self._wait_for_slot(full)
        else:
            if created:
                self.observer.note(created)

    async def _wait_for_slot(self, full: QuotaReached) -> None:
        limit = self.settings.quota_timeout_seconds
        if self._full_since is None:
            self._full_since = time.monotonic()
            self.observer.log(f"{full}; waiting for a slot, {limit:g} s at most")
            self.observer.waiting("waiting for a slot of the account's quota of compilation jobs")
        # The limit applies to the whole wait for a slot, over all tries.
        if time.monotonic() - self._full_since > limit:
            self.observer.waiting(None)
            raise full
        await pause(self.settings.quota_wait_seconds, self.settings)

    def _slot_was_free(self) -> None:
        if self._full_since is not None:
            self.observer.log(f"got a slot after waiting {time.monotonic() - self._full_since:.0f} s")
        self._full_since = None
        self.observer.waiting(None)

    async def _until_ended(self, attempt: int) -> None:
        """Poll the job until it has ended or been deleted."""
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
    """The error for a job that ended without a compiled archive."""
    if job.status is CompilationStatus.STOPPED:
        reached = f"STOPPED: {_TIME_LIMIT} ({job.max_runtime_seconds}) was reached"
        unknown = "STOPPED: stopped by a person, or its time limit was reached"
        # AWS reports both alike; only the run time tells them apart. If AWS gives a reason, that decides.
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
