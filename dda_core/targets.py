"""The table of compilation targets: ``targets.yaml``, checked and frozen.

Adding a target is adding a row to the YAML file; no module names a target. A use case may bring rows of its own,
which are checked like these: functions that look a name up take them as ``own``.
"""

from __future__ import annotations

import json
from collections.abc import Iterable
from functools import cache
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator, model_validator

from dda_core.exceptions import InvalidCatalogue, TargetUnavailable, UnknownTarget, YamlRefused
from dda_core.safe_yaml import read_yaml_file
from dda_core.sanitise import mask_values
from dda_core.validation import explained, unquoted_values

TABLE = Path(__file__).with_name("targets.yaml")

NEO_CUDA_CEILING = 11
"""SageMaker Neo compiles for CUDA up to 11.x; a higher ``cuda-ver`` fails only after minutes."""

_PLATFORMS = {"X86_64": "amd64", "ARM64": "aarch64"}
"""Neo's name of an architecture, and AWS IoT Greengrass's."""

ComponentName = Annotated[str, Field(pattern=r"^[a-zA-Z0-9._-]{1,128}$")]


class CompilationTarget(BaseModel):
    """One row of the table: how Neo compiles for a kind of device, and what the component then needs there.

    Attributes:
        name: what users type, and the end of the component's name.
        suffix: stands for the name in compilation jobs' names.
        localserver: the LocalServer component of devices of this kind; only rows that a use case brings have it, the
            fleets name those of the table.
        runtime: what the device runs the model with.
        manifest_keys: what a package for that runtime needs at the top of its manifest, where it is not as for ``dlr``.
        unavailable: why nothing can be compiled for the row yet; None where it can.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    name: Annotated[str, Field(pattern=r"^[a-z0-9][a-z0-9_-]*$")]
    suffix: Annotated[str, Field(pattern=r"^[a-z0-9]{1,9}$")]
    os: Literal["LINUX"] = "LINUX"
    arch: Literal["X86_64", "ARM64"]
    accelerator: Literal["NVIDIA"] | None = None
    compiler_options: str | None = None
    platform: Literal["amd64", "aarch64"]
    localserver: ComponentName | None = None
    aliases: tuple[Annotated[str, Field(min_length=1)], ...] = ()
    runtime: Literal["dlr", "onnx"] = "dlr"
    manifest_keys: tuple[str, ...] = ()
    unavailable: Annotated[str, Field(min_length=1)] | None = None

    @field_validator("compiler_options")
    @classmethod
    def _options_are_json(cls, value: str | None) -> str | None:
        if value is not None:
            options = json.loads(value)
            if not isinstance(options, dict):
                raise ValueError("Neo's options are a JSON object")
            cuda = str(options.get("cuda-ver", "0"))
            major = cuda.partition(".")[0]
            if not major.isdecimal():
                raise ValueError(f"cuda-ver {cuda!r} is no version such as 11.4")
            if int(major) > NEO_CUDA_CEILING:
                raise ValueError(f"cuda-ver {cuda} is over SageMaker Neo's ceiling of {NEO_CUDA_CEILING}.x")
        return value

    @model_validator(mode="after")
    def _row_agrees_with_itself(self) -> CompilationTarget:
        if self.platform != _PLATFORMS[self.arch]:
            raise ValueError(f"platform {self.platform} is not {_PLATFORMS[self.arch]}, which arch {self.arch} is")
        if self.runtime != "dlr" and not self.unavailable:
            raise ValueError(f"runtime {self.runtime} needs `unavailable`: SageMaker Neo compiles for dlr only")
        return self

    @property
    def component_suffix(self) -> str:
        """The end of the component's name: the target's name with ``_`` as ``-``."""
        return self.name.replace("_", "-")

    def neo_platform(self) -> dict[str, str]:
        """``TargetPlatform`` as CreateCompilationJob takes it; without an accelerator the key is absent."""
        platform: dict[str, str] = {"Os": self.os, "Arch": self.arch}
        if self.accelerator:
            platform["Accelerator"] = self.accelerator
        return platform


def read_table(path: Path) -> tuple[CompilationTarget, ...]:
    """Read a table of targets.

    Raises:
        InvalidCatalogue: the file is no list of valid rows, or two rows share a name, alias or suffix.
    """
    try:
        rows = read_yaml_file(path)
    except YamlRefused as error:
        # The parser's own error, its cause, may quote the line.
        raise InvalidCatalogue(f"cannot be read as YAML: {error}", where=str(path)) from None
    except OSError as error:
        raise InvalidCatalogue(f"cannot be read: {error.strerror or error}", where=str(path)) from error
    if not isinstance(rows, list) or not rows:
        raise InvalidCatalogue("holds no list of targets", where=str(path), expected="at least one row (`- name: ...`)")
    checked = tuple(_checked_row(row, number, path) for number, row in enumerate(rows, 1))
    if problems := shared_words(checked):
        raise InvalidCatalogue("; ".join(problems), where=str(path))
    return checked


def _checked_row(row: Any, number: int, path: Path) -> CompilationTarget:
    try:
        return CompilationTarget.model_validate(row)
    except ValidationError as error:
        found = row.get("name") if isinstance(row, dict) else None
        name = f" ({found})" if isinstance(found, str) else ""
        known = CompilationTarget.model_fields
        said = mask_values(f"row {number}{name}", unquoted_values(row, known))
        problems = explained(error, quoted=known, secrets=unquoted_values(row, known))
        raise InvalidCatalogue(problems, where=f"{path}: {said}") from None


def read_own_targets(path: Path) -> tuple[CompilationTarget, ...]:
    """Read the rows that a use case brings beside the table's; each names its LocalServer.

    Raises:
        InvalidCatalogue: as for our own table, or a row shares a word with one of ours, or names no LocalServer.
    """
    rows = read_table(path)
    if problems := own_row_problems(rows):
        raise InvalidCatalogue("; ".join(problems), where=str(path))
    return rows


def own_row_problems(own: Iterable[CompilationTarget]) -> list[str]:
    """Why these rows cannot stand beside the table's; none where they can."""
    own = tuple(own)
    nameless = [
        f"row {row.name}: localserver is missing; name the LocalServer component that these devices have"
        for row in own
        if row.localserver is None
    ]
    return nameless + shared_words((*all_targets(), *own))


