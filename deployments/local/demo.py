"""``make demo``: a sample training job becomes four components on this machine, and a second one shows a failure."""

from __future__ import annotations

import argparse
import asyncio
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path
from types import FrameType
from typing import TYPE_CHECKING

from rich.console import Console

from dda_core.exceptions import DdaError, Interrupted
from dda_core.fleets import new_fleet
from dda_core.pages.links import OVERVIEW, Ui
from dda_core.runs.status import RunStatus, TargetStatus
from dda_core.targets import find_target
from deployments.cli.errors import report
from deployments.cli.output import print_table
from deployments.local import require_emulator
from deployments.local.aws.settings import AwsSettings
from deployments.local.directory import StackDirectory
from deployments.local.discovery import stack_variables
from deployments.local.processes import StackProcesses
from deployments.local.sample import write_sample_archive
from deployments.local.stack import STOP_SECONDS, USE_CASE, LocalStack, supervisor

if TYPE_CHECKING:
    from dda_core.runs.view import RunView

DIRECTORY = Path(".dda/demo")
FIRST, SECOND = "lid-inspection-demo", "cap-inspection-demo"
FAILING_TARGET = find_target("x86_64-cuda").name
FAILURE = (
    "ClientError: InputConfiguration: TVM cannot convert the PyTorch model. "
    "The following operators are not implemented: ['aten::grid_sampler']"
)


class DemoFailed(DdaError):
    """The demo did not end as expected."""


def main() -> None:
    """Run the demo; exit code 0 when both sample jobs end as expected."""
    parser = argparse.ArgumentParser(prog="make demo", description=__doc__)
    parser.add_argument("--keep", action="store_true", help="keep the stack and its UI running until Ctrl-C")
    parser.add_argument("--dir", type=Path, default=DIRECTORY, help="the directory of the demo's stack (.dda/demo)")
    arguments = parser.parse_args()
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, _interrupt)
    try:
        require_emulator()
        run_demo(StackDirectory(arguments.dir), keep=arguments.keep)
    except KeyboardInterrupt:
        sys.exit(report(Interrupted("the demo was interrupted; all its processes have been stopped")))
    except Exception as error:
        sys.exit(report(error))


def _interrupt(number: int, frame: FrameType | None) -> None:
    raise KeyboardInterrupt


def run_demo(directory: StackDirectory, *, keep: bool) -> None:
    """Start a stack, show both sample jobs, and stop the stack.

    Raises:
        DemoFailed: a target did not end as expected.
        LocalStackError: the stack did not come up, or a demo is already running.
    """
    console = Console(highlight=False, soft_wrap=True)
    began = time.monotonic()
    if supervisor(directory) is None:
        # Clean up after a demo that was killed.
        StackProcesses(directory.path).end(None, STOP_SECONDS)
        shutil.rmtree(directory.path, ignore_errors=True)
    with LocalStack(directory, AwsSettings(), notify=lambda line: console.print(line, markup=False)) as stack:
        console.print("Starting an embedded AWS, a Prefect server and a worker; nothing leaves this machine.")
        content = stack.start()
        ui = str(content["ui_url"])
        console.print(f"They are up. Prefect's UI: {ui}\n")
        _use_stack(directory)
        asyncio.run(_show(directory, str(content["aws_endpoint_url"]), console))
        _list_pages(ui, console)
        console.print(f"\nBoth sample jobs ended as expected, {time.monotonic() - began:.0f} s after the start.")
        if keep:
            console.print(f"Prefect's UI: {ui}    Stop it with Ctrl-C. From another shell:")
            console.print(f'  eval "$(.venv/bin/dda local env --dir {directory.path})"', markup=False)
            console.print(f"  .venv/bin/dda compile {SECOND} --use-case {USE_CASE} --wait    (this time it compiles)")
            try:
                stack.watch()
            except KeyboardInterrupt:
                console.print("Stopping.")
                return
        else:
            console.print(f"Prefect's UI was {ui}; to explore it, run: make demo KEEP=1")


