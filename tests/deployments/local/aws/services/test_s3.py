from __future__ import annotations

import base64
import zlib
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from typing import Any

from tests.deployments.local.aws.conftest import Aws, error_of

MIB = 1024 * 1024
CONTENT = bytes(range(256)) * (6 * MIB // 256)


def body(s3: Any, aws: Aws, key: str, **more: Any) -> bytes:
    read: bytes = s3.get_object(Bucket=aws.bucket, Key=key, **more)["Body"].read()
    return read


def test_a_copy_with_if_none_match_does_not_overwrite(aws: Aws) -> None:
    s3 = aws.client("s3")
    s3.put_object(Bucket=aws.bucket, Key="staged", Body=b"new")
    copy = {"Bucket": aws.bucket, "Key": "final", "CopySource": f"{aws.bucket}/staged", "IfNoneMatch": "*"}
    s3.copy_object(**copy)
    s3.put_object(Bucket=aws.bucket, Key="staged", Body=b"newer")
    refused = error_of(s3.copy_object, **copy)
    assert (refused["Code"], refused["Status"]) == ("PreconditionFailed", 412)
    assert body(s3, aws, "final") == b"new"


def test_one_of_many_conditional_writers_wins(aws: Aws) -> None:
    s3 = aws.client("s3")
    for number in range(16):
        s3.put_object(Bucket=aws.bucket, Key=f"staged-{number}", Body=str(number).encode())

    def write(number: int) -> int | str:
        try:
            if number % 2:
                s3.put_object(Bucket=aws.bucket, Key="final", Body=str(number).encode(), IfNoneMatch="*")
            else:
                source = f"{aws.bucket}/staged-{number}"
                s3.copy_object(Bucket=aws.bucket, Key="final", CopySource=source, IfNoneMatch="*")
        except s3.exceptions.ClientError as error:
            return str(error.response["Error"]["Code"])
        return number

    with ThreadPoolExecutor(8) as threads:
        ends = list(threads.map(write, range(16)))
    won = [end for end in ends if isinstance(end, int)]
    assert set(ends) - set(won) == {"PreconditionFailed"}
    assert len(won) == 1
    assert body(s3, aws, "final") == str(won[0]).encode()


def test_ranges_with_if_match(aws: Aws) -> None:
    s3 = aws.client("s3")
    etag = s3.put_object(Bucket=aws.bucket, Key="k", Body=CONTENT)["ETag"]
    for span in ((0, 0), (0, MIB - 1), (MIB + 7, 3 * MIB), (len(CONTENT) - 3, len(CONTENT) + 100)):
        answer = s3.get_object(Bucket=aws.bucket, Key="k", Range=f"bytes={span[0]}-{span[1]}", IfMatch=etag)
        expected = CONTENT[span[0] : span[1] + 1]
        assert answer["Body"].read() == expected
        assert answer["ContentLength"] == len(expected)
        assert answer["ContentRange"] == f"bytes {span[0]}-{span[0] + len(expected) - 1}/{len(CONTENT)}"
        assert answer["ResponseMetadata"]["HTTPStatusCode"] == 206
        assert answer["ETag"] == etag
    assert body(s3, aws, "k", Range="bytes=-5") == CONTENT[-5:]
    assert body(s3, aws, "k", Range=f"bytes={len(CONTENT) - 2}-") == CONTENT[-2:]
    changed = error_of(s3.get_object, Bucket=aws.bucket, Key="k", Range="bytes=0-1", IfMatch='"other"')
    assert (changed["Code"], changed["Status"]) == ("PreconditionFailed", 412)
    beyond = error_of(s3.get_object, Bucket=aws.bucket, Key="k", Range=f"bytes={len(CONTENT)}-")
    assert (beyond["Code"], beyond["Status"]) == ("InvalidRange", 416)
    assert error_of(s3.get_object, Bucket=aws.bucket, Key="none", Range="bytes=0-1")["Code"] == "NoSuchKey"


def test_a_multipart_upload_with_checksums_and_a_copied_part(aws: Aws) -> None:
    s3 = aws.client("s3")
    s3.put_object(Bucket=aws.bucket, Key="source", Body=CONTENT)
    upload = {"Bucket": aws.bucket, "Key": "k"}
    upload["UploadId"] = s3.create_multipart_upload(**upload, ChecksumAlgorithm="CRC32")["UploadId"]
    part = s3.upload_part(**upload, PartNumber=1, Body=CONTENT, ChecksumAlgorithm="CRC32")
    assert part["ChecksumCRC32"] == base64.b64encode(zlib.crc32(CONTENT).to_bytes(4, "big")).decode()
    copied = s3.upload_part_copy(
        **upload, PartNumber=2, CopySource=f"{aws.bucket}/source", CopySourceRange=f"bytes=0-{5 * MIB - 1}"
    )["CopyPartResult"]
    parts = [
        {"PartNumber": 1, "ETag": part["ETag"], "ChecksumCRC32": part["ChecksumCRC32"]},
        {"PartNumber": 2, "ETag": copied["ETag"]},
    ]
    s3.complete_multipart_upload(**upload, MultipartUpload={"Parts": parts})
    assert body(s3, aws, "k") == CONTENT + CONTENT[: 5 * MIB]
    assert s3.list_multipart_uploads(Bucket=aws.bucket).get("Uploads", []) == []


def test_a_body_with_a_wrong_checksum_is_refused(aws: Aws) -> None:
    s3 = aws.client("s3")
    wrong = base64.b64encode(bytes(4)).decode()
    refused = error_of(s3.put_object, Bucket=aws.bucket, Key="k", Body=b"abc", ChecksumCRC32=wrong)
    assert refused["Code"] == "BadDigest"
    upload = {"Bucket": aws.bucket, "Key": "k"}
    upload["UploadId"] = s3.create_multipart_upload(**upload, ChecksumAlgorithm="CRC32")["UploadId"]
    refused = error_of(s3.upload_part, **upload, PartNumber=1, Body=b"abc", ChecksumCRC32=wrong)
    assert (refused["Code"], refused["Status"]) == ("BadDigest", 400)
    assert error_of(s3.head_object, Bucket=aws.bucket, Key="k")["Status"] == 404


def test_open_uploads_are_listed_with_their_initiation_time(aws: Aws) -> None:
    s3 = aws.client("s3")
    before = datetime.now(UTC) - timedelta(seconds=1)
    upload = s3.create_multipart_upload(Bucket=aws.bucket, Key="a/b")
    [found] = s3.list_multipart_uploads(Bucket=aws.bucket, Prefix="a/")["Uploads"]
    assert (found["Key"], found["UploadId"]) == ("a/b", upload["UploadId"])
    assert before <= found["Initiated"] <= datetime.now(UTC)


def test_a_missing_bucket_is_no_such_bucket(aws: Aws) -> None:
    s3 = aws.client("s3")
    where = {"Bucket": "dda-nobodys-bucket", "Key": "a"}
    assert error_of(s3.get_object, **where)["Code"] == "NoSuchBucket"
    assert error_of(s3.head_object, **where)["Status"] == 404
    assert error_of(s3.create_multipart_upload, **where)["Code"] == "NoSuchBucket"


def test_a_checksum_that_cannot_be_computed_is_omitted(aws: Aws) -> None:
    s3 = aws.client("s3")
    where = {"Bucket": aws.bucket, "Key": "large"}
    upload = s3.create_multipart_upload(**where, ChecksumAlgorithm="CRC64NVME", ChecksumType="FULL_OBJECT")["UploadId"]
    part = s3.upload_part(**where, UploadId=upload, PartNumber=1, Body=b"a part")
    parts = [{"ETag": part["ETag"], "PartNumber": 1}]
    s3.complete_multipart_upload(**where, UploadId=upload, MultipartUpload={"Parts": parts})
    response = s3.get_object(**where, ChecksumMode="ENABLED")
    assert response["Body"].read() == b"a part"
    assert "ChecksumCRC64NVME" not in response
