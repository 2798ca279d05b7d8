"""The commands ``dda local aws``, ``dda local train``, ``dda local fault`` and ``dda local device``."""

from __future__ import annotations

import json
from enum import StrEnum
from pathlib import Path
from typing import Annotated, Any

import typer

from dda_core.exceptions import UsageError
from deployments.local import require_emulator
from deployments.local.aws.settings import AwsSettings
from deployments.local.aws.spoiling import Spoil
from deployments.local.directory import DEFAULT_DIRECTORY, StackDirectory, find_aws_endpoint_url

Directory = Annotated[
    Path | None,
    typer.Option("--dir", help="The stack's directory. Default: AWS_ENDPOINT_URL, else .dda in the current folder."),
]
AsJson = Annotated[bool, typer.Option("--json", help="Print JSON.")]
Times = Annotated[int, typer.Option("--times", min=1, help="How many times the fault occurs.")]
Target = Annotated[str, typer.Option("--target", help="A target's name or alias; see dda targets.")]
Reason = Annotated[str, typer.Option("--reason", help="The failure reason that AWS reports.")]
CompileSeconds = Annotated[float, typer.Option(min=0, help="How long a compilation job takes.")]
PublishSeconds = Annotated[float, typer.Option(min=0, help="How long a component version takes to be DEPLOYABLE.")]
StopSeconds = Annotated[float, typer.Option(min=0, help="How long a stopped job is STOPPING.")]
DeploySeconds = Annotated[float, typer.Option(min=0, help="How long a deployment takes to reach its devices.")]
CreateRate = Annotated[
    float,
    typer.Option(
        "--component-versions-per-second", min=0, help="Rate limit of CreateComponentVersion; 0 means no limit."
    ),
]
CompilationQuota = Annotated[
    int,
    typer.Option("--concurrent-compilation-jobs", min=1, help="The account's quota of concurrent compilation jobs."),
]
_DEFAULTS = AwsSettings()


class TrainingStatus(StrEnum):
    """The statuses that ``dda local train`` can give a training job."""

    COMPLETED = "Completed"
    FAILED = "Failed"
    STOPPED = "Stopped"
    IN_PROGRESS = "InProgress"


def aws(
    directory: Annotated[Path, typer.Option("--dir", help="Where aws.json is written.")] = DEFAULT_DIRECTORY,
    port: Annotated[int, typer.Option(min=0, max=65535, help="The port; 0 picks a free one.")] = 0,
    compile_seconds: CompileSeconds = _DEFAULTS.compile_seconds,
    publish_seconds: PublishSeconds = _DEFAULTS.publish_seconds,
    stop_seconds: StopSeconds = _DEFAULTS.stop_seconds,
    deploy_seconds: DeploySeconds = _DEFAULTS.deploy_seconds,
    component_versions_per_second: CreateRate = _DEFAULTS.component_versions_per_second,
    concurrent_compilation_jobs: CompilationQuota = _DEFAULTS.concurrent_compilation_jobs,
) -> None:
    """Run the embedded AWS alone, in the foreground until Ctrl-C. Its state is only in memory."""
    require_emulator()
    from deployments.local.aws.serve import serve

    settings = AwsSettings(
        compile_seconds=compile_seconds,
        publish_seconds=publish_seconds,
        stop_seconds=stop_seconds,
        deploy_seconds=deploy_seconds,
        component_versions_per_second=component_versions_per_second,
        concurrent_compilation_jobs=concurrent_compilation_jobs,
    )
    stack = StackDirectory(directory)

    def ready(url: str) -> None:
        typer.echo(f"The local AWS answers at {url} ({stack.aws_file}). Stop it with Ctrl-C.", err=True)

    serve(stack, settings, port=port, ready=ready)


def train(
    name: Annotated[str, typer.Argument(help="The training job's name.")],
    model_archive: Annotated[Path, typer.Option("--model-archive", help="The trained model.tar.gz.")],
    status: Annotated[TrainingStatus, typer.Option(help="How the job ended.")] = TrainingStatus.COMPLETED,
    model_name: Annotated[str | None, typer.Option(help="The model's name, for the tag dda:model-name.")] = None,
    failure_reason: Annotated[str | None, typer.Option(help="The failure reason of a Failed job.")] = None,
    tag: Annotated[
        list[str] | None, typer.Option(metavar="KEY=VALUE", help="A tag, such as dda:targets=arm64-cpu; repeatable.")
    ] = None,
    directory: Directory = None,
    as_json: AsJson = False,
) -> None:
    """Add a training job with that archive to the local AWS."""
    tags = dict(_key_and_value(text) for text in tag or [])
    made = _control(directory).train(
        name, model_archive, status=status.value, model_name=model_name, failure_reason=failure_reason, tags=tags
    )
    _print(made, as_json, f"{name} is {made['status']}: {made['model_artifact']}")


def _key_and_value(text: str) -> tuple[str, str]:
    key, separator, value = text.partition("=")
    if not key or not separator:
        raise UsageError(f"--tag {text!r} is not KEY=VALUE", expected="one such as dda:targets=arm64-cpu")
    return key, value


fault = typer.Typer(help="Make the local AWS fail on purpose.", no_args_is_help=True)


@fault.command("compile")
def fault_compile(
    target: Target, reason: Reason, times: Times = 1, directory: Directory = None, as_json: AsJson = False
) -> None:
    """Make the next compilation jobs of a target end FAILED with that reason."""
    _add(directory, as_json, "compile", target=target, reason=reason, times=times)


