"""The table of compilation targets: ``targets.yaml``, checked and frozen.

Adding a target is adding a row to the YAML file; no module names a target.
"""

from __future__ import annotations

import json
from collections.abc import Iterable
from functools import cache
from pathlib import Path
from typing import Annotated, Literal

import yaml
from pydantic import BaseModel, ConfigDict, Field, TypeAdapter, ValidationError, field_validator

from dda_core.exceptions import InvalidCatalogue, UnknownTarget

TABLE = Path(__file__).with_name("targets.yaml")
DEFAULT_COUNT = 4
"""How many rows, from the top, are compiled when neither caller nor use case names targets."""

NEO_CUDA_CEILING = 11
"""SageMaker Neo compiles for CUDA up to 11.x; a higher ``cuda-ver`` fails only after minutes."""


class CompilationTarget(BaseModel):
    """One row of the table: how Neo compiles for a kind of device, and what the component then needs there."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    name: Annotated[str, Field(pattern=r"^[a-z0-9][a-z0-9_-]*$")]
    suffix: Annotated[str, Field(pattern=r"^[a-z0-9]{1,9}$")]
    os: Literal["LINUX"] = "LINUX"
    arch: Literal["X86_64", "ARM64"]
    accelerator: Literal["NVIDIA"] | None = None
    compiler_options: str | None = None
    platform: Literal["amd64", "aarch64"]
    localserver: Annotated[str, Field(min_length=1, max_length=128)]
    aliases: tuple[str, ...] = ()

    @field_validator("compiler_options")
    @classmethod
    def _options_are_json(cls, value: str | None) -> str | None:
        if value is not None:
            options = json.loads(value)
            cuda = str(options.get("cuda-ver", "0"))
            if int(cuda.split(".")[0]) > NEO_CUDA_CEILING:
                raise ValueError(f"cuda-ver {cuda} is over SageMaker Neo's ceiling of {NEO_CUDA_CEILING}.x")
        return value

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
        rows = TypeAdapter(tuple[CompilationTarget, ...]).validate_python(yaml.safe_load(path.read_text()))
    except (OSError, yaml.YAMLError, ValidationError) as error:
        raise InvalidCatalogue(f"{path}: {error}") from error
    for what, words in (
        ("name or alias", [word for row in rows for word in (row.name, *row.aliases)]),
        ("suffix", [row.suffix for row in rows]),
        ("component name", [row.component_suffix for row in rows]),
    ):
        twice = sorted({word for word in words if words.count(word) > 1})
        if twice:
            raise InvalidCatalogue(f"{path}: the {what} {', '.join(twice)} stands in two rows; each must be unique")
    if not rows:
        raise InvalidCatalogue(f"{path}: holds no target; at least one row is needed")
    return rows


@cache
def all_targets() -> tuple[CompilationTarget, ...]:
    """Every known target, in the table's order."""
    return read_table(TABLE)


def target_names() -> tuple[str, ...]:
    """The names of every known target, in the table's order."""
    return tuple(target.name for target in all_targets())


def find_target(name: str) -> CompilationTarget:
    """The target of that name or alias.

    Raises:
        UnknownTarget: no row has it. Guessing an architecture would crash-loop devices.
    """
    for target in all_targets():
        if name == target.name or name in target.aliases:
            return target
    raise UnknownTarget(name, target_names())


def find_targets(names: Iterable[str]) -> tuple[CompilationTarget, ...]:
    """The targets of those names or aliases, each once, in the order given."""
    return tuple(dict.fromkeys(find_target(name) for name in names))


def default_targets() -> tuple[CompilationTarget, ...]:
    """What is compiled when nobody says which: the first four rows."""
    return all_targets()[:DEFAULT_COUNT]
