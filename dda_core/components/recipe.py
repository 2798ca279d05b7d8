"""The recipe of a model component: creating, checking and parsing it.

The rules come from the AWS IoT Greengrass developer guide (recipe reference, quotas), from botocore's service model
and, where marked ``[device]``, from the inference software on the device.
"""

from __future__ import annotations

import json
import re
from collections import Counter
from collections.abc import Iterable, Mapping
from typing import Any, NamedTuple

from dda_core.components.startup import PLAIN_TIMEOUT_SECONDS, startup_line, startup_script, startup_timeout
from dda_core.exceptions import RecipeInvalid, YamlRefused
from dda_core.safe_yaml import MAX_BYTES, MAX_SHOWN, load_yaml
from dda_core.targets import CompilationTarget

RECIPE_LIMIT = 16 * 1024
"""AWS IoT Greengrass's limit for a recipe, in bytes."""
NAME_LIMIT = 128
VERSION_LIMIT = 64
LARGEST_VERSION_PART = 999_999

_FORMAT = "2020-01-25"
_PUBLISHER = "Amazon Lookout for Vision"
_NAME = re.compile(r"[a-zA-Z0-9._-]+")
_TYPE = re.compile(r"aws\.greengrass\.(nucleus|generic|plugin|lambda)")
_SEMVER = re.compile(r"(\d+)\.(\d+)\.(\d+)(?:-[0-9A-Za-z.-]+)?(?:\+[0-9A-Za-z.-]+)?", re.ASCII)
_DEVICE_VERSION = re.compile(r"(\d+)\.0+\.0+", re.ASCII)
_S3_URI = re.compile(r"s3://[a-z0-9][a-z0-9.-]{1,61}[a-z0-9]/.*[^/]", re.DOTALL)
_PERMISSIONS = ("NONE", "OWNER", "ALL")


class RecipeValues(NamedTuple):
    """The values in which the recipes of model components differ.

    Attributes:
        component: the component's full name, such as ``model-cookie-x86-64-cuda``.
        version: ``<major>.0.0``.
        friendly_name: shown on the device, such as ``model-cookie (x86_64-cuda)``.
        target: what the model was compiled for; it determines the platform.
        localserver: name of the LocalServer component that the model depends on.
        artifact_uri: ``s3://`` URI of the package; the device unpacks it into a folder of the same name.
        startup_wait_seconds: how long the device may wait for LocalServer's files before it converts the model.
    """

    component: str
    version: str
    friendly_name: str
    target: CompilationTarget
    localserver: str
    artifact_uri: str
    startup_wait_seconds: int = 0


def component_recipe(values: RecipeValues) -> dict[str, Any]:
    """The recipe of one version of a model component; the order of its keys is part of the format."""
    component, version, wait = values.component, values.version, values.startup_wait_seconds
    folder = values.artifact_uri.rpartition("/")[2].removesuffix(".zip")
    return {
        "RecipeFormatVersion": _FORMAT,
        "ComponentName": component,
        "ComponentVersion": version,
        "ComponentType": "aws.greengrass.generic",
        "ComponentPublisher": _PUBLISHER,
        "ComponentConfiguration": {
            "DefaultConfiguration": {
                "Autostart": False,
                "PYTHONPATH": "/usr/bin/python3.9",
                "ModelName": values.friendly_name,
            }
        },
        "ComponentDependencies": {values.localserver: {"VersionRequirement": "^1.0.0", "DependencyType": "HARD"}},
        "Manifests": [
            {
                "Platform": {"os": "linux", "architecture": values.target.platform},
                "Lifecycle": {
                    "Startup": _step(
                        startup_script(startup_line(component, version, folder), wait),
                        startup_timeout(wait),
                    ),
                    "Shutdown": _step(
                        f"python3 /aws_dda/convert_model_cleanup.py --model_name {component}", PLAIN_TIMEOUT_SECONDS
                    ),
                },
                "Artifacts": [
                    {
                        "Uri": values.artifact_uri,
                        "Digest": "",
                        "Algorithm": "SHA-256",
                        "Unarchive": "ZIP",
                        "Permission": {"Read": "ALL", "Execute": "ALL"},
                    }
                ],
            }
        ],
        "Lifecycle": {},
    }