def _use_stack(directory: StackDirectory) -> None:
    # Before Prefect is imported, which reads its settings then: the user's own must not apply here.
    for name in [name for name in os.environ if name.startswith(("PREFECT_", "AWS_"))]:
        del os.environ[name]
    os.environ |= stack_variables(directory)
    os.environ["PREFECT_HOME"] = str(directory.path / "prefect")


async def _show(directory: StackDirectory, aws_url: str, console: Console) -> None:
    from deployments.local.aws.client import AwsControl

    control = AwsControl(aws_url)
    archive = write_sample_archive(directory.path / "model.tar.gz")
    console.print(
        f"1. Training job {FIRST} has completed; the flow compiles its model for {len(new_fleet().targets)} targets."
    )
    _say(console, f"dda local train {FIRST} --model-archive {archive.name} --model-name lid-inspection")
    await asyncio.to_thread(control.train, FIRST, archive, model_name="lid-inspection")
    view = await _compile(FIRST, console)
    states = await asyncio.to_thread(_component_states, aws_url, view)
    print_end(view, states, console)
    _expect(view, RunStatus.COMPLETED, set())
    if set(states.values()) != {"DEPLOYABLE"}:
        raise DemoFailed(f"AWS IoT Greengrass reports {states}", expected="DEPLOYABLE for every target")
    await _check_on_devices(aws_url, view, console)

    archive = write_sample_archive(directory.path / "other.tar.gz", threshold=0.55)
    console.print(
        f"\n2. Training job {SECOND}. This time SageMaker Neo fails to compile its model for {FAILING_TARGET}."
    )
    _say(console, f"dda local train {SECOND} --model-archive {archive.name} --model-name cap-inspection")
    await asyncio.to_thread(control.train, SECOND, archive, model_name="cap-inspection")
    _say(console, f'dda local fault compile --target {FAILING_TARGET} --reason "{FAILURE}"')
    await asyncio.to_thread(control.add_fault, "compile", target=FAILING_TARGET, reason=FAILURE)
    view = await _compile(SECOND, console)
    print_end(view, await asyncio.to_thread(_component_states, aws_url, view), console)
    _explain(view, console)
    _expect(view, RunStatus.PARTIAL, {FAILING_TARGET})
    await _check_on_devices(aws_url, view, console)

    console.print("\n3. The results on the command line; the UI shows the same.")
    version = next(record for record in view.targets.values() if record.status is TargetStatus.DEPLOYABLE)
    installed = [{"name": version.component, "version": version.version}]
    await asyncio.to_thread(control.add_device, thing="line-3-camera", installed=installed)
    for words in (
        ["status"],
        ["history", SECOND],
        ["logs", SECOND, FAILING_TARGET],
        ["artifacts", "link", FIRST, "arm64-cpu", "--expires", "10m"],
        ["devices"],
        ["device", "check", str(version.component)],
    ):
        _say(console, f"dda {' '.join(words)}")
        command = [sys.executable, "-m", "deployments.cli.main", *words]
        shown = await asyncio.to_thread(subprocess.run, command, capture_output=True, text=True, timeout=60)
        console.print(shown.stdout + (shown.stderr if shown.returncode else ""), markup=False)
        if shown.returncode:
            raise DemoFailed(f"dda {' '.join(words)} ended with {shown.returncode}", remedy="See above.")


