"""``dda storage``: objects that the pipeline stored and nothing uses now."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from datetime import timedelta
from typing import TYPE_CHECKING, Annotated

import typer

from dda_core.exceptions import UsageError
from deployments.cli.errors import report
from deployments.cli.options import AsJson
from deployments.cli.output import print_json, print_table

if TYPE_CHECKING:
    from dda_core.cleanup.unused_objects import StoredObject
    from deployments.services.unused_objects import Unused

app = typer.Typer(no_args_is_help=True, help="Find and delete unused objects in buckets.")

OlderThan = Annotated[
    str, typer.Option("--older-than", metavar="AGE", help="Only objects at least this old: 30d, 8w; minimum 1d.")
]
UseCaseName = Annotated[
    str | None, typer.Option("--use-case", metavar="NAME", help="Only this use case's bucket.", show_default=False)
]
_DAYS = {"d": 1, "w": 7}
_UNITS = ("bytes", "KiB", "MiB", "GiB", "TiB")


@app.command("report")
def report_command(older_than: OlderThan = "30d", use_case: UseCaseName = None, as_json: AsJson = False) -> None:
    """List repackaged inputs, compiled archives and packages that no component version uses and no run may need.

    The JSON is a list of objects with the keys use_case, bucket, kind, key, size (in bytes) and last_modified.
    """
    _each(age(older_than), use_case, as_json, lambda unused: ((stored, None) for stored in unused.objects))


@app.command("clean")
def clean_command(
    older_than: OlderThan = "30d",
    use_case: UseCaseName = None,
    yes: Annotated[bool, typer.Option("--yes", help="Delete the objects. Without it nothing is deleted.")] = False,
    as_json: AsJson = False,
) -> None:
    """Delete what `dda storage report` lists; without --yes, only list it.

    An object that is overwritten meanwhile is kept. The JSON is the report's, with the additional key deleted.
    """
    if yes:
        _each(age(older_than), use_case, as_json, lambda unused: unused.delete())
        return
    _each(age(older_than), use_case, as_json, lambda unused: ((stored, False) for stored in unused.objects))
    typer.echo("Nothing was deleted. Add --yes to delete what is listed.", err=True)


def age(text: str) -> timedelta:
    """The age that a text such as ``30d`` or ``8w`` means.

    Raises:
        UsageError: it is not an age, or under a day.
    """
    match = re.fullmatch(r"([1-9]\d{0,3})([dw])", text.strip())
    if match is None:
        raise UsageError(
            f"--older-than {text} cannot be used", expected="an age in days or weeks such as 30d or 8w, of at least 1d"
        )
    return timedelta(days=int(match[1]) * _DAYS[match[2]])


def size(number: int) -> str:
    """A number of bytes in a readable unit."""
    value, unit = float(number), 0
    while value >= 1024 and unit < len(_UNITS) - 1:
        value, unit = value / 1024, unit + 1
    return f"{number} bytes" if unit == 0 else f"{value:.1f} {_UNITS[unit]}"


def _each(
    older_than: timedelta,
    use_case: str | None,
    as_json: bool,
    take: Callable[[Unused], Iterator[tuple[StoredObject, bool | None]]],
) -> None:
    """Handle each use case; an error in one account is reported and does not stop the others."""
    from botocore.exceptions import BotoCoreError, ClientError

    from dda_core.exceptions import AwsCallFailed, ConfigurationError
    from deployments.services.unused_objects import find_unused, registered

    rows: list[tuple[Unused, StoredObject, bool | None]] = []
    code = 0
    for name, each in registered(use_case).items():
        try:
            unused = find_unused(name, each, older_than)
            for stored, deleted in take(unused):
                rows.append((unused, stored, deleted))
        except (AwsCallFailed, ConfigurationError, ClientError, BotoCoreError) as error:
            typer.echo(f"use case {name}:", err=True)
            code = report(error)
    if as_json:
        print_json([_fields(*row) for row in rows])
    elif rows or not code:
        _print(rows)
    if code:
        raise typer.Exit(code)


def _fields(unused: Unused, stored: StoredObject, deleted: bool | None) -> dict[str, object]:
    fields: dict[str, object] = {
        "use_case": unused.use_case,
        "bucket": unused.bucket,
        "kind": stored.kind,
        "key": stored.key,
        "size": stored.size,
        "last_modified": stored.modified.isoformat(),
    }
    return fields if deleted is None else {**fields, "deleted": deleted}


def _print(rows: list[tuple[Unused, StoredObject, bool | None]]) -> None:
    if not rows:
        typer.echo("No unused objects found.", err=True)
        return
    done = {None: "", False: "kept", True: "deleted"}
    columns = ["use case", "kind", "size", "last written", "", "key"]
    table = [
        [unused.use_case, stored.kind, size(stored.size), f"{stored.modified:%Y-%m-%d}", done[deleted], stored.key]
        for unused, stored, deleted in rows
    ]
    print_table(columns, table)
    total = sum(stored.size for _, stored, _ in rows)
    freed = sum(stored.size for _, stored, deleted in rows if deleted)
    typer.echo(f"{len(rows)} objects, {size(total)}" + (f"; deleted {size(freed)}" if freed else ""), err=True)
