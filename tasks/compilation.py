"""Step two: one SageMaker Neo compilation job per target.

Starting a job is never persisted as a result: an existing job is found by its name, so the start may be repeated. A
finished compilation is persisted.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

from botocore.exceptions import BotoCoreError, ClientError
from prefect import get_client, get_run_logger
from prefect.cache_policies import DEFAULT, NO_CACHE

from dda_core.archives.source import open_source
from dda_core.aws.calls import wait_unless_cancelled, with_retries
from dda_core.aws.principals import POLICIES
from dda_core.aws.tags import Maker
from dda_core.compilation.attempts import Attempts, first_attempt
from dda_core.compilation.job import CompilationJob, CompilationWork, CompiledModel, newest_job
from dda_core.compilation.logs import log_tail, read_log, save_log
from dda_core.compilation.own_jobs import creator_of, own_first_attempt, stop_jobs_of
from dda_core.compilation.status import CompilationStatus
from dda_core.compilation.waiter import CompilationWaiter, begin_compilation
from dda_core.exceptions import DdaError
from dda_core.runs.history import AttemptStatus, CompilationFacts
from dda_core.sanitise import redact
from tasks.decorators import task
from tasks.run import Run, current_run, warn
from tasks.store.history import recorded_maker
from tasks.store.ui_links import run_link


class RecordedJobs:
    """Records the jobs that a run creates for one target in the run's own ledger."""

    def __init__(self, target: str) -> None:
        self.target = target
        self._run, self._warn = current_run(), warn()

    def claim(self, job: str, *, tagged: bool) -> bool:
        """Record that the run creates the job; before an untagged job, the record is written to the server."""
        new = self._run.ledger.claim_job(self.target, job, self._run.retry)
        if not tagged:
            self._warn(
                f"{self.target}: sagemaker:AddTags is not allowed, so compilation job {job} is created without tags. "
                f"Only this run's record shows its owner. Allow it on compilation-job/* ({POLICIES}/pipeline.json)."
            )
            if not self._run.record.write_now():
                self._warn(f"{self.target}: the creation of {job} could not be recorded yet; it is recorded later.")
            # In the meantime the run may have been cancelled and its jobs stopped.
            wait_unless_cancelled(0)
        return new

    def disclaim(self, job: str) -> None:
        """Record that the run did not create the job after all."""
        self._run.ledger.disclaim_job(self.target, job)


class RecordedProgress:
    """Writes a target's compilation progress to the run's record and log.

    Attributes:
        jobs: the last known state of each job, by name.
    """

    def __init__(self, target: str) -> None:
        self.target = target
        self.jobs: dict[str, CompilationJob] = {}
        self._run, self._logger = current_run(), get_run_logger()

    def log(self, sentence: str) -> None:
        """Write the sentence to the run's log."""
        self._logger.info("%s", sentence)

    def note(self, job: CompilationJob) -> None:
        """Record the job's current state; a changed status is logged."""
        note_look(self._run, self.target, job)
        if job.name not in self.jobs or self.jobs[job.name].status is not job.status:
            self._logger.info("%s: %s", job.name, job.status)
        self.jobs[job.name] = job

    def waiting(self, why: str | None) -> None:
        """Record what the target waits for."""
        self._run.ledger.waiting(self.target, why)


@task(name="choose-attempts", task_run_name="choose attempts", cache_policy=DEFAULT - "works", persist_result=True)
async def choose_attempts(
    targets: list[str],
    works: list[CompilationWork],
    force: bool,
    retry: int,
    floors: dict[str, int] | None = None,
) -> dict[str, int]:
    """Each target's first attempt in this run, recorded before anything is created.

    The result is persisted per run and ``retry``, so that a restart uses the same numbers and creates no second job.
    If the result is lost, the jobs' tags or the record tell what was chosen. ``floors`` is what was chosen at the
    run's first start.
    """
    run = current_run()

    async def choose(target: str, work: CompilationWork) -> int:
        newest = await with_retries(run.settings, get_run_logger().info, newest_job, run.aws.sagemaker, work)
        own = await with_retries(
            run.settings,
            get_run_logger().info,
            own_first_attempt,
            run.aws.sagemaker,
            work,
            newest,
            Maker(run.flow_run_id, retry),
            run.ledger.own_jobs(),
            warn(),
        )
        return own or first_attempt(newest, force=force, floor=(floors or {}).get(target))

    return dict(zip(targets, await asyncio.gather(*map(choose, targets, works)), strict=True))


@task(name="start-compilation", task_run_name="start compilation[{target}]", cache_policy=NO_CACHE)
async def start_compilation(target: str, work: CompilationWork, first: int, force: bool) -> CompilationJob | None:
    """Make sure that the target's compilation job exists; None if a new one has to wait."""
    run = current_run()
    job = await with_retries(
        run.settings,
        get_run_logger().info,
        begin_compilation,
        run.aws.sagemaker,
        work,
        Attempts(first, run.settings.extra_attempts, force),
        run.maker,
        RecordedJobs(target),
    )
    if job is None:
        get_run_logger().info(
            f"{target}: a new compilation job has to wait for a slot or for the wait between two attempts"
        )
        return None
    run.ledger.job_seen(target, job.name, job.attempt)
    await _log_maker(run, target, job)
    return job


