from __future__ import annotations

from collections.abc import Iterator
from datetime import datetime, timedelta
from email.utils import format_datetime, parsedate_to_datetime
from typing import Any

import pytest
from botocore.exceptions import ClientError

from dda_core.cleanup.stale_uploads import remove_stale_uploads
from dda_core.model.package import STAGING
from tests.fixtures.s3 import BUCKET, keys, open_uploads, s3_in_process

UPLOADS = ["models/training/job/output/model_for_compilation.tar.gz", f"{STAGING}a.zip"]
OTHERS = ["models/training/job/output/model.tar.gz", "theirs.zip"]


@pytest.fixture
def s3() -> Iterator[Any]:
    with s3_in_process() as client:
        for key in UPLOADS + OTHERS:
            client.create_multipart_upload(Bucket=BUCKET, Key=key)
        for key in (f"{STAGING}b.zip", "model_artifacts/model-0123456789ab/b.zip"):
            client.put_object(Bucket=BUCKET, Key=key, Body=b"zip")
        yield client


def later(client: Any, hours: float) -> None:
    """Date S3's responses that much later than the objects in the bucket."""

    def put_off(parsed: dict[str, Any], **_: Any) -> None:
        headers = parsed["ResponseMetadata"]["HTTPHeaders"]
        now: datetime = parsedate_to_datetime(headers["date"])
        for upload in parsed.get("Uploads", []):
            upload["Initiated"] = now  # moto says 2010 of every upload
        headers["date"] = format_datetime(now + timedelta(hours=hours), usegmt=True)

    for operation in ("ListMultipartUploads", "ListObjectsV2"):
        client.meta.events.register(f"after-call.s3.{operation}", put_off)


def test_what_killed_processes_left_is_removed_and_nothing_else(s3: Any):
    later(s3, hours=25)
    assert sorted(remove_stale_uploads(s3, BUCKET)) == [
        *(f"aborted the stale upload to s3://{BUCKET}/{key}" for key in sorted(UPLOADS)),
        f"deleted the stale s3://{BUCKET}/{STAGING}b.zip",
    ]
    assert sorted(open_uploads(s3)) == sorted(OTHERS)
    assert keys(s3) == ["model_artifacts/model-0123456789ab/b.zip"]


def test_what_may_still_be_in_progress_is_left_alone(s3: Any):
    later(s3, hours=23)
    remove_stale_uploads(s3, BUCKET)
    assert sorted(open_uploads(s3)) == sorted(UPLOADS + OTHERS)
    assert f"{STAGING}b.zip" in keys(s3)


@pytest.mark.parametrize("operation", ["ListMultipartUploads", "AbortMultipartUpload", "ListObjectsV2", "DeleteObject"])
def test_a_caller_without_permission_continues(s3: Any, operation: str):
    later(s3, hours=25)

    def refuse(**_: Any) -> None:
        raise ClientError({"Error": {"Code": "AccessDenied", "Message": "no"}}, operation)

    s3.meta.events.register(f"before-call.s3.{operation}", refuse)
    remove_stale_uploads(s3, BUCKET)
