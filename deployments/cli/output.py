"""Output on standard output: JSON for programs, aligned columns for people."""

from __future__ import annotations

import json
import os
import re
import shutil
import sys
import textwrap
from collections.abc import Sequence
from typing import Any

import typer

LISTED = 20
"""Most names that a sentence lists."""
_CONTROL = re.compile("[\x00-\x08\x0b-\x1f\x7f-\x9f\ud800-\udfff]")


def printable(text: str) -> str:
    """The text with terminal control characters escaped, because names in archives are untrusted input."""
    return _CONTROL.sub(lambda match: match[0].encode("unicode_escape", "surrogatepass").decode(), text)


def listed(names: Sequence[str]) -> str:
    """The names as part of a sentence: only the first of many, and ``none`` for no names."""
    more = len(names) - LISTED
    return (", ".join(names[:LISTED]) or "none") + (f" and {more} more" if more > 0 else "")


def print_json(value: Any) -> None:
    """Print a value as JSON, in ASCII."""
    typer.echo(json.dumps(value, indent=2))


def print_table(
    columns: Sequence[str], rows: Sequence[Sequence[object]], notes: Sequence[Sequence[tuple[str, object]]] = ()
) -> None:
    """Print rows in aligned columns, one line per row, without truncation.

    On a terminal the last column is wrapped between words if that makes the table fit.

    Args:
        columns: the headings.
        rows: one cell per column.
        notes: for each row, values too long for a column: pairs of label and value, printed on lines below the row.
            Pairs without a value are omitted.
    """
    cells = [[_cell(cell) for cell in row] for row in rows]
    lines = [list(columns), *cells]
    widths = [max(len(line[index]) for line in lines) for index in range(len(columns))]
    indent = sum(widths[:-1]) + 2 * len(widths[:-1])
    terminal = sys.stdout.isatty()
    room = shutil.get_terminal_size().columns - indent if terminal else widths[-1]
    longest_word = max((len(word) for line in lines for word in line[-1].split()), default=0)
    for number, line in enumerate(lines):
        folded = textwrap.wrap(line[-1], room) if longest_word <= room < widths[-1] else [line[-1]]
        start = "".join(cell.ljust(width + 2) for cell, width in zip(line, widths[:-1], strict=False))
        text = (start + f"\n{' ' * indent}".join(folded)).rstrip()
        bold = terminal and number == 0 and not os.environ.get("NO_COLOR")
        typer.echo(typer.style(text, bold=True) if bold else text)
        for label, value in notes[number - 1] if number and notes else ():
            if value:
                typer.echo(f"    {label}: {_cell(value)}")


def _cell(value: object) -> str:
    return printable(str("" if value is None else value))