def shared_words(rows: Iterable[CompilationTarget]) -> list[str]:
    """A sentence for every name, alias, suffix or component name that stands in two of the rows."""
    rows = tuple(rows)
    problems = []
    for what, words in (
        ("name or alias", [word for row in rows for word in (row.name, *row.aliases)]),
        ("suffix", [row.suffix for row in rows]),
        ("component name", [row.component_suffix for row in rows]),
    ):
        twice = sorted({word for word in words if words.count(word) > 1})
        if twice:
            problems.append(f"the {what} {', '.join(twice)} stands in two rows; each must be unique")
    return problems


@cache
def all_targets() -> tuple[CompilationTarget, ...]:
    """Every known target, in the table's order; those that nothing can be compiled for yet too."""
    return read_table(TABLE)


def available_targets() -> tuple[CompilationTarget, ...]:
    """The targets that models can be compiled for, in the table's order."""
    return tuple(target for target in all_targets() if not target.unavailable)


def target_names() -> tuple[str, ...]:
    """The names of the targets that models can be compiled for, in the table's order."""
    return tuple(target.name for target in available_targets())


def look_up(name: str, own: Iterable[CompilationTarget] = ()) -> CompilationTarget | None:
    """The row of that name or alias, whether or not anything can be compiled for it; None where there is none."""
    return next((row for row in (*all_targets(), *own) if name == row.name or name in row.aliases), None)


def find_target(name: str, own: Iterable[CompilationTarget] = ()) -> CompilationTarget:
    """The target of that name or alias, in the table or among a use case's ``own`` rows.

    Raises:
        UnknownTarget: no row has it. Guessing an architecture would crash-loop devices.
        TargetUnavailable: nothing can be compiled for it yet.
    """
    own = tuple(own)
    names = (*target_names(), *(row.name for row in own if not row.unavailable))
    target = look_up(name, own)
    if target is None:
        raise UnknownTarget(name, names)
    if target.unavailable:
        raise TargetUnavailable(target.name, target.unavailable, f"Take one of: {', '.join(names)}.")
    return target


def find_targets(names: Iterable[str], own: Iterable[CompilationTarget] = ()) -> tuple[CompilationTarget, ...]:
    """The targets of those names or aliases, each once, in the order given.

    Raises:
        UnknownTarget, TargetUnavailable: as ``find_target`` does.
    """
    own = tuple(own)
    return tuple(dict.fromkeys(find_target(name, own) for name in names))
