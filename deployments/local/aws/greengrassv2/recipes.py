"""Component recipes: reading them, the rules of the service, and the digests that the service fills in."""

from __future__ import annotations

import base64
import copy
import hashlib
import json
import re
from typing import Any

import yaml

from deployments.local.aws.greengrassv2.exceptions import AccessDeniedException, ValidationException
from deployments.local.aws.storage import bucket_of, object_of, split_uri

FORMAT_VERSION = "2020-01-25"
NAME = re.compile(r"[a-zA-Z0-9_.-]{1,128}")
VERSION = re.compile(r"(0|[1-9]\d*|0+)\.(\d+)\.(\d+)(?:-([0-9A-Za-z.-]+))?(?:\+[0-9A-Za-z.-]+)?")
LARGEST_VERSION_PART = 999_999
UNARCHIVE = ("NONE", "ZIP")
DEPENDENCY_TYPES = ("HARD", "SOFT")


def parse(blob: bytes) -> dict[str, Any]:
    """The recipe in ``blob``, JSON or YAML.

    Raises:
        AccessDeniedException: it cannot be parsed. The misleading text is the service's own.
    """
    try:
        text = blob.decode()
        recipe = json.loads(text) if text.lstrip().startswith("{") else yaml.safe_load(text)
    except (UnicodeDecodeError, ValueError, yaml.YAMLError):
        recipe = None
    if not isinstance(recipe, dict):
        raise AccessDeniedException(
            "User: arn:aws:iam::123456789012:user/local is not authorized to perform: null on resource: null"
        )
    return recipe


def version_key(version: str) -> tuple[int, int, int, bool, str]:
    """What component versions are ordered by; a pre-release comes before its release."""
    match = VERSION.fullmatch(version)
    if match is None:
        raise ValidationException(
            f"Component version {version!r} is not valid: expected a semantic version such as 1.0.0"
        )
    major, minor, patch, pre = match.groups()
    return int(major), int(minor), int(patch), pre is None, pre or ""


def check(recipe: dict[str, Any]) -> None:
    """Hold a parsed recipe against the service's rules.

    Raises:
        ValidationException: the first rule that it breaks.
    """
    if str(recipe.get("RecipeFormatVersion")) != FORMAT_VERSION:
        raise ValidationException(f"The recipe file is invalid: RecipeFormatVersion must be {FORMAT_VERSION}.")
    name, version = recipe.get("ComponentName"), recipe.get("ComponentVersion")
    if not isinstance(name, str) or not NAME.fullmatch(name):
        raise ValidationException(
            f"The recipe file is invalid: ComponentName {name!r} must match [a-zA-Z0-9-_.]{{1,128}}."
        )
    if not isinstance(version, str) or len(version) > 64:
        raise ValidationException(f"The recipe file is invalid: ComponentVersion {version!r} is no version.")
    if max(version_key(version)[:3]) > LARGEST_VERSION_PART:
        raise ValidationException(
            "The recipe file is invalid: "
            f"the parts of ComponentVersion {version} must not exceed {LARGEST_VERSION_PART}."
        )
    manifests = recipe.get("Manifests")
    if not isinstance(manifests, list) or not manifests or not all(isinstance(m, dict) for m in manifests):
        raise ValidationException("The recipe file is invalid: Manifests must be a list with at least one manifest.")
    for manifest in manifests:
        _check_manifest(manifest)
    _check_dependencies(recipe.get("ComponentDependencies"))


def _check_manifest(manifest: dict[str, Any]) -> None:
    for part in ("Platform", "Lifecycle"):
        if not isinstance(manifest.get(part, {}), dict):
            raise ValidationException(f"The recipe file is invalid: {part} of a manifest must be an object.")
    names: list[str] = []
    for artifact in manifest.get("Artifacts") or []:
        uri = artifact.get("Uri") if isinstance(artifact, dict) else None
        if not isinstance(uri, str) or not uri.startswith("s3://") or not all(split_uri(uri)):
            raise ValidationException(f"The recipe file is invalid: artifact Uri {uri!r} must be s3://bucket/key.")
        if artifact.get("Unarchive", "NONE") not in UNARCHIVE:
            raise ValidationException(f"The recipe file is invalid: Unarchive of {uri} must be NONE or ZIP.")
        names.append(uri.rpartition("/")[2])
    if len(set(names)) < len(names):
        raise ValidationException("The recipe file is invalid: artifact file names must be unique in a component.")


def _check_dependencies(dependencies: Any) -> None:
    for name, dependency in (dependencies or {}).items():
        kind = dependency.get("DependencyType", "HARD") if isinstance(dependency, dict) else None
        if kind not in DEPENDENCY_TYPES or not dependency.get("VersionRequirement"):
            raise ValidationException(
                f"The recipe file is invalid: dependency {name} needs a VersionRequirement and type HARD or SOFT."
            )


def artifacts(recipe: dict[str, Any]) -> list[dict[str, Any]]:
    """The artifacts of every manifest, as they stand in the recipe."""
    return [artifact for manifest in recipe["Manifests"] for artifact in manifest.get("Artifacts") or []]


def with_digests(recipe: dict[str, Any], account: str, region: str, limit: int) -> dict[str, Any]:
    """The recipe as the service stores it: with the digest of every artifact.

    Args:
        limit: the most bytes that all artifacts together may have.

    Raises:
        ValidationException: an artifact is missing or in another Region, or they are too large.
    """
    stored = copy.deepcopy(recipe)
    total = 0
    for artifact in artifacts(stored):
        bucket, found = bucket_of(account, split_uri(artifact["Uri"])[0]), object_of(account, artifact["Uri"])
        if bucket is None or found is None or bucket.region_name != region:
            raise ValidationException(
                "Specified artifact resource cannot be accessed for the following artifact URI: " + artifact["Uri"]
            )
        total += found.size
        if total > limit:
            raise ValidationException(f"The total size of the component's artifacts exceeds {limit} bytes.")
        artifact["Digest"] = base64.b64encode(hashlib.sha256(found.value).digest()).decode()
        artifact["Algorithm"] = "SHA-256"
    return stored


def platforms(recipe: dict[str, Any]) -> list[dict[str, Any]]:
    """The platforms of a recipe as DescribeComponent tells them."""
    told = []
    for manifest in recipe["Manifests"]:
        attributes = {str(key): str(value) for key, value in manifest.get("Platform", {}).items()}
        told.append(
            {"name": manifest["Name"], "attributes": attributes} if manifest.get("Name") else {"attributes": attributes}
        )
    return told
