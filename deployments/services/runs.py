"""Starting flow runs and reading their status. Everything is read from the Prefect API."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Iterator
from contextlib import contextmanager
from typing import Any
from uuid import UUID

import httpx
from prefect import get_client
from prefect.client.orchestration import PrefectClient
from prefect.client.schemas.objects import FlowRun
from prefect.client.schemas.responses import DeploymentResponse
from prefect.exceptions import ObjectNotFound, PrefectHTTPStatusError
from prefect.settings import PREFECT_API_URL

from dda_core.exceptions import FlowRunMissing, PrefectUnreachable, RunParametersRefused, UnknownUseCase
from dda_core.runs.flows import FlowName
from dda_core.runs.view import RunView
from dda_core.sanitise import bare_url
from dda_core.sanitised_errors import masked
from tasks.store.history import view_of
from tasks.store.use_cases import block_name, use_case_names


@contextmanager
def prefect_errors() -> Iterator[None]:
    """Translate connection errors and refusals of the Prefect server into :class:`PrefectUnreachable`.

    Raises:
        PrefectUnreachable: no server answers, it is not a Prefect server or is failing, or it refuses the credentials.
    """
    url = PREFECT_API_URL.value()
    if not url:
        raise PrefectUnreachable(
            "PREFECT_API_URL is not set, so there is no Prefect server to ask",
            remedy="For the local stack run `dda local up` and then "
            '`eval "$(dda local env)"`; otherwise set it to your server\'s address.',
        )
    url = bare_url(url)
    try:
        yield
    except httpx.InvalidURL:
        # httpx quotes what it takes for the port, which is part of the password if that contains a slash.
        raise PrefectUnreachable(
            f"PREFECT_API_URL is not a usable URL (host and path: {url})",
            url=url,
            remedy="Correct it: https://prefect.example.com/api, with the password in PREFECT_API_AUTH_STRING.",
        ) from None
    except httpx.TransportError as error:
        raise PrefectUnreachable(
            f"no Prefect server answers at {url} ({masked(str(error))})",
            url=url,
            remedy="Start it, or correct PREFECT_API_URL.",
        ) from error
    except PrefectHTTPStatusError as error:
        if error.response.status_code in (401, 403):
            raise PrefectUnreachable(
                f"the Prefect server at {url} refuses the caller ({error.response.status_code})",
                url=url,
                remedy="Set PREFECT_API_AUTH_STRING (or PREFECT_API_KEY for Prefect Cloud).",
            ) from error
        raise PrefectUnreachable(
            f"{url} answered {error.response.status_code} {error.response.reason_phrase}: PREFECT_API_URL is not a "
            f"Prefect API (which ends in /api), or the server is failing (see its log)",
            url=url,
        ) from error
    except json.JSONDecodeError as error:
        raise PrefectUnreachable(
            f"{url} does not answer as a Prefect API does",
            url=url,
            remedy="Correct PREFECT_API_URL: it ends in /api.",
        ) from error


async def start_run(use_case: str, training_job: str, parameters: dict[str, Any], *, tags: list[str]) -> FlowRun:
    """Start a run of the use case's deployment, named after the training job.

    Raises:
        UnknownUseCase: the use case has no deployment.
        RunParametersRefused: the deployment's schema does not allow the parameters.
        PrefectUnreachable: there is no server to ask.
    """
    with prefect_errors():
        async with get_client() as client:
            deployment = await read_deployment(client, use_case)
            try:
                return await client.create_flow_run_from_deployment(
                    deployment.id,
                    parameters={"training_job_name": training_job, **parameters},
                    name=training_job,
                    tags=tags,
                )
            except PrefectHTTPStatusError as error:
                if error.response.status_code in (409, 422):
                    answer = masked(error.response.text)
                    raise RunParametersRefused(
                        f"the deployment {FlowName.COMPILE}/{deployment.name} refuses the parameters: {answer}",
                        answer=answer,
                    ) from error
                raise


async def read_deployment(client: PrefectClient, use_case: str) -> DeploymentResponse:
    """The use case's own deployment of the flow.

    Raises:
        UnknownUseCase: the use case has none.
    """
    name = block_name(use_case)
    try:
        return await client.read_deployment_by_name(f"{FlowName.COMPILE}/{name}")
    except ObjectNotFound:
        known = await use_case_names()
        raise UnknownUseCase(
            f"use case {use_case!r} has no deployment {FlowName.COMPILE}/{name}; "
            f"registered: {', '.join(known) or 'none'}",
            name=use_case,
            known=known,
            remedy="Register it with `dda use-case save FILE`.",
        ) from None


async def read_run(flow_run_id: UUID) -> RunView:
    """The status of the run and its targets.

    Raises:
        FlowRunMissing: the server knows no such run.
        PrefectUnreachable: there is no server to ask.
    """
    with prefect_errors():
        async with get_client() as client:
            try:
                run = await client.read_flow_run(flow_run_id)
            except ObjectNotFound:
                raise FlowRunMissing(
                    f"flow run {flow_run_id} is not on the server at {bare_url(PREFECT_API_URL.value() or '')}: it was "
                    f"deleted, or it belongs to another server",
                    name=str(flow_run_id),
                ) from None
            return await view_of(client, run)


async def follow_run(flow_run_id: UUID, seconds: float = 1.0) -> AsyncIterator[RunView]:
    """Yield the run's view repeatedly until the run has ended; the last one shows the end."""
    while True:
        view = await read_run(flow_run_id)
        yield view
        if view.ended:
            return
        await asyncio.sleep(seconds)
