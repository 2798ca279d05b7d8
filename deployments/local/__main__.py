"""``python -m deployments.local``: the same as ``dda local``."""

from __future__ import annotations

import sys

from dda_core.sanitised_logs import sanitise_logs
from deployments.cli.errors import report
from deployments.local.cli import app


def main() -> None:
    """Run the command line; an error is one line on standard error and an exit code."""
    sanitise_logs()
    try:
        code = app(prog_name="dda local", standalone_mode=False)
    except KeyboardInterrupt:
        code = 130
    except Exception as error:
        code = report(error)
    sys.exit(code if isinstance(code, int) else 0)


if __name__ == "__main__":
    main()
