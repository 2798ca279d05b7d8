"""A published component, looked at as a device would meet it: its recipe, and its package where that lies in S3."""

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
    """How a device fares with the package at ``path``, which is read to its last byte.

    Raises:
        FileMissing: there is no such file.
    """
    if not path.is_file():
        raise FileMissing(
            f"{path} does not exist or is no file", path=path, expected="a package (.zip) or a component's name"
        )
    with path.open("rb") as file:
        return check_contents(read_package(file, path.name, whole=True), path.name, path.stat().st_size, recipe)


def check_component(greengrass: GreengrassV2Client, s3: S3Client, arn: str) -> DeviceCheck:
    """How a device fares with the component version of that ARN; of its package only what rules look at is read.

    Raises:
        ComponentMissing: there is none, or its recipe names no package.
        FileMissing: the package is not there.
        AwsCallFailed: S3 refused, or did not answer.
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
            f"{arn} has no one artifact in S3: it is no model component",
            component=arn,
            remedy="Give another component.",
        )
    with open_seekable(s3, uri) as file:
        name = uri.rpartition("/")[2]
        file.seek(0, 2)
        size = file.tell()
        return check_contents(read_package(file, name, whole=False), name, size, recipe)


def package_findings_in_s3(s3: S3Client, uri: str, expected: Expectation) -> list[DeviceFinding]:
    """What a device finds wrong with the package at an ``s3://`` URI, from a few ranges of it.

    Raises:
        FileMissing: the package is not there.
        AwsCallFailed: S3 refused, or did not answer.
    """
    with open_seekable(s3, uri) as file:
        return read_package(file, uri.rpartition("/")[2], whole=False).all_findings(expected)


def find_version(greengrass: GreengrassV2Client, component_arn: str, version: str | None = None) -> str:
    """The ARN of a component's version, by default of its highest.

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
        remedy="`aws greengrassv2 list-components` lists what there is.",
    )


def check_contents(contents: PackageContents, name: str, size: int, recipe: Mapping[str, Any] | None) -> DeviceCheck:
    """How a device fares with a package of that file name and size in bytes, as far as it was read."""
    architecture = read_start_up(recipe, name).architecture if recipe is not None else None
    findings = [*name_findings(name, size), *contents.all_findings(replace(NOTHING, architecture=architecture))]
    return check_on_device(contents.files, contents.manifest, findings, name, recipe)
