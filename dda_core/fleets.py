"""The fleet presets: ``fleets.yaml``, validated and frozen.

A fleet defines the LocalServer component of its devices per target, and the default targets.
"""

from __future__ import annotations

from functools import cache
from pathlib import Path
from typing import Annotated

import yaml
from pydantic import BaseModel, ConfigDict, Field, TypeAdapter, ValidationError

from dda_core.exceptions import InvalidCatalogue, UnknownFleet
from dda_core.targets import (
    CompilationTarget,
    ComponentName,
    available_targets,
    find_targets,
    look_up,
)
from dda_core.validation import explained, yaml_problem

PRESETS = Path(__file__).with_name("fleets.yaml")
SAVED_BEFORE = "original"
"""The preset of a use case saved before presets existed, so that an upgrade does not change what it publishes."""

Text = Annotated[str, Field(min_length=1)]


class Fleet(BaseModel):
    """One preset.

    Attributes:
        name: the value of a use case's ``fleet``.
        purpose: which devices it is for, in a sentence.
        source: where its names come from.
        targets: the names of the default targets.
        localserver: the LocalServer component of its devices, by target.
        refused: why there is no such component, by target.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    name: Annotated[str, Field(pattern=r"^[a-z0-9][a-z0-9-]*$")]
    purpose: Text
    source: Text
    targets: Annotated[tuple[str, ...], Field(min_length=1)]
    localserver: dict[str, ComponentName]
    refused: dict[str, Text] = {}

    def default_targets(self) -> tuple[CompilationTarget, ...]:
        """The targets to compile if neither caller nor use case names any."""
        return find_targets(self.targets)


def read_fleets(path: Path) -> tuple[Fleet, ...]:
    """Read a file of presets.

    Raises:
        InvalidCatalogue: the file is not a list of valid presets, two share a name, or one names an unknown target,
            omits one, or has a default target without a LocalServer.
    """
    try:
        fleets = TypeAdapter(tuple[Fleet, ...]).validate_python(yaml.safe_load(path.read_text(encoding="utf-8")))
    except ValidationError as error:
        raise InvalidCatalogue(explained(error, quoted=Fleet.model_fields), where=str(path)) from error
    except (OSError, ValueError, yaml.YAMLError) as error:
        raise InvalidCatalogue(f"cannot be read as YAML: {yaml_problem(error)}", where=str(path)) from error
    names = [fleet.name for fleet in fleets]
    if not fleets or len(set(names)) < len(names):
        raise InvalidCatalogue(f"names {names}", where=str(path), expected="at least one fleet, and each name once")
    for fleet in fleets:
        for problem in _problems(fleet):
            raise InvalidCatalogue(problem, where=f"{path}: fleet {fleet.name}")
    return fleets


def _problems(fleet: Fleet) -> list[str]:
    named = [*fleet.targets, *fleet.localserver, *fleet.refused]
    unknown = [name for name in named if (row := look_up(name)) is None or row.name != name]
    missing = [
        row.name for row in available_targets() if (row.name in fleet.localserver) is (row.name in fleet.refused)
    ]
    idle = [name for name in fleet.targets if name not in fleet.localserver]
    return [
        *(f"{name} is not the name of a row in the table of targets" for name in unknown),
        *(f"{name} must be in either localserver or refused" for name in missing),
        *(f"{name} is a default target but has no LocalServer" for name in idle),
    ]


@cache
def all_fleets() -> tuple[Fleet, ...]:
    """Every preset, in the file's order."""
    return read_fleets(PRESETS)


def fleet_names() -> tuple[str, ...]:
    """The names of the presets, in the file's order."""
    return tuple(fleet.name for fleet in all_fleets())


def find_fleet(name: str) -> Fleet:
    """The preset of that name.

    Raises:
        UnknownFleet: there is none.
    """
    for fleet in all_fleets():
        if fleet.name == name:
            return fleet
    raise UnknownFleet(name, fleet_names())


def new_fleet() -> Fleet:
    """The preset of a new use case that names none: the one for current fleets."""
    return all_fleets()[0]


def localservers_of(target: CompilationTarget) -> tuple[str, ...]:
    """The distinct LocalServer components that presets name for the target."""
    named = (fleet.localserver.get(target.name) for fleet in all_fleets())
    return tuple(dict.fromkeys(name for name in named if name))
