"""``dda targets``: the targets that a model can be compiled for."""

from __future__ import annotations

from typing import Any

import typer

from dda_core.fleets import new_fleet
from dda_core.targets import CompilationTarget, all_targets
from deployments.cli.options import AsJson
from deployments.cli.output import print_json, print_table, printable


def targets_command(as_json: AsJson = False) -> None:
    """List the targets that a model can be compiled for, and those that are not available, with the reason.

    The columns LocalServer and default apply to a new use case's fleet.
    """
    rows = [_row(target) for target in all_targets()]
    if as_json:
        print_json(rows)
        return
    print_table(
        ["target", "default", "aliases", "Neo platform", "platform", "runtime", "LocalServer"],
        [
            [
                row["name"],
                "yes" if row["default"] else "",
                ", ".join(row["aliases"]),
                "" if row["unavailable"] else "/".join(filter(None, (row["arch"], row["accelerator"]))),
                row["platform"],
                row["runtime"],
                row["localserver"] or "(named by the use case)",
            ]
            for row in rows
        ],
    )
    typer.echo()
    for row in rows:
        if row["unavailable"]:
            typer.echo(printable(f"{row['name']} is refused: {row['unavailable']}."))
        elif row["retired"]:
            typer.echo(printable(f"{row['name']} needs a LocalServer named by the use case: {row['retired']}."))


def _row(target: CompilationTarget) -> dict[str, Any]:
    fleet = new_fleet()
    return {
        **target.model_dump(mode="json"),
        "localserver": fleet.localserver.get(target.name),
        "default": target.name in fleet.targets,
        "retired": fleet.refused.get(target.name),
    }
