"""Training jobs in AWS that Prefect does not know yet.

Best effort within seconds: an account that cannot be asked is reported with the reason and does not affect the others.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Collection, Mapping
from typing import TypeVar

from botocore.exceptions import BotoCoreError, ClientError

from dda_core.aws.clients import IMPATIENT, AwsClients
from dda_core.exceptions import DdaError, TrainingJobMissing
from dda_core.pages.overview import OverviewRow
from dda_core.sanitised_errors import masked
from dda_core.settings import load_settings
from dda_core.training.completed_jobs import finished_training_jobs
from dda_core.training.job import describe_training_job
from dda_core.use_case import UseCase

Answer = TypeVar("Answer")
NEWEST = 50
"""Most completed training jobs read per account; the scheduled refresh of the overview reads more."""
SECONDS = 10.0
"""Time limit for all accounts together."""


async def newly_trained(
    use_cases: Mapping[str, UseCase], known: Collection[tuple[str, str]]
) -> tuple[list[OverviewRow], list[str]]:
    """The rows of unknown completed training jobs, and a sentence for each use case that could not be asked.

    Args:
        use_cases: by the name of their block.
        known: block name and training job name of those to leave out.
    """

    def look(name: str, use_case: UseCase) -> list[OverviewRow]:
        ours = {training_job for block, training_job in known if block == name}
        found = finished_training_jobs(_clients(use_case).sagemaker, use_case, ours, newest=NEWEST)
        return [
            OverviewRow(
                training_job=each.job.name,
                use_case=use_case.usecase_id,
                block=name,
                model=each.job.model_name(),
                last_change=each.ended,
            )
            for each in found.jobs
        ]

    answers, silent = await _ask(use_cases, look)
    return [row for rows in answers for row in rows], silent


async def is_trained(training_job: str, use_cases: Mapping[str, UseCase]) -> tuple[bool, list[str]]:
    """Whether a use case's account has the training job, and a sentence for each use case that could not be asked."""

    def look(name: str, use_case: UseCase) -> bool:
        try:
            describe_training_job(_clients(use_case).sagemaker, training_job, use_case)
        except TrainingJobMissing:
            return False
        return True

    answers, silent = await _ask(use_cases, look)
    return any(answers), silent


def _clients(use_case: UseCase) -> AwsClients:
    return AwsClients(use_case, load_settings().model_copy(update=IMPATIENT))


async def _ask(
    use_cases: Mapping[str, UseCase], look: Callable[[str, UseCase], Answer]
) -> tuple[list[Answer], list[str]]:
    """The answers of the use cases' accounts, asked in parallel, and a sentence for each that did not answer."""
    answers: list[Answer] = []
    silent: list[str] = []

    async def ask(name: str, use_case: UseCase) -> None:
        try:
            async with asyncio.timeout(SECONDS):
                answers.append(await asyncio.to_thread(look, name, use_case))
        except TimeoutError:
            silent.append(f"use case {name} (AWS did not answer within {SECONDS:.0f} s)")
        except (DdaError, BotoCoreError, ClientError) as error:
            silent.append(f"use case {name} ({masked(' '.join(str(error).split()))})")

    await asyncio.gather(*(ask(*each) for each in use_cases.items()))
    return answers, sorted(silent)
