"""Atomic writes of local files, and only over regular files."""

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
    """The file to write for ``path``: ``path`` itself, or the target of the user's own link there.

    Renaming a file over a device, a pipe or another user's link would destroy it, and writing through another user's
    link would change a file that the caller did not name.

    Raises:
        NoPlainFile: there is something other than a regular file, or a link that does not belong to the user or
            does not lead to a regular file of the user.
    """
    if not path.name:
        raise NoPlainFile(path, "a folder")
    try:
        found = path.lstat()
    except OSError:
        return path  # it does not exist, or cannot be read: writing raises the error
    if not stat.S_ISLNK(found.st_mode):
        if not stat.S_ISREG(found.st_mode):
            raise NoPlainFile(path, _KINDS.get(stat.S_IFMT(found.st_mode), "not a regular file"))
        return path
    try:
        target = path.stat()
    except OSError as error:
        raise NoPlainFile(path, "a symbolic link to nothing") from error
    if not stat.S_ISREG(target.st_mode):
        raise NoPlainFile(
            path,
            f"a symbolic link to {_KINDS.get(stat.S_IFMT(target.st_mode), 'something that is not a regular file')}",
        )
    if {found.st_uid, target.st_uid} != {os.geteuid()}:
        raise NoPlainFile(path, "a symbolic link that is not yours, or to a file that is not yours")
    return path.resolve()


class FileSink:
    """A local file, written under a temporary name in its folder and renamed when it is complete."""

    def __init__(self, path: Path) -> None:
        """Nothing is written yet.

        Args:
            path: the file, or with ``complete(name)`` any name in its folder; the folder is created.

        Raises:
            NoPlainFile: there is something other than a regular file.
            FileMissing: the folder cannot be created.
        """
        self.path = output_file(path)
        self._temporary = self.path.with_name(f".{secrets.token_hex(8)}.part")
        self._file: BinaryIO | None = None
        try:
            self.path.parent.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise FileMissing(f"{path.parent} cannot be written to: {error.strerror}", path=path.parent) from error

    def write(self, data: ReadableBuffer) -> None:
        """Write ``data``.

        Raises:
            OSError: it cannot be written; the error names the file.
        """
        try:
            self._open().write(data)
        except OSError as error:
            raise self._named(error) from error

    def _open(self) -> BinaryIO:
        # Only once the with block is entered, which removes the file: an interrupt before that would leave it.
        if self._file is None:
            try:
                self._file = self._temporary.open("xb")
            except OSError as error:
                raise FileMissing(
                    f"{self.path.parent} cannot be written to: {error.strerror}", path=self.path.parent
                ) from error
        return self._file

    def complete(self, name: str | None = None) -> None:
        """Rename the file to its final name, replacing an existing one; ``name`` if it is known only now.

        Raises:
            NoPlainFile: there is something other than a regular file.
            OSError: the disk is full; the error names the file.
        """
        # Checked again: something may have appeared there since, or the name is new.
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
        """Delete the temporary file. Does nothing after ``complete()``."""
        try:
            if self._file is not None:
                self._file.close()
        except OSError:
            pass  # the disk is full, but the unflushed data is being discarded anyway
        finally:
            self._temporary.unlink(missing_ok=True)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.abort()
