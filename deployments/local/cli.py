"""``dda local``: the whole stack on this machine, and the embedded AWS alone."""

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

app = typer.Typer(no_args_is_help=True, help="AWS and Prefect on this machine, without any account.")
aws_cli.register(app)

_DEFAULTS = AwsSettings()
WAIT_SECONDS = 180.0
"""How long ``dda local env`` waits for a stack that is starting: as long as each of its parts may take to start."""

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
    background: Annotated[
        bool, typer.Option("--background", help="Return when the stack answers; `dda local down` ends it.")
    ] = False,
) -> None:
    """Run AWS, Prefect server, worker, use case and deployments in the foreground, until Ctrl-C."""
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

    def tell(line: str) -> None:
        typer.echo(line, err=True)

    def tell_where(chosen: StackDirectory, ui_url: str, end: str) -> None:
        tell(f"The local stack answers; {chosen.local_file} says where.")
        tell(f'Use it from another shell: eval "$(dda local env --dir {shlex.quote(str(chosen.path))})"')
        tell(f"Prefect UI: {ui_url}    {end} ends it.")

    if background:
        chosen = StackDirectory(directory)
        tell(f"Starting the local stack of {chosen.path}: about half a minute.")
        content = start_in_background(chosen, settings)
        tell_where(chosen, content["ui_url"], f"dda local down --dir {shlex.quote(str(chosen.path))}")
        return

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
        tell_where(stack.directory, content["ui_url"], "Ctrl-C")
        stack.watch()


@app.command("env")
def env(
    directory: Directory = None,
    wait: Annotated[
        float,
        typer.Option(min=0, metavar="SECONDS", help="How long to wait for a stack that is starting; 0: not at all."),
    ] = WAIT_SECONDS,
    as_json: AsJson = False,
) -> None:
    """Print the export lines that make dda, prefect, aws and boto3 speak to the stack: eval "$(dda local env)".

    A stack that is starting, as after `dda local up &`, is waited for.
    """
    from deployments.local.discovery import find_stack, wait_for_stack

    variables = wait_for_stack(find_stack(directory), wait, tell=lambda line: typer.echo(line, err=True))
    if as_json:
        print_json(variables)
        return
    for name, value in variables.items():
        typer.echo(f"export {name}={shlex.quote(value)}")


@app.command("down")
def down(directory: Directory = None) -> None:
    """End a running stack from another shell, and wait until it is gone."""
    from deployments.local.discovery import end_stack, find_stack

    stack = find_stack(directory)
    try:
        end_stack(stack)
    except KeyboardInterrupt:
        raise Interrupted from None
    typer.echo(f"The local stack of {stack.path} has ended.", err=True)


@app.command("sample")
def sample(
    out: Annotated[
        Path, typer.Option("--out", "-o", metavar="FILE", help="Where to write the trained archive.")
    ] = Path("model.tar.gz"),
    compiled: Annotated[
        Path | None,
        typer.Option(metavar="FILE", show_default=False, help="Also write what SageMaker Neo would make of it."),
    ] = None,
    target: Annotated[
        str | None,
        typer.Option(
            metavar="NAME",
            autocompletion=complete_target,
            show_default=False,
            help="What --compiled is for; see `dda targets`.",
        ),
    ] = None,
) -> None:
    """Write a sample training job's model.tar.gz to try things with. Nothing need run."""
    from deployments.local.sample import write_sample_archive, write_sample_compiled_archive

    if (compiled is None) != (target is None):
        raise UsageError("give --compiled FILE and --target NAME together: a compiled archive is for one target")
    if compiled is not None and target is not None:
        typer.echo(f"Wrote {write_sample_compiled_archive(compiled, target)}, for {target}.", err=True)
    typer.echo(f"Wrote {write_sample_archive(out)}.", err=True)