def _step(script: str, timeout: int) -> dict[str, Any]:
    return {
        "Script": script,
        "Timeout": timeout,
        "requiresPrivilege": True,
        "runWith": {"posixUser": "root"},
    }


def recipe_bytes(recipe: Mapping[str, Any]) -> bytes:
    """The recipe as sent to AWS: ASCII JSON without spaces, the same bytes on every run."""
    return json.dumps(recipe, separators=(",", ":"), allow_nan=False).encode()


def parse_recipe(text: bytes, where: str) -> dict[str, Any]:
    """Parse a recipe in JSON or YAML; ``where`` names it in messages.

    Raises:
        RecipeInvalid: it is neither, has a duplicate key, or is too large or too deeply nested for a recipe.
    """
    try:
        if text.lstrip().startswith(b"{") and len(text) <= MAX_BYTES:
            recipe = json.loads(text, object_pairs_hook=_each_key_once)
        else:
            recipe = load_yaml(text)
    except (ValueError, RecursionError, YamlRefused) as error:
        raise RecipeInvalid(f"this is not a recipe in JSON or YAML ({error})", where=where) from error
    if not isinstance(recipe, dict):
        raise RecipeInvalid(
            "this is not a recipe", where=where, expected="an object with ComponentName, ComponentVersion, ..."
        )
    return recipe


def _each_key_once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    made = dict(pairs)
    if len(made) < len(pairs):
        [(name, _)] = Counter(name for name, _ in pairs).most_common(1)
        raise ValueError(f"the key {name[:MAX_SHOWN]!r} occurs twice")
    return made


def component_version_for(existing: Iterable[str]) -> str:
    """The next version: 1 + the highest existing major, as ``<major>.0.0``.

    Raises:
        RecipeInvalid: the component has run out of versions.
    """
    majors = [int(match[1]) for version in existing if (match := _SEMVER.fullmatch(version))]
    major = max(majors, default=0) + 1
    if major > LARGEST_VERSION_PART:
        raise RecipeInvalid(
            f"the highest existing version is {major - 1}.x, and AWS IoT Greengrass allows no major version over "
            f"{LARGEST_VERSION_PART}",
            remedy="Delete the versions that are not needed, or give another component name.",
        )
    return f"{major}.0.0"


def check_recipe(recipe: Mapping[str, Any]) -> None:
    """Check the recipe against the rules of the service and of the device.

    Raises:
        RecipeInvalid: it breaks a rule; the error lists all of them.
    """
    findings = [
        *_name_findings(recipe.get("ComponentName")),
        *_version_findings(recipe.get("ComponentVersion")),
        *_head_findings(recipe),
        *_dependency_findings(recipe.get("ComponentDependencies")),
        *_manifest_findings(recipe.get("Manifests")),
    ]
    size = len(recipe_bytes(recipe))
    if size > RECIPE_LIMIT:
        findings.append(f"the recipe has {size} bytes, at most {RECIPE_LIMIT} are allowed: shorten the friendly name")
    if findings:
        what = f"{recipe.get('ComponentName')} {recipe.get('ComponentVersion')}"
        raise RecipeInvalid(f"it cannot be published: {'; '.join(findings)}", where=f"the recipe of {what}")


def _name_findings(name: object) -> list[str]:
    if not isinstance(name, str) or not _NAME.fullmatch(name):
        return [f"ComponentName is {name!r}, expected letters, digits, '.', '_' and '-'"]
    findings = []
    if len(name) > NAME_LIMIT:
        findings.append(f"ComponentName has {len(name)} characters, at most {NAME_LIMIT} are allowed")
    if not name.startswith("model-"):  # [device]
        findings.append(f"ComponentName is {name!r}, expected to start with 'model-': devices ignore other components")
    return findings


def _version_findings(version: object) -> list[str]:
    match = _SEMVER.fullmatch(version) if isinstance(version, str) else None
    if not isinstance(version, str) or match is None:
        return [f"ComponentVersion is {version!r}, expected a semantic version such as 1.0.0"]
    findings = []
    if len(version) > VERSION_LIMIT:
        findings.append(f"ComponentVersion has {len(version)} characters, at most {VERSION_LIMIT} are allowed")
    if any(int(part) > LARGEST_VERSION_PART for part in match.groups()):
        findings.append(f"ComponentVersion is {version!r}, no part may be over {LARGEST_VERSION_PART}")
    device = _DEVICE_VERSION.fullmatch(version)  # [device]
    if device is None or int(device[1]) == 0:
        findings.append(
            f"ComponentVersion is {version!r}, expected <major>.0.0 with a major over 0: devices read nothing else"
        )
    return findings


