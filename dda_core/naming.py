"""Names. All are derived from content; none is random or based on the clock.

The same work therefore has the same name, and different work a different one: a repeated run, a race between runs or
a restart after a crash finds the existing job, package and component.
"""

from __future__ import annotations

import hashlib
import json
import re
from typing import Any

from dda_core.exceptions import InvalidName

JOB_NAME_PATTERN = re.compile(r"[a-zA-Z0-9](-*[a-zA-Z0-9]){0,62}")
"""SageMaker's own pattern for names of training and compilation jobs, at most 63 characters."""

COMPONENT_BASE_PATTERN = re.compile(r"model-[a-zA-Z0-9._-]+")
"""Devices look for components whose name starts with ``model-``."""

PARTITIONS = {
    "cn-": "aws-cn",
    "us-gov-": "aws-us-gov",
    "us-iso-": "aws-iso",
    "us-isob-": "aws-iso-b",
    "eu-isoe-": "aws-iso-e",
    "us-isof-": "aws-iso-f",
    "eusc-": "aws-eusc",
}
"""The partitions other than ``aws``, by the prefix of their Region names."""

RESERVED_BUCKET_STARTS = ("xn--", "sthree-", "amzn-s3-demo-")
RESERVED_BUCKET_ENDS = ("-s3alias", "--ol-s3", ".mrap", "--x-s3", "--table-s3")
"""Prefixes and suffixes that S3 reserves in bucket names."""

REPACKAGED_NAME = "model_for_compilation.tar.gz"
COMPONENT_NAME_LIMIT = 128
TRAINING_PART_LIMIT = 40
"""Characters of the training job's name in a compilation job's name, leaving room for suffix, digest and attempt."""


def check_training_job_name(name: str) -> str:
    """The name itself, if it is valid for a SageMaker training job.

    Raises:
        InvalidName: it is not.
    """
    if not JOB_NAME_PATTERN.fullmatch(name) or len(name) > 63:
        raise InvalidName(
            f"{name!r} cannot be the name of a training job",
            name=name,
            expected="letters, digits and inner hyphens, at most 63 characters",
            remedy="Give the job's name as `aws sagemaker list-training-jobs` shows it.",
        )
    return name


def bucket_name_problem(name: str) -> str | None:
    """Why the name is not valid for an S3 bucket; None if it is.

    The rules: https://docs.aws.amazon.com/AmazonS3/latest/userguide/bucketnamingrules.html
    """
    if not re.fullmatch(r"[a-z0-9][a-z0-9.-]{1,61}[a-z0-9]", name):
        return (
            "3 to 63 lower-case letters, digits, hyphens and dots are allowed, starting and ending with a letter or "
            "digit"
        )
    if ".." in name:
        return "it has two dots in a row"
    if re.fullmatch(r"\d+\.\d+\.\d+\.\d+", name):
        return "it has the form of an IP address"
    if start := next((start for start in RESERVED_BUCKET_STARTS if name.startswith(start)), None):
        return f"S3 reserves names that begin with {start!r}"
    if end := next((end for end in RESERVED_BUCKET_ENDS if name.endswith(end)), None):
        return f"S3 reserves names that end in {end!r}"
    return None


def digest8(work: dict[str, Any]) -> str:
    """Eight hex digits of SHA-256 over ``work`` as canonical JSON."""
    return hashlib.sha256(json.dumps(work, sort_keys=True, separators=(",", ":")).encode()).hexdigest()[:8]


def training_part(training_job: str) -> str:
    """The prefix of compilation job names: the training job's name, sanitised and then truncated.

    Raises:
        InvalidName: nothing is left after sanitising.
    """
    clean = re.sub(r"[^a-zA-Z0-9-]+", "-", training_job).strip("-")[:TRAINING_PART_LIMIT].rstrip("-")
    if not clean:
        raise InvalidName(
            f"{training_job!r} has no letter or digit for a compilation job's name",
            name=training_job,
            remedy="Give a training job's name.",
        )
    return clean


def job_name_stem(training_job: str, suffix: str, digest: str) -> str:
    """A compilation job's name without its attempt: ``<training job>-<suffix>-<8 hex>``."""
    return f"{training_part(training_job)}-{suffix}-{digest}"


