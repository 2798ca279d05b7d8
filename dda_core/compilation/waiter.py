"""Following work in AWS to its end: a compilation through its attempts, a component version until it is DEPLOYABLE.

A poll that is throttled or broken says nothing about the job, so it is repeated, never reported as a failed job.
Waits are jittered. Cancelling the coroutine leaves everything in AWS as it is: a call of it that still waits for its
turn is not made any more.
"""

from __future__ import annotations

import asyncio
import random
import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextvars import ContextVar, copy_context
from functools import partial
from typing import TYPE_CHECKING, ParamSpec, TypeVar

from botocore.exceptions import BotoCoreError, ClientError

from dda_core.aws.clients import error_code, error_message
from dda_core.aws.tags import Warn, silent
from dda_core.compilation.job import (
    CompilationJob,
    CompilationWork,
    CompiledModel,
    StepKind,
    describe_job,
    newest_job,
    next_step,
)
from dda_core.compilation.own_jobs import JobLedger, create_job
from dda_core.components.versions import (
    ComponentPlan,
    ComponentVersion,
    check_deployable,
    describe_version,
    ensure_version,
    warn_of_portal_component,
)
from dda_core.exceptions import (
    AwsCallFailed,
    CompilationFailed,
    CompilationStopped,
    Interrupted,
    PublishFailed,
    QuotaReached,
    StepTimedOut,
)
from dda_core.failures import guidance_for
from dda_core.runs.status import CompilationStatus
from dda_core.settings import Settings

if TYPE_CHECKING:
    from mypy_boto3_greengrassv2 import GreengrassV2Client
    from mypy_boto3_sagemaker import SageMakerClient

P = ParamSpec("P")
T = TypeVar("T")
Tell = Callable[[str], None]
"""Takes one sentence for the run's log."""


async def pause(seconds: float, settings: Settings) -> None:
    """Wait about ``seconds``: jittered, so that many runs do not ask AWS in step."""
    share = 1 + settings.jitter * (2 * random.random() - 1)  # noqa: S311 - no secret hangs on it
    await asyncio.sleep(seconds * share)


async def run_stoppable(work: Callable[[threading.Event], T], *, limit: float, what: str) -> T:
    """Run ``work`` in a thread, with an event that tells it to stop when the coroutine is cancelled.

    Returns only when the thread has ended, so that whatever it had begun (an upload) has been aborted by then.

    Raises:
        StepTimedOut: it took longer than ``limit`` seconds.
    """
    stop = threading.Event()
    thread = asyncio.ensure_future(asyncio.to_thread(work, stop))
    try:
        async with asyncio.timeout(limit):
            return await asyncio.shield(thread)
    except TimeoutError:
        raise StepTimedOut(f"{what} took longer than its limit of {limit:g} s. {_RAISE_LIMIT}") from None
    finally:
        stop.set()
        if not thread.done():
            await asyncio.wait([thread])
        if not thread.cancelled():
            thread.exception()


_TIME_LIMIT = "MaxRuntimeInSeconds"
"""By this name AWS's reason tells that a job's own time limit stopped it."""
_RAISE_LIMIT = "Raise the DDA_*_TIMEOUT_SECONDS setting, or see the log for what it waited for."


_given_up: ContextVar[threading.Event | None] = ContextVar("dda_given_up", default=None)
_THREADS = ThreadPoolExecutor(64, thread_name_prefix="dda-aws")
"""For calls that may have to wait for their turn: asyncio's own threads are few, and others need them."""


def wait_unless_given_up(seconds: float) -> None:
    """Wait in the thread of a call, as long as somebody waits for its answer.

    Raises:
        Interrupted: the coroutine that made the call has been cancelled.
    """
    given_up = _given_up.get()
    if given_up is None:
        time.sleep(seconds)
    elif given_up.wait(seconds):
        raise Interrupted("nobody waits for the call any more")


