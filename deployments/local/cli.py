"""``dda local``: the whole stack on this machine, or the embedded AWS alone."""

from __future__ import annotations

import shlex
import signal
from pathlib import Path
from types import FrameType
from typing import Annotated

import typer

from dda_core.exceptions import Interrupted, UsageError
from deployments.cli.options import AsJson, complete_target
from deployments.cli.output import print_json
from deployments.local import require_emulator
from deployments.local.aws import cli as aws_cli
from deployments.local.aws.settings import AwsSettings
from deployments.local.directory import DEFAULT_DIRECTORY, StackDirectory

app = typer.Typer(no_args_is_help=True, help="AWS and Prefect on this machine, without an AWS account.")
aws_cli.register(app)

_DEFAULTS = AwsSettings()
WAIT_SECONDS = 180.0
"""How long ``dda local env`` waits for a starting stack: the time limit that each of its parts has."""

Directory = Annotated[
    Path | None,
    typer.Option(
        "--dir",
        help="The stack's directory. Default: that of the stack at PREFECT_API_URL, else .dda in the current folder.",
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
    background: Annotated[
        bool, typer.Option("--background", help="Return when the stack is up; stop it with `dda local down`.")
    ] = False,
) -> None:
    """Run AWS, a Prefect server and a worker in the foreground until Ctrl-C, with a use case and deployments."""
    require_emulator()
    from deployments.local.background import start_in_background
    from deployments.local.stack import LocalStack

    settings = AwsSettings(
        compile_seconds=compile_seconds,
        publish_seconds=publish_seconds,
        stop_seconds=stop_seconds,
        deploy_seconds=deploy_seconds,
        component_versions_per_second=component_versions_per_second,
        concurrent_compilation_jobs=concurrent_compilation_jobs,
    )

    def notify(line: str) -> None:
        typer.echo(line, err=True)

    def show_addresses(chosen: StackDirectory, ui_url: str, stop: str) -> None:
        notify(f"The local stack is up; its addresses are in {chosen.local_file}.")
        notify(f'Use it from another shell: eval "$(dda local env --dir {shlex.quote(str(chosen.path))})"')
        notify(f"Prefect UI: {ui_url}    Stop it with {stop}.")

    if background:
        chosen = StackDirectory(directory)
        notify(f"Starting the local stack in {chosen.path}; this takes about half a minute.")
        content = start_in_background(chosen, settings)
        show_addresses(chosen, content["ui_url"], f"dda local down --dir {shlex.quote(str(chosen.path))}")
        return

    with LocalStack(StackDirectory(directory), settings, notify=notify) as stack:

        def end(number: int, frame: FrameType | None) -> None:
            if not stack.stopping.is_set():
                stack.stopping.set()
                notify("Stopping the local stack.")

        for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
            # nohup ignores SIGHUP on purpose, so that stays. A shell's & ignores SIGINT only for lack of a terminal.
            if number != signal.SIGHUP or signal.getsignal(number) != signal.SIG_IGN:
                signal.signal(number, end)
        notify(f"Starting the local stack in {stack.directory.path}.")
        content = stack.start()
        show_addresses(stack.directory, content["ui_url"], "Ctrl-C")
        stack.watch()


@app.command("env")
def env(
    directory: Directory = None,
    wait: Annotated[
        float,
        typer.Option(min=0, metavar="SECONDS", help="How long to wait for a stack that is starting; 0 does not wait."),
    ] = WAIT_SECONDS,
    as_json: AsJson = False,
) -> None:
    """Print the export lines that point dda, prefect, aws and boto3 at the stack: eval "$(dda local env)".

    Waits for a stack that is starting, as after `dda local up &`.
    """
    from deployments.local.discovery import find_stack, wait_for_stack

    variables = wait_for_stack(find_stack(directory), wait, notify=lambda line: typer.echo(line, err=True))
    if as_json:
        print_json(variables)
        return
    for name, value in variables.items():
        typer.echo(f"export {name}={shlex.quote(value)}")


@app.command("down")
def down(directory: Directory = None) -> None:
    """Stop a running stack from another shell, and wait until it has stopped."""
    from deployments.local.discovery import end_stack, find_stack

    stack = find_stack(directory)
    try:
        end_stack(stack)
    except KeyboardInterrupt:
        raise Interrupted from None
    typer.echo(f"The local stack in {stack.path} has stopped.", err=True)


@app.command("sample")
def sample(
    out: Annotated[
        Path, typer.Option("--out", "-o", metavar="FILE", help="Where to write the trained archive.")
    ] = Path("model.tar.gz"),
    compiled: Annotated[
        Path | None,
        typer.Option(
            metavar="FILE",
            show_default=False,
            help="Also write the compiled archive that SageMaker Neo would make from it.",
        ),
    ] = None,
    target: Annotated[
        str | None,
        typer.Option(
            metavar="NAME",
            autocompletion=complete_target,
            show_default=False,
            help="The target of --compiled; see `dda targets`.",
        ),
    ] = None,
) -> None:
    """Write a sample training job's model.tar.gz to try things with. Needs no running stack."""
    from deployments.local.sample import write_sample_archive, write_sample_compiled_archive

    if (compiled is None) != (target is None):
        raise UsageError("give --compiled FILE and --target NAME together: a compiled archive is for one target")
    if compiled is not None and target is not None:
        typer.echo(f"Wrote {write_sample_compiled_archive(compiled, target)}, for {target}.", err=True)
    typer.echo(f"Wrote {write_sample_archive(out)}.", err=True)
