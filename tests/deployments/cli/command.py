"""Runs the command line in this process, as the console script would."""

from __future__ import annotations

import json
from typing import Any

from typer.testing import CliRunner, Result

from deployments.cli.app import app


def dda(*arguments: object, **environment: str) -> Result:
    """What ``dda`` with these arguments prints, and its exit code. It never ends in an exception of its own."""
    result = CliRunner().invoke(app, [str(argument) for argument in arguments], env=environment)
    assert result.exception is None or isinstance(result.exception, SystemExit), result.exception
    return result


def dda_json(*arguments: object, code: int = 0) -> Any:
    """What ``dda`` prints as JSON."""
    result = dda(*arguments)
    assert result.exit_code == code, result.stderr
    return json.loads(result.stdout)


def refusal(*arguments: object, code: int, **environment: str) -> str:
    """The one line of an error; nothing else was printed, and the exit code is ``code``."""
    result = dda(*arguments, **environment)
    assert result.exit_code == code, result.output
    assert result.stdout == ""
    assert result.stderr.startswith("error: ")
    assert result.stderr.count("\n") == 1
    return result.stderr.removeprefix("error: ").strip()