async def patiently(
    settings: Settings, tell: Tell, function: Callable[P, T], /, *args: P.args, **kwargs: P.kwargs
) -> T:
    """Call AWS in a thread; a call that failed in a way that may pass is repeated, ``poll_errors`` times at most."""
    for errors in range(1, settings.poll_errors + 1):
        try:
            return await _in_thread(partial(function, *args, **kwargs))
        except (ClientError, BotoCoreError, AwsCallFailed) as error:
            if errors == settings.poll_errors or guidance_for(error).retry == "never":
                raise
            tell(f"AWS did not answer ({error_code(error) or type(error).__name__}); asking again")
        await pause(settings.poll_seconds, settings)
    raise AssertionError("unreachable: poll_errors is at least 1")


async def _in_thread(call: Callable[[], T]) -> T:
    given_up = threading.Event()
    context = copy_context()
    context.run(_given_up.set, given_up)
    try:
        return await asyncio.get_running_loop().run_in_executor(_THREADS, context.run, call)
    finally:
        given_up.set()


def begin_compilation(
    sagemaker: SageMakerClient,
    work: CompilationWork,
    *,
    first: int,
    extra: int,
    force: bool,
    flow_run_id: str | None,
    retry: int = 0,
    ledger: JobLedger | None = None,
) -> CompilationJob | None:
    """Make sure that a compilation job exists for the work: the newest that counts, else a new one.

    Returns None where a new one must wait: for a free slot, or after a failure that may pass.
    """
    newest = newest_job(sagemaker, work)
    step = next_step(newest, first=first, extra=extra, force=force)
    if step.kind is not StepKind.CREATE:
        return newest
    if step.retry:
        return None
    try:
        return create_job(sagemaker, work, step.attempt, flow_run_id, retry, ledger)
    except QuotaReached:
        return None


async def follow_compilation(
    sagemaker: SageMakerClient,
    work: CompilationWork,
    *,
    first: int,
    force: bool,
    settings: Settings,
    flow_run_id: str | None,
    tell: Tell,
    note: Callable[[CompilationJob], None],
    waiting: Callable[[str | None], None] = lambda why: None,
    retry: int = 0,
    ledger: JobLedger | None = None,
) -> CompiledModel:
    """Follow the compilation to its end, through new attempts where the failure may pass.

    ``note`` is given the job at every look at it; ``waiting`` is told what is waited for when there is no free slot,
    and None when it goes on.

    Raises:
        CompilationFailed: the last attempt that the run may make has failed.
        CompilationStopped: the job was stopped.
        StepTimedOut: one job, or the wait for a slot, took longer than its limit.
    """
    waited_for_slot_since: float | None = None
    while True:
        newest = await patiently(settings, tell, newest_job, sagemaker, work)
        step = next_step(newest, first=first, extra=settings.extra_attempts, force=force)
        if newest and (step.kind is not StepKind.CREATE or newest.attempt >= first):
            note(newest)
        if step.kind is not StepKind.CREATE:
            if waited_for_slot_since is not None:
                tell(f"went on after {time.monotonic() - waited_for_slot_since:.0f} s of waiting for a slot")
            waited_for_slot_since = None
            waiting(None)
        if step.kind is StepKind.CREATE:
            if step.retry and newest:
                wait = settings.backoff_seconds * 2 ** (step.retry - 1)
                tell(f"{newest.name} failed: {newest.reason}. It may pass: attempt {step.attempt} in {wait:g} s")
                await pause(wait, settings)
            try:
                made = await patiently(
                    settings, tell, create_job, sagemaker, work, step.attempt, flow_run_id, retry, ledger
                )
                if made:
                    note(made)
            except QuotaReached as full:
                if waited_for_slot_since is None:
                    waited_for_slot_since = time.monotonic()
                    tell(f"{full}; waiting for a slot, {settings.quota_timeout_seconds:g} s at most")
                    waiting("waiting for a slot of the account's quota of compilation jobs")
                if time.monotonic() - waited_for_slot_since > settings.quota_timeout_seconds:
                    waiting(None)
                    raise
                await pause(settings.quota_wait_seconds, settings)
        elif step.kind is StepKind.FOLLOW:
            await _until_ended(sagemaker, work, step.attempt, settings, tell, note)
        elif step.kind is StepKind.ADOPT and newest and newest.artifact:
            return CompiledModel(compilation_job=newest.name, attempt=newest.attempt, artifact=newest.artifact)
        elif newest:
            raise _end_of(newest)


