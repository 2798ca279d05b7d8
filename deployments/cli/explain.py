"""``dda explain``: what a failure text from AWS means, and what to do about it."""

from __future__ import annotations

from typing import Annotated

import typer

from deployments.cli.options import AsJson
from deployments.cli.output import print_json, printable

RETRY = {
    "never": "never: the same request fails again",
    "backoff": "backoff: it may be temporary; retrying later can help, a limited number of times",
    "quota": "quota: once the account has a free slot",
    "reconcile": "reconcile: check the state in AWS first, then decide",
}


def explain_command(
    text: Annotated[str, typer.Argument(metavar="TEXT", show_default=False, help="The failure text from AWS.")],
    as_json: AsJson = False,
) -> None:
    """Look up a failure in the catalogue: its cause, its remedy, and whether a retry can help."""
    from dda_core.failures import explain

    failure = explain(text)
    if as_json:
        print_json({"text": text, **failure.model_dump(mode="json")})
        return
    found_by = " and ".join(map(repr, failure.match)) or "no specific text; this is the general answer"
    for label, value in (
        ("cause", failure.cause),
        ("what to do", failure.remedy),
        ("retry", RETRY[failure.retry]),
        ("found by", found_by),
        ("source", failure.source),
    ):
        typer.echo(f"{label}: {printable(value)}")
