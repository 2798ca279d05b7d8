"""S3 objects: URIs, listings, and the errors for failed calls."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import datetime
from email.utils import parsedate_to_datetime
from typing import TYPE_CHECKING, Any, NamedTuple

from dda_core.aws.errors import is_bucket_missing, is_denied, is_object_missing, is_precondition_failed
from dda_core.exceptions import AwsCallFailed, FileMissing, MissingCredentials, ObjectChanged

if TYPE_CHECKING:
    from mypy_boto3_s3 import S3Client
    from mypy_boto3_s3.type_defs import MultipartUploadTypeDef, ObjectTypeDef


class Bucket(NamedTuple):
    """A bucket's name, and a client for it."""

    s3: S3Client
    name: str


def parse_s3_uri(uri: str) -> tuple[str, str]:
    """Bucket and key of ``s3://bucket/key``.

    Raises:
        FileMissing: it does not have that form.
    """
    bucket, slash, key = uri.removeprefix("s3://").partition("/")
    if not uri.startswith("s3://") or not bucket or not slash or not key or key.endswith("/"):
        raise FileMissing(f"{uri} is not the URI of an S3 object", path=uri, expected="s3://<bucket>/<key>")
    return bucket, key


def list_objects(s3: S3Client, bucket: str, prefix: str) -> Iterator[tuple[ObjectTypeDef, datetime]]:
    """Every object whose key begins with ``prefix``, each with the time of S3's response, to compute its age."""
    for page in s3.get_paginator("list_objects_v2").paginate(Bucket=bucket, Prefix=prefix):
        now = answered_at(page)
        for item in page.get("Contents", []):
            yield item, now


def list_uploads(s3: S3Client, bucket: str) -> Iterator[tuple[MultipartUploadTypeDef, datetime]]:
    """Every multipart upload that is neither completed nor aborted, each with the time of S3's response."""
    for page in s3.get_paginator("list_multipart_uploads").paginate(Bucket=bucket):
        now = answered_at(page)
        for upload in page.get("Uploads", []):
            yield upload, now


def answered_at(response: Any) -> datetime:
    """The time of a response by S3's clock."""
    return parsedate_to_datetime(response["ResponseMetadata"]["HTTPHeaders"]["date"])


def s3_failed(error: Exception, action: str, uri: str) -> Exception:
    """The pipeline's error for a failed ``action`` (as in policies, ``s3:GetObject``) on ``uri``."""
    from botocore.exceptions import BotoCoreError, ClientError, NoCredentialsError

    if isinstance(error, ClientError):
        if is_object_missing(error):
            return FileMissing(f"{uri} does not exist", path=uri, remedy="Check the bucket, the key and the account.")
        if is_bucket_missing(error):
            return FileMissing(
                f"{uri} does not exist: there is no such bucket", path=uri, remedy="Check its name and the account."
            )
        if is_precondition_failed(error):
            return ObjectChanged(
                f"{uri} was replaced while it was read", uri=uri, remedy="Run again to read the new object."
            )
        if is_denied(error):
            return AwsCallFailed(
                f"access denied for {action}",
                where=uri,
                remedy=f"Allow the caller's role {action} on the object, and s3:ListBucket on the bucket (without it a "
                "missing object looks the same).",
            )
        return AwsCallFailed(f"{action} failed: {error}", where=uri)
    if isinstance(error, NoCredentialsError):
        return MissingCredentials(f"{uri} cannot be reached: {error}", remedy="Log in, or set AWS_PROFILE.")
    if isinstance(error, BotoCoreError | OSError | EOFError):
        return AwsCallFailed(f"{action} failed: {error}", where=uri, remedy="Run again later.")
    return error
