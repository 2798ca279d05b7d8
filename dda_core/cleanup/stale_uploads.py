"""Removing what killed processes left in a bucket: incomplete uploads, whose storage is billed, and staged packages."""

from __future__ import annotations

import logging
from datetime import timedelta
from typing import TYPE_CHECKING

from dda_core.aws.s3 import list_objects, list_uploads
from dda_core.model.package import STAGING
from dda_core.naming import REPACKAGED_NAME

if TYPE_CHECKING:
    from mypy_boto3_s3 import S3Client

logger = logging.getLogger(__name__)

STALE_AFTER = timedelta(hours=24)
"""Anything older has lost its process, because no step runs that long."""


def remove_stale_uploads(s3: S3Client, bucket: str) -> list[str]:
    """Abort the pipeline's uploads and delete its staged packages that are older than a day.

    Ages are by S3's clock, and no other objects are touched, so a run in progress is never disturbed. Never raises:
    if the caller may not list or delete, everything stays.

    Returns:
        A sentence about each removed object or upload.
    """
    removed: list[str] = []

    def note(sentence: str) -> None:
        removed.append(sentence)
        logger.info("%s", sentence)

    try:
        for upload, now in list_uploads(s3, bucket):
            if _is_ours(upload["Key"]) and upload["Initiated"] < now - STALE_AFTER:
                s3.abort_multipart_upload(Bucket=bucket, Key=upload["Key"], UploadId=upload["UploadId"])
                note(f"aborted the stale upload to s3://{bucket}/{upload['Key']}")
        for staged, now in list_objects(s3, bucket, STAGING):
            if staged["LastModified"] < now - STALE_AFTER:
                s3.delete_object(Bucket=bucket, Key=staged["Key"])
                note(f"deleted the stale s3://{bucket}/{staged['Key']}")
    except Exception as error:
        logger.debug("leftovers of killed processes in s3://%s were not removed: %s", bucket, error)
    return removed


def _is_ours(key: str) -> bool:
    return key.startswith(STAGING) or key.endswith(f"/{REPACKAGED_NAME}")
