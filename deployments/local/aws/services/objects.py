"""Access of the emulated services to objects in the emulated S3."""

from __future__ import annotations

from typing import Any
from urllib.parse import unquote

from moto.s3.exceptions import S3ClientError
from moto.s3.models import s3_backends

from deployments.local.aws.environment import partition
from deployments.local.aws.services.neo import NeoFailure


def split_uri(uri: str) -> tuple[str, str]:
    """Bucket and key of an ``s3://`` or path-style ``https://`` URI."""
    scheme, _, rest = uri.partition("://")
    if scheme == "https":
        rest = rest.partition("/")[2]
    bucket, _, key = rest.partition("/")
    return bucket, unquote(key) if scheme == "https" else key


def bucket_of(account: str, name: str) -> Any | None:
    """moto's bucket of that name, in any account and partition; None when there is none."""
    try:
        return s3_backends[account]["aws"].get_bucket(name)
    except S3ClientError:
        return None


def object_of(account: str, uri: str) -> Any | None:
    """moto's object at a URI; None when there is none."""
    bucket, key = split_uri(uri)
    try:
        return s3_backends[account]["aws"].get_object(bucket, key)
    except S3ClientError:
        return None


def read_for_neo(account: str, region: str, uri: str) -> bytes:
    """The input object of a compilation job.

    Raises:
        NeoFailure: Neo could not read the object.
    """
    bucket_name, key = split_uri(uri)
    bucket = bucket_of(account, bucket_name)
    if bucket is not None and bucket.region_name != region:
        raise NeoFailure(
            f"S3 bucket {bucket_name} is in region {bucket.region_name}, "
            f"which is different from AWS Sagemaker service region {region}"
        )
    found = object_of(account, uri)
    if found is None:
        raise NeoFailure(f"S3 object does not exist. Bucket: {bucket_name}, Key: {key}")
    if not key.endswith(".gz"):
        raise NeoFailure("Unable to find input archive")
    return bytes(found.value)


def write_from_neo(account: str, region: str, uri: str, content: bytes) -> None:
    """Write a compiled archive.

    Raises:
        NeoFailure: the bucket does not exist or is in another Region.
    """
    bucket_name, key = split_uri(uri)
    bucket = bucket_of(account, bucket_name)
    if bucket is None:
        raise NeoFailure(
            f"The specified bucket does not exist. Bucket: {bucket_name}", kind="ClientError: OutputConfiguration"
        )
    if bucket.region_name != region:
        raise NeoFailure(
            f"S3 bucket {bucket_name} is in region {bucket.region_name}, "
            f"which is different from AWS Sagemaker service region {region}",
            kind="ClientError: OutputConfiguration",
        )
    written = s3_backends[account][partition(region)].put_object(bucket_name, key, content)
    # moto computes the ETag lazily and without a lock; compute it before concurrent reads.
    _ = written.etag
