"""``dda preflight``: whether the caller, the SageMaker role and devices have the access that runs need."""

from __future__ import annotations

import asyncio
from typing import Annotated

import typer

from deployments.cli.options import AsJson
from deployments.cli.output import print_json, print_table


def preflight_command(
    use_case: Annotated[str, typer.Option(metavar="NAME", show_default=False, help="The use case.")],
    training_job: Annotated[
        str | None,
        typer.Option(metavar="NAME", show_default=False, help="Also check this training job and its archive."),
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Check within seconds that the caller, the SageMaker role and devices have the access that runs need.

    Nothing is written. The exit code is 0 without errors (warnings are allowed), 3 with errors, and 4 if AWS does not
    answer. Every run starts with the same checks.
    """
    from dda_core.access.findings import Level
    from dda_core.access.preflight import inspect_access
    from dda_core.aws.clients import IMPATIENT, AwsClients
    from dda_core.exceptions import AwsCallFailed
    from dda_core.settings import load_settings
    from deployments.services.runs import prefect_errors
    from tasks.store.use_cases import block_name, load_use_case

    with prefect_errors():
        loaded = asyncio.run(load_use_case(block_name(use_case)))
    # Short timeouts, also for assuming the use case's role.
    aws = AwsClients(loaded, load_settings().model_copy(update=IMPATIENT))
    findings = inspect_access(aws, training_job=training_job)
    failed = any(each.level is Level.ERROR for each in findings)
    if as_json:
        listed = [each.model_dump(mode="json") for each in findings]
        print_json({"use_case": loaded.usecase_id, "ok": not failed, "findings": listed})
    else:
        print_table(
            ["check", "level", "found", "remedy"],
            [[each.check, each.level, each.found, each.remedy] for each in findings],
        )
    if failed:
        raise typer.Exit(3)
    if findings[0].level is Level.NOT_CHECKED:
        untold = findings[0]
        raise AwsCallFailed(untold.found, where=untold.check, remedy=untold.remedy)