def job_name(stem: str, attempt: int) -> str:
    """A compilation job's full name: ``<training job>-<suffix>-<8 hex>-<n>``.

    Raises:
        InvalidName: the name is over SageMaker's 63 characters (attempts beyond 999).
    """
    name = f"{stem}-{attempt}"
    if attempt < 1 or len(name) > 63 or not JOB_NAME_PATTERN.fullmatch(name):
        raise InvalidName(
            f"{name!r} cannot be a compilation job's name",
            name=name,
            expected="letters, digits and inner hyphens, at most 63 characters",
            remedy=f"Delete old compilation jobs of {stem!r} with `aws sagemaker delete-compilation-job`.",
        )
    return name


def attempt_of(name: str) -> int | None:
    """The attempt number at the end of a compilation job's name; None if the pipeline did not create the name."""
    match = re.fullmatch(r".+-[0-9a-f]{8}-([1-9]\d{0,2})", name)
    return int(match[1]) if match else None


def component_base(model_name: str, component_name: str | None = None) -> str:
    """The base of a component's name: the given one, else ``model-`` and the model's name as a slug.

    Raises:
        InvalidName: a given base does not start with ``model-`` or has characters other than ``a-zA-Z0-9._-``.
    """
    if component_name:
        if not COMPONENT_BASE_PATTERN.fullmatch(component_name):
            raise InvalidName(
                f"component name {component_name!r}: devices accept only names that start with 'model-', followed by "
                f"letters, digits, '.', '_' or '-'",
                name=component_name,
                remedy=f"Give a name such as 'model-{_slug(component_name)}'.",
            )
        return component_name
    slug = _slug(model_name)
    if not slug.strip("-"):
        raise InvalidName(
            f"model name {model_name!r} has no letter or digit for a component's name",
            name=model_name,
            remedy="Give another model name, or a component name such as 'model-lid-inspection'.",
        )
    return f"model-{slug}"


def portal_component_base(model_name: str) -> str:
    """The base that the earlier portal derives: each other character becomes a hyphen, runs are not collapsed."""
    return "model-" + re.sub(r"[^a-z0-9]", "-", model_name.lower())


def _slug(text: str) -> str:
    return re.sub(r"[^a-z0-9]+", "-", text.lower())


def component_name(base: str, target_suffix: str) -> str:
    """A component's name: ``<base>-<target with _ as ->``.

    Raises:
        InvalidName: the name is over Greengrass's 128 characters.
    """
    name = f"{base}-{target_suffix}"
    if len(name) > COMPONENT_NAME_LIMIT:
        raise InvalidName(
            f"component name {name!r} has {len(name)} characters; AWS IoT Greengrass allows {COMPONENT_NAME_LIMIT}",
            name=name,
            remedy="Give a shorter component name.",
        )
    return name


def partition(region: str) -> str:
    """The partition of a Region, as in its ARNs: ``aws``, ``aws-cn``, ``aws-us-gov``...

    Looked up in a table, because importing botocore takes longer than most verbs take to run.
    """
    return next((name for start, name in PARTITIONS.items() if region.startswith(start)), "aws")


def training_job_arn(region: str, account_id: str, training_job: str) -> str:
    """The ARN of a training job, computed without asking AWS."""
    return f"arn:{partition(region)}:sagemaker:{region}:{account_id}:training-job/{training_job}"


def component_arn(region: str, account_id: str, component: str, version: str | None = None) -> str:
    """The ARN of a component, or of one of its versions, computed without asking AWS."""
    arn = f"arn:{partition(region)}:greengrass:{region}:{account_id}:components:{component}"
    return f"{arn}:versions:{version}" if version else arn


def repackaged_uri(model_artifact: str) -> str:
    """The URI of the repackaged ``.pt``: ``model_for_compilation.tar.gz`` next to the trained archive."""
    return f"{model_artifact.rpartition('/')[0]}/{REPACKAGED_NAME}"


def trained_archive_uri(bucket: str, training_job: str) -> str:
    """The URI of a training job's archive in the use case's bucket, as SageMaker writes it."""
    return f"s3://{bucket}/models/training/{training_job}/output/model.tar.gz"


def compilation_output(bucket: str, job: str, target: str) -> str:
    """``S3OutputLocation`` of a compilation job; the archive's name below it comes from DescribeCompilationJob."""
    return f"s3://{bucket}/models/compilation/{job}/{target}"
