"""``dda targets``: what a model can be compiled for."""

from __future__ import annotations

from dda_core.targets import all_targets, default_targets
from deployments.cli.options import AsJson
from deployments.cli.printing import print_json, print_table


def targets_command(as_json: AsJson = False) -> None:
    """List the targets that a model can be compiled for."""
    default = default_targets()
    rows = [{**target.model_dump(mode="json"), "default": target in default} for target in all_targets()]
    if as_json:
        print_json(rows)
        return
    print_table(
        ["target", "default", "aliases", "Neo platform", "platform", "LocalServer"],
        [
            [
                row["name"],
                "yes" if row["default"] else "",
                ", ".join(row["aliases"]),
                "/".join(filter(None, (row["arch"], row["accelerator"]))),
                row["platform"],
                row["localserver"],
            ]
            for row in rows
        ],
    )