def _head_findings(recipe: Mapping[str, Any]) -> list[str]:
    findings = []
    if recipe.get("RecipeFormatVersion") != _FORMAT:
        findings.append(f"RecipeFormatVersion is {recipe.get('RecipeFormatVersion')!r}, expected {_FORMAT!r}")
    kind = recipe.get("ComponentType", "aws.greengrass.generic")
    if not isinstance(kind, str) or not _TYPE.fullmatch(kind):
        findings.append(f"ComponentType is {kind!r}, expected 'aws.greengrass.generic'")
    for key in ("ComponentConfiguration", "Lifecycle"):
        if not isinstance(recipe.get(key, {}), Mapping):
            findings.append(f"{key} is {recipe[key]!r}, expected an object")
    return findings


def _dependency_findings(dependencies: object) -> list[str]:
    if dependencies is None:
        return []
    if not isinstance(dependencies, Mapping):
        return [f"ComponentDependencies is {dependencies!r}, expected an object"]
    findings = []
    for name, rule in dependencies.items():
        if not isinstance(name, str) or not _NAME.fullmatch(name) or len(name) > NAME_LIMIT:
            findings.append(f"the dependency {name!r} is not a valid component name (letters, digits, '.', '_', '-')")
        if not isinstance(rule, Mapping) or not rule.get("VersionRequirement"):
            findings.append(f"the dependency {name!r} has no VersionRequirement, such as '^1.0.0'")
        elif rule.get("DependencyType", "HARD") not in ("HARD", "SOFT"):
            findings.append(f"the dependency {name!r} is {rule['DependencyType']!r}, expected HARD or SOFT")
    return findings


def _manifest_findings(manifests: object) -> list[str]:
    if not isinstance(manifests, list) or not manifests:
        return [f"Manifests is {manifests!r}, expected a list of at least one manifest"]
    findings: list[str] = []
    for number, manifest in enumerate(manifests):
        where = f"Manifests[{number}]"
        if not isinstance(manifest, Mapping):
            findings.append(f"{where} is {manifest!r}, expected an object")
            continue
        for key in ("Platform", "Lifecycle"):
            if not isinstance(manifest.get(key, {}), Mapping):
                findings.append(f"{where}.{key} is {manifest[key]!r}, expected an object")
        artifacts = manifest.get("Artifacts", [])
        if isinstance(artifacts, list):
            findings += _artifact_findings(where, artifacts)
        else:
            findings.append(f"{where}.Artifacts is {artifacts!r}, expected a list")
    return findings


def _artifact_findings(where: str, artifacts: list[Any]) -> list[str]:
    findings = []
    names: Counter[str] = Counter()
    for number, artifact in enumerate(artifacts):
        here = f"{where}.Artifacts[{number}]"
        if not isinstance(artifact, Mapping):
            findings.append(f"{here} is {artifact!r}, expected an object")
            continue
        uri = artifact.get("Uri")
        if isinstance(uri, str) and _S3_URI.fullmatch(uri):
            names[uri.rpartition("/")[2]] += 1
        else:
            findings.append(f"{here}.Uri is {uri!r}, expected s3://<bucket>/<key>")
        if artifact.get("Unarchive", "NONE") not in ("NONE", "ZIP"):
            findings.append(f"{here}.Unarchive is {artifact['Unarchive']!r}, expected NONE or ZIP")
        permission = artifact.get("Permission", {})
        for kind in ("Read", "Execute"):
            given = permission.get(kind, "NONE") if isinstance(permission, Mapping) else permission
            if given not in _PERMISSIONS:
                findings.append(f"{here}.Permission.{kind} is {given!r}, expected one of {', '.join(_PERMISSIONS)}")
    # The device keeps all artifacts of a component in one folder.
    findings += [
        f"{where} has {count} artifacts named {name!r}, expected unique file names"
        for name, count in names.items()
        if count > 1
    ]
    return findings
