"""A recipe's startup script as a device runs it: the command line parsed, its arguments checked."""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterator, Mapping
from functools import partial
from typing import Any, NamedTuple

from dda_core.device.findings import DeviceFinding, Failure, broken_rule

CONVERTER = "/aws_dda/model_convertor.py"
UNPACKED = "{artifacts:decompressedPath}"
_VERSION = re.compile(r"(\d+)\.0+\.0+", re.ASCII)
_REMEDY = "Publish the component again; `dda plan` shows the recipe that devices run."
_finding = partial(broken_rule, failure=Failure.STARTUP)


class StartUp(NamedTuple):
    """What a recipe makes the device do with a package at startup.

    Attributes:
        component: its name.
        version: its version.
        architecture: of the devices it is for; None if the recipe does not say.
        waits: whether the script waits for LocalServer's files before it runs the converter.
        findings: what fails on a device.
    """

    component: str
    version: str
    architecture: str | None
    waits: bool
    findings: list[DeviceFinding]

    @property
    def major(self) -> str:
        """The part of the version that the device keeps."""
        return self.version.partition(".")[0]


def read_start_up(recipe: Mapping[str, Any], package: str) -> StartUp:
    """The startup of a recipe for a package of that file name.

    Keys are case-insensitive, as for the nucleus on the device.
    """
    component, version = str(_get(recipe, "ComponentName")), str(_get(recipe, "ComponentVersion"))
    manifest = _first(_get(recipe, "Manifests"))
    lifecycle = _get(manifest, "Lifecycle")
    step = _get(lifecycle, "Startup")
    script = step if isinstance(step, str) else str(_get(step, "Script") or "")
    findings = [
        *_name_findings(component, version),
        *_artifact_findings(_first(_get(manifest, "Artifacts")), package),
        *_line_findings(script, component, version, package),
    ]
    platform = _get(_get(manifest, "Platform"), "architecture")
    waits = any(word in script for word in ("while", "until", "sleep"))
    if not waits and script:
        findings.append(
            _finding(
                "startup-wait",
                "Lifecycle.Startup",
                "does not wait",
                "a wait for LocalServer's files in /aws_dda, which appear seconds later on a fresh device",
                "Set the use case's startup_wait_seconds, unless all its devices have run LocalServer before.",
            ).as_warning
        )
    return StartUp(component, version, platform if isinstance(platform, str) else None, waits, findings)


def _name_findings(component: str, version: str) -> Iterator[DeviceFinding]:
    if not component.startswith("model-"):
        yield _finding("recipe-name", "ComponentName", f"is {component}", "a name that begins with model-", _REMEDY)
    match = _VERSION.fullmatch(version)
    if match is None or int(match[1]) == 0:
        expected = "<major>.0.0 with a major above 0, the only part that devices keep"
        yield _finding("recipe-version", "ComponentVersion", f"is {version}", expected, _REMEDY)


def _artifact_findings(artifact: object, package: str) -> Iterator[DeviceFinding]:
    uri, unarchive = str(_get(artifact, "Uri") or ""), str(_get(artifact, "Unarchive") or "NONE")
    if uri.rpartition("/")[2] != package:
        yield _finding("recipe-artifact", "Artifacts[0].Uri", f"is {uri}", f"the URI of {package}", _REMEDY)
    if unarchive.upper() != "ZIP":
        yield _finding("recipe-artifact", "Artifacts[0].Unarchive", f"is {unarchive}", "ZIP", _REMEDY)


def _line_findings(script: str, component: str, version: str, package: str) -> Iterator[DeviceFinding]:
    key = "Lifecycle.Startup"
    try:
        given = arguments(script)
    except ValueError as error:
        yield _finding("startup-line", key, f"cannot be parsed ({error})", "a shell script", _REMEDY)
        return
    if given is None:
        yield _finding("startup-line", key, "does not run the converter", f"python3 {CONVERTER} ...", _REMEDY)
        return
    expected = {
        "unarchived_model_path": f"{UNPACKED}/{package.removesuffix('.zip')}",
        "model_version": version,
        "model_name": component,
    }
    for name, value in expected.items():
        if given.get(name, "").rstrip("/") != value:
            found = f"has --{name} {given[name]}" if name in given else f"has no --{name}"
            yield _finding("startup-line", key, found, f"--{name} {value}", _REMEDY)


def arguments(script: str) -> dict[str, str] | None:
    """The arguments of the converter's command line in a script; None if the script does not run it.

    Raises:
        ValueError: the line is not a valid shell command.
    """
    for line in re.split(r"[\n;]", script):
        if CONVERTER not in line or "--" not in line:
            continue
        words = shlex.split(line)
        if CONVERTER in words:
            rest = words[words.index(CONVERTER) + 1 :]
            return {name.removeprefix("--"): value for name, value in zip(rest[::2], rest[1::2], strict=False)}
    return None


def _get(value: object, key: str) -> Any:
    """The value of a mapping's key, case-insensitive."""
    if not isinstance(value, Mapping):
        return None
    return next((item for name, item in value.items() if str(name).lower() == key.lower()), None)


def _first(value: object) -> Any:
    return value[0] if isinstance(value, list) and value else None
