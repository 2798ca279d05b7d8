"""``dda package``: build and check the ZIP that devices unpack."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from deployments.cli.options import (
    AsJson,
    CompiledTar,
    ModelTar,
    Target,
    complete_target,
    open_archive,
    output_path,
    read_model,
)
from deployments.cli.output import print_json, printable

app = typer.Typer(no_args_is_help=True, help="Build and check the package that devices unpack.")


@app.command("build")
def build(
    model_tar: ModelTar,
    compiled_tar: CompiledTar,
    target: Target,
    out: Annotated[
        Path,
        typer.Option(metavar="DIR", parser=output_path, show_default=False, help="The folder to write the ZIP into."),
    ],
    as_json: AsJson = False,
) -> None:
    """Write the package of a compiled archive into a folder, and print its path.

    The same inputs give the same bytes and name. A package that a device would refuse is not written.
    """
    from dda_core.device.folder import Expectation
    from dda_core.device.manifest import doubts
    from dda_core.model.manifest import dda_manifest
    from dda_core.model.package import package_to_file
    from dda_core.targets import find_target

    expected = Expectation.of(find_target(target))
    compiled = open_archive(compiled_tar)
    manifest = dda_manifest(read_model(model_tar))
    path, package = package_to_file(compiled, manifest, out, expected=expected)
    if as_json:
        print_json({"path": str(path), **package.model_dump()})
        return
    typer.echo(path)
    said = doubts(manifest)
    for warning in package.warnings:
        if warning not in said:
            typer.echo(f"warning: {printable(warning)}", err=True)


@app.command("verify")
def verify(
    package: Annotated[Path, typer.Argument(metavar="ZIP", show_default=False, help="The package, a .zip.")],
    target: Annotated[
        str | None,
        typer.Option(
            metavar="NAME", autocompletion=complete_target, help="Also check the compiled code against this target."
        ),
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Check a package against the device's rules: one finding per line, or `ok`. With findings the exit code is 1.

    What only the device can decide is a warning, which leaves the exit code at 0.
    """
    from dda_core.device.findings import errors, warnings
    from dda_core.device.folder import NOTHING, Expectation
    from dda_core.model.verify import verify_package
    from dda_core.targets import find_target

    found = verify_package(package, Expectation.of(find_target(target)) if target else NOTHING)
    refused, doubts = [each.message for each in errors(found)], [each.message for each in warnings(found)]
    if as_json:
        print_json({"package": str(package), "findings": refused} | ({"warnings": doubts} if doubts else {}))
    else:
        for line in refused or ["ok"]:
            typer.echo(printable(line))
        for line in doubts:
            typer.echo(f"warning: {printable(line)}")
    raise typer.Exit(1 if refused else 0)