async def _until_ended(
    sagemaker: SageMakerClient,
    work: CompilationWork,
    attempt: int,
    settings: Settings,
    tell: Tell,
    note: Callable[[CompilationJob], None],
) -> None:
    began = time.monotonic()
    while job := await patiently(settings, tell, describe_job, sagemaker, work, attempt):
        note(job)
        if job.status.ended:
            return
        if time.monotonic() - began > settings.compile_timeout_seconds:
            raise StepTimedOut(
                f"compilation job {job.name} was still {job.status} after {settings.compile_timeout_seconds:g} s. "
                f"It was left running: compile again to follow it, or raise DDA_COMPILE_TIMEOUT_SECONDS."
            )
        await pause(settings.poll_seconds, settings)


def _end_of(job: CompilationJob) -> CompilationFailed | CompilationStopped:
    if job.status is CompilationStatus.STOPPED:
        reached = f"STOPPED: {_TIME_LIMIT} ({job.max_runtime_seconds}) was reached"
        unknown = "STOPPED: stopped by a person, or its time limit was reached"
        # Both look the same in AWS but for the time that they took; where AWS gives a reason, its word counts.
        at_limit = _TIME_LIMIT in job.reason if job.reason else job.reached_time_limit
        reason = job.reason or (reached if at_limit else unknown)
        return CompilationStopped(
            f"compilation job {job.name} was stopped: {reason}", reason=reason, time_limit_reached=at_limit
        )
    reason = job.reason or (
        "COMPLETED without a compiled archive" if job.status is CompilationStatus.COMPLETED else "no reason was given"
    )
    return CompilationFailed(f"compilation job {job.name} failed: {reason}", reason=reason)


async def publish_version(
    greengrass: GreengrassV2Client,
    plan: ComponentPlan,
    artifact_uri: str,
    *,
    compilation_job: str,
    flow_run_id: str | None,
    retry: int,
    settings: Settings,
    tell: Tell,
    warn: Warn = silent,
) -> ComponentVersion:
    """The component version of the package at ``artifact_uri``: one that is there, else a new one.

    ``warn`` is told what a person should look at: a component of unknown owner, or one of the earlier portal beside it.

    Raises:
        ComponentTaken: the component is another model's.
        PublishFailed: AWS IoT Greengrass refuses it; the reason is AWS's.
    """
    try:
        await patiently(settings, tell, warn_of_portal_component, greengrass, plan, warn)
        return await patiently(
            settings,
            tell,
            ensure_version,
            greengrass,
            plan,
            artifact_uri,
            compilation_job=compilation_job,
            flow_run_id=flow_run_id,
            retry=retry,
            warn=warn,
        )
    except ClientError as error:
        reason = f"{error_code(error)}: {error_message(error)}"
        raise PublishFailed(f"AWS IoT Greengrass refused {plan.component}: {reason}", reason=reason) from error


async def follow_version(
    greengrass: GreengrassV2Client, arn: str, *, settings: Settings, tell: Tell
) -> ComponentVersion:
    """Wait until the component version is DEPLOYABLE.

    Raises:
        PublishFailed: it ended otherwise.
        StepTimedOut: it took longer than its limit; the version is left as it is, and found again by the next run.
    """
    began = time.monotonic()
    while True:
        version = await patiently(settings, tell, describe_version, greengrass, arn)
        if check_deployable(version):
            return version
        if time.monotonic() - began > settings.publish_timeout_seconds:
            raise StepTimedOut(
                f"{version.component} {version.version} was still {version.state} after "
                f"{settings.publish_timeout_seconds:g} s. Compile again to follow it, or raise "
                f"DDA_PUBLISH_TIMEOUT_SECONDS."
            )
        await pause(settings.poll_seconds, settings)
