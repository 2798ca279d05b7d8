"""Turns at the account's rates of AWS calls, shared by all workers: rate limits on the Prefect server.

``limited_clients`` makes AWS clients whose calls to SageMaker and AWS IoT Greengrass take a turn each, repeated ones
too. There are four limits per account and Region. A limit that the server has not is made, and one that cannot be
asked is reported and replaced by a pace of this process's own: a limit spares the account, nothing else rests on it,
and a call that AWS throttles all the same is repeated.
"""

from __future__ import annotations

import threading
import time
from contextlib import suppress
from enum import StrEnum
from functools import cache
from logging import Logger, LoggerAdapter
from typing import TYPE_CHECKING

import httpx
from prefect import get_client
from prefect.concurrency.asyncio import AcquireConcurrencySlotTimeoutError, ConcurrencySlotAcquisitionError
from prefect.concurrency.sync import rate_limit
from prefect.exceptions import MissingContextError, ObjectAlreadyExists, PrefectException
from prefect.logging import get_logger, get_run_logger

from dda_core.aws.calls import wait_unless_cancelled
from dda_core.aws.clients import AwsClients
from dda_core.settings import Settings, load_settings
from dda_core.use_case import UseCase

if TYPE_CHECKING:
    AnyLogger = Logger | LoggerAdapter[Logger]

LONGEST_SECONDS = 600.0
"""A turn that has not come by then is not waited for any longer: the rate is too low for so many workers."""
ALONE_SECONDS = 60.0
"""How long a process goes at a pace of its own before it asks a limit again that could not be asked."""
TOLD_AFTER_SECONDS = 10.0
LOOK_SECONDS = 0.2


class Limit(StrEnum):
    """What is limited, each per account and Region."""

    COMPONENT_VERSIONS = "create-component-version"
    COMPILATION_JOBS = "create-compilation-job"
    SAGEMAKER = "sagemaker"
    GREENGRASS = "greengrass"

    def name_for(self, account_id: str, region: str) -> str:
        """The limit's name on the Prefect server."""
        return f"dda-{self}-{account_id}-{region}"

    def per_second(self, settings: Settings) -> float:
        """Calls per second; 0 for no limit."""
        rate: float = getattr(settings, _SETTINGS[self])
        return rate


_SETTINGS = {
    Limit.COMPONENT_VERSIONS: "component_versions_per_second",
    Limit.COMPILATION_JOBS: "compilation_jobs_per_second",
    Limit.SAGEMAKER: "sagemaker_calls_per_second",
    Limit.GREENGRASS: "greengrass_calls_per_second",
}
_OPERATIONS = {"CreateComponentVersion": Limit.COMPONENT_VERSIONS, "CreateCompilationJob": Limit.COMPILATION_JOBS}
_SERVICES = {"sagemaker": Limit.SAGEMAKER, "greengrassv2": Limit.GREENGRASS}


def limit_of(service: str, operation: str) -> Limit | None:
    """The limit that a call counts against, None where there is none."""
    return _OPERATIONS.get(operation) or _SERVICES.get(service)


def slots(per_second: float) -> int:
    """How many calls may be made at once: what one second allows. Each slot is free again by itself."""
    return max(1, int(per_second))


def limited_clients(use_case: UseCase, settings: Settings | None = None) -> AwsClients:
    """The use case's AWS clients, for a flow run: their calls take their turns.

    Raises:
        MissingCredentials: the default credential chain found nothing.
    """
    settings = settings or load_settings()
    clients = AwsClients(use_case, settings)

    def take_turn(service: str, operation: str) -> None:
        limit = limit_of(service, operation)
        if limit and (per_second := limit.per_second(settings)):
            _turns(limit.name_for(use_case.account_id, use_case.region)).take(per_second)

    clients.before_each_call(take_turn)
    return clients


async def ensure_limit(limit: Limit, account_id: str, region: str, settings: Settings) -> None:
    """Make the limit on the Prefect server, or change it to the rate that the settings have; not for a rate of 0."""
    if per_second := limit.per_second(settings):
        async with get_client() as client:
            await client.upsert_global_concurrency_limit_by_name(
                limit.name_for(account_id, region), slots(per_second), per_second
            )


@cache
def _turns(name: str) -> _Turns:
    return _Turns(name)


class _Turns:
    """The turns that this process takes at one limit.

    One at a time is asked for: what is asked of Prefect is in a queue that the end of the process waits for.
    """

    def __init__(self, name: str) -> None:
        self.name = name
        self._lock = threading.Lock()
        self._alone_until = self._next = 0.0

    def take(self, per_second: float) -> None:
        """Wait for a turn.

        Raises:
            Interrupted: nobody waits for the call any more.
        """
        began = time.monotonic()
        while not self._lock.acquire(timeout=LOOK_SECONDS):
            wait_unless_cancelled(0)
        try:
            if time.monotonic() < self._alone_until or not self._asked(per_second):
                wait_unless_cancelled(max(0.0, self._next - time.monotonic()))
                self._next = time.monotonic() + 1 / per_second
        finally:
            self._lock.release()
        wait_unless_cancelled(0)
        if (waited := time.monotonic() - began) > TOLD_AFTER_SECONDS:
            _logger().info("Waited %.0f s for a turn at the limit %s", waited, self.name)

    def _asked(self, per_second: float) -> bool:
        """Whether the server gave a turn. Where it could not, the process goes alone for a while."""
        try:
            try:
                self._ask()
            except ConcurrencySlotAcquisitionError as error:
                if error.__cause__ is not None:
                    raise
                # The server answered that it has no such limit. Another worker may be making it at this moment.
                with suppress(ObjectAlreadyExists), get_client(sync_client=True) as client:
                    client.upsert_global_concurrency_limit_by_name(self.name, slots(per_second), per_second)
                    _logger().info("Made the limit %s (%g per second), which was not there", self.name, per_second)
                self._ask()
        except AcquireConcurrencySlotTimeoutError:
            _logger().warning("No turn at the limit %s within %.0f s; going on without", self.name, LONGEST_SECONDS)
            return True
        except (ConcurrencySlotAcquisitionError, PrefectException, httpx.HTTPError, RuntimeError) as error:
            self._alone_until = time.monotonic() + ALONE_SECONDS
            _logger().warning(
                "The limit %s cannot be asked (%s). For %.0f s this process keeps %g calls per second by itself, "
                "and other workers do not count. Is the Prefect server there, and is it a limit with slot decay? "
                "`dda use-case save` and `prefect deploy` make it.",
                self.name,
                str(error) or type(error).__name__,
                ALONE_SECONDS,
                per_second,
            )
            return False
        return True

    def _ask(self) -> None:
        rate_limit(self.name, timeout_seconds=LONGEST_SECONDS, strict=True)


def _logger() -> AnyLogger:
    try:
        return get_run_logger()
    except MissingContextError:
        return get_logger("dda.limits")
