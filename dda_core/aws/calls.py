"""Calling AWS from a coroutine: in a thread, with retries and jittered waits, stopping when the coroutine is cancelled.

A throttled call or a broken connection says nothing about the job, so the call is retried, never reported as a failed
job. Cancelling the coroutine changes nothing in AWS: a call that still waits for a rate limit's slot is not made.
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
from typing import ParamSpec, TypeVar

from botocore.exceptions import BotoCoreError, ClientError

from dda_core.aws.errors import error_code
from dda_core.exceptions import AwsCallFailed, Interrupted, StepTimedOut
from dda_core.failures import guidance_for
from dda_core.settings import Settings

P = ParamSpec("P")
T = TypeVar("T")
Log = Callable[[str], None]
"""Writes one sentence to the run's log."""


async def pause(seconds: float, settings: Settings) -> None:
    """Wait about ``seconds``, jittered so that many runs do not call AWS in step."""
    share = 1 + settings.jitter * (2 * random.random() - 1)  # noqa: S311 - not used for a secret
    await asyncio.sleep(seconds * share)


async def run_stoppable(work: Callable[[threading.Event], T], *, limit: float, what: str) -> T:
    """Run ``work`` in a thread, with an event that is set when the coroutine is cancelled.

    Returns only when the thread has ended, so that whatever it had started (an upload) has been aborted.

    Raises:
        StepTimedOut: it took longer than ``limit`` seconds.
    """
    stop = threading.Event()
    thread = asyncio.ensure_future(asyncio.to_thread(work, stop))
    try:
        async with asyncio.timeout(limit):
            return await asyncio.shield(thread)
    except TimeoutError:
        raise StepTimedOut(
            f"{what} took longer than its limit of {limit:g} s", limit=limit, remedy=_RAISE_LIMIT
        ) from None
    finally:
        stop.set()
        if not thread.done():
            await asyncio.wait([thread])
        if not thread.cancelled():
            thread.exception()


_RAISE_LIMIT = "Raise the DDA_*_TIMEOUT_SECONDS setting, or check the log for what it was waiting for."


_cancelled: ContextVar[threading.Event | None] = ContextVar("dda_cancelled", default=None)
_THREADS = ThreadPoolExecutor(64, thread_name_prefix="dda-aws")
"""For calls that may wait for a rate limit: asyncio has few threads of its own, and other code needs them."""


def wait_unless_cancelled(seconds: float) -> None:
    """Wait in a call's thread, unless the calling coroutine is cancelled.

    Raises:
        Interrupted: the coroutine that made the call has been cancelled.
    """
    cancelled = _cancelled.get()
    if cancelled is None:
        time.sleep(seconds)
    elif cancelled.wait(seconds):
        raise Interrupted("the call was cancelled")


async def with_retries(
    settings: Settings, log: Log, function: Callable[P, T], /, *args: P.args, **kwargs: P.kwargs
) -> T:
    """Call AWS in a thread; on transient errors the call is made up to ``poll_errors`` times."""
    for errors in range(1, settings.poll_errors + 1):
        try:
            return await _in_thread(partial(function, *args, **kwargs))
        except (ClientError, BotoCoreError, AwsCallFailed) as error:
            if errors == settings.poll_errors or guidance_for(error).retry == "never":
                raise
            log(f"the AWS call failed ({error_code(error) or type(error).__name__}); retrying")
        await pause(settings.poll_seconds, settings)
    raise AssertionError("unreachable: poll_errors is at least 1")


async def _in_thread(call: Callable[[], T]) -> T:
    cancelled = threading.Event()
    context = copy_context()
    context.run(_cancelled.set, cancelled)
    try:
        return await asyncio.get_running_loop().run_in_executor(_THREADS, context.run, call)
    finally:
        cancelled.set()
