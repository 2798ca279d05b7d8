"""Component recipes: parsing, the service's rules, and the digests that the service adds."""

from __future__ import annotations

import base64
import copy
import hashlib
import json
import re
from collections.abc import Iterator
from typing import Any

import yaml

from deployments.local.aws.greengrassv2.exceptions import AccessDeniedException, ValidationException
from deployments.local.aws.greengrassv2.recipe_keys import pascal
from deployments.local.aws.services.objects import bucket_of, object_of, split_uri

FORMAT_VERSION = "2020-01-25"
NAME = re.compile(r"[a-zA-Z0-9_.-]{1,128}")
VERSION = re.compile(r"(0|[1-9]\d*|0+)\.(\d+)\.(\d+)(?:-([0-9A-Za-z.-]+))?(?:\+[0-9A-Za-z.-]+)?")
LARGEST_VERSION_PART = 999_999
UNREAD_SCHEMES = ("docker:", "greengrass:")
"""Artifacts outside S3, whose existence the service does not check."""
_CHOICES = {
    "Unarchive": ("NONE", "ZIP"),
    "Read": ("NONE", "OWNER", "ALL"),
    "Execute": ("NONE", "OWNER", "ALL"),
    "DependencyType": ("HARD", "SOFT"),
}
"""The values of these fields, accepted in any case and stored in capitals."""


class _YamlAsJson(yaml.SafeLoader):
    """YAML without dates, which JSON lacks: ``RecipeFormatVersion: 2020-01-25`` is a string."""

    yaml_implicit_resolvers = {  # noqa: RUF012 - yaml's own name and form
        first: [entry for entry in entries if entry[0] != "tag:yaml.org,2002:timestamp"]
        for first, entries in yaml.SafeLoader.yaml_implicit_resolvers.items()
    }


def parse(blob: bytes, caller: str) -> dict[str, Any]:
    """The recipe in ``blob``, JSON or YAML, with its keys in PascalCase.

    Args:
        blob: the inline recipe.
        caller: the ARN for the error message.

    Raises:
        AccessDeniedException: it cannot be parsed. The misleading error is the service's own.
    """
    try:
        text = blob.decode()
        json_text = text.lstrip().startswith("{")
        read = json.loads(text) if json_text else yaml.load(text, _YamlAsJson)  # noqa: S506 - a SafeLoader
        # Turns keys into strings, and rejects what JSON cannot represent.
        recipe = json.loads(json.dumps(read, allow_nan=False))
    except (UnicodeDecodeError, ValueError, TypeError, RecursionError, yaml.YAMLError):
        recipe = None
    if not isinstance(recipe, dict):
        raise AccessDeniedException(f"User: {caller} is not authorized to perform: null on resource: null")
    named: dict[str, Any] = pascal(recipe)
    return named


def version_key(version: str) -> tuple[int, int, int, bool, str]:
    """The sort key of a component version; a pre-release comes before its release."""
    match = VERSION.fullmatch(version)
    if match is None:
        raise ValidationException(
            f"Component version {version!r} is not valid: expected a semantic version such as 1.0.0"
        )
    major, minor, patch, pre = match.groups()
    return int(major), int(minor), int(patch), pre is None, pre or ""


