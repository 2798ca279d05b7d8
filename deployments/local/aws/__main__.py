"""``python -m deployments.local.aws``: the same as ``dda local aws``."""

from __future__ import annotations

import sys

import typer

from dda_core.exceptions import DdaError
from dda_core.sanitised_logs import sanitise_logs
from deployments.cli.errors import report
from deployments.local.aws.cli import aws


def main() -> None:
    """Run the embedded AWS; an error is one line and its exit code."""
    sanitise_logs()
    try:
        typer.run(aws)
    except DdaError as error:
        sys.exit(report(error))


if __name__ == "__main__":
    main()
