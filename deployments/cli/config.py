"""``dda config``: the effective settings and where each was set."""

from __future__ import annotations

import os
from typing import Any, NamedTuple

import typer

from dda_core.sanitise import bare_url
from dda_core.settings import settings_with_origin
from deployments.cli.options import AsJson
from deployments.cli.output import print_json, print_table

app = typer.Typer(no_args_is_help=True, help="Show the effective settings and where each was set.")


class InForce(NamedTuple):
    """One setting: the name of its environment variable, its value, where that was set, and what it means."""

    name: str
    value: object
    origin: str
    description: str


@app.command("show")
def show(as_json: AsJson = False) -> None:
    """Show every setting, its value and where it was set. Secrets are never shown."""
    rows = [
        *(InForce(f"DDA_{name.upper()}", value, origin, text) for name, value, origin, text in settings_with_origin()),
        *_prefect(),
        *_aws(),
    ]
    if as_json:
        print_json(
            {row.name: {"value": row.value, "origin": row.origin, "description": row.description} for row in rows}
        )
    else:
        print_table(
            ["setting", "value", "from", "meaning"],
            [[row.name, "(not set)" if row.value is None else row.value, row.origin, row.description] for row in rows],
        )


def _prefect() -> list[InForce]:
    from prefect.context import get_settings_context
    from prefect.settings import PREFECT_API_URL, PREFECT_PROFILES_PATH

    url = PREFECT_API_URL.value()
    profile = get_settings_context().profile
    if os.environ.get("PREFECT_API_URL"):
        origin = "environment PREFECT_API_URL"
    elif url and PREFECT_API_URL in profile.settings:
        origin = f"Prefect profile {profile.name!r} in {PREFECT_PROFILES_PATH.value()}"
    else:
        origin = "Prefect's configuration files" if url else "default"
    return [InForce("PREFECT_API_URL", _bare(url), origin, "The Prefect server that runs are sent to")]


def _aws() -> list[InForce]:
    import botocore.session

    session = botocore.session.Session()
    profile = session.get_config_variable("profile")
    file = session.get_config_variable("config_file")
    settings = session.get_scoped_config()
    in_file = f"AWS profile {profile or 'default'!r} in {file}"

    def row(name: str, key: str, variables: tuple[str, ...], description: str) -> InForce:
        for variable in variables:
            if os.environ.get(variable):
                return InForce(name, _bare(os.environ[variable]), f"environment {variable}", description)
        value: Any = settings.get(key)
        return InForce(name, _bare(value), in_file if value else "default", description)

    return [
        InForce(
            "AWS_PROFILE",
            profile,
            next(
                (f"environment {name}" for name in ("AWS_DEFAULT_PROFILE", "AWS_PROFILE") if name in os.environ),
                "default",
            ),
            "The profile whose credentials and configuration AWS calls use",
        ),
        row("AWS_DEFAULT_REGION", "region", ("AWS_DEFAULT_REGION",), "The Region for archives given as s3:// URIs"),
        row("AWS_ENDPOINT_URL", "endpoint_url", ("AWS_ENDPOINT_URL",), "Where AWS calls go instead of to AWS"),
    ]


def _bare(url: str | None) -> str | None:
    return bare_url(url) if url else url
