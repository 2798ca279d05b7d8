"""``dda manifest``: the DDA manifest of a trained model."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated

import typer

from deployments.cli.options import ModelTar, output_path, read_model

app = typer.Typer(no_args_is_help=True, help="Build the DDA manifest of a trained model.")


@app.command("build")
def build(
    model_tar: ModelTar,
    out: Annotated[
        Path | None,
        typer.Option(metavar="FILE", parser=output_path, help="Write to this file instead of standard output."),
    ] = None,
) -> None:
    """Print the DDA manifest of a trained archive as JSON. Refuses archives that a device would refuse."""
    from dda_core.archives.file_sink import FileSink, output_file
    from dda_core.model.manifest import dda_manifest

    if out is not None:
        output_file(out)  # fail before reading the archive
    manifest = json.dumps(dda_manifest(read_model(model_tar)), indent=2)
    if out is None:
        typer.echo(manifest)
        return
    with FileSink(out) as sink:
        sink.write(f"{manifest}\n".encode())
        sink.complete()
    typer.echo(f"Wrote {out}.", err=True)
