"""Names. Every one is derived, none is random or taken from the clock.

The same work therefore has the same name, and other work another: a repeated run, a race of runs or a restart
after a crash meets the job, package and component that exist already.
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
"""The partitions besides ``aws``, by how the names of their Regions begin."""

RESERVED_BUCKET_STARTS = ("xn--", "sthree-", "amzn-s3-demo-")
RESERVED_BUCKET_ENDS = ("-s3alias", "--ol-s3", ".mrap", "--x-s3", "--table-s3")
"""What names of buckets must not begin with and end in, as S3 has other uses for it."""

REPACKAGED_NAME = "model_for_compilation.tar.gz"
COMPONENT_NAME_LIMIT = 128
TRAINING_PART_LIMIT = 40
"""Characters of the training job's name in a compilation job's name, so that suffix, digest and attempt fit."""


def check_training_job_name(name: str) -> str:
    """The name itself, when SageMaker could have a training job of that name.

    Raises:
        InvalidName: it could not.
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
    """Why S3 has no bucket of that name; None where it may have one.

    The rules: https://docs.aws.amazon.com/AmazonS3/latest/userguide/bucketnamingrules.html
    """
    if not re.fullmatch(r"[a-z0-9][a-z0-9.-]{1,61}[a-z0-9]", name):
        return (
            "3 to 63 lower-case letters, digits, hyphens and dots are allowed, a letter or digit at the beginning "
            "and at the end"
        )
    if ".." in name:
        return "it has two dots in a row"
    if re.fullmatch(r"\d+\.\d+\.\d+\.\d+", name):
        return "it has the form of an IP address"
    if start := next((start for start in RESERVED_BUCKET_STARTS if name.startswith(start)), None):
        return f"S3 keeps names that begin with {start!r}"
    if end := next((end for end in RESERVED_BUCKET_ENDS if name.endswith(end)), None):
        return f"S3 keeps names that end in {end!r}"
    return None


def digest8(work: dict[str, Any]) -> str:
    """Eight hex digits of SHA-256 over ``work`` as canonical JSON."""
    return hashlib.sha256(json.dumps(work, sort_keys=True, separators=(",", ":")).encode()).hexdigest()[:8]


def training_part(training_job: str) -> str:
    """The training job's name as compilation jobs' names begin with it: sanitised first, then cut.

    Raises:
        InvalidName: nothing of the training job's name is left after sanitising.
    """
    clean = re.sub(r"[^a-zA-Z0-9-]+", "-", training_job).strip("-")[:TRAINING_PART_LIMIT].rstrip("-")
    if not clean:
        raise InvalidName(
            f"{training_job!r} has no letter or digit to name a compilation job with",
            name=training_job,
            remedy="Give a training job's name.",
        )
    return clean


def job_name_stem(training_job: str, suffix: str, digest: str) -> str:
    """A compilation job's name without its attempt: ``<training job>-<suffix>-<8 hex>``."""
    return f"{training_part(training_job)}-{suffix}-{digest}"


def job_name(stem: str, attempt: int) -> str:
    """A compilation job's whole name: ``<training job>-<suffix>-<8 hex>-<n>``.

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
    """The attempt n at the end of a compilation job's name, or None for a name that is not ours."""
    match = re.fullmatch(r".+-[0-9a-f]{8}-([1-9]\d{0,2})", name)
    return int(match[1]) if match else None


def component_base(model_name: str, component_name: str | None = None) -> str:
    """The base of a component's name: the given one, else ``model-`` and the model's name as a slug.

    Raises:
        InvalidName: a given base does not start with ``model-`` or has other characters than ``a-zA-Z0-9._-``.
    """
    if component_name:
        if not COMPONENT_BASE_PATTERN.fullmatch(component_name):
            raise InvalidName(
                f"component name {component_name!r}: devices accept only names that start with 'model-' and go on "
                f"with letters, digits, '.', '_' or '-'",
                name=component_name,
                remedy=f"Give one such as 'model-{_slug(component_name)}'.",
            )
        return component_name
    slug = _slug(model_name)
    if not slug.strip("-"):
        raise InvalidName(
            f"model name {model_name!r} has no letter or digit that a component's name may hold",
            name=model_name,
            remedy="Give another model name, or a component name such as 'model-lid-inspection'.",
        )
    return f"model-{slug}"


def portal_component_base(model_name: str) -> str:
    """The base that the earlier portal makes of a model's name: every odd character a hyphen, not every run of them."""
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
    """The partition of a Region, as its ARNs begin: ``aws``, ``aws-cn``, ``aws-us-gov``...

    A table of beginnings, because botocore, whose it is, takes longer to load than most verbs to run.
    """
    return next((name for start, name in PARTITIONS.items() if region.startswith(start)), "aws")


def training_job_arn(region: str, account_id: str, training_job: str) -> str:
    """The ARN of a training job; it can be computed, not only read."""
    return f"arn:{partition(region)}:sagemaker:{region}:{account_id}:training-job/{training_job}"


def component_arn(region: str, account_id: str, component: str, version: str | None = None) -> str:
    """The ARN of a component, or of one of its versions; it can be computed, not only read."""
    arn = f"arn:{partition(region)}:greengrass:{region}:{account_id}:components:{component}"
    return f"{arn}:versions:{version}" if version else arn


def repackaged_uri(model_artifact: str) -> str:
    """Where the repackaged ``.pt`` goes: ``model_for_compilation.tar.gz`` beside the trained archive."""
    return f"{model_artifact.rpartition('/')[0]}/{REPACKAGED_NAME}"


def trained_archive_uri(bucket: str, training_job: str) -> str:
    """The key that a training job's archive has in the use case's bucket, as SageMaker writes it."""
    return f"s3://{bucket}/models/training/{training_job}/output/model.tar.gz"


def compilation_output(bucket: str, job: str, target: str) -> str:
    """``S3OutputLocation`` of a compilation job; the archive's own name below it is read from Describe."""
    return f"s3://{bucket}/models/compilation/{job}/{target}"
