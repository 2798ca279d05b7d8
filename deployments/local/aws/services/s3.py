"""The emulated S3: moto's, with these additions.

- CopyObject supports ``If-None-Match: *``, and conditional writes are atomic under concurrency.
- A ranged read reads only its range, so that many small ranges of a large object are fast.
- The checksums sent with a body are verified.
- ListMultipartUploads returns when each upload was initiated.
- A checksum that moto cannot compute is omitted, where moto returns a wrong one.
"""

from __future__ import annotations

import base64
import hashlib
import re
import threading
import zlib
from collections.abc import Callable
from contextlib import nullcontext
from datetime import UTC, datetime
from typing import Any

from moto.s3.exceptions import PreconditionFailed, S3ClientError
from moto.s3.responses import S3Response

_conditional = threading.RLock()
_RANGE = re.compile(r"^bytes=(?P<first>\d+)-(?P<last>\d*)$")
_CHECKSUMS: dict[str, Callable[[bytes], bytes]] = {
    "x-amz-checksum-crc32": lambda body: zlib.crc32(body).to_bytes(4, "big"),
    "x-amz-checksum-sha1": lambda body: hashlib.sha1(body, usedforsecurity=False).digest(),
    "x-amz-checksum-sha256": lambda body: hashlib.sha256(body).digest(),
    "content-md5": lambda body: hashlib.md5(body, usedforsecurity=False).digest(),
}

_NOT_COMPUTED = ("CRC64NVME", "CRC32C")
"""moto returns a CRC32 instead. The AWS CLI uploads large files with CRC64NVME and verifies its downloads."""


class S3(S3Response):  # type: ignore[misc]
    """The operations that differ from moto's."""

    def copy_object(self) -> Any:
        """CopyObject with ``If-None-Match``."""
        with _conditional:
            if self.headers.get("If-None-Match") == "*":
                existing = self.backend.get_object(self.bucket_name, self.parse_key_name())
                if existing is not None:
                    raise PreconditionFailed("If-None-Match")
            return super().copy_object()

    def put_object(self) -> Any:
        """PutObject, with its checksums verified."""
        self._check_body()
        if self.headers.get("If-None-Match") or self.headers.get("If-Match"):
            with _conditional:
                return super().put_object()
        return super().put_object()

    def upload_part(self) -> Any:
        """UploadPart, with its checksums verified."""
        self._check_body()
        return super().upload_part()

    def _key_response_post(self, request: Any, body: bytes, bucket: str, query: dict[str, Any], key: str) -> Any:
        with _conditional if self.headers.get("If-None-Match") else nullcontext():
            response = super()._key_response_post(request, body, bucket, query, key)
        made = self.backend.get_object(bucket, key) if "uploadId" in query else None
        if made is not None and made.checksum_algorithm in _NOT_COMPUTED:
            made.checksum_algorithm = made.checksum_value = made.checksum_type = None
        if "uploads" in query:
            for upload in list(self.backend.list_multipart_uploads(bucket).values()):
                vars(upload).setdefault("initiated", datetime.now(UTC))
        return response

    def serialized(self, action_result: Any) -> Any:
        """moto's response, with the initiation times of uploads, which moto does not keep."""
        found = action_result.result.get("Uploads") if isinstance(action_result.result, dict) else None
        if found and self.bucket_name in self.backend.buckets:
            uploads = self.backend.list_multipart_uploads(self.bucket_name)
            for each in found:
                if upload := uploads.get(each["UploadId"]):  # may have ended meanwhile
                    each["Initiated"] = upload.initiated
        return super().serialized(action_result)

    def get_object(self) -> Any:
        """GetObject; a simple range is read without the rest of the object."""
        span = _RANGE.match(self.headers.get("Range", ""))
        if span is None or "partNumber" in self.querystring:
            return super().get_object()
        key, not_modified = self._get_key()
        first, last = int(span["first"]), min(int(span["last"] or key.size), key.size - 1)
        if not_modified or first > last:
            return super().get_object()
        with key.lock:
            key._value_buffer.seek(first)
            content = key._value_buffer.read(last - first + 1)
        headers = self._get_cors_headers_other()
        headers.update(key.metadata)
        headers.update(key.response_dict)
        headers.update(
            {
                "Accept-Ranges": "bytes",
                "content-range": f"bytes {first}-{last}/{key.size}",
                "content-length": str(len(content)),
            }
        )
        return 206, headers, content

    def _check_body(self) -> None:
        body = self.body or b""
        for header, checksum in _CHECKSUMS.items():
            given = self.headers.get(header)
            if given and base64.b64encode(checksum(body)).decode() != given:
                name = "Content-MD5" if header == "content-md5" else header.removeprefix("x-amz-checksum-").upper()
                raise S3ClientError("BadDigest", f"The {name} you specified did not match the calculated checksum.")
