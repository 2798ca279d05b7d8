"""``dda package``: build the ZIP that devices unpack, and check one."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from deployments.cli.options import AsJson, CompiledTar, ModelTar, Target, open_archive, read_model
from deployments.cli.printing import print_json, printable

app = typer.Typer(no_args_is_help=True, help="Build the package that devices unpack, and check one.")


@app.command("build")
def build(
    model_tar: ModelTar,
    compiled_tar: CompiledTar,
    target: Target,
    out: Annotated[Path, typer.Option(metavar="DIR", show_default=False, help="The folder that the ZIP goes into.")],
    as_json: AsJson = False,
) -> None:
    """Write the package of a compiled archive into a folder, and print its path.

    The same inputs give the same bytes and name. What a device would refuse is refused, and the folder stays as
    it was.
    """
    from dda_core.manifest import dda_manifest
    from dda_core.package import package_to_file
    from dda_core.targets import find_target

    find_target(target)
    compiled = open_archive(compiled_tar)
    path, package = package_to_file(compiled, dda_manifest(read_model(model_tar)), out)
    if as_json:
        print_json({"path": str(path), **package.model_dump()})
    else:
        typer.echo(path)


@app.command("verify")
def verify(
    package: Annotated[Path, typer.Argument(metavar="ZIP", show_default=False, help="The package, a .zip.")],
    as_json: AsJson = False,
) -> None:
    """Check a package by the device's own rules: every finding on a line, or `ok`. With findings the exit code is 1."""
    from dda_core.verify import verify_package

    findings = verify_package(package)
    if as_json:
        print_json({"package": str(package), "findings": findings})
    else:
        for line in findings or ["ok"]:
            typer.echo(printable(line))
    raise typer.Exit(1 if findings else 0)
