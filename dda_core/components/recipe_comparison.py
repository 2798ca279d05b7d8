"""Whether a recipe stored by AWS IoT Greengrass publishes the same as ours.

Only what determines the device's files and commands is compared. The service may normalise what it stores: other case
or order of keys, dropped empty fields, added defaults, booleans as text. None of that calls for a new version.
"""

from __future__ import annotations

import re
from collections.abc import Container, Mapping
from typing import Any

from dda_core.components.startup import without_wait

_STEPS = ("bootstrap", "install", "recover", "run", "setenv", "shutdown", "startup")
"""The lifecycle keys that have an effect on a device."""


def same_recipe(existing: Mapping[str, Any], ours: Mapping[str, Any], *, localservers: Container[str] = ()) -> bool:
    """Whether two recipes publish the same package in the same way.

    Compared: the component's name, type and publisher; our keys of the default configuration; the dependencies, with
    requirement and type; the platform's operating system and architecture; every step's script, privilege and user;
    the artifact's URI, unpacking and permission. Ignored: the version, including the one in the startup script;
    whether and how long that script waits for LocalServer's files; timeouts; the digest; and all other keys.

    Args:
        existing: what the service has stored, keys in any case.
        ours: what would be published.
        localservers: names of LocalServer components that count as equal to ours.
    """
    theirs, mine = _comparable(existing), _comparable(ours)
    wanted = mine["configuration"]
    theirs["configuration"] = {key: value for key, value in theirs["configuration"].items() if key in wanted}
    if len(theirs["dependencies"]) == len(mine["dependencies"]) == 1:
        (name,), (own,) = theirs["dependencies"], mine["dependencies"]
        if name in localservers and own in localservers:
            theirs["dependencies"] = {own: theirs["dependencies"][name]}
    return bool(theirs == mine)


def artifact_uri_of(recipe: Mapping[str, Any]) -> str | None:
    """The URI of the recipe's only artifact; None for a recipe with none or several, which is not ours."""
    manifests = _entries(_folded(recipe).get("manifests"))
    uris = [_folded(each).get("uri") for manifest in manifests for each in _entries(manifest.get("artifacts"))]
    return uris[0] if len(uris) == 1 and isinstance(uris[0], str) else None


def _comparable(recipe: Mapping[str, Any]) -> dict[str, Any]:
    """The compared values under our own keys. Absent values count as the service's defaults."""
    top = _folded(recipe)
    version = _plain(top.get("componentversion"))
    configuration = _folded(_folded(top.get("componentconfiguration")).get("defaultconfiguration"))
    dependencies = top.get("componentdependencies")
    return {
        "name": _plain(top.get("componentname")),
        "type": _plain(top.get("componenttype")) or "aws.greengrass.generic",
        "publisher": _plain(top.get("componentpublisher")),
        "configuration": {key: _plain(value) for key, value in configuration.items()},
        "dependencies": {
            str(name): (_plain(rule.get("versionrequirement")), (_plain(rule.get("dependencytype")) or "HARD").upper())
            for name, rule in (
                (name, _folded(rule))
                for name, rule in (dependencies.items() if isinstance(dependencies, Mapping) else ())
            )
        },
        "lifecycle": _lifecycle(top.get("lifecycle"), version),
        "manifests": [_manifest(each, version) for each in _entries(top.get("manifests"))],
    }


def _manifest(manifest: Mapping[str, Any], version: str) -> dict[str, Any]:
    platform = _folded(manifest.get("platform"))
    artifacts = []
    for artifact in _entries(manifest.get("artifacts")):
        permission = _folded(artifact.get("permission"))
        artifacts.append(
            {
                "uri": _plain(artifact.get("uri")),
                "unarchive": (_plain(artifact.get("unarchive")) or "NONE").upper(),
                "read": (_plain(permission.get("read")) or "OWNER").upper(),
                "execute": (_plain(permission.get("execute")) or "NONE").upper(),
            }
        )
    return {
        "os": _plain(platform.get("os")),
        "architecture": _plain(platform.get("architecture")),
        "lifecycle": _lifecycle(manifest.get("lifecycle"), version),
        "artifacts": artifacts,
    }


def _lifecycle(lifecycle: object, version: str) -> dict[str, Any]:
    steps = {name: step for name, step in _folded(lifecycle).items() if name in _STEPS and step}
    return {name: _step(step, version) for name, step in steps.items()}


def _step(step: Any, version: str) -> Any:
    """A step's script, privilege and user; a step that is a string is its script."""
    fields = _folded(step) if isinstance(step, Mapping) else {"script": step}
    script = without_wait(_plain(fields.get("script")).replace("\r\n", "\n")).strip()
    if version:
        script = re.sub(rf"(--model_version ){re.escape(version)}(?=\s|$)", r"\1<version>", script)
    return {
        "script": script,
        "privilege": _plain(fields.get("requiresprivilege")) or "false",
        "user": _plain(_folded(fields.get("runwith")).get("posixuser")),
    }


def _entries(listed: object) -> list[dict[str, Any]]:
    """The objects of a list, with case-folded keys; anything else becomes an empty object."""
    return [_folded(each) for each in listed] if isinstance(listed, list | tuple) else []


def _folded(value: object) -> dict[str, Any]:
    """An object with case-folded keys; anything else becomes an empty object."""
    return {str(key).casefold(): field for key, field in value.items()} if isinstance(value, Mapping) else {}


def _plain(value: object) -> str:
    """A value as text: booleans and whole numbers as in JSON, None as an empty string."""
    if value is None:
        return ""
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, float) and value.is_integer():
        return str(int(value))
    return str(value)
