"""``dda local``: the whole stack on this machine, and the embedded AWS alone."""

from __future__ import annotations

import shlex
import signal
from pathlib import Path
from types import FrameType
from typing import Annotated

import typer

from dda_core.exceptions import Interrupted
from deployments.cli.options import AsJson
from deployments.cli.printing import print_json
from deployments.local.aws import cli as aws_cli
from deployments.local.aws.settings import AwsSettings
from deployments.local.directory import DEFAULT_DIRECTORY, StackDirectory

app = typer.Typer(no_args_is_help=True, help="AWS and Prefect on this machine, without any account.")
aws_cli.register(app)

_DEFAULTS = AwsSettings()

Directory = Annotated[
    Path | None,
    typer.Option(
        "--dir", help="The stack's directory; else the stack of PREFECT_API_URL, else .dda in the current folder."
    ),
]


@app.command("up")
def up(
    directory: Annotated[Path, typer.Option("--dir", help="Where the stack keeps its state.")] = DEFAULT_DIRECTORY,
    compile_seconds: aws_cli.CompileSeconds = _DEFAULTS.compile_seconds,
    publish_seconds: aws_cli.PublishSeconds = _DEFAULTS.publish_seconds,
    stop_seconds: aws_cli.StopSeconds = _DEFAULTS.stop_seconds,
    deploy_seconds: aws_cli.DeploySeconds = _DEFAULTS.deploy_seconds,
    component_versions_per_second: aws_cli.CreateRate = _DEFAULTS.component_versions_per_second,
    concurrent_compilation_jobs: aws_cli.CompilationQuota = _DEFAULTS.concurrent_compilation_jobs,
) -> None:
    """Run AWS, Prefect server, worker, use case and deployments in the foreground, until Ctrl-C."""
    from deployments.local.stack import LocalStack

    settings = AwsSettings(
        compile_seconds=compile_seconds,
        publish_seconds=publish_seconds,
        stop_seconds=stop_seconds,
        deploy_seconds=deploy_seconds,
        component_versions_per_second=component_versions_per_second,
        concurrent_compilation_jobs=concurrent_compilation_jobs,
    )

    def tell(line: str) -> None:
        typer.echo(line, err=True)

    with LocalStack(StackDirectory(directory), settings, tell=tell) as stack:

        def end(number: int, frame: FrameType | None) -> None:
            if not stack.stopping.is_set():
                stack.stopping.set()
                tell("Ending the local stack.")

        for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
            # nohup has SIGHUP ignored on purpose; a shell's & has SIGINT ignored for want of a terminal.
            if number != signal.SIGHUP or signal.getsignal(number) != signal.SIG_IGN:
                signal.signal(number, end)
        tell(f"Starting the local stack of {stack.directory.path}.")
        content = stack.start()
        tell(f"The local stack answers; {stack.directory.local_file} says where.")
        tell(f'Use it from another shell: eval "$(dda local env --dir {shlex.quote(str(stack.directory.path))})"')
        tell(f"Prefect UI: {content['ui_url']}    Ctrl-C ends it.")
        stack.watch()


@app.command("env")
def env(directory: Directory = None, as_json: AsJson = False) -> None:
    """Print the export lines that make dda, prefect, aws and boto3 speak to the stack: eval "$(dda local env)"."""
    from deployments.local.finding import find_stack, stack_variables

    variables = stack_variables(find_stack(directory))
    if as_json:
        print_json(variables)
        return
    for name, value in variables.items():
        typer.echo(f"export {name}={shlex.quote(value)}")


@app.command("down")
def down(directory: Directory = None) -> None:
    """End a running stack from another shell, and wait until it is gone."""
    from deployments.local.finding import end_stack, find_stack

    stack = find_stack(directory)
    try:
        end_stack(stack)
    except KeyboardInterrupt:
        raise Interrupted from None
    typer.echo(f"The local stack of {stack.path} has ended.", err=True)