async def _check_on_devices(aws_url: str, view: RunView, console: Console) -> None:
    """Check every deployable component against the device model: DEPLOYABLE alone does not prove that it runs."""
    from dda_core.components.published import check_component
    from deployments.local.aws.client import boto3_client

    region = os.environ["AWS_DEFAULT_REGION"]
    greengrass, s3 = boto3_client("greengrassv2", aws_url, region), boto3_client("s3", aws_url, region)
    console.print()
    for target, record in view.targets.items():
        if record.status is not TargetStatus.DEPLOYABLE or not record.arn:
            continue
        check = await asyncio.to_thread(check_component, greengrass, s3, record.arn)
        if not check.ok:
            found = "; ".join(map(str, check.findings))
            raise DemoFailed(f"{record.component} is DEPLOYABLE, but no device could run it: {found}")
        steps = ", ".join(step.step for step in check.steps)
        console.print(f"On a {target} device it passes: {steps}.", markup=False)


def _list_pages(ui: str, console: Console) -> None:
    """Print which pages to open."""
    console.print("Pages to open in Prefect's UI:")
    pages = Ui.at(ui)
    for what, address in (
        ("all training jobs", pages.artifact(OVERVIEW)),
        ("the runs, one per training job", pages.all_runs),
        ("the failed target, why, and what to do", pages.artifact(f"targets-{SECOND}")),
        ("every attempt", pages.artifact(f"history-{SECOND}")),
        ("the versions of a model", pages.artifact("model-lid-inspection")),
        ("the form to start a run by hand: local, then Run", pages.deployments),
    ):
        console.print(f"  {address}  {what}", markup=False)


async def _compile(training_job: str, console: Console) -> RunView:
    from deployments.cli.compile import follow_to_the_end
    from deployments.services.runs import start_run
    from tasks.store.ui_links import run_link

    _say(console, f"dda compile {training_job} --use-case {USE_CASE} --wait")
    run = await start_run(USE_CASE, training_job, {}, tags=["trigger:demo"])
    console.print(f"The flow run in the UI: {run_link(str(run.id))}", markup=False)
    view = await follow_to_the_end(run.id, console)
    console.print()
    return view


def _component_states(aws_url: str, view: RunView) -> dict[str, str]:
    """The state of every published component version, read from AWS IoT Greengrass."""
    from deployments.local.aws.client import boto3_client

    greengrass = boto3_client("greengrassv2", aws_url, os.environ["AWS_DEFAULT_REGION"])
    return {
        target: greengrass.describe_component(arn=record.arn)["status"]["componentState"]
        for target, record in view.targets.items()
        if record.arn
    }


def print_end(view: RunView, states: dict[str, str], console: Console) -> None:
    """Print the targets of a run that has ended.

    Args:
        view: the run.
        states: target -> component state in AWS IoT Greengrass.
        console: where to print.
    """
    rows = [
        (
            target,
            str(record.status),
            f"{record.seconds or 0:.0f} s",
            record.version or "-",
            states.get(target, "-"),
        )
        for target, record in view.targets.items()
    ]
    notes = [
        [("component", record.component), ("ARN", record.arn), ("compiled artifact", record.compiled_artifact)]
        for record in view.targets.values()
    ]
    console.print(f"{view.training_job}: {view.status}", style="bold")
    print_table(("target", "status", "duration", "version", "Greengrass state"), rows, notes)


def _explain(view: RunView, console: Console) -> None:
    for target, record in view.targets.items():
        if not record.status.good:
            console.print(
                f"\n{target} {record.status}; the other targets were not affected.", style="bold", markup=False
            )
            for label, text in (("reason", record.reason), ("cause", record.cause), ("what to do", record.remedy)):
                console.print(f"  {label}: {text}", markup=False)


def _expect(view: RunView, status: RunStatus, failed: set[str]) -> None:
    found = {target for target, record in view.targets.items() if record.status is TargetStatus.FAILED}
    if view.status is not status or found != failed:
        raise DemoFailed(
            f"{view.training_job} ended {view.status} with {sorted(found) or 'no targets'} failed",
            expected=f"{status} with {sorted(failed) or 'none'}",
            remedy="See the output above and the stack's logs.",
        )


def _say(console: Console, command: str) -> None:
    console.print(f"   $ {command}", style="dim", markup=False, soft_wrap=True)


if __name__ == "__main__":
    main()
