"""Arguments and options that several verbs share, and their shell completion."""

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
    """Target names that start with what was typed."""
    from dda_core.targets import target_names

    return [name for name in target_names() if name.startswith(incomplete)]


def complete_targets(incomplete: str) -> list[str]:
    """Comma-separated lists of targets that start with what was typed, without repeating any."""
    before, comma, last = incomplete.rpartition(",")
    given = before.split(",")
    return [f"{before}{comma}{name}" for name in complete_target(last) if name not in given]


def output_path(text: str) -> Path:
    """The path of an output file; empty is refused, because ``Path`` takes it for the current folder.

    Raises:
        BadParameter: it is empty.
    """
    if not text:
        raise typer.BadParameter("it is empty; expected a path")
    return Path(text)


AsJson = Annotated[bool, typer.Option("--json", help="Print JSON on standard output.")]
ModelTar = Annotated[
    str,
    typer.Argument(metavar="MODEL_TAR", show_default=False, help="The trained model.tar.gz: a path or an s3:// URI."),
]
CompiledTar = Annotated[
    str,
    typer.Argument(metavar="COMPILED_TAR", show_default=False, help="The compiled archive: a path or an s3:// URI."),
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
    """The canonical names of targets from the table or from use cases' own files, without duplicates.

    Args:
        names: as typed, including aliases.
        use_case: the use case whose devices will run them; without it, the server is only asked for targets that are
            not in the table.

    Raises:
        UnknownTarget, TargetUnavailable: one of them cannot be compiled for.
        UnknownUseCase, InvalidUseCase: the use case does not exist or cannot be used.
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
        # Without a server only the table is known; a caller that needs the server will fail with its own error.
        return [target.name for target in find_targets(names)]


def split_names(text: str | None) -> list[str]:
    """The names in a comma-separated list."""
    return [name.strip() for name in (text or "").split(",") if name.strip()]


def open_archive(where: str) -> Source:
    """The archive at a path or an ``s3://`` URI; for S3, with credentials from the default chain.

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
    """The model in the trained archive at a path or an ``s3://`` URI. Warnings are printed on standard error.

    Raises:
        InputRefused: it cannot become a component that devices accept; every cause has its own subclass.
    """
    from dda_core.device.manifest import doubts
    from dda_core.model.manifest import dda_manifest
    from dda_core.model.trained import read_trained_archive
    from deployments.cli.output import printable

    model = read_trained_archive(open_archive(where))
    for doubt in doubts(dda_manifest(model)):
        typer.echo(f"warning: {printable(doubt)}", err=True)
    return model
