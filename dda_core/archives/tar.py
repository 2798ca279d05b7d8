"""A tar archive as a stream of members; anything that is not a regular file or folder is refused.

Only ``tarfile``'s parser for single header blocks is used. Its stream mode takes a damaged header for the end of the
archive, reads extended headers of any size into memory, and applies extraction rules that are not needed here.
"""

from __future__ import annotations

import re
import tarfile
from collections.abc import Generator, Iterator
from contextlib import closing
from dataclasses import dataclass
from threading import Event
from typing import NoReturn

from dda_core.archives.codec import in_thread, inflate
from dda_core.archives.source import Source
from dda_core.exceptions import ArchiveBroken, ArchiveHostile

MAX_MEMBERS = 10_000
"""Members in one archive; real ones hold about ten."""
MAX_PATH = 4096
"""Bytes in a member's path (Linux's PATH_MAX)."""
MAX_NAME = 255
"""Bytes in each part of a member's path (Linux's NAME_MAX): no device could unpack a longer one."""
MAX_EXTENDED_HEADER = 1 << 16
"""Bytes in one extended header (a long name, or records of the pax format)."""
MAX_TEXT = 4 << 20
"""Maximum bytes of a member that is read into memory."""

_HEADER = 512
_KINDS = {
    tarfile.LNKTYPE: "a hard link",
    tarfile.SYMTYPE: "a symbolic link",
    tarfile.CHRTYPE: "a character device",
    tarfile.BLKTYPE: "a block device",
    tarfile.FIFOTYPE: "a named pipe",
    tarfile.GNUTYPE_SPARSE: "a sparse file",
}
_DRIVE = re.compile(r"^[A-Za-z]:")
_CONTROL = re.compile(r"[\x00-\x1f\x7f]")


@dataclass(frozen=True)
class Member:
    """A file or folder of an archive.

    Attributes:
        name: the path with ``/``, relative, without ``.`` parts.
        size: in bytes; 0 for a folder.
        is_file: False for a folder.
    """

    name: str
    size: int
    is_file: bool


def unsafe_name(name: str) -> str | None:
    """Why a member of that name must not be unpacked, as a predicate ("has ..."); None if it may be."""
    try:
        length = len(name.encode())
    except UnicodeEncodeError:
        return "has a name that is not UTF-8"
    if length > MAX_PATH:
        return f"has a name of {length} bytes, over {MAX_PATH}"
    if (longest := max(len(part.encode()) for part in name.split("/"))) > MAX_NAME:
        return f"has a part of {longest} bytes in its name, over {MAX_NAME}"
    if _CONTROL.search(name):
        return "has a control character in its name"
    if name.startswith("/"):
        return "has an absolute name"
    if "\\" in name:
        return "has a backslash in its name"
    if _DRIVE.match(name):
        return "has a drive letter in its name"
    if ".." in name.split("/"):
        return "escapes the archive's folder"
    return None


def plain_name(name: str) -> str:
    """The name without ``.`` and empty parts: ``./a//b/`` is ``a/b``, and ``./`` is empty."""
    return "/".join(part for part in name.split("/") if part not in ("", "."))


