"""Rate limits for AWS calls per account, shared by all workers through the Prefect server.

``limited_clients`` creates AWS clients whose calls to SageMaker and AWS IoT Greengrass each take a slot, including
botocore's retries. There are four limits per account and Region. A missing limit is created; one that cannot be
reached is logged and replaced by a limit local to this process. Limits only protect the account: a call that AWS
throttles anyway is retried.
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
"""The longest wait for a slot; after that the rate is too low for the number of workers, and the call proceeds."""
ALONE_SECONDS = 60.0
"""How long a process limits itself before it tries the server again."""
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
    """The limit that a call counts against; None if there is none."""
    return _OPERATIONS.get(operation) or _SERVICES.get(service)


def slots(per_second: float) -> int:
    """The number of slots: the calls that one second allows. Slots decay, so none is released."""
    return max(1, int(per_second))


def limited_clients(use_case: UseCase, settings: Settings | None = None) -> AwsClients:
    """The use case's AWS clients for a flow run, with rate-limited calls.

    Raises:
        MissingCredentials: the default credential chain found nothing.
    """
    settings = settings or load_settings()
    clients = AwsClients(use_case, settings)

    def take_slot(service: str, operation: str) -> None:
        limit = limit_of(service, operation)
        if limit and (per_second := limit.per_second(settings)):
            _slots_of(limit.name_for(use_case.account_id, use_case.region)).take(per_second)

    clients.before_each_call(take_slot)
    return clients


async def ensure_limit(limit: Limit, account_id: str, region: str, settings: Settings) -> None:
    """Create or update the limit on the Prefect server with the settings' rate, unless it is 0."""
    if per_second := limit.per_second(settings):
        async with get_client() as client:
            await client.upsert_global_concurrency_limit_by_name(
                limit.name_for(account_id, region), slots(per_second), per_second
            )


@cache
def _slots_of(name: str) -> _Slots:
    return _Slots(name)


class _Slots:
    """The slots that this process takes of one limit.

    It requests one at a time, because Prefect queues requests and the process waits for that queue when it exits.
    """

    def __init__(self, name: str) -> None:
        self.name = name
        self._lock = threading.Lock()
        self._alone_until = self._next = 0.0

    def take(self, per_second: float) -> None:
        """Wait for a slot.

        Raises:
            Interrupted: the call was given up.
        """
        began = time.monotonic()
        while not self._lock.acquire(timeout=LOOK_SECONDS):
            wait_unless_cancelled(0)
        try:
            if time.monotonic() < self._alone_until or not self._acquire(per_second):
                wait_unless_cancelled(max(0.0, self._next - time.monotonic()))
                self._next = time.monotonic() + 1 / per_second
        finally:
            self._lock.release()
        wait_unless_cancelled(0)
        if (waited := time.monotonic() - began) > TOLD_AFTER_SECONDS:
            _logger().info("Waited %.0f s for a slot of the limit %s", waited, self.name)

    def _acquire(self, per_second: float) -> bool:
        """Whether the server granted a slot. If it cannot be reached, the process limits itself for a while."""
        try:
            try:
                self._request()
            except ConcurrencySlotAcquisitionError as error:
                if error.__cause__ is not None:
                    raise
                # The server has no such limit. Another worker may be creating it at the same time.
                with suppress(ObjectAlreadyExists), get_client(sync_client=True) as client:
                    client.upsert_global_concurrency_limit_by_name(self.name, slots(per_second), per_second)
                    _logger().info("Created the missing limit %s (%g per second)", self.name, per_second)
                self._request()
        except AcquireConcurrencySlotTimeoutError:
            _logger().warning("No slot of the limit %s within %.0f s; continuing without", self.name, LONGEST_SECONDS)
            return True
        except (ConcurrencySlotAcquisitionError, PrefectException, httpx.HTTPError, RuntimeError) as error:
            self._alone_until = time.monotonic() + ALONE_SECONDS
            _logger().warning(
                "The limit %s is not available (%s). For %.0f s this process limits itself to %g calls per second, "
                "regardless of other workers. Is the Prefect server running, and does the limit have slot decay? "
                "`dda use-case save` and `prefect deploy` create it.",
                self.name,
                str(error) or type(error).__name__,
                ALONE_SECONDS,
                per_second,
            )
            return False
        return True

    def _request(self) -> None:
        rate_limit(self.name, timeout_seconds=LONGEST_SECONDS, strict=True)


def _logger() -> AnyLogger:
    try:
        return get_run_logger()
    except MissingContextError:
        return get_logger("dda.limits")
