"""The command ``dda``: noun, then verb.

Every noun is a module that is imported only when it is used, so that ``dda targets`` does not wait for Prefect.
"""

from __future__ import annotations

import importlib
import os
import sys
from typing import Annotated, Any

import typer
from typer.core import TyperCommand, TyperGroup
from typer.main import get_command, get_group

from dda_core.exceptions import Interrupted
from deployments.cli.errors import EXIT_CODES, report
from deployments.cli.output import printable

COMMANDS = {
    "compile": "deployments.cli.compile:compile_command",
    "retry": "deployments.cli.retry:retry_command",
    "approve": "deployments.cli.approve:approve_command",
    "reject": "deployments.cli.approve:reject_command",
    "status": "deployments.cli.status:status_command",
    "history": "deployments.cli.history:history_command",
    "audit": "deployments.cli.audit:audit_command",
    "logs": "deployments.cli.logs:logs_command",
    "artifacts": "deployments.cli.artifacts:app",
    "devices": "deployments.cli.devices:devices_command",
    "storage": "deployments.cli.storage:app",
    "plan": "deployments.cli.plan:plan_command",
    "manifest": "deployments.cli.manifest:app",
    "package": "deployments.cli.package:app",
    "device": "deployments.cli.device:app",
    "targets": "deployments.cli.targets:targets_command",
    "explain": "deployments.cli.explain:explain_command",
    "use-case": "deployments.cli.use_case:app",
    "webhook": "deployments.cli.webhook:app",
    "preflight": "deployments.cli.preflight:preflight_command",
    "config": "deployments.cli.config:app",
    "local": "deployments.local.cli:app",
}
"""Where each noun is: ``module:attribute``. The attribute is a Typer app or a single command's function."""


class Dda(TyperGroup):
    """The group of all nouns, which also turns every error into one line and an exit code."""

    def list_commands(self, ctx: Any) -> list[str]:
        """The nouns, in the order of the table."""
        return list(COMMANDS)

    def get_command(self, ctx: Any, cmd_name: str) -> TyperCommand | TyperGroup | None:
        """The command of a noun, imported now; None for an unknown noun."""
        # For an unknown noun all are loaded, so that Typer can suggest one.
        for name in [cmd_name] if cmd_name in COMMANDS else COMMANDS:
            if name not in self.commands:
                self.commands[name] = _load(name)
        found = self.commands.get(cmd_name)
        assert found is None or isinstance(found, TyperCommand | TyperGroup)
        return found

    def main(self, *args: Any, **options: Any) -> Any:
        """Run a command line and end the process with its exit code."""
        options |= {"prog_name": "dda", "standalone_mode": False}
        try:
            code = super().main(*args, **options)
            # Flush while a failure can still be reported: at interpreter exit it would be exit code 120.
            sys.stdout.flush()
        except Exception as error:
            code = report(error)
        except KeyboardInterrupt:
            code = Interrupted.exit_code
        sys.exit(code if isinstance(code, int) else 0)


def _load(name: str) -> TyperCommand | TyperGroup:
    module, attribute = COMMANDS[name].split(":")
    found = getattr(importlib.import_module(module), attribute)
    if isinstance(found, typer.Typer):
        found.rich_markup_mode = app.rich_markup_mode
        command: Any = get_group(found)
    else:
        single = typer.Typer(add_completion=False, rich_markup_mode=app.rich_markup_mode)
        single.command(name)(found)
        command = get_command(single)
    command.name = name
    assert isinstance(command, TyperCommand | TyperGroup)
    return command


def _show_version(wanted: bool) -> None:
    if wanted:
        from importlib.metadata import version

        typer.echo(f"dda {version('dda-pipeline')}")
        raise typer.Exit


app = typer.Typer(
    cls=Dda,
    no_args_is_help=True,
    rich_markup_mode="markdown",
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["--help", "-h"]},
    epilog="Exit codes: " + ", ".join(f"{code} {meaning}" for code, meaning in EXIT_CODES.items()) + ".",
)


@app.callback()
def dda(
    version: Annotated[
        bool, typer.Option("--version", callback=_show_version, is_eager=True, help="Show the version and exit.")
    ] = False,
) -> None:
    """Turn SageMaker training jobs of the Defect Detection Application into AWS IoT Greengrass components."""

    if any(name.upper().startswith("DDA_") for name in os.environ):
        from dda_core.settings import unknown_variables

        for variable in unknown_variables():
            typer.echo(f"warning: {printable(str(variable))}", err=True)
