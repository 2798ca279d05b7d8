"""``dda explain``: what a failure text of AWS means, and what to do about it."""

from __future__ import annotations

from typing import Annotated

import typer

from deployments.cli.options import AsJson
from deployments.cli.printing import print_json, printable


def explain_command(
    text: Annotated[str, typer.Argument(metavar="TEXT", show_default=False, help="The failure as AWS gave it.")],
    as_json: AsJson = False,
) -> None:
    """Look a failure up in the catalogue: its cause, the remedy, and whether trying again can help."""
    from dda_core.failures import explain

    guidance = explain(text).model_dump(mode="json")
    if as_json:
        print_json({"text": text, **guidance})
        return
    for name, value in guidance.items():
        if value:
            shown = ", ".join(map(str, value)) if isinstance(value, list) else value
            typer.echo(f"{name}: {printable(str(shown))}")