def check(recipe: dict[str, Any]) -> None:
    """Validate a parsed recipe against the service's rules, and put enumerated values into capitals.

    Raises:
        ValidationException: it breaks a rule; the message names the first.
    """
    if recipe.get("RecipeFormatVersion") != FORMAT_VERSION:
        raise _invalid(f"RecipeFormatVersion must be {FORMAT_VERSION}.")
    name, version = recipe.get("ComponentName"), recipe.get("ComponentVersion")
    if not isinstance(name, str) or not NAME.fullmatch(name):
        raise _invalid(f"ComponentName {name!r} must match [a-zA-Z0-9-_.]{{1,128}}.")
    if not isinstance(version, str) or len(version) > 64:
        raise _invalid(f"ComponentVersion {version!r} is not a version.")
    if max(version_key(version)[:3]) > LARGEST_VERSION_PART:
        raise _invalid(f"the parts of ComponentVersion {version} must not exceed {LARGEST_VERSION_PART}.")
    _held(recipe, "Lifecycle", dict, "the recipe")
    _held(recipe, "ComponentConfiguration", dict, "the recipe")
    for manifest in _held(recipe, "Manifests", list, "the recipe"):
        if not isinstance(manifest, dict):
            raise _invalid("Manifests must be a list of objects.")
        _check_manifest(manifest)
    for name, dependency in _held(recipe, "ComponentDependencies", dict, "the recipe").items():
        if not isinstance(dependency, dict) or not isinstance(dependency.get("VersionRequirement"), str):
            raise _invalid(f"dependency {name} needs a VersionRequirement.")
        _choose(dependency, "DependencyType", f"dependency {name}")


def _invalid(found: str) -> ValidationException:
    return ValidationException(f"The recipe file is invalid: {found}")


def _held(owner: dict[str, Any], key: str, kind: type, where: str) -> Any:
    value = owner.get(key)
    if value is not None and not isinstance(value, kind):
        raise _invalid(f"{key} of {where} must be {'a list' if kind is list else 'an object'}.")
    return kind() if value is None else value


def _choose(owner: dict[str, Any], key: str, where: str) -> None:
    value = owner.get(key)
    if value is None:
        return
    choices = _CHOICES[key]
    if not isinstance(value, str) or value.upper() not in choices:
        raise _invalid(f"{key} of {where} is {value!r}, expected {', '.join(choices[:-1])} or {choices[-1]}.")
    owner[key] = value.upper()


def _check_manifest(manifest: dict[str, Any]) -> None:
    for part in ("Platform", "Lifecycle"):
        _held(manifest, part, dict, "a manifest")
    names: list[str] = []
    for artifact in _held(manifest, "Artifacts", list, "a manifest"):
        uri = artifact.get("Uri") if isinstance(artifact, dict) else None
        if not isinstance(uri, str) or not _is_artifact(uri):
            raise _invalid(f"artifact Uri {uri!r} must be s3://bucket/key, docker:image or greengrass:name.")
        _choose(artifact, "Unarchive", uri)
        for key in ("Read", "Execute"):
            _choose(_held(artifact, "Permission", dict, uri), key, uri)
        if not uri.startswith("docker:"):
            names.append(uri.rpartition("/")[2])
    if len(set(names)) < len(names):
        raise _invalid("artifact file names must be unique in a manifest.")


def _is_artifact(uri: str) -> bool:
    if uri.startswith("s3://"):
        return all(split_uri(uri))
    return any(uri.startswith(scheme) and len(uri) > len(scheme) for scheme in UNREAD_SCHEMES)


def artifacts(recipe: dict[str, Any]) -> Iterator[dict[str, Any]]:
    """The artifacts of all manifests in the recipe."""
    for manifest in recipe.get("Manifests") or []:
        yield from manifest.get("Artifacts") or []


def with_digests(recipe: dict[str, Any], account: str, region: str, limit: int) -> dict[str, Any]:
    """The recipe as stored by the service, with the digest of every artifact in S3.

    Args:
        recipe: a validated recipe.
        account: the account of the request.
        region: where the buckets must be.
        limit: the maximum total size of the artifacts in bytes.

    Raises:
        ValidationException: an artifact is missing or in another Region, or they are too large.
    """
    stored = copy.deepcopy(recipe)
    total = 0
    for artifact in artifacts(stored):
        if artifact["Uri"].startswith(UNREAD_SCHEMES):
            continue
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
    """The platforms of a recipe as DescribeComponent returns them; one without attributes is any platform."""
    found = []
    for manifest in recipe.get("Manifests") or []:
        attributes = {key: str(value) for key, value in (manifest.get("Platform") or {}).items()}
        named = {"name": str(manifest["Name"])} if manifest.get("Name") else {}
        found.append({**named, "attributes": attributes})
    return found
