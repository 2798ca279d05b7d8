"""``dda device``: what a device would do with a package."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from deployments.cli.options import AsJson
from deployments.cli.output import print_json, print_table, printable

if TYPE_CHECKING:
    from dda_core.device.check import DeviceCheck

app = typer.Typer(no_args_is_help=True, help="What a device would do with a package.")


@app.command("check")
def check(
    package: Annotated[
        str,
        typer.Argument(
            metavar="ZIP|COMPONENT",
            show_default=False,
            help="A package, or a component of AWS IoT Greengrass: NAME (its highest version), NAME:VERSION or an ARN.",
        ),
    ],
    recipe: Annotated[
        Path | None,
        typer.Option(metavar="FILE", help="A ZIP's recipe, JSON or YAML, to check the start-up too."),
    ] = None,
    use_case: Annotated[
        str | None,
        typer.Option(
            metavar="NAME", help="The use case whose role reads a COMPONENT; without it, the default credentials do."
        ),
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Simulate what a device does with a package: unarchive, start-up, convert, configure, load, frame.

    The simulation follows the device's own code, and lists what it cannot know. The exit code is 1 if the package would
    not run. Files need no AWS.
    """
    if _is_file(package):
        from dda_core.components.published import check_file
        from dda_core.components.recipe import parse_recipe
        from dda_core.exceptions import FileMissing
        from dda_core.safe_yaml import MAX_BYTES

        given = None
        if recipe is not None:
            if not recipe.is_file():
                raise FileMissing(
                    f"{recipe} does not exist or is not a file", path=recipe, expected="a recipe in JSON or YAML"
                )
            with recipe.open("rb") as file:
                given = parse_recipe(file.read(MAX_BYTES + 1), str(recipe))
        done = check_file(Path(package), given)
    else:
        if recipe is not None:
            raise typer.BadParameter("is only for a ZIP; a component has its own recipe", param_hint="--recipe")
        done = _check_component(package, use_case)
    _show(done, as_json)
    raise typer.Exit(0 if done.ok else 1)


def _is_file(package: str) -> bool:
    return package.endswith(".zip") or "/" in package.partition(":")[0] or Path(package).exists()


def _check_component(text: str, use_case: str | None) -> DeviceCheck:
    from dda_core.components.published import check_component, find_version
    from dda_core.naming import component_arn

    if use_case:
        from deployments.services.interactive_aws import interactive_clients
        from deployments.services.runs import prefect_errors
        from tasks.store.use_cases import block_name, load_use_case

        with prefect_errors():
            aws = interactive_clients(asyncio.run(load_use_case(block_name(use_case))))
        sts, greengrass, s3 = aws.sts, aws.greengrass, aws.s3
    else:
        from dda_core.aws.clients import default_client
        from deployments.services.interactive_aws import interactive_settings

        settings = interactive_settings()
        sts, greengrass, s3 = (default_client(service, settings) for service in ("sts", "greengrassv2", "s3"))
    if text.startswith("arn:"):
        arn = text if ":versions:" in text else find_version(greengrass, text)
    else:
        name, _, version = text.partition(":")
        component = component_arn(greengrass.meta.region_name, sts.get_caller_identity()["Account"], name)
        arn = find_version(greengrass, component, version or None)
    return check_component(greengrass, s3, arn)


def _show(done: DeviceCheck, as_json: bool) -> None:
    from dda_core.device.check import NOT_KNOWN

    if as_json:
        print_json(
            {
                "ok": done.ok,
                "steps": [step.model_dump() for step in done.steps],
                "findings": [
                    {"rule": each.rule, "severity": each.severity, "message": each.message} for each in done.findings
                ],
                "not_known": list(NOT_KNOWN),
            }
        )
        return
    print_table(
        ["step", "", "what the device does"],
        [[step.step, "ok" if step.ok else "FAILS", printable(step.message)] for step in done.steps],
    )
    for finding in done.findings:
        typer.echo(f"{finding.severity}: {printable(finding.message)}")
    typer.echo("\nThe simulation cannot know:")
    for each in NOT_KNOWN:
        typer.echo(f"- {each}")
