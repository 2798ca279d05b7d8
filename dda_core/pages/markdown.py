"""Markdown for pages with untrusted text: GitHub-style tables, and text that is escaped."""

from __future__ import annotations

import html
import re
from collections.abc import Sequence

# An underscore inside a word, as in x86_64, does not mark emphasis.
_SPECIAL = re.compile(r"([\\`*\[\]|~]|(?<!\w)_|_(?!\w))")


def cell(text: object) -> str:
    """The text in one line, with Markdown and HTML escaped."""
    flat = " ".join(str("" if text is None else text).split())
    return _SPECIAL.sub(r"\\\1", html.escape(flat, quote=False))


def hover(shown: str, details: str) -> str:
    """Markdown with a tooltip: ``details``, plain text of one or more lines."""
    if not (details and shown):
        return shown
    title = "&#10;".join(html.escape(" ".join(line.split())) for line in details.splitlines())
    return f'<span title="{title.replace("|", "&#124;").replace("`", "&#96;")}">{shown}</span>'


def link(shown: str, address: str) -> str:
    """A Markdown link to a URL."""
    return f"[{shown}]({address.replace('|', '%7C').replace(' ', '%20').replace('(', '%28').replace(')', '%29')})"


def table(columns: Sequence[str], rows: Sequence[Sequence[str]], right: Sequence[str] = ()) -> str:
    """A table of cells that are already Markdown; the columns in ``right`` are right-aligned."""
    rule = ["---:" if column in right else "---" for column in columns]
    return "\n".join(f"| {' | '.join(line)} |" for line in (columns, rule, *rows))