@fault.command("compiled")
def fault_compiled(
    target: Target,
    spoil: Annotated[Spoil, typer.Option("--spoil", help="What is wrong with the archive.")],
    times: Times = 1,
    directory: Directory = None,
    as_json: AsJson = False,
) -> None:
    """Make the next compilation jobs of a target end COMPLETED, but with an archive that no device can load."""
    _add(directory, as_json, "compiled", target=target, spoil=spoil.value, times=times)


@fault.command("publish")
def fault_publish(
    target: Target, reason: Reason, times: Times = 1, directory: Directory = None, as_json: AsJson = False
) -> None:
    """Make the next component versions of a target end FAILED with that reason."""
    _add(directory, as_json, "publish", target=target, reason=reason, times=times)


@fault.command("call")
def fault_call(
    operation: Annotated[str, typer.Argument(help="Such as CreateCompilationJob or s3:PutObject.")],
    error: Annotated[
        str,
        typer.Option(
            "--error",
            help="An AWS error code; an HTTP status, sent without a body; connect-timeout, connection-refused, "
            "connection-reset or read-timeout for no response; cut-body for half a response.",
        ),
    ],
    message: Annotated[str | None, typer.Option(help="The error message.")] = None,
    nth: Annotated[int, typer.Option("--nth", min=1, help="Which call fails first, counted from now.")] = 1,
    times: Times = 1,
    after_effect: Annotated[
        bool, typer.Option("--after-effect", help="The call takes effect before it fails.")
    ] = False,
    directory: Directory = None,
    as_json: AsJson = False,
) -> None:
    """Make an API call fail with an error or a broken connection, before or after it takes effect."""
    fields = {"operation": operation, "error": error, "nth": nth, "times": times, "after_effect": after_effect}
    if message:
        fields["message"] = message
    _add(directory, as_json, "call", **fields)


@fault.command("list")
def fault_list(directory: Directory = None, as_json: AsJson = False) -> None:
    """List the active faults and how often each has occurred."""
    listed = _control(directory).faults()
    _print(listed, as_json, "\n".join(_line(entry) for entry in listed) or "No faults are active.")


@fault.command("clear")
def fault_clear(directory: Directory = None, as_json: AsJson = False) -> None:
    """Remove all faults."""
    cleared = _control(directory).clear_faults()
    _print({"cleared": cleared}, as_json, f"{cleared} faults cleared.")


device = typer.Typer(help="Core devices of the local AWS.", no_args_is_help=True)


@device.command("add")
def device_add(
    thing: Annotated[str, typer.Argument(help="The device's IoT thing name.")],
    components: Annotated[
        list[str] | None,
        typer.Option(
            "--component", metavar="NAME", show_default=False, help="An installed component; may be repeated."
        ),
    ] = None,
    versions: Annotated[
        list[str] | None,
        typer.Option("--version", metavar="V", show_default=False, help="Its version; one for each --component."),
    ] = None,
    groups: Annotated[
        list[str] | None,
        typer.Option(
            "--group", metavar="NAME", show_default=False, help="A thing group of the device; may be repeated."
        ),
    ] = None,
    unhealthy: Annotated[bool, typer.Option("--unhealthy", help="The device reports UNHEALTHY.")] = False,
    directory: Directory = None,
    as_json: AsJson = False,
) -> None:
    """Add a core device to the local AWS, replacing one with the same name."""
    names, given = components or [], versions or []
    if len(names) != len(given):
        raise UsageError(
            f"there are {len(names)} --component and {len(given)} --version options",
            expected="one version for each component",
        )
    seed = {
        "thing": thing,
        "status": "UNHEALTHY" if unhealthy else "HEALTHY",
        "groups": groups or [],
        "installed": [{"name": name, "version": version} for name, version in zip(names, given, strict=True)],
    }
    _control(directory).add_device(**seed)
    has = ", ".join(f"{name} {version}" for name, version in zip(names, given, strict=True))
    _print(seed, as_json, f"{thing} is a core device{f' with {has}' if has else ''}.")


def register(app: typer.Typer) -> None:
    """Add the commands to ``dda local``."""
    app.command("aws")(aws)
    app.command("train")(train)
    app.add_typer(fault, name="fault")
    app.add_typer(device, name="device")


def _control(directory: Path | None) -> Any:
    require_emulator()
    # Imported late so that the command line starts without moto and boto3.
    from deployments.local.aws.client import AwsControl

    return AwsControl(find_aws_endpoint_url(directory))


def _add(directory: Path | None, as_json: bool, kind: str, **fields: Any) -> None:
    added = _control(directory).add_fault(kind, **fields)
    _print(added, as_json, _line(added))


def _line(entry: dict[str, Any]) -> str:
    what = entry.get("target") or f"{entry.get('operation')} {entry.get('error')}"
    when = " after taking effect" if entry.get("after_effect") else ""
    nth = f" from call {entry['nth']}" if entry.get("nth", 1) > 1 else ""
    struck = f", occurred {entry['struck']}" if "struck" in entry else ""
    struck += f", last {entry['requests'][-1]}" if entry.get("requests") else ""
    text = entry.get("reason") or entry.get("spoil") or entry.get("message")
    return f"{entry['kind']} {what}{when}{nth}: {entry['times']} times{struck}" + (f" - {text}" if text else "")


def _print(value: Any, as_json: bool, text: str) -> None:
    typer.echo(json.dumps(value, indent=2) if as_json else text)
