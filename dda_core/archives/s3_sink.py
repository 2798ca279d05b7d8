"""Atomic writes of S3 objects; ``file_sink`` has local files.

A sink is a context manager. The object becomes visible with ``complete()``; leaving the block without it, by any
exception, deletes what was written.
"""

from __future__ import annotations

import base64
import logging
import time
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from types import TracebackType
from typing import TYPE_CHECKING, Any, Protocol, Self

from dda_core.archives.codec import crc32
from dda_core.aws.errors import is_object_missing, is_precondition_failed, is_write_race
from dda_core.aws.s3 import s3_failed
from dda_core.exceptions import ObjectChanged

if TYPE_CHECKING:
    from _typeshed import ReadableBuffer
    from mypy_boto3_s3 import S3Client

logger = logging.getLogger(__name__)

PART = 8 << 20
"""Bytes per uploaded part; S3's maximum of 10,000 parts then allows 84 GB."""
PARTS_IN_FLIGHT = 4

_COPY_ATTEMPTS = 6


class Sink(Protocol):
    """A destination that is written to, then completed or aborted."""

    def write(self, data: ReadableBuffer, /) -> object:
        """Write ``data``."""

    def complete(self) -> object:
        """Make the object visible."""

    def abort(self) -> None:
        """Discard what was written. Does nothing after ``complete()``."""


class MultipartUpload:
    """An upload to S3 in parallel parts, each with its CRC-32; a small object is uploaded in one request.

    Example::

        with MultipartUpload(s3, "my-bucket", "models/model.tar.gz") as upload:
            upload.write(data)
            upload.complete()

    Memory is bounded by the parts in flight. On any exit without ``complete()`` the upload is aborted, including
    ``KeyboardInterrupt``, ``SystemExit`` and ``CancelledError``.

    Attributes:
        uri: the object's future URI.
        etag: the object's ETag once this upload has created it, else None.
    """

    def __init__(self, s3: S3Client, bucket: str, key: str, *, if_none_match: bool = False) -> None:
        """Nothing is sent yet.

        Args:
            s3: a client with a ``max_pool_connections`` of at least ``PARTS_IN_FLIGHT`` per upload.
            bucket: the bucket's name.
            key: the object's key.
            if_none_match: keep an existing object.
        """
        self.uri = f"s3://{bucket}/{key}"
        self.etag: str | None = None
        self._s3 = s3
        self._bucket = bucket
        self._key = key
        self._condition: dict[str, Any] = {"IfNoneMatch": "*"} if if_none_match else {}
        self._pool = ThreadPoolExecutor(PARTS_IN_FLIGHT, thread_name_prefix="dda-part")
        self._held: list[bytes] = []
        self._held_size = 0
        self._upload_id: str | None = None
        self._in_flight: set[Future[dict[str, Any]]] = set()
        self._parts: list[dict[str, Any]] = []
        self._count = 0
        self._ended = False

    def write(self, data: ReadableBuffer) -> None:
        """Write ``data``; blocks while the maximum number of parts is in flight.

        Raises:
            AwsCallFailed: a part was refused.
        """
        piece = bytes(data)
        self._held.append(piece)
        self._held_size += len(piece)
        if self._held_size >= PART:
            self._send_part()

    def complete(self) -> bool:
        """Make the object visible. False when one already existed and was kept.

        Raises:
            AwsCallFailed: S3 refused.
        """
        try:
            stored = self._complete() if self._upload_id else self._put()
        except Exception as error:
            if not is_precondition_failed(error) or not self._condition:
                raise s3_failed(error, "s3:PutObject", self.uri) from error
            self.abort()
            return False
        self.etag = stored["ETag"]
        self._end()
        return True

    def abort(self) -> None:
        """Wait for the parts in flight, then abort the upload. Does nothing after ``complete()``."""
        if self._ended:
            return
        try:
            self._end()
        finally:
            # Waiting first: a part that arrives after the abort would stay and cost storage.
            if self._upload_id:
                self._s3.abort_multipart_upload(Bucket=self._bucket, Key=self._key, UploadId=self._upload_id)

    def _end(self) -> None:
        self._ended = True
        self._held.clear()
        self._pool.shutdown(wait=True, cancel_futures=True)

    def _put(self) -> Any:
        body = b"".join(self._held)
        return self._s3.put_object(
            Bucket=self._bucket,
            Key=self._key,
            Body=body,
            ChecksumAlgorithm="CRC32",
            ChecksumCRC32=_checksum(body),
            **self._condition,
        )

    def _send_part(self) -> None:
        try:
            if self._upload_id is None:
                created = self._s3.create_multipart_upload(
                    Bucket=self._bucket, Key=self._key, ChecksumAlgorithm="CRC32"
                )
                self._upload_id = created["UploadId"]
            if len(self._in_flight) >= PARTS_IN_FLIGHT:
                done, self._in_flight = wait(self._in_flight, return_when=FIRST_COMPLETED)
                self._parts += [future.result() for future in done]
        except Exception as error:
            raise s3_failed(error, "s3:PutObject", self.uri) from error
        body = b"".join(self._held)
        self._held, self._held_size = [], 0
        self._count += 1
        self._in_flight.add(self._pool.submit(self._send, self._count, body))

    def _send(self, number: int, body: bytes) -> dict[str, Any]:
        checksum = _checksum(body)
        sent = self._s3.upload_part(
            Bucket=self._bucket,
            Key=self._key,
            UploadId=self._upload_id or "",
            PartNumber=number,
            Body=body,
            ChecksumAlgorithm="CRC32",
            ChecksumCRC32=checksum,
        )
        return {"PartNumber": number, "ETag": sent["ETag"], "ChecksumCRC32": checksum}

    def _complete(self) -> Any:
        if self._held_size:
            self._send_part()
        self._parts += [future.result() for future in self._in_flight]
        parts = sorted(self._parts, key=lambda part: int(part["PartNumber"]))
        return self._s3.complete_multipart_upload(
            Bucket=self._bucket,
            Key=self._key,
            UploadId=self._upload_id or "",
            MultipartUpload={"Parts": parts},  # type: ignore[typeddict-item]
            **self._condition,
        )

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        try:
            self.abort()
        except Exception as refused:
            if error is None:
                raise s3_failed(refused, "s3:AbortMultipartUpload", self.uri) from refused
            logger.warning("the unfinished upload to %s could not be aborted: %s", self.uri, refused)


