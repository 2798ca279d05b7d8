"""A ZIP written as a stream: the same members give the same bytes on every run.

Entries have a fixed date and mode, are deflated, and have their checksum and size in a data descriptor after the
content, which Python, unzip, libzip and Java (including ``ZipInputStream``) can read. ``zipfile`` is not used because
its codec cannot be replaced.
"""

from __future__ import annotations

import hashlib
import struct
from collections.abc import Iterable
from dataclasses import dataclass
from typing import TYPE_CHECKING

from dda_core.archives.codec import Deflater, Writable, crc32
from dda_core.exceptions import PackageTooLarge, UnpackedTooLarge

if TYPE_CHECKING:
    from _typeshed import ReadableBuffer

MAX_PACKAGE = 2_000_000_000
"""Bytes in a package: AWS IoT Greengrass allows 2 GB for all artifacts of a component."""
MAX_UNPACKED = 4_000_000_000
"""Bytes that a package may unpack to: twice ``MAX_PACKAGE``. Compiled weights hardly compress, so a package that
needs more cannot be a model, and a device has to hold both the ZIP and its content. Below 4 GiB a ZIP does not need
ZIP64, which not every reader supports."""

_DATE = (1 << 5) | 1  # 1980-01-01, ZIP's earliest date; the time is midnight
_MODE = 0o100644 << 16
_DATA_DESCRIPTOR_AND_UTF8 = 0x0808
_DEFLATE = 8
_UNIX = 3
_VERSION = 20


@dataclass(frozen=True)
class Entry:
    """A member that was written.

    Attributes:
        name: the path in the ZIP.
        size: of the content in bytes.
        compressed: in bytes.
        crc: CRC-32 of the content.
        sha256: of the content, hexadecimal.
        offset: of the local header in the ZIP.
    """

    name: str
    size: int
    compressed: int
    crc: int
    sha256: str
    offset: int


class ZipWriter:
    """Writes members to a sink.

    Attributes:
        entries: the members written so far, in order.
        size: bytes written so far.
    """

    def __init__(self, sink: Writable, where: str) -> None:
        """``where`` identifies the package in messages."""
        self.entries: list[Entry] = []
        self.size = 0
        self._sink = sink
        self._where = where
        self._digest = hashlib.sha256()
        self._unpacked = 0

    def add(self, name: str, size: int, content: Iterable[ReadableBuffer]) -> Entry:
        """Write one member of known size in bytes.

        Raises:
            PackageTooLarge: the ZIP exceeds 2 GB.
            UnpackedTooLarge: the content would exceed 4 GB; nothing of this member is written.
            ValueError: the content does not have that size.
        """
        offset = self.size
        self._unpacked += size
        if self._unpacked > MAX_UNPACKED:
            raise UnpackedTooLarge(self._where, MAX_UNPACKED)
        self._write(_local_header(name.encode()))
        start = self.size
        deflater = Deflater()
        digest = hashlib.sha256()
        crc = seen = 0
        for piece in content:
            digest.update(piece)
            crc = crc32(piece, crc)
            seen += memoryview(piece).nbytes
            self._write(deflater.compress(piece))
        self._write(deflater.finish())
        if seen != size:
            raise ValueError(f"{name} has {seen} bytes, expected {size}")
        entry = Entry(name, size, self.size - start, crc, digest.hexdigest(), offset)
        self._write(struct.pack("<4sLLL", b"PK\x07\x08", crc, entry.compressed, size))
        self.entries.append(entry)
        return entry

    def finish(self) -> str:
        """Write the central directory; returns the SHA-256 of the whole ZIP, hexadecimal. The sink stays open."""
        start = self.size
        for entry in self.entries:
            self._write(_directory_entry(entry))
        count = len(self.entries)
        size = self.size - start
        self._write(struct.pack("<4sHHHHLLH", b"PK\x05\x06", 0, 0, count, count, size, start, 0))
        return self._digest.hexdigest()

    def _write(self, data: bytes) -> None:
        if not data:
            return
        self.size += len(data)
        if self.size > MAX_PACKAGE:
            raise PackageTooLarge(self._where, MAX_PACKAGE)
        self._digest.update(data)
        self._sink.write(data)


def _local_header(path: bytes) -> bytes:
    fields = (_VERSION, _DATA_DESCRIPTOR_AND_UTF8, _DEFLATE, 0, _DATE, 0, 0, 0, len(path), 0)
    return struct.pack("<4sHHHHHLLLHH", b"PK\x03\x04", *fields) + path


def _directory_entry(entry: Entry) -> bytes:
    path = entry.name.encode()
    return (
        struct.pack(
            "<4sHHHHHHLLLHHHHHLL",
            b"PK\x01\x02",
            _UNIX << 8 | _VERSION,
            _VERSION,
            _DATA_DESCRIPTOR_AND_UTF8,
            _DEFLATE,
            0,
            _DATE,
            entry.crc,
            entry.compressed,
            entry.size,
            len(path),
            0,
            0,
            0,
            0,
            _MODE,
            entry.offset,
        )
        + path
    )
