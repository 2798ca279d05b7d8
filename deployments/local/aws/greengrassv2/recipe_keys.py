"""The keys of a component recipe: accepted in any case, stored in PascalCase, returned as ``recipe_form`` says.

Source: "AWS IoT Greengrass component recipe reference". Names chosen by users (dependencies, configuration, lifecycle
steps, platform attributes) are not changed.
"""

from __future__ import annotations

import copy
from collections.abc import Callable
from typing import Any

from deployments.local.aws.settings import RecipeForm

Keys = dict[str, Any]
"""PascalCase key -> the keys of its value: of an object, of each entry of a list or, under ``*``, of each value of a
map; None for free content."""

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


def pascal(recipe: Any, keys: Keys | None = RECIPE) -> Any:
    """A recipe, or a part of it, with its keys in PascalCase; unknown keys are not changed."""
    return _rewritten(recipe, keys, lambda entries, _: entries)


def _rewritten(value: Any, keys: Keys | None, write: Callable[[dict[str, Any], bool], dict[str, Any]]) -> Any:
    """The value with every object in it rewritten by ``write``, from the inside out.

    ``write`` gets an object with PascalCase keys, and whether its keys are names chosen by users.
    """
    if keys is None:
        return value
    if isinstance(value, list):
        return [_rewritten(entry, keys, write) for entry in value]
    if not isinstance(value, dict):
        return value
    if "*" in keys:
        return write({name: _rewritten(entry, keys["*"], write) for name, entry in value.items()}, True)
    known: dict[str, str] = {key.casefold(): key for key in keys}
    named = {known.get(str(key).casefold(), str(key)): entry for key, entry in value.items()}
    return write({key: _rewritten(entry, keys.get(key), write) for key, entry in named.items()}, False)


def in_form(recipe: dict[str, Any], form: RecipeForm) -> dict[str, Any]:
    """A stored recipe as GetComponent returns it."""
    if form is RecipeForm.AS_SENT:
        return recipe
    complete = _with_defaults(recipe)
    if form is RecipeForm.WITH_DEFAULTS:
        return complete
    normalised: dict[str, Any] = _rewritten(complete, RECIPE, _normalised)
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


def _normalised(entries: dict[str, Any], named_by_users: bool) -> dict[str, Any]:
    """The entries sorted by key; unless users chose the keys, in camelCase and without empty ones."""
    ordered = sorted(entries.items())
    if named_by_users:
        return dict(ordered)
    return {key[0].lower() + key[1:]: entry for key, entry in ordered if entry not in _EMPTY}