def publish_staged(s3: S3Client, bucket: str, staging_key: str, final_key: str, *, etag: str | None = None) -> bool:
    """Copy a staged object to its final key with CopyObject, then delete it, even if the copy failed.

    An existing object under the final key is never overwritten. Safe to repeat and to race with another run.
    CopyObject allows up to 5 GB; a package is at most 2 GB.

    Args:
        s3: the client.
        bucket: of both keys.
        staging_key: the object to copy.
        final_key: the destination.
        etag: of the staged object, so that nothing else is copied.

    Returns:
        True when this call created the final object, False when it existed.

    Raises:
        ObjectChanged: the staged object was deleted or replaced, and nothing is under the final key.
        AwsCallFailed: S3 refused.
    """
    try:
        return _copy(s3, bucket, staging_key, final_key, etag)
    finally:
        # Also after a failure: a retry stages it again.
        delete_staged(s3, bucket, staging_key)


def delete_staged(s3: S3Client, bucket: str, staging_key: str) -> None:
    """Delete a staged object if it exists. If that fails, the cleanup of orphaned objects deletes it later."""
    try:
        s3.delete_object(Bucket=bucket, Key=staging_key)
    except Exception as error:
        logger.warning("the staged s3://%s/%s could not be deleted: %s", bucket, staging_key, error)


def _copy(s3: S3Client, bucket: str, staging_key: str, final_key: str, etag: str | None) -> bool:
    uri = f"s3://{bucket}/{final_key}"
    if_match: Any = {"CopySourceIfMatch": etag} if etag else {}
    for attempt in range(_COPY_ATTEMPTS):
        try:
            s3.copy_object(
                Bucket=bucket,
                Key=final_key,
                CopySource={"Bucket": bucket, "Key": staging_key},
                IfNoneMatch="*",
                ChecksumAlgorithm="CRC32",  # of the whole object, replacing the composite one
                **if_match,
            )
            return True
        except Exception as error:
            if is_write_race(error) and attempt + 1 < _COPY_ATTEMPTS:
                time.sleep(0.2 * 2**attempt)
                continue
            if not (is_precondition_failed(error) or is_object_missing(error)):
                raise s3_failed(error, "s3:PutObject", uri) from error
            if not _exists(s3, bucket, final_key):
                staged = f"s3://{bucket}/{staging_key}"
                raise ObjectChanged(
                    f"{staged} was deleted or replaced before it was copied to {uri}", uri=staged, remedy="Run again."
                ) from error
            return False
    raise AssertionError("unreachable: the last attempt returns or raises")


def _exists(s3: S3Client, bucket: str, key: str) -> bool:
    try:
        s3.head_object(Bucket=bucket, Key=key)
    except Exception as error:
        if is_object_missing(error):
            return False
        raise s3_failed(error, "s3:GetObject", f"s3://{bucket}/{key}") from error
    return True


def _checksum(body: bytes) -> str:
    return base64.b64encode(crc32(body).to_bytes(4, "big")).decode()
