"""``dda use-case``: register and show use cases."""

from __future__ import annotations

import asyncio
import json
from pathlib import Path
from typing import Annotated, Any

import typer

from dda_core.fleets import SAVED_BEFORE, new_fleet
from dda_core.use_case import UseCase, read_use_case
from deployments.cli.options import AsJson
from deployments.cli.output import print_json, print_table

app = typer.Typer(no_args_is_help=True, help="Register and show use cases.")


@app.command("save")
def save(
    file: Annotated[Path, typer.Argument(help="The use case's YAML file.")],
    work_pool: Annotated[str, typer.Option(help="The work pool for its runs.")] = "dda",
) -> None:
    """Register a use case: save its block and its deployments, or update existing ones.

    A file without a fleet keeps the saved one; changes of the fleet are printed.
    """
    given = read_use_case(file, saved_fleet=True)
    from dda_core.runs.flows import FlowName
    from deployments.server.registration import save_use_case
    from deployments.services.runs import prefect_errors
    from tasks.store.use_cases import block_name, saved_fleet

    name = block_name(given.usecase_id)
    with prefect_errors():
        before = asyncio.run(saved_fleet(name))
        use_case = given.on_fleet(given.fleet or before or new_fleet().name)
        asyncio.run(save_use_case(use_case, work_pool))
    typer.echo(f"Saved block usecase/{name} and deployment {FlowName.COMPILE}/{name} on work pool {work_pool}.")
    typer.echo(f"Fleet: {_about_fleet(file, given, use_case, before)}.")


def _about_fleet(file: Path, given: UseCase, use_case: UseCase, before: str | None) -> str:
    """Which fleet the use case has now, and what changed, or why it is not a new use case's."""
    from dda_core.exceptions import UnknownFleet
    from dda_core.fleet_changes import fleet_changes

    now = use_case.preset.name
    if before is None or before == now == given.fleet:
        return now
    if given.fleet is None:
        return f"{now}, as saved before, because {file} names none; `dda plan --diff` shows what another would change"
    try:
        return fleet_changes(use_case.model_copy(update={"fleet": before}), now).sentence()
    except UnknownFleet:
        return f"{before}, which is unknown, becomes {now}"


@app.command("list")
def list_use_cases(as_json: AsJson = False) -> None:
    """List the registered use cases."""
    rows = [_fields(use_case) for use_case in _load_all()]
    if as_json:
        print_json(rows)
        return
    print_table(
        ["use case", "account", "region", "bucket", "fleet", "targets"],
        [
            [
                row["usecase_id"],
                row["account_id"],
                row["region"],
                row["s3_bucket"],
                row["fleet"] or f"({SAVED_BEFORE})",
                ", ".join(row["targets"]) or "(the fleet's)",
            ]
            for row in rows
        ],
    )


@app.command("show")
def show(name: Annotated[str, typer.Argument(help="The use case's name.")], as_json: AsJson = False) -> None:
    """Show one use case. Its external id is never printed."""
    from deployments.services.runs import prefect_errors
    from tasks.store.use_cases import block_name, load_use_case

    with prefect_errors():
        fields = _fields(asyncio.run(load_use_case(block_name(name))))
    if as_json:
        print_json(fields)
        return
    for field, value in fields.items():
        typer.echo(f"{field}: {value if isinstance(value, str) else json.dumps(value)}")


def _load_all() -> list[UseCase]:
    from deployments.services.runs import prefect_errors
    from tasks.store.use_cases import load_use_case, use_case_names

    async def load() -> list[UseCase]:
        return [await load_use_case(name) for name in await use_case_names()]

    with prefect_errors():
        return asyncio.run(load())


def _fields(use_case: UseCase) -> dict[str, Any]:
    return use_case.model_dump(mode="json")
