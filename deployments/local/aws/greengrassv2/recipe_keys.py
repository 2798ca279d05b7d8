"""The keys of a component recipe: sent in any case, stored in PascalCase, given back in the form of the settings.

Source: "AWS IoT Greengrass component recipe reference". What users name themselves (dependencies, configuration,
lifecycle steps, platform attributes) is no key of the recipe and stays as it is.
"""

from __future__ import annotations

import copy
from typing import Any

from deployments.local.aws.settings import RecipeForm

Keys = dict[str, Any]
"""The keys of an object in PascalCase, each with the keys of what it holds: an object, each entry of a list or,
under ``*``, each value of a map; None where the content is free."""

ARTIFACT: Keys = {
    "Uri": None,
    "Digest": None,
    "Algorithm": None,
    "Unarchive": None,
    "Permission": {"Read": None, "Execute": None},
}
RECIPE: Keys = {
    "RecipeFormatVersion": None,
    "ComponentName": None,
    "ComponentVersion": None,
    "ComponentType": None,
    "ComponentDescription": None,
    "ComponentPublisher": None,
    "ComponentSource": None,
    "ComponentConfiguration": {"DefaultConfiguration": None},
    "ComponentDependencies": {"*": {"VersionRequirement": None, "DependencyType": None}},
    "Manifests": {
        "Name": None,
        "Platform": None,
        "Lifecycle": None,
        "Selections": None,
        "Artifacts": ARTIFACT,
    },
    "Lifecycle": None,
}
_DEFAULTS = {"ComponentType": "aws.greengrass.generic", "Lifecycle": {}}
_PERMISSION = {"Read": "OWNER", "Execute": "NONE"}
_EMPTY: tuple[Any, ...] = (None, "", {}, [])


def pascal(value: Any, keys: Keys | None = RECIPE) -> Any:
    """A recipe, or a part of it, with its keys in PascalCase; keys that no recipe has stay as they are."""
    if keys is None:
        return value
    if isinstance(value, list):
        return [pascal(entry, keys) for entry in value]
    if not isinstance(value, dict):
        return value
    if "*" in keys:
        return {name: pascal(entry, keys["*"]) for name, entry in value.items()}
    known: dict[str, str] = {key.casefold(): key for key in keys}
    named = {known.get(str(key).casefold(), str(key)): entry for key, entry in value.items()}
    return {key: pascal(entry, keys.get(key)) for key, entry in named.items()}


def in_form(recipe: dict[str, Any], form: RecipeForm) -> dict[str, Any]:
    """A stored recipe as GetComponent gives it back."""
    if form is RecipeForm.AS_SENT:
        return recipe
    complete = _with_defaults(recipe)
    if form is RecipeForm.WITH_DEFAULTS:
        return complete
    normalised: dict[str, Any] = _camel(complete, RECIPE)
    return normalised


def _with_defaults(recipe: dict[str, Any]) -> dict[str, Any]:
    complete: dict[str, Any] = _DEFAULTS | copy.deepcopy(recipe)
    complete["Manifests"] = [{"Lifecycle": {}} | manifest for manifest in complete.get("Manifests") or []]
    for manifest in complete["Manifests"]:
        manifest["Artifacts"] = [_complete_artifact(artifact) for artifact in manifest.get("Artifacts") or []]
    for dependency in (complete.get("ComponentDependencies") or {}).values():
        dependency.setdefault("DependencyType", "HARD")
    return complete


def _complete_artifact(artifact: dict[str, Any]) -> dict[str, Any]:
    permission = _PERMISSION | (artifact.get("Permission") or {})
    return {"Unarchive": "NONE"} | artifact | {"Permission": permission}


def _camel(value: Any, keys: Keys | None) -> Any:
    if keys is None:
        return value
    if isinstance(value, list):
        return [_camel(entry, keys) for entry in value]
    if not isinstance(value, dict):
        return value
    if "*" in keys:
        return {name: _camel(entry, keys["*"]) for name, entry in sorted(value.items())}
    made = {key[0].lower() + key[1:]: _camel(entry, keys.get(key)) for key, entry in sorted(value.items())}
    return {key: entry for key, entry in made.items() if entry not in _EMPTY}
