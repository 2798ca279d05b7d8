"""Checks a published component as a device would see it: its recipe, and its package in S3."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from botocore.exceptions import ClientError

from dda_core.archives.seekable import open_seekable
from dda_core.aws.errors import is_not_found
from dda_core.components.recipe_comparison import artifact_uri_of
from dda_core.components.versions import list_versions, read_recipe
from dda_core.device.check import DeviceCheck, check_on_device
from dda_core.device.findings import DeviceFinding
from dda_core.device.folder import NOTHING, Expectation
from dda_core.device.startup import read_start_up
from dda_core.exceptions import ComponentMissing, FileMissing
from dda_core.model.verify import PackageContents, name_findings, read_package

if TYPE_CHECKING:
    from mypy_boto3_greengrassv2 import GreengrassV2Client
    from mypy_boto3_s3 import S3Client


def check_file(path: Path, recipe: Mapping[str, Any] | None = None) -> DeviceCheck:
    """Check the package at ``path`` on the model of the device; the file is read completely.

    Raises:
        FileMissing: there is no such file.
    """
    if not path.is_file():
        raise FileMissing(
            f"{path} does not exist or is not a file", path=path, expected="a package (.zip) or a component's name"
        )
    with path.open("rb") as file:
        return check_contents(read_package(file, path.name, whole=True), path.name, path.stat().st_size, recipe)


def check_component(greengrass: GreengrassV2Client, s3: S3Client, arn: str) -> DeviceCheck:
    """Check a component version on the model of the device; only the parts of its package that rules need are read.

    Raises:
        ComponentMissing: it does not exist, or its recipe does not name one package.
        FileMissing: the package does not exist.
        AwsCallFailed: S3 refused, or did not respond.
    """
    try:
        recipe = read_recipe(greengrass, arn)
    except ClientError as error:
        if is_not_found(error):
            raise _missing(arn) from error
        raise
    uri = artifact_uri_of(recipe)
    if uri is None:
        raise ComponentMissing(
            f"{arn} is not a model component: its recipe does not have exactly one artifact in S3",
            component=arn,
            remedy="Give another component.",
        )
    with open_seekable(s3, uri) as file:
        name = uri.rpartition("/")[2]
        file.seek(0, 2)
        size = file.tell()
        return check_contents(read_package(file, name, whole=False), name, size, recipe)


def package_findings_in_s3(s3: S3Client, uri: str, expected: Expectation) -> list[DeviceFinding]:
    """The findings on the package at an ``s3://`` URI, from a few ranges of it.

    Raises:
        FileMissing: the package does not exist.
        AwsCallFailed: S3 refused, or did not respond.
    """
    with open_seekable(s3, uri) as file:
        return read_package(file, uri.rpartition("/")[2], whole=False).all_findings(expected)


def find_version(greengrass: GreengrassV2Client, component_arn: str, version: str | None = None) -> str:
    """The ARN of a component's version, by default the highest.

    Raises:
        ComponentMissing: there is no such component or version.
    """
    found = next((each for each in list_versions(greengrass, component_arn) if version in (None, each)), None)
    if found is None:
        raise _missing(component_arn, f"version {version} of " if version else "")
    return f"{component_arn}:versions:{found}"


def _missing(arn: str, part: str = "") -> ComponentMissing:
    return ComponentMissing(
        f"{part}{arn} does not exist",
        component=arn,
        remedy="Run `aws greengrassv2 list-components` to see what exists.",
    )


def check_contents(contents: PackageContents, name: str, size: int, recipe: Mapping[str, Any] | None) -> DeviceCheck:
    """Check a package's content, file name and size in bytes on the model of the device."""
    architecture = read_start_up(recipe, name).architecture if recipe is not None else None
    findings = [*name_findings(name, size), *contents.all_findings(replace(NOTHING, architecture=architecture))]
    return check_on_device(contents.files, contents.manifest, findings, name, recipe)
