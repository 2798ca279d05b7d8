"""The table of compilation targets: ``targets.yaml``, validated and frozen.

To add a target, add a row to the YAML file; no module names a target. A use case may bring its own rows, validated in
the same way; functions that look up a name take them as ``own``.
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
"""SageMaker Neo supports CUDA up to 11.x; a higher ``cuda-ver`` would fail only after minutes."""

_PLATFORMS = {"X86_64": "amd64", "ARM64": "aarch64"}
"""AWS IoT Greengrass's name of an architecture, by SageMaker Neo's."""

ComponentName = Annotated[str, Field(pattern=r"^[a-zA-Z0-9._-]{1,128}$")]


class CompilationTarget(BaseModel):
    """One row of the table: how Neo compiles for a kind of device, and what the component needs there.

    Attributes:
        name: what users type, and the suffix of the component's name.
        suffix: represents the name in compilation jobs' names.
        localserver: the LocalServer component of these devices; only in a use case's own rows, as fleets define it
            for the table's.
        runtime: what the device runs the model with.
        manifest_keys: the top-level manifest keys of a package for that runtime, if they differ from ``dlr``'s.
        unavailable: why the target cannot be compiled for yet; None if it can.
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
                raise ValueError("Neo's options must be a JSON object")
            cuda = str(options.get("cuda-ver", "0"))
            major = cuda.partition(".")[0]
            if not major.isdecimal():
                raise ValueError(f"cuda-ver {cuda!r} is not a version such as 11.4")
            if int(major) > NEO_CUDA_CEILING:
                raise ValueError(f"cuda-ver {cuda} is over SageMaker Neo's ceiling of {NEO_CUDA_CEILING}.x")
        return value

    @model_validator(mode="after")
    def _row_agrees_with_itself(self) -> CompilationTarget:
        if self.platform != _PLATFORMS[self.arch]:
            raise ValueError(f"platform {self.platform} must be {_PLATFORMS[self.arch]} for arch {self.arch}")
        if self.runtime != "dlr" and not self.unavailable:
            raise ValueError(f"runtime {self.runtime} needs `unavailable`: SageMaker Neo compiles for dlr only")
        return self

    @property
    def component_suffix(self) -> str:
        """The suffix of the component's name: the target's name with ``_`` as ``-``."""
        return self.name.replace("_", "-")

    def neo_platform(self) -> dict[str, str]:
        """``TargetPlatform`` of CreateCompilationJob; without an accelerator the key is absent."""
        platform: dict[str, str] = {"Os": self.os, "Arch": self.arch}
        if self.accelerator:
            platform["Accelerator"] = self.accelerator
        return platform


def read_table(path: Path) -> tuple[CompilationTarget, ...]:
    """Read a table of targets.

    Raises:
        InvalidCatalogue: the file is not a list of valid rows, or two rows share a name, alias or suffix.
    """
    try:
        rows = read_yaml_file(path)
    except YamlRefused as error:
        # The parser's own error, its cause, may quote the line.
        raise InvalidCatalogue(f"cannot be read as YAML: {error}", where=str(path)) from None
    except OSError as error:
        raise InvalidCatalogue(f"cannot be read: {error.strerror or error}", where=str(path)) from error
    if not isinstance(rows, list) or not rows:
        raise InvalidCatalogue("is not a list of targets", where=str(path), expected="at least one row (`- name: ...`)")
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
    """Read a use case's own rows, which add to the table's; each names its LocalServer.

    Raises:
        InvalidCatalogue: as for ``read_table``, or a row shares a word with the table's, or names no LocalServer.
    """
    rows = read_table(path)
    if problems := own_row_problems(rows):
        raise InvalidCatalogue("; ".join(problems), where=str(path))
    return rows


def own_row_problems(own: Iterable[CompilationTarget]) -> list[str]:
    """Why these rows cannot be added to the table's; empty if they can."""
    own = tuple(own)
    nameless = [
        f"row {row.name}: localserver is missing; name the LocalServer component that these devices have"
        for row in own
        if row.localserver is None
    ]
    return nameless + shared_words((*all_targets(), *own))


def shared_words(rows: Iterable[CompilationTarget]) -> list[str]:
    """A sentence for every name, alias, suffix or component name that two rows share."""
    rows = tuple(rows)
    problems = []
    for what, words in (
        ("name or alias", [word for row in rows for word in (row.name, *row.aliases)]),
        ("suffix", [row.suffix for row in rows]),
        ("component name", [row.component_suffix for row in rows]),
    ):
        twice = sorted({word for word in words if words.count(word) > 1})
        if twice:
            problems.append(f"the {what} {', '.join(twice)} is in two rows; each must be unique")
    return problems


@cache
def all_targets() -> tuple[CompilationTarget, ...]:
    """Every known target, in the table's order, including unavailable ones."""
    return read_table(TABLE)


def available_targets() -> tuple[CompilationTarget, ...]:
    """The available targets, in the table's order."""
    return tuple(target for target in all_targets() if not target.unavailable)


def target_names() -> tuple[str, ...]:
    """The names of the available targets, in the table's order."""
    return tuple(target.name for target in available_targets())


def look_up(name: str, own: Iterable[CompilationTarget] = ()) -> CompilationTarget | None:
    """The row of that name or alias, even if unavailable; None if there is none."""
    return next((row for row in (*all_targets(), *own) if name == row.name or name in row.aliases), None)


def find_target(name: str, own: Iterable[CompilationTarget] = ()) -> CompilationTarget:
    """The target of that name or alias, in the table or among a use case's ``own`` rows.

    Raises:
        UnknownTarget: no row has it. Guessing an architecture would make devices crash-loop.
        TargetUnavailable: it cannot be compiled for yet.
    """
    own = tuple(own)
    names = (*target_names(), *(row.name for row in own if not row.unavailable))
    target = look_up(name, own)
    if target is None:
        raise UnknownTarget(name, names)
    if target.unavailable:
        raise TargetUnavailable(target.name, target.unavailable, f"Use one of: {', '.join(names)}.")
    return target


def find_targets(names: Iterable[str], own: Iterable[CompilationTarget] = ()) -> tuple[CompilationTarget, ...]:
    """The targets of those names or aliases, each once, in the order given.

    Raises:
        UnknownTarget, TargetUnavailable: as ``find_target`` does.
    """
    own = tuple(own)
    return tuple(dict.fromkeys(find_target(name, own) for name in names))
