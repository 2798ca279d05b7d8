"""A local file that is there whole or not at all, and only where a plain file may be."""

from __future__ import annotations

import os
import secrets
import stat
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, BinaryIO, Self

from dda_core.exceptions import FileMissing, NoPlainFile

if TYPE_CHECKING:
    from _typeshed import ReadableBuffer

_KINDS = {
    stat.S_IFDIR: "a folder",
    stat.S_IFCHR: "a character device",
    stat.S_IFBLK: "a block device",
    stat.S_IFIFO: "a named pipe",
    stat.S_IFSOCK: "a socket",
    stat.S_IFLNK: "a symbolic link",
}


def output_file(path: Path) -> Path:
    """The file that is written where ``path`` is asked for: itself, or what the user's own link there leads to.

    To rename a file over a device, a pipe or another's link would destroy it, and to write through another's link
    would change a file that nobody named.

    Raises:
        NoPlainFile: something else than a plain file is there, or a link that is not the user's own, to a plain file
            of the user's own.
    """
    if not path.name:
        raise NoPlainFile(path, "a folder")
    try:
        found = path.lstat()
    except OSError:
        return path  # nothing is there, or nothing may be: writing it says so
    if not stat.S_ISLNK(found.st_mode):
        if not stat.S_ISREG(found.st_mode):
            raise NoPlainFile(path, _KINDS.get(stat.S_IFMT(found.st_mode), "no plain file"))
        return path
    try:
        behind = path.stat()
    except OSError as error:
        raise NoPlainFile(path, "a symbolic link to nothing") from error
    if not stat.S_ISREG(behind.st_mode):
        raise NoPlainFile(path, f"a symbolic link to {_KINDS.get(stat.S_IFMT(behind.st_mode), 'no plain file')}")
    if {found.st_uid, behind.st_uid} != {os.geteuid()}:
        raise NoPlainFile(path, "a symbolic link that is not yours, or to a file that is not")
    return path.resolve()


class FileSink:
    """A local file: written under a temporary name in its folder, renamed when it is complete."""

    def __init__(self, path: Path) -> None:
        """Nothing is written yet.

        Args:
            path: the file, or with ``complete(name)`` any name in its folder; the folder is created.

        Raises:
            NoPlainFile: something else than a plain file is there.
            FileMissing: the folder cannot be made.
        """
        self.path = output_file(path)
        self._temporary = self.path.with_name(f".{secrets.token_hex(8)}.part")
        self._file: BinaryIO | None = None
        try:
            self.path.parent.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise FileMissing(f"{path.parent} cannot be written to: {error.strerror}", path=path.parent) from error

    def write(self, data: ReadableBuffer) -> None:
        """Take these bytes.

        Raises:
            OSError: they cannot be written; it names the file.
        """
        try:
            self._open().write(data)
        except OSError as error:
            raise self._named(error) from error

    def _open(self) -> BinaryIO:
        # Not before the block is entered that removes the file: an interrupt in between would leave it behind.
        if self._file is None:
            try:
                self._file = self._temporary.open("xb")
            except OSError as error:
                raise FileMissing(
                    f"{self.path.parent} cannot be written to: {error.strerror}", path=self.path.parent
                ) from error
        return self._file

    def complete(self, name: str | None = None) -> None:
        """Give the file its name, replacing one that is there; ``name`` where it is known only now.

        Raises:
            NoPlainFile: something else than a plain file has come there.
            OSError: the disk is full; it names the file.
        """
        # Again: what is there may be new, or have a name that is known only now.
        final = output_file(self.path if name is None else self.path.with_name(name))
        try:
            self._open().close()
            os.replace(self._temporary, final)
        except OSError as error:
            raise self._named(error) from error
        self.path = final

    def _named(self, error: OSError) -> OSError:
        return OSError(error.errno, error.strerror or str(error), str(self.path))

    def abort(self) -> None:
        """Remove what was written. Does nothing after ``complete()``."""
        try:
            if self._file is not None:
                self._file.close()
        except OSError:
            pass  # a disk that is full for what is still in memory: it goes with the file
        finally:
            self._temporary.unlink(missing_ok=True)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.abort()