class TarReader:
    """Reads a tar archive once, from start to end.

    Iterating yields the members in the archive's order; ``content()`` yields the bytes of the current member. Unread
    content is skipped. The archive is verified only once the iteration has ended.
    """

    def __init__(self, content: Iterator[bytes], where: str) -> None:
        self._content = content
        self._where = where
        self._chunk = memoryview(b"")
        self._left = 0
        self._padding = 0
        self._names: dict[str, bool] = {}

    def __iter__(self) -> Iterator[Member]:
        """The members in the archive's order.

        Raises:
            ArchiveBroken: damaged, truncated, or not a tar archive.
            ArchiveHostile: a member is not a regular file or folder, or its name is unsafe or a duplicate.
        """
        extended: dict[str, str] = {}
        count = 0
        while (header := self._read(_HEADER, "a member's header", may_end=not extended)) is not None:
            if not any(header):
                if not count:
                    self._broken("has no members")
                self._to_the_end()
                return
            count += 1
            if count > MAX_MEMBERS:
                self._hostile(f"holds more than {MAX_MEMBERS} members")
            try:
                info = tarfile.TarInfo.frombuf(header, "utf-8", "surrogateescape")
            except (tarfile.HeaderError, ValueError) as error:
                self._broken(f"has a damaged header, or is not a tar archive ({error})")
            if info.size < 0:
                self._broken(f"gives {info.name!r} a negative size")
            if self._is_extended_header(info, extended):
                continue
            member = self._member(info, extended)
            extended = {}
            if member is None:
                continue
            self._left = member.size
            self._padding = -member.size % _HEADER
            yield member
            for _ in self.content():
                pass
            self._read(self._padding, f"the padding after {member.name}")
        self._broken("is truncated: the two empty blocks at the end of a tar archive are missing")

    def content(self) -> Iterator[memoryview]:
        """The unread bytes of the current member, in pieces of at most 1 MiB."""
        while self._left:
            if not self._chunk and not self._next_chunk():
                self._broken(f"is truncated: {self._left} bytes of its last member are missing")
            piece = self._chunk[: self._left]
            self._chunk = self._chunk[len(piece) :]
            self._left -= len(piece)
            yield piece

    def text(self, member: Member) -> bytes:
        """The content of the current member, which must be at most 4 MiB."""
        if member.size > MAX_TEXT:
            self._hostile(f"has a {member.name} of {member.size} bytes; at most {MAX_TEXT} are read")
        return b"".join(self.content())

    def _is_extended_header(self, info: tarfile.TarInfo, extended: dict[str, str]) -> bool:
        """Whether this header only describes the next one; if so, its records are added to ``extended``."""
        if info.type not in (
            tarfile.GNUTYPE_LONGNAME,
            tarfile.GNUTYPE_LONGLINK,
            tarfile.XHDTYPE,
            tarfile.SOLARIS_XHDTYPE,
            tarfile.XGLTYPE,
        ):
            return False
        if info.size > MAX_EXTENDED_HEADER:
            self._hostile(f"has an extended header of {info.size} bytes, over {MAX_EXTENDED_HEADER}")
        body = self._read(info.size, "an extended header") or b""
        self._read(-info.size % _HEADER, "an extended header")
        if info.type == tarfile.GNUTYPE_LONGNAME:
            extended["path"] = body.partition(b"\0")[0].decode("utf-8", "surrogateescape")
        elif info.type in (tarfile.XHDTYPE, tarfile.SOLARIS_XHDTYPE):
            extended.update(self._pax_records(body))
        elif info.type == tarfile.XGLTYPE:
            # Comments, as git writes them, are harmless; records that rename or resize every member are not.
            dangerous = self._pax_records(body).keys() & {"path", "size", "linkpath", "hdrcharset"}
            if dangerous:
                self._hostile(f"sets {', '.join(sorted(dangerous))} for all its members")
        return True

    def _pax_records(self, body: bytes) -> dict[str, str]:
        records = {}
        while body:
            digits, space, _ = body.partition(b" ")
            if not space or not digits.isdigit() or len(digits) > 6:
                self._broken("has a damaged pax header")
            length = int(digits)
            record = body[len(digits) + 1 : length]
            key, equals, value = record[:-1].partition(b"=")
            if not equals or record[-1:] != b"\n":
                self._broken("has a damaged pax header")
            records[key.decode("utf-8", "surrogateescape")] = value.decode("utf-8", "surrogateescape")
            body = body[length:]
        return records

    def _member(self, info: tarfile.TarInfo, extended: dict[str, str]) -> Member | None:
        """The member described by a header and its extended headers; None for the root folder."""
        name = extended.get("path", info.name)
        size = extended.get("size", str(info.size))
        is_folder = info.type == tarfile.DIRTYPE
        if not (size.isascii() and size.isdigit() and len(size) < 19):
            self._broken(f"gives {name!r} the size {size!r}")
        if reason := unsafe_name(name):
            self._hostile(f"holds {name!r}, which {reason}")
        if any(key.startswith("GNU.sparse.") for key in extended):
            self._hostile(f"holds {name!r}, which is a sparse file")
        if not is_folder and info.type not in (tarfile.REGTYPE, tarfile.AREGTYPE, tarfile.CONTTYPE):
            kind = _KINDS.get(info.type, f"of the unknown type {info.type!r}")
            self._hostile(f"holds {name!r}, which is {kind}")
        if is_folder and int(size):
            self._hostile(f"holds {name!r}, which is a folder with content")
        if not is_folder and name.endswith("/"):
            self._hostile(f"holds {name!r}, which is a file with a folder's name")
        plain = plain_name(name)
        if not plain:
            if is_folder:
                return None
            self._hostile(f"holds {name!r}, which is a file without a name")
        self._remember(plain, is_file=not is_folder)
        return Member(plain, int(size), not is_folder)

    def _remember(self, name: str, is_file: bool) -> None:
        if name in self._names:
            self._hostile(f"holds {name!r} twice")
        self._names[name] = is_file

    def _conflicts(self) -> None:
        """Refuse a file that is also the folder of another member."""
        for name in self._names:
            parent = name
            while "/" in parent:
                parent = parent.rpartition("/")[0]
                if self._names.get(parent):
                    self._hostile(f"holds {parent!r} as a file and {name!r} below it")

    def _to_the_end(self) -> None:
        """Read on to the gzip stream's checksum: only zeros may follow the first empty block."""
        self._conflicts()
        while self._chunk or self._next_chunk():
            if self._chunk.tobytes().count(0) < len(self._chunk):
                self._broken("has data after the end of its tar archive")
            self._chunk = memoryview(b"")

    def _read(self, size: int, what: str, may_end: bool = False) -> bytes | None:
        """Exactly ``size`` bytes; None at the end of the stream if ``may_end``."""
        parts = bytearray()
        while len(parts) < size:
            if not self._chunk and not self._next_chunk():
                if may_end and not parts:
                    return None
                self._broken(f"is truncated in {what}")
            piece = self._chunk[: size - len(parts)]
            self._chunk = self._chunk[len(piece) :]
            parts += piece
        return bytes(parts)

    def _next_chunk(self) -> bool:
        self._chunk = memoryview(next(self._content, b""))
        return bool(self._chunk)

    def _broken(self, what: str) -> NoReturn:
        raise ArchiveBroken(
            f"{self._where} {what}",
            archive=self._where,
            expected="a whole .tar.gz",
            remedy="Create the archive again.",
        )

    def _hostile(self, what: str) -> NoReturn:
        raise ArchiveHostile(
            f"{self._where} {what}",
            archive=self._where,
            expected="only regular files and folders with plain relative names, each once",
            remedy="Create the archive again without it.",
        )


def read_tar(source: Source, stop: Event | None = None) -> Generator[tuple[TarReader, Member], None, None]:
    """The members of a ``.tar.gz``, each with the reader for its content; decompression runs in a thread.

    Exhausting the iterator verifies the archive: it is complete, and the checksum of every gzip member is right.
    """
    with closing(in_thread(_inflated(source, stop))) as content:
        reader = TarReader(content, source.uri)
        for member in reader:
            yield reader, member


def _inflated(source: Source, stop: Event | None) -> Generator[bytes, None, None]:
    with closing(source.blocks(stop)) as blocks:
        yield from inflate(blocks, source.uri, stop)
