"""Detecting UTF-16 and UTF-32 in text that should be UTF-8."""

from __future__ import annotations

import codecs

_MARKS = {
    codecs.BOM_UTF32_LE: "UTF-32",
    codecs.BOM_UTF32_BE: "UTF-32",
    codecs.BOM_UTF16_LE: "UTF-16",
    codecs.BOM_UTF16_BE: "UTF-16",
}
"""The byte order marks, longest first, because that of UTF-32 starts with that of UTF-16."""
_ZEROS: dict[tuple[bool, ...], str] = {
    (True, True, True, False): "UTF-32",
    (False, True, True, True): "UTF-32",
    (True, False, True, False): "UTF-16",
    (False, True, False, True): "UTF-16",
}
"""Which of the first four bytes are zero when the text starts with ASCII characters."""


def foreign_encoding(text: bytes) -> str | None:
    """``UTF-16`` or ``UTF-32`` if the text is encoded so, with or without a byte order mark; otherwise None."""
    marked = next((name for mark, name in _MARKS.items() if text.startswith(mark)), None)
    return marked or _ZEROS.get(tuple(byte == 0 for byte in text[:4]))