async def _log_maker(run: Run, target: str, job: CompilationJob) -> None:
    """Log and record the owner of the job that the target uses. Nothing depends on it, so it may stay unknown."""
    try:
        maker = await with_retries(run.settings, get_run_logger().info, creator_of, run.aws.sagemaker, job.arn, warn())
        maker = maker or await _recorded_maker(run, job)
    except Exception as error:
        get_run_logger().warning("%s: the owner of compilation job %s could not be read: %s", target, job.name, error)
        return
    if maker and maker != run.flow_run_id:
        run.ledger.made_by(target, maker)
    whose = f"of flow run {run_link(maker)}" if maker else "that no flow run started"
    if maker == run.flow_run_id:
        get_run_logger().info(f"{target}: compilation job {job.name} is {job.status}")
    elif job.status is CompilationStatus.COMPLETED:
        get_run_logger().info(f"{target}: adopted the finished compilation job {job.name} {whose}")
    elif not job.status.ended:
        get_run_logger().info(f"{target}: joined compilation job {job.name} {whose}")


async def _recorded_maker(run: Run, job: CompilationJob) -> str | None:
    """The run whose record claims the job; None if no run of this server does."""
    if job.name in run.ledger.own_jobs():
        return run.flow_run_id
    async with get_client() as client:
        return await recorded_maker(client, run.record.training_job, job.name)


@task(name="compile", task_run_name="compile[{target}]", cache_policy=DEFAULT, persist_result=True)
async def compile_model(target: str, work: CompilationWork, first: int, force: bool) -> CompiledModel:
    """Wait for the target's compilation to end, with new attempts after transient failures."""
    run = current_run()
    log = get_run_logger()
    facts = CompilationFacts()
    started = run.ledger.targets[target].compilation_job
    observed = RecordedProgress(target)
    waiter = CompilationWaiter(run.aws.sagemaker, work, run.settings, observed, run.maker, RecordedJobs(target))
    try:
        compiled = await waiter.wait(Attempts(first, run.settings.extra_attempts, force))
    finally:
        for job in observed.jobs.values():
            if job.status.ended:
                facts = await asyncio.to_thread(facts_of, run, work, job, log.warning)
                run.ledger.learned(target, facts)
    if compiled.compilation_job != started:
        # A job after a wait for a slot, or of a later attempt: another run may have created it.
        await _log_maker(run, target, observed.jobs[compiled.compilation_job])
    return compiled.model_copy(update={"facts": facts})


def note_look(run: Run, target: str, job: CompilationJob) -> None:
    """Record the polled state of the target's compilation job."""
    if job.status in (CompilationStatus.FAILED, CompilationStatus.STOPPED):
        ended, reason = AttemptStatus(job.status.value.lower()), redact(job.reason or "no reason was given")
        run.ledger.attempt_ended(target, job.name, job.attempt, ended, reason)
    else:
        run.ledger.job_seen(target, job.name, job.attempt)


def facts_of(run: Run, work: CompilationWork, job: CompilationJob, warn: Callable[..., None]) -> CompilationFacts:
    """What AWS reports about a job that has ended; also saves its log. What cannot be read is left out."""
    facts: dict[str, Any] = {
        "queue_seconds": job.queue_seconds,
        "compile_seconds": job.compile_seconds,
        "inference_image": job.inference_image,
        "model_digest": job.model_digest,
    }
    secrets = [run.use_case.external_id.get_secret_value()] if run.use_case.external_id else []
    output = job.artifact or work.request(job.attempt)["OutputConfig"]["S3OutputLocation"]
    try:
        facts["log_uri"] = save_log(run.aws.logs, run.aws.s3, job.name, output, secrets=secrets)
        if job.status is not CompilationStatus.COMPLETED:
            facts["log_tail"] = log_tail(read_log(run.aws.logs, job.name), secrets=secrets)
        facts["bytes_in"] = open_source(work.input_uri, run.aws.s3).size
        if job.artifact:
            facts["bytes_out"] = open_source(job.artifact, run.aws.s3).size
    except (ClientError, BotoCoreError, DdaError) as error:
        warn("%s: some facts about the job could not be read: %s", job.name, error)
    return CompilationFacts(**facts)


async def stop_own_jobs(run: Run, training_job: str) -> list[str]:
    """Stop the compilation jobs that this run created; joined jobs belong to other runs."""
    own = run.ledger.own_jobs()
    return await asyncio.to_thread(stop_jobs_of, run.aws.sagemaker, training_job, run.flow_run_id, own)
