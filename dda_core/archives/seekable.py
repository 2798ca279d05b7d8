"""An S3 object as a seekable file, for reading a few parts of a large object."""

from __future__ import annotations

import io
from typing import TYPE_CHECKING

from dda_core.archives.source import S3Source
from dda_core.aws.s3 import parse_s3_uri

if TYPE_CHECKING:
    from _typeshed import WriteableBuffer
    from mypy_boto3_s3 import S3Client

NEAR = 64 * 1024
"""Bytes per request: enough for the end of a ZIP with its central directory, or the start of a member."""


class S3File(io.RawIOBase):
    """An object's bytes. Each read is a ranged GET with ``If-Match``, so that a replaced object is an error."""

    def __init__(self, source: S3Source) -> None:
        self._source = source
        self._position = 0

    def readable(self) -> bool:
        """Always True."""
        return True

    def seekable(self) -> bool:
        """Always True."""
        return True

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        """Change the position, which may be past the end."""
        base = {io.SEEK_SET: 0, io.SEEK_CUR: self._position, io.SEEK_END: self._source.size}[whence]
        if base + offset < 0:
            raise ValueError(f"negative seek position {base + offset}")
        self._position = base + offset
        return self._position

    def tell(self) -> int:
        """The position."""
        return self._position

    def readinto(self, buffer: WriteableBuffer, /) -> int:
        """Read from the position; raises as ``S3Source.range`` does."""
        view = memoryview(buffer).cast("B")
        data = self._source.range(self._position, min(self._position + len(view), self._source.size))
        view[: len(data)] = data
        self._position += len(data)
        return len(data)


def open_seekable(s3: S3Client, uri: str) -> io.BufferedReader:
    """The object at an ``s3://`` URI as a file.

    Raises:
        FileMissing: there is no such object.
        AwsCallFailed: S3 refused, or did not respond.
    """
    return io.BufferedReader(S3File(S3Source(s3, *parse_s3_uri(uri))), NEAR)
