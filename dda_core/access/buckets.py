"""Checks that the caller and the devices can access a use case's bucket; the caller's reads are made for real."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from botocore.exceptions import ClientError

from dda_core.access.findings import ARTIFACTS, Finding, Level, Subject, finding
from dda_core.aws.errors import is_bucket_missing, is_denied, is_encryption_unset, is_missing_in_s3
from dda_core.aws.principals import POLICIES
from dda_core.aws.s3 import parse_s3_uri
from dda_core.use_case import UseCase


def check_devices(use_case: UseCase) -> Finding:
    """Whether DDA's device role, whose policy goes by bucket names, may read the bucket."""
    bucket = use_case.s3_bucket
    if bucket.startswith("dda-") or "-dda-" in bucket:
        return finding("devices", Level.OK, f"devices may read bucket {bucket} by its name")
    return finding(
        "devices",
        Level.WARNING,
        f"bucket {bucket} matches neither dda-* nor *-dda-*, and DDA's device role may read only those",
        f"Use a bucket with such a name, or allow the devices' token exchange role s3:GetObject and "
        f"s3:GetBucketLocation on {bucket} ({POLICIES}/device.json).",
    )


def check_buckets(subject: Subject) -> Iterator[Finding]:
    """Whether the buckets of the use case and the archive exist, are accessible, and in the use case's Region."""
    for bucket in subject.buckets:
        yield from _check_bucket(subject, bucket)


def _check_bucket(subject: Subject, bucket: str) -> Iterator[Finding]:
    use_case = subject.use_case
    try:
        answer: Any = subject.aws.s3.head_bucket(Bucket=bucket)
    except ClientError as error:
        answer = error.response
        if is_missing_in_s3(error):
            remedy = f"Create it in Region {use_case.region}, or correct s3_bucket of the use case."
            yield finding("bucket", Level.ERROR, f"there is no bucket {bucket}", remedy)
            return
        if is_denied(error):
            yield finding(
                "bucket",
                Level.ERROR,
                f"{subject.principal} may not list bucket {bucket}",
                f"Allow {subject.principal} s3:ListBucket on {subject.s3_arn(bucket)} ({POLICIES}/pipeline.json); "
                f"if the bucket belongs to another account, its bucket policy must allow it too.",
            )
        elif not _region_of(answer):
            raise
    else:
        yield finding("bucket", Level.OK, f"bucket {bucket} exists, and {subject.principal} may list it")
    region = _region_of(answer)
    if region and region != use_case.region:
        yield finding(
            "region",
            Level.ERROR,
            f"bucket {bucket} is in Region {region}; the jobs and components of use case {use_case.usecase_id!r} are "
            f"in {use_case.region} and need a bucket in their own Region",
            f"Use a bucket in {use_case.region}, or correct s3_bucket or region of the use case.",
        )
    elif region:
        yield finding("region", Level.OK, f"bucket {bucket}, jobs and components are in {region}")


def _region_of(answer: Any) -> str:
    # A denied response has it too, but only in the header.
    header = answer.get("ResponseMetadata", {}).get("HTTPHeaders", {}).get("x-amz-bucket-region")
    return str(answer.get("BucketRegion") or header or "")


def check_artifacts(subject: Subject) -> Iterator[Finding]:
    """Whether Greengrass can read packages: it uses the credentials of the creator of the component version."""
    where = subject.s3_arn(f"{subject.bucket}/{ARTIFACTS}*")
    try:
        # A missing object serves as well: without read permission the response is 403, not 404.
        listed = subject.aws.s3.list_objects_v2(Bucket=subject.bucket, Prefix=ARTIFACTS, MaxKeys=1).get("Contents")
        key = listed[0]["Key"] if listed else f"{ARTIFACTS}preflight"
        subject.aws.s3.head_object(Bucket=subject.bucket, Key=key)
    except ClientError as error:
        if is_bucket_missing(error):
            return
        if is_denied(error) and error.operation_name == "HeadObject":
            yield finding(
                "artifacts",
                Level.ERROR,
                f"{subject.principal} may not read s3://{subject.bucket}/{ARTIFACTS}, and AWS IoT Greengrass reads "
                f"model packages with its credentials",
                f"Allow {subject.principal} s3:GetObject on {where} ({POLICIES}/pipeline.json), and kms:Decrypt if "
                f"an AWS KMS key encrypts the bucket.",
            )
            return
        if not is_missing_in_s3(error):
            raise
    yield finding(
        "artifacts",
        Level.OK,
        f"{subject.principal} may read {where}, and AWS IoT Greengrass reads with its credentials",
    )


def check_trained_archive(subject: Subject) -> Iterator[Finding]:
    """Whether the caller may read the training job's archive, which may be in another bucket."""
    uri = str(subject.model_artifact)
    bucket, key = parse_s3_uri(uri)
    try:
        subject.aws.s3.head_object(Bucket=bucket, Key=key)
    except ClientError as error:
        if is_missing_in_s3(error):
            remedy = "Train again, or restore the archive."
            yield finding("trained-archive", Level.ERROR, f"{uri} does not exist", remedy)
        elif is_denied(error):
            yield finding(
                "trained-archive",
                Level.ERROR,
                f"{subject.principal} may not read {uri}",
                f"Allow {subject.principal} s3:GetObject on it, and s3:ListBucket on its bucket "
                f"({POLICIES}/pipeline.json).",
            )
        else:
            raise
    else:
        yield finding("trained-archive", Level.OK, f"{subject.principal} may read {uri}")


def check_encryption(subject: Subject) -> Iterator[Finding]:
    """Whether the bucket is encrypted with an AWS KMS key; permissions on the key are not checked."""
    try:
        answer: Any = subject.aws.s3.get_bucket_encryption(Bucket=subject.bucket)
    except ClientError as error:
        if is_missing_in_s3(error):
            return
        if not is_encryption_unset(error):
            raise
        answer = {}
    rules = answer.get("ServerSideEncryptionConfiguration", {}).get("Rules", [])
    given = [rule.get("ApplyServerSideEncryptionByDefault", {}) for rule in rules]
    keys = [each.get("KMSMasterKeyID", "aws/s3") for each in given if "kms" in each.get("SSEAlgorithm", "")]
    if not keys:
        yield finding("encryption", Level.OK, f"bucket {subject.bucket} needs no AWS KMS key")
        return
    yield finding(
        "encryption",
        Level.NOT_CHECKED,
        f"bucket {subject.bucket} is encrypted with AWS KMS key {keys[0]}; permissions on it were not checked",
        f"Allow {subject.principal} and {subject.use_case.sagemaker_role} kms:Decrypt and kms:GenerateDataKey on that "
        f"key, and the devices' role kms:Decrypt.",
    )
