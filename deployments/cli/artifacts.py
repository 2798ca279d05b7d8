"""``dda artifacts``: links to the products of a target's runs, and downloads."""

from __future__ import annotations

import asyncio
import re
from datetime import timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.console import Console
from rich.progress import BarColumn, DownloadColumn, Progress, TextColumn, TimeRemainingColumn, TransferSpeedColumn

from dda_core.archives.download import LONGEST, Product
from dda_core.exceptions import UsageError
from deployments.cli.options import AsJson, TargetName, known_targets, output_path
from deployments.cli.output import print_json

if TYPE_CHECKING:
    from dda_core.use_case import UseCase

app = typer.Typer(no_args_is_help=True, help="Download the products of a training job's runs.")

TrainingJob = Annotated[str, typer.Argument(help="The training job.")]
What = Annotated[Product, typer.Option(help="The compiled archive, the package for devices, or the saved log.")]
_UNITS = {"s": 1, "m": 60, "h": 3600}


@app.command("link")
def link(
    training_job: TrainingJob,
    target: TargetName,
    expires: Annotated[str, typer.Option(metavar="TIME", help="How long it stays valid: 30m, 1h, at most 12h.")] = "1h",
    what: What = Product.COMPILED,
    as_json: AsJson = False,
) -> None:
    """Print a presigned URL. Anyone who has it can download the object without credentials until it expires.

    It expires earlier if the credentials that sign it do; standard error, or the JSON's `expires`, says when.
    """
    valid = duration(expires)
    from dda_core.archives.download import presign
    from deployments.services.interactive_aws import interactive_clients

    uri, use_case = _find(training_job, target, what)
    made = presign(interactive_clients(use_case), uri, valid)
    if as_json:
        print_json({"training_job": training_job, "target": target, "what": what, **made.model_dump(mode="json")})
        return
    typer.echo(made.url)
    typer.echo(f"Valid until {made.expires.isoformat()}; anyone who has it can download {uri}.", err=True)


@app.command("get")
def get(
    training_job: TrainingJob,
    target: TargetName,
    output: Annotated[
        Path,
        typer.Option(
            "--output", "-o", metavar="FILE", parser=output_path, show_default=False, help="The file to write."
        ),
    ],
    what: What = Product.COMPILED,
) -> None:
    """Download a product. The same command resumes an interrupted download, unless the object has changed since.

    The file appears once it is complete; until then the data is in a file of that name with `.part` added.
    """
    from dda_core.archives.download import download
    from dda_core.archives.file_sink import output_file
    from deployments.services.interactive_aws import interactive_clients

    output_file(output)  # fail before any request
    uri, use_case = _find(training_job, target, what)
    console = Console(stderr=True)
    columns = (TextColumn("{task.description}"), BarColumn(), DownloadColumn(), TransferSpeedColumn())
    try:
        with Progress(*columns, TimeRemainingColumn(), console=console, disable=not console.is_terminal) as progress:
            bar = progress.add_task(output.name, total=None)
            size = download(
                interactive_clients(use_case).s3,
                uri,
                output,
                lambda done, size: progress.update(bar, completed=done, total=size),
            )
    except KeyboardInterrupt:
        typer.echo(f"Interrupted. The same command resumes from {output}.part.", err=True)
        raise
    typer.echo(f"{output}: {size} bytes of {uri}", err=True)


def duration(text: str) -> timedelta:
    """The duration that a text such as ``30m`` or ``12h`` means.

    Raises:
        UsageError: it is not a duration, or longer than a link may be valid.
    """
    match = re.fullmatch(r"([1-9]\d{0,5})([smh])", text.strip())
    valid = timedelta(seconds=int(match[1]) * _UNITS[match[2]]) if match else None
    if valid is None or valid > LONGEST:
        raise UsageError(f"--expires {text} cannot be used", expected="a time such as 30m or 1h, of at most 12h")
    return valid


def _find(training_job: str, target: str, what: Product) -> tuple[str, UseCase]:
    from prefect import get_client

    from deployments.services.runs import prefect_errors
    from tasks.store.products import find_product

    (target,) = known_targets([target])

    async def find() -> tuple[str, UseCase]:
        async with get_client() as client:
            return await find_product(client, training_job, target, what)

    with prefect_errors():
        return asyncio.run(find())
