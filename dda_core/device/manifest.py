"""Checks a manifest against the device rules."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from dda_core.device.facts import PREFIXES, STAGE, Facts, is_number, is_size, short
from dda_core.device.findings import DeviceFinding, Failure, Severity, broken_rule, refuse_errors, warnings
from dda_core.device.relations import RELATIONS, is_pair
from dda_core.device.rules import KeyRule, Relation, device_rules

MANIFEST_NAME = "manifest.json"
"""The manifest's name at the root of a package."""


def manifest_findings(manifest: object) -> list[DeviceFinding]:
    """Everything in a manifest that fails on a device or gives wrong results there.

    Args:
        manifest: a package's parsed ``manifest.json``, of any type.
    """
    if not isinstance(manifest, dict):
        return [
            broken_rule(
                "manifest",
                MANIFEST_NAME,
                f"is {short(manifest)}",
                "a JSON object",
                "Build the package again.",
                Failure.STARTUP,
            )
        ]
    facts = Facts(manifest)
    found = [*_runtime_findings(facts), *_type_findings(facts)]
    for group in device_rules().groups_of(facts.stage_type):
        for key_rule in group.keys:
            found += _key_findings(facts, key_rule)
        for relation in group.relations:
            found += _relation_findings(facts, relation)
    return found


def check_manifest(manifest: object, where: str) -> list[DeviceFinding]:
    """The warnings on a manifest; ``where`` names its archive.

    Raises:
        DeviceWouldRefuse: there are errors; it contains all of them.
    """
    findings = manifest_findings(manifest)
    refuse_errors(findings, where)
    return findings


def doubts(manifest: object) -> list[str]:
    """The messages of the warnings on a manifest: problems that only the device can confirm."""
    return [doubt.message for doubt in warnings(manifest_findings(manifest))]


def stage_folder(manifest: object) -> str | None:
    """The package's folder for its compiled model: the stage's type, as written in the manifest."""
    stage = Facts(manifest).stage if isinstance(manifest, dict) else None
    name = (stage or {}).get("type")
    return name if isinstance(name, str) and name else None


def _key_findings(facts: Facts, rule: KeyRule) -> Iterator[DeviceFinding]:
    holder = facts.place(rule.place)
    # A missing object is reported once by its own rule, not by the rules of all its keys.
    if holder is None or not all(map(facts.holds, rule.when)):
        return
    if rule.key not in holder:
        if rule.missing:
            yield _breach(rule, "is missing", rule.missing)
        return
    value = holder[rule.key]
    if value is None and rule.null is not None:
        if rule.null != "ok":
            yield _breach(rule, "is null", rule.null)
    elif not _fits(rule, value):
        yield _breach(rule, f"is {short(value)}", rule.wrong_value)


def _fits(rule: KeyRule, value: Any) -> bool:
    match rule.kind:
        case "any":
            fits = True
        case "text":
            fits = isinstance(value, str)
        case "number":
            fits = is_number(value)
        case "integer":
            fits = isinstance(value, int) and not isinstance(value, bool)
        case "switch":
            # A device goes by truthiness: null and 0 are off, every other number is on.
            fits = value is None or is_number(value)
        case "list":
            fits = isinstance(value, list)
        case "object":
            fits = isinstance(value, dict)
        case "size":
            fits = is_size(value)
        case "pair":
            fits = is_pair(value)
        case "numbers":
            fits = isinstance(value, list) and len(value) == 2 and all(map(is_number, value))
    if not fits or (rule.one_of and value not in rule.one_of):
        return False
    return not (
        (rule.at_least is not None and value < rule.at_least) or (rule.at_most is not None and value > rule.at_most)
    )


def _breach(rule: KeyRule, found: str, failure: Failure) -> DeviceFinding:
    return DeviceFinding(
        rule=rule.rule,
        severity=rule.severity,
        failure=failure,
        key=f"{PREFIXES[rule.place]}{rule.key}",
        found=found,
        expected=rule.expected,
        remedy=rule.remedy,
    )


def _relation_findings(facts: Facts, relation: Relation) -> Iterator[DeviceFinding]:
    if not all(map(facts.holds, relation.when)):
        return
    for key, found in RELATIONS[relation.check](facts):
        yield DeviceFinding(
            rule=relation.rule,
            severity=relation.weight,
            failure=relation.failure,
            key=key,
            found=found,
            expected=relation.expected,
            remedy=relation.remedy,
        )


def _runtime_findings(facts: Facts) -> Iterator[DeviceFinding]:
    if device_rules().runtime(facts.runtime) is None:
        known = ", ".join(row.name for row in device_rules().runtimes)
        yield DeviceFinding(
            rule="runtime",
            severity=Severity.ERROR,
            failure=Failure.LOAD,
            key="runtime",
            found=f"is {short(facts.manifest['runtime'])}",
            expected=f"{known}, or no such key",
            remedy="Remove the key for a compiled model.",
        )
    elif facts.runtime != "dlr":
        yield DeviceFinding(
            rule="runtime",
            severity=Severity.WARNING,
            failure=Failure.LOAD,
            key="runtime",
            found=f"is {facts.runtime}",
            expected="a LocalServer that knows the key; older ones treat every model as a compiled one",
            remedy="Deploy it only to devices with a recent enough LocalServer.",
        )


def _type_findings(facts: Facts) -> Iterator[DeviceFinding]:
    row = facts.stage_type
    if row and row.refused:
        yield DeviceFinding(
            rule="stage-type",
            severity=Severity.ERROR,
            failure=row.refused,
            key=f"{STAGE}.type",
            found=f"is {short(facts.of_stage('type'))}",
            expected=f"a type that can be a graph's only stage; {row.reason}",
            remedy=row.remedy,
        )
