"""``python -m deployments.local``: as ``dda local``."""

from __future__ import annotations

import sys

import typer

from dda_core.exceptions import DdaError
from deployments.local.cli import app


def main() -> None:
    """Run it; one line and the error's exit code when it cannot."""
    try:
        app(prog_name="dda local")
    except DdaError as error:
        typer.echo(f"error: {error}", err=True)
        sys.exit(error.exit_code)


if __name__ == "__main__":
    main()
