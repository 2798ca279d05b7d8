"""Arguments and options that several verbs share, and the completion of their values."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from dda_core.archives.source import Source
    from dda_core.model.manifest import TrainedModel


def complete_target(incomplete: str) -> list[str]:
    """Names of targets that begin with what was typed."""
    from dda_core.targets import target_names

    return [name for name in target_names() if name.startswith(incomplete)]


def complete_targets(incomplete: str) -> list[str]:
    """Lists of targets, separated by commas, that begin with what was typed; none is offered twice."""
    before, comma, last = incomplete.rpartition(",")
    given = before.split(",")
    return [f"{before}{comma}{name}" for name in complete_target(last) if name not in given]


def output_path(text: str) -> Path:
    """The path of what is to be written; an empty text is none, though ``Path`` takes it for the current folder.

    Raises:
        BadParameter: it is empty.
    """
    if not text:
        raise typer.BadParameter("it is empty; a path was expected")
    return Path(text)


AsJson = Annotated[bool, typer.Option("--json", help="Print JSON on standard output.")]
ModelTar = Annotated[
    str,
    typer.Argument(metavar="MODEL_TAR", show_default=False, help="The trained model.tar.gz: a path or an s3:// URI."),
]
CompiledTar = Annotated[
    str,
    typer.Argument(
        metavar="COMPILED_TAR", show_default=False, help="The archive that Neo made of it: a path or an s3:// URI."
    ),
]
Target = Annotated[
    str,
    typer.Option(
        metavar="NAME", autocompletion=complete_target, show_default=False, help="A target; see `dda targets`."
    ),
]
TargetName = Annotated[
    str,
    typer.Argument(
        metavar="TARGET", autocompletion=complete_target, show_default=False, help="A target; see `dda targets`."
    ),
]
Targets = Annotated[
    str | None,
    typer.Option(metavar="A,B", autocompletion=complete_targets, help="Targets, separated by commas."),
]


def known_targets(names: Iterable[str], use_case: str | None = None) -> list[str]:
    """The own names of targets, of the table or of rows that use cases brought, each once.

    Args:
        names: as typed, aliases too.
        use_case: whose devices shall run them; without it the table is asked first, and a server only for what is not
            in it.

    Raises:
        UnknownTarget, TargetUnavailable: nothing can be compiled for one of them.
        UnknownUseCase, InvalidUseCase: there is no such use case, or it cannot be used.
    """
    from dda_core.exceptions import PrefectUnreachable
    from dda_core.targets import find_targets, look_up

    names = list(names)
    if all(map(look_up, names)) and not (use_case and names):
        return [target.name for target in find_targets(names)]
    from deployments.services.runs import prefect_errors
    from tasks.store.use_cases import find_target_names

    try:
        with prefect_errors():
            return asyncio.run(find_target_names(names, use_case))
    except PrefectUnreachable:
        # Without a server only the table can be asked; who needs the server says so next.
        return [target.name for target in find_targets(names)]


def split_names(text: str | None) -> list[str]:
    """The names in a list that is separated by commas."""
    return [name.strip() for name in (text or "").split(",") if name.strip()]


def open_archive(where: str) -> Source:
    """The archive at a path or an ``s3://`` URI; for S3, with credentials of the default chain.

    Raises:
        FileMissing: there is no such file or object.
    """
    from dda_core.archives.source import open_source

    if where.startswith("s3://"):
        from dda_core.aws.clients import default_client
        from deployments.services.interactive_aws import interactive_settings

        return open_source(where, default_client("s3", interactive_settings()))
    return open_source(where)


def read_model(where: str) -> TrainedModel:
    """What the trained archive at a path or an ``s3://`` URI says about its model. Doubts are said on standard error.

    Raises:
        InputRefused: it cannot become a component that devices accept; every cause has its own class.
    """
    from dda_core.device.manifest import doubts
    from dda_core.model.manifest import dda_manifest
    from dda_core.model.trained import read_trained_archive
    from deployments.cli.output import printable

    model = read_trained_archive(open_archive(where))
    for doubt in doubts(dda_manifest(model)):
        typer.echo(f"warning: {printable(doubt)}", err=True)
    return model
