"""Calling AWS from a coroutine: with retries, with jittered waits, in a thread that stops when nobody waits for it.

A call that is throttled or broken says nothing about what was asked, so it is repeated, never reported as a failed
job. Cancelling the coroutine leaves everything in AWS as it is: a call that still waits for its slot of a rate limit
is not made any more.
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
        raise StepTimedOut(
            f"{what} took longer than its limit of {limit:g} s", limit=limit, remedy=_RAISE_LIMIT
        ) from None
    finally:
        stop.set()
        if not thread.done():
            await asyncio.wait([thread])
        if not thread.cancelled():
            thread.exception()


_RAISE_LIMIT = "Raise the DDA_*_TIMEOUT_SECONDS setting, or see the log for what it waited for."


_given_up: ContextVar[threading.Event | None] = ContextVar("dda_given_up", default=None)
_THREADS = ThreadPoolExecutor(64, thread_name_prefix="dda-aws")
"""For calls that may have to wait for a rate limit: asyncio's own threads are few, and others need them."""


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


async def with_retries(
    settings: Settings, log: Log, function: Callable[P, T], /, *args: P.args, **kwargs: P.kwargs
) -> T:
    """Call AWS in a thread; a call that failed in a way that may pass is repeated, ``poll_errors`` times at most."""
    for errors in range(1, settings.poll_errors + 1):
        try:
            return await _in_thread(partial(function, *args, **kwargs))
        except (ClientError, BotoCoreError, AwsCallFailed) as error:
            if errors == settings.poll_errors or guidance_for(error).retry == "never":
                raise
            log(f"AWS did not answer ({error_code(error) or type(error).__name__}); asking again")
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
