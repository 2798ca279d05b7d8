"""An S3 object as a file that can be sought in, for looks at a few places of a large one."""

from __future__ import annotations

import io
from typing import TYPE_CHECKING

from dda_core.archives.source import S3Source
from dda_core.aws.s3 import parse_s3_uri

if TYPE_CHECKING:
    from _typeshed import WriteableBuffer
    from mypy_boto3_s3 import S3Client

NEAR = 64 * 1024
"""Bytes fetched at a time: the end of a ZIP with its directory, or the beginning of a member."""


class S3File(io.RawIOBase):
    """The bytes of an object, each read a ranged request for the object as it was at first."""

    def __init__(self, source: S3Source) -> None:
        self._source = source
        self._position = 0

    def readable(self) -> bool:
        """It can be read."""
        return True

    def seekable(self) -> bool:
        """It can be sought in."""
        return True

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        """Move to a place, which may be behind the end."""
        base = {io.SEEK_SET: 0, io.SEEK_CUR: self._position, io.SEEK_END: self._source.size}[whence]
        if base + offset < 0:
            raise ValueError(f"there is no place {base + offset}")
        self._position = base + offset
        return self._position

    def tell(self) -> int:
        """The place."""
        return self._position

    def readinto(self, buffer: WriteableBuffer, /) -> int:
        """Read from the place on; raises what ``S3Source.range`` raises."""
        view = memoryview(buffer).cast("B")
        data = self._source.range(self._position, min(self._position + len(view), self._source.size))
        view[: len(data)] = data
        self._position += len(data)
        return len(data)


def open_seekable(s3: S3Client, uri: str) -> io.BufferedReader:
    """The object at an ``s3://`` URI as a file.

    Raises:
        FileMissing: there is no such object.
        AwsCallFailed: S3 refused, or did not answer.
    """
    return io.BufferedReader(S3File(S3Source(s3, *parse_s3_uri(uri))), NEAR)
