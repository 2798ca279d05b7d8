"""ResolveComponentCandidates: the version of a component that a core device is to install.

As in Greengrass, a requirement is an npm version range: ``^1.2.0``, ``~1.2.0``, ``>=1.0.0 <2.0.0``, ``1.x``,
``1.0.0 - 1.9.9``, alternatives with ``||``. A version must satisfy every component that depends on it.
"""

from __future__ import annotations

import operator
import re
from collections.abc import Callable, Iterable
from typing import Any

from deployments.local.aws.greengrassv2.components import ComponentVersion
from deployments.local.aws.greengrassv2.exceptions import ConflictException, ValidationException
from deployments.local.aws.greengrassv2.recipes import version_key

Key = tuple[int, int, int, bool, str]
Bound = tuple[Callable[[Any, Any], bool], Key]

_PART = re.compile(r"(?P<sign>[<>]=?|=|\^|~)?v?(?P<version>[0-9xX*][^\s]*)")
_SPAN = re.compile(r"(\S+)\s+-\s+(\S+)")
_SIGNS: dict[str, Callable[[Any, Any], bool]] = {
    "<": operator.lt,
    "<=": operator.le,
    ">": operator.gt,
    ">=": operator.ge,
}
_WILD = ("x", "X", "*")
ANY_VALUE = ("*", "all")
"""Values of platform attributes that match every device."""


def highest(
    candidate: dict[str, Any], versions: Iterable[ComponentVersion], platform: dict[str, str]
) -> ComponentVersion:
    """The highest deployable version that matches the platform and the candidate's requirements.

    Args:
        candidate: ``componentName``, ``versionRequirements`` by dependent component, and
            ``componentVersion`` where the device can use only that one.
        versions: the component's versions, the highest first.
        platform: the device's attributes, such as ``os`` and ``architecture``.

    Raises:
        ConflictException: no version matches.
        ValidationException: a requirement is not a version range.
    """
    requirements = candidate.get("versionRequirements") or {}
    ranges = [alternatives(requirement) for requirement in requirements.values()]
    for version in versions:
        if (
            candidate.get("componentVersion") in (None, version.version)
            and version.state == "DEPLOYABLE"
            and fits(version.recipe, platform)
            and all(meets(version.version, each) for each in ranges)
        ):
            return version
    name = str(candidate["componentName"])
    asked = ", ".join(f"{who} requires {what}" for who, what in sorted(requirements.items())) or "any version will do"
    raise ConflictException(
        "Component", name, f"No deployable version of component {name} fits the platform and the requirements: {asked}."
    )


def fits(recipe: dict[str, Any], platform: dict[str, str]) -> bool:
    """Whether a manifest of the recipe matches the platform. A recipe without manifests matches every platform."""
    manifests = recipe.get("Manifests") or []
    return not manifests or any(_fits(manifest.get("Platform") or {}, platform) for manifest in manifests)


def _fits(asked: dict[str, Any], platform: dict[str, str]) -> bool:
    for attribute, value in asked.items():
        text = str(value)
        has = platform.get(attribute, "")
        if text.startswith("/") and text.endswith("/") and len(text) > 1:
            try:
                matched = re.fullmatch(text[1:-1], has) is not None
            except re.error:
                matched = False
            if not matched:
                return False
        elif text not in (*ANY_VALUE, has):
            return False
    return True


def meets(version: str, ranges: list[list[Bound]]) -> bool:
    """Whether a version satisfies one of the alternatives of a requirement."""
    key = version_key(version)
    return any(all(holds(key, bound) for holds, bound in bounds) for bounds in ranges)


def alternatives(requirement: str) -> list[list[Bound]]:
    """The alternatives of a requirement, each as bounds that must all hold.

    Raises:
        ValidationException: it is not a version range.
    """
    ranges = []
    for text in requirement.split("||"):
        spread = re.sub(r"(?<=[<>=^~])\s+", "", _SPAN.sub(r">=\1 <=\2", text))
        parts = [_PART.fullmatch(part) for part in spread.split()]
        try:
            ranges.append([bound for part in parts for bound in _bounds(part)])
        except (IndexError, ValueError):
            raise ValidationException(f"Version requirement {requirement!r} is not a version range.") from None
    return ranges


def _bounds(part: re.Match[str] | None) -> list[Bound]:
    if part is None:
        raise ValueError
    sign, version = part["sign"] or "=", part["version"]
    core, dash, pre = version.partition("+")[0].partition("-")
    parts = core.split(".")
    given = [int(each) for each in parts[: next((i for i, p in enumerate(parts) if p in _WILD), len(parts))]]
    if len(parts) > 3:
        raise ValueError
    low: Key = (*_filled(given), not dash, pre)
    if sign in ("<", ">="):
        return [(_SIGNS[sign], low)]
    if sign == ">":
        # Past every version that a partial version covers: >1 means >=2.0.0.
        return [(operator.gt, low) if len(given) == 3 else (operator.ge, _after(given))]
    if sign == "<=":
        return [(operator.le, low) if len(given) == 3 else (operator.lt, _after(given))]
    if sign == "=" and len(given) == 3:
        return [(operator.eq, low)]
    kept = {"=": len(given), "~": min(2, len(given)), "^": _leading(given)}[sign]
    return [(operator.ge, low), *([(operator.lt, _after(given[:kept]))] if kept else [])]


def _leading(given: list[int]) -> int:
    """How many parts ``^`` fixes: up to the first that is not 0."""
    return next((i + 1 for i, part in enumerate(given) if part), len(given))


def _filled(given: list[int]) -> tuple[int, int, int]:
    major, minor, patch = [*given, 0, 0, 0][:3]
    return major, minor, patch


def _after(given: list[int]) -> Key:
    """The upper bound of all versions that begin with these parts, as an exclusive key."""
    return (*_filled([*given[:-1], given[-1] + 1]), False, "")
