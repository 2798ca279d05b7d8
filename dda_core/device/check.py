"""A model of the device: simulates the steps that a device takes with a package.

It is written after the device's own code and runs none of it. ``NOT_KNOWN`` lists what it cannot determine.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from pydantic import BaseModel, ConfigDict

from dda_core.device.facts import Facts
from dda_core.device.findings import DeviceFinding, Failure, errors
from dda_core.device.folder import StageFile
from dda_core.device.manifest import stage_folder
from dda_core.device.startup import StartUp, read_start_up

NOT_KNOWN = (
    "what the network outputs: how many tensors, classes and values, and whether they are correct",
    "whether the compiled code runs with the device's processor, CUDA, TensorRT and JetPack",
    "the size and colours of the camera's frames",
    "whether the LocalServer that the recipe depends on is deployed there, and in which version",
    "whether the device's role may read the package from S3",
)

_UNARCHIVE_RULES = frozenset({"zip", "zip-member", "zip-name", "zip-size", "zip-unpacked"})
_CONVERT_RULES = frozenset({"manifest", "root-names"})


class Step(BaseModel):
    """One step of the device. The field names are a contract."""

    model_config = ConfigDict(frozen=True)

    step: str
    ok: bool
    message: str


class DeviceCheck(BaseModel):
    """The result of a simulated device run."""

    model_config = ConfigDict(frozen=True)

    steps: tuple[Step, ...]
    findings: tuple[DeviceFinding, ...]

    @property
    def ok(self) -> bool:
        """Whether every step succeeded."""
        return all(step.ok for step in self.steps)


def check_on_device(
    files: list[StageFile],
    manifest: Any,
    findings: list[DeviceFinding],
    package: str,
    recipe: Mapping[str, Any] | None = None,
) -> DeviceCheck:
    """Simulate a device's steps with a package.

    Args:
        files: of the package.
        manifest: its parsed ``manifest.json``.
        findings: on the package, from all rules.
        package: the ZIP's file name.
        recipe: of its component; None assumes the startup script that this pipeline publishes.
    """
    start_up = read_start_up(recipe, package) if recipe is not None else None
    findings = [*findings, *(start_up.findings if start_up else [])]
    facts = Facts(manifest if isinstance(manifest, dict) else {})
    messages: dict[str, Callable[[], str]] = {
        "unarchive": lambda: _unarchived(files, package, start_up),
        "start-up": lambda: _started(start_up),
        "convert": lambda: _converted(files, start_up),
        "configure": lambda: _configured(facts),
        "load": lambda: _loaded(files, manifest, facts),
        "frame": lambda: _framed(facts),
    }
    steps: list[Step] = []
    for name, message in messages.items():
        wrong = [each for each in errors(findings) if _step_of(each) == name]
        if any(not step.ok for step in steps):
            steps.append(Step(step=name, ok=False, message="not reached"))
        elif wrong:
            steps.append(Step(step=name, ok=False, message=f"{len(wrong)} rules broken: {wrong[0].message}"))
        else:
            steps.append(Step(step=name, ok=True, message=message()))
    return DeviceCheck(steps=tuple(steps), findings=tuple(findings))


def _step_of(finding: DeviceFinding) -> str:
    """The step in which the finding takes effect on a device."""
    if finding.rule in _UNARCHIVE_RULES:
        return "unarchive"
    if finding.rule.startswith(("recipe-", "startup-")):
        return "start-up"
    if finding.rule in _CONVERT_RULES:
        return "convert"
    return {Failure.STARTUP: "configure", Failure.LOAD: "load"}.get(finding.failure, "frame")


def _unarchived(files: list[StageFile], package: str, start_up: StartUp | None) -> str:
    where = f"{start_up.component}/{start_up.version}" if start_up else "<component>/<version>"
    return f"{len(files)} files into {where}/{package.removesuffix('.zip')}/"


def _started(start_up: StartUp | None) -> str:
    if start_up is None:
        return "no recipe given; assuming the pipeline's own"
    waits = "waits for LocalServer's files, then " if start_up.waits else ""
    return f"{waits}runs the converter for {start_up.component} {start_up.version} (it keeps {start_up.major})"


def _converted(files: list[StageFile], start_up: StartUp | None) -> str:
    name, major = (start_up.component, start_up.major) if start_up else ("<component>", "<major>")
    entries = sorted({file.name.partition("/")[0] for file in files})
    return (
        f"models base_{name}, marshal_{name} and {name}, each with a folder {major}; "
        f"base_{name} links {', '.join(entries)}"
    )


def _configured(facts: Facts) -> str:
    if facts.names and facts.image_size:
        return "frames and masks of exactly {} x {} pixels (width x height)".format(*facts.image_size)
    return "frames of any size, no masks"


def _loaded(files: list[StageFile], manifest: Any, facts: Facts) -> str:
    folder = stage_folder(manifest)
    count = sum(file.name.startswith(f"{folder}/") for file in files)
    return f"{facts.runtime} opens {folder}/ with {count} files; processors of {folder}"


def _framed(facts: Facts) -> str:
    network = facts.network
    width, height = facts.image_size or (network[3], network[2]) if network else facts.image_size or (0, 0)
    how = "polar transform" if facts.holds("polar") else "resized" if network else "unchanged"
    result = "score and mask" if facts.holds("mask") else "score"
    return f"a blank frame of {width} x {height}, {how} to the network's input; post-processing gives a {result}"
