"""Unused objects in the buckets of the registered use cases, found from AWS and the runs' history."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from datetime import timedelta
from typing import NamedTuple

from prefect import get_client

from dda_core.aws.clients import AwsClients
from dda_core.cleanup.unused_objects import (
    InUse,
    StoredObject,
    delete,
    in_use_by_compilations,
    in_use_by_components,
    stored_objects,
    together,
)
from dda_core.components.devices import Spacing
from dda_core.settings import load_settings
from dda_core.use_case import UseCase
from deployments.services.interactive_aws import interactive_clients
from deployments.services.runs import prefect_errors
from tasks.store.history import all_runs
from tasks.store.use_cases import block_name, load_use_case, use_case_names


class Unused(NamedTuple):
    """The unused objects in a bucket, with the name of its use case."""

    use_case: str
    bucket: str
    aws: AwsClients
    objects: list[StoredObject]

    def delete(self) -> Iterator[tuple[StoredObject, bool]]:
        """Delete the objects one by one, and yield whether each was deleted. An overwritten one is kept."""
        for stored in self.objects:
            yield stored, delete(self.aws.s3, self.bucket, stored)


def registered(name: str | None) -> dict[str, UseCase]:
    """The use case of that name, or all registered ones, by name.

    Raises:
        UnknownUseCase: no use case has that name.
        PrefectUnreachable: there is no server to ask.
    """

    async def load() -> dict[str, UseCase]:
        names = [block_name(name)] if name else await use_case_names()
        return {each: await load_use_case(each) for each in names}

    with prefect_errors():
        return asyncio.run(load())


def find_unused(name: str, use_case: UseCase, older_than: timedelta) -> Unused:
    """The unused objects in the use case's bucket, largest first.

    Other use cases may share the bucket: an object that any of them uses is not listed.

    Raises:
        ValueError: ``older_than`` is under a day.
        PrefectUnreachable: there is no server to ask.
    """
    with prefect_errors():
        shared, used = asyncio.run(_runs_in_need(use_case.s3_bucket))
    settings = load_settings()
    aws = interactive_clients(use_case)
    own_targets = {row.name for each in (use_case, *shared) for row in each.own_targets}
    found = list(stored_objects(aws.s3, use_case.s3_bucket, older_than, own_targets))
    parts = [used]
    places = set()
    for each in (use_case, *shared):
        if (place := (each.account_id, each.region)) not in places and found:
            places.add(place)
            clients = aws if each is use_case else interactive_clients(each)
            parts.append(in_use_by_components(clients.greengrass, Spacing(settings.device_calls_per_second)))
            parts.append(in_use_by_compilations(clients.sagemaker))
    kept = together(parts)
    unused = [stored for stored in found if not kept.holds(stored)]
    return Unused(name, use_case.s3_bucket, aws, sorted(unused, key=lambda stored: (-stored.size, stored.key)))


async def _runs_in_need(bucket: str) -> tuple[list[UseCase], InUse]:
    """The use cases that share the bucket, and what their runs in progress, or that may be retried, need."""
    every = {name: await load_use_case(name) for name in await use_case_names()}
    shared = {name: each for name, each in every.items() if each.s3_bucket == bucket}
    needed: set[str] = set()
    packaging = False
    async with get_client() as client:
        for training_job, runs in (await all_runs(client)).items():
            # The bucket of a use case that is no longer registered is unknown, so its runs count too.
            ours = [run.run.state for run in runs if run.use_case in shared or run.use_case not in every]
            in_progress = any(state is None or not state.is_final() for state in ours)
            packaging = packaging or in_progress
            if in_progress or (ours and ours[-1] is not None and not ours[-1].is_completed()):
                needed.add(training_job)
    return list(shared.values()), InUse(training_jobs=frozenset(needed), packaging=packaging)
