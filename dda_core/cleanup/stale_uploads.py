"""Removing what killed processes left in a bucket: open uploads, which cost storage unseen, and staged packages."""

from __future__ import annotations

import logging
from datetime import datetime, timedelta
from email.utils import parsedate_to_datetime
from typing import TYPE_CHECKING, Any

from dda_core.model.package import STAGING
from dda_core.naming import REPACKAGED_NAME

if TYPE_CHECKING:
    from mypy_boto3_s3 import S3Client

logger = logging.getLogger(__name__)

STALE_AFTER = timedelta(hours=24)
"""What is this old has lost its process: no step runs that long."""


def sweep(s3: S3Client, bucket: str) -> list[str]:
    """Abort the uploads of ours, and delete the staged packages, that are older than a day.

    The age is that by S3's own clock, and nothing but ours is touched: a run that is still going is never disturbed.
    A caller that may not list or remove leaves it there; this never raises.

    Returns:
        A sentence about each thing that was removed.
    """
    removed: list[str] = []

    def tell(sentence: str) -> None:
        removed.append(sentence)
        logger.info("%s", sentence)

    try:
        for page in s3.get_paginator("list_multipart_uploads").paginate(Bucket=bucket):
            oldest = answered_at(page) - STALE_AFTER
            for upload in page.get("Uploads", []):
                if _is_ours(upload["Key"]) and upload["Initiated"] < oldest:
                    s3.abort_multipart_upload(Bucket=bucket, Key=upload["Key"], UploadId=upload["UploadId"])
                    tell(f"aborted the stale upload to s3://{bucket}/{upload['Key']}")
        for listing in s3.get_paginator("list_objects_v2").paginate(Bucket=bucket, Prefix=STAGING):
            oldest = answered_at(listing) - STALE_AFTER
            for staged in listing.get("Contents", []):
                if staged["LastModified"] < oldest:
                    s3.delete_object(Bucket=bucket, Key=staged["Key"])
                    tell(f"deleted the stale s3://{bucket}/{staged['Key']}")
    except Exception as error:
        logger.debug("what killed processes left in s3://%s stays: %s", bucket, error)
    return removed


def _is_ours(key: str) -> bool:
    return key.startswith(STAGING) or key.endswith(f"/{REPACKAGED_NAME}")


def answered_at(answer: Any) -> datetime:
    """The time of an answer of S3."""
    return parsedate_to_datetime(answer["ResponseMetadata"]["HTTPHeaders"]["date"])
