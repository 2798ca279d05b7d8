"""Checks a whole package against the device rules: its root, its manifest and its stage folder."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import replace
from functools import partial
from typing import Any

from dda_core.device.facts import Facts
from dda_core.device.findings import DeviceFinding, Failure, broken_rule, errors, refuse_errors
from dda_core.device.folder import NOTHING, Expectation, StageFile, artifact_findings, compiled_findings
from dda_core.device.manifest import MANIFEST_NAME, manifest_findings, stage_folder
from dda_core.device.rules import device_rules
from dda_core.exceptions import CompiledModelUnusable

_BUILD = "Build the package again."
_finding = partial(broken_rule, failure=Failure.LOAD)


def package_findings(
    files: Iterable[StageFile], manifest: object, expected: Expectation = NOTHING
) -> list[DeviceFinding]:
    """Everything in a package that fails on a device or gives wrong results there.

    Args:
        files: the ZIP's members with their paths; those that end in ``/`` are folders and are ignored.
        manifest: its parsed ``manifest.json``, of any type; None if there is none or it cannot be read.
        expected: what the model should be for, if known.
    """
    files = [file for file in files if not file.name.endswith("/")]
    found = [*_root_findings([file.name for file in files])]
    if manifest is not None:
        found += manifest_findings(manifest)
    folder = stage_folder(manifest)
    if folder is None:
        return found
    inside = [
        replace(file, name=file.name.removeprefix(f"{folder}/")) for file in files if file.name.startswith(f"{folder}/")
    ]
    facts = Facts(manifest if isinstance(manifest, dict) else {})
    runtime = device_rules().runtime(facts.runtime)
    if not inside:
        wanted = "the compiled model in a folder named after the stage's type"
        found.append(_finding("stage-folder", f"{folder}/", "is missing", wanted, "Compile the model again."))
    elif runtime and runtime.artifact:
        named = facts.manifest.get("runtime_artifact")
        found += artifact_findings(inside, folder, named if isinstance(named, str) else runtime.artifact)
    else:
        found += compiled_findings(inside, folder, replace(expected, network=facts.network))
    return found


def check_package(
    files: Iterable[StageFile], manifest: object, where: str, expected: Expectation = NOTHING
) -> list[DeviceFinding]:
    """The warnings on a package; ``where`` names what it is made from.

    Raises:
        DeviceWouldRefuse: there are errors; it contains all of them.
    """
    findings = package_findings(files, manifest, expected)
    refuse_errors(findings, where)
    return findings


def check_compiled(
    files: Iterable[StageFile], manifest: dict[str, Any], where: str, expected: Expectation = NOTHING
) -> None:
    """Check SageMaker Neo's output against what the loader needs.

    Args:
        files: of the archive, with their paths.
        manifest: the DDA manifest of the model.
        where: the archive, for messages.
        expected: what it should be for, if known.

    Raises:
        CompiledModelUnusable: a device could not load it; the error contains every reason.
    """
    folder = stage_folder(manifest) or ""
    findings = compiled_findings(files, folder, replace(expected, network=Facts(manifest).network))
    if refused := errors(findings):
        raise CompiledModelUnusable(where, refused)


def _root_findings(names: list[str]) -> Iterator[DeviceFinding]:
    if MANIFEST_NAME not in names:
        wrapped = [name for name in names if name.endswith(f"/{MANIFEST_NAME}") and name.count("/") == 1]
        tops = {name.partition("/")[0] for name in names}
        inside = f"is inside the wrapper folder {tops.pop()}/" if wrapped and len(tops) == 1 else "is missing"
        expected = "the DDA manifest at the root of the ZIP"
        yield _finding("manifest", MANIFEST_NAME, inside, expected, _BUILD, failure=Failure.STARTUP)
    for name in device_rules().root_names:
        if name in names:
            expected = "no such file at the root, where the device writes its own"
            yield _finding("root-names", name, "is at the root", expected, "Remove it.", failure=Failure.STARTUP)
