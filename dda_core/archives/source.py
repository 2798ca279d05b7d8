"""Sources to read archives from: a local file, or an S3 object in ranges fetched ahead of the reader."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections import deque
from collections.abc import Generator
from concurrent.futures import Future, ThreadPoolExecutor
from concurrent.futures import TimeoutError as NotYet
from pathlib import Path
from threading import Event
from typing import TYPE_CHECKING

from dda_core.archives.codec import BLOCK, check_stop
from dda_core.aws.errors import http_status
from dda_core.aws.s3 import parse_s3_uri, s3_failed
from dda_core.exceptions import FileMissing, Interrupted

if TYPE_CHECKING:
    from mypy_boto3_s3 import S3Client

RANGE = 8 * BLOCK
"""Bytes per ranged GET."""
AHEAD = 4
"""Ranges in flight or waiting for the reader; ``RANGE * AHEAD`` bounds the memory."""
ATTEMPTS = 5
"""How often a range is requested before reading the archive fails."""


class Source(ABC):
    """An archive that can be read from start to end.

    Attributes:
        uri: the ``s3://`` URI, or the path as the caller gave it.
        size: in bytes.
        etag: the S3 object's ETag with its quotes; None for a local file.
    """

    uri: str
    size: int
    etag: str | None

    @abstractmethod
    def blocks(self, stop: Event | None = None) -> Generator[bytes, None, None]:
        """The bytes in order, in pieces of at most 1 MiB. ``Interrupted`` is raised once ``stop`` is set."""


class FileSource(Source):
    """A local file."""

    def __init__(self, path: Path) -> None:
        if not path.is_file():
            found = "is a folder" if path.is_dir() else "does not exist"
            raise FileMissing(f"{path} {found}", path=path, expected="the path of an archive (.tar.gz) or an s3:// URI")
        self.uri = str(path)
        self.size = path.stat().st_size
        self.etag = None
        self._path = path

    def blocks(self, stop: Event | None = None) -> Generator[bytes, None, None]:
        """The bytes in order, in pieces of at most 1 MiB."""
        try:
            with self._path.open("rb", buffering=0) as file:
                while block := file.read(BLOCK):
                    check_stop(stop)
                    yield block
        except OSError as error:
            raise FileMissing(f"{self.uri} cannot be read: {error.strerror}", path=self.uri) from error


class S3Source(Source):
    """An S3 object as it is now: if it is replaced later, reading fails instead of mixing two objects."""

    def __init__(self, s3: S3Client, bucket: str, key: str) -> None:
        self.uri = f"s3://{bucket}/{key}"
        self._s3 = s3
        self._bucket = bucket
        self._key = key
        try:
            head = s3.head_object(Bucket=bucket, Key=key)
        except Exception as error:
            raise s3_failed(error, "s3:GetObject", self.uri) from error
        self.size = head["ContentLength"]
        self.etag = head["ETag"]

    def blocks(self, stop: Event | None = None, *, start: int = 0) -> Generator[bytes, None, None]:
        """The bytes from ``start``, in order, in pieces of at most 1 MiB, fetched ahead by a few threads."""
        abandoned = Event()
        starts = iter(range(start, self.size, RANGE))
        waiting: deque[Future[list[bytes]]] = deque()
        pool = ThreadPoolExecutor(AHEAD, thread_name_prefix="dda-range")
        try:
            for begin in starts:
                waiting.append(pool.submit(self._fetch, begin, abandoned))
                if len(waiting) == AHEAD:
                    yield from _result(waiting.popleft(), stop)
            while waiting:
                yield from _result(waiting.popleft(), stop)
        finally:
            abandoned.set()
            pool.shutdown(wait=False, cancel_futures=True)

    def range(self, start: int, end: int) -> bytes:
        """The bytes from ``start`` to before ``end``.

        Raises:
            ObjectChanged: the object was replaced since this source was created.
            AwsCallFailed: S3 refused, or did not respond.
        """
        return b"".join(self._fetch(start, Event(), end)) if start < end else b""

    def _fetch(self, start: int, abandoned: Event, end: int | None = None) -> list[bytes]:
        """One range in pieces. boto3 does not retry a body that breaks off, so the rest is requested again here."""
        end = min(start + RANGE, self.size) if end is None else end
        pieces: list[bytes] = []
        failures = 0
        while start < end:
            try:
                response = self._s3.get_object(
                    Bucket=self._bucket, Key=self._key, Range=f"bytes={start}-{end - 1}", IfMatch=self.etag or ""
                )
                with response["Body"] as body:
                    while start < end and (piece := body.read(min(BLOCK, end - start))):
                        if abandoned.is_set():
                            return []
                        pieces.append(piece)
                        start += len(piece)
                if start < end:
                    raise EOFError(f"the body ended at byte {start} of {end}")
            except Exception as error:
                failures += 1
                if failures == ATTEMPTS or not _worth_retrying(error):
                    raise s3_failed(error, "s3:GetObject", self.uri) from error
                if abandoned.wait(0.1 * 2**failures):
                    return []
        return pieces


def _result(future: Future[list[bytes]], stop: Event | None) -> Generator[bytes, None, None]:
    while True:
        try:
            pieces = future.result(timeout=0.5)
            break
        except NotYet:
            if future.done():
                raise
            check_stop(stop)
    for piece in pieces:
        check_stop(stop)
        yield piece


def _worth_retrying(error: Exception) -> bool:
    """Whether the same request may succeed now: the body or connection broke, or S3 had an internal error."""
    from botocore.exceptions import ClientError

    if isinstance(error, ClientError):
        return (http_status(error) or 500) >= 500
    return not isinstance(error, Interrupted)


def open_source(where: str | Path, s3: S3Client | None = None) -> Source:
    """The archive at a local path or an ``s3://`` URI; nothing but its size and ETag is read yet.

    Args:
        where: a path or a URI.
        s3: the client for URIs, with a ``max_pool_connections`` of at least ``AHEAD`` per archive read concurrently.
            None creates one from the default credential chain when it is needed.

    Raises:
        FileMissing: there is no such file or object.
        AwsCallFailed: S3 refused, or did not respond.
    """
    text = str(where)
    if not text.startswith("s3://"):
        return FileSource(Path(text))
    bucket, key = parse_s3_uri(text)
    if s3 is None:
        import boto3

        s3 = boto3.client("s3")
    return S3Source(s3, bucket, key)
