"""The rules of ``device_rules.yaml``, validated. A new stage type or key only needs a row there."""

from __future__ import annotations

from functools import cache
from pathlib import Path
from typing import Annotated, Literal, Self

import yaml
from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from dda_core.device.findings import Failure, Severity
from dda_core.exceptions import InvalidCatalogue

RULES = Path(__file__).with_name("device_rules.yaml")

Text = Annotated[str, Field(min_length=1)]
Kind = Literal["any", "text", "number", "integer", "switch", "list", "object", "size", "pair", "numbers"]
Place = Literal["manifest", "dataset", "graph", "pixel-classes", "stage"]
Source = Annotated[str, Field(pattern=r"^(run|read)\b")]


class _Row(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", protected_namespaces=(), populate_by_name=True)


class KeyRule(_Row):
    """A rule for one key of the manifest; the fields are explained at the top of the YAML file."""

    rule: Text
    place: Place = Field(alias="in")
    key: Text
    when: tuple[Text, ...] = ()
    kind: Kind = Field(alias="is")
    at_least: float | None = None
    at_most: float | None = None
    one_of: tuple[str, ...] = ()
    missing: Failure | None = None
    null: Failure | Literal["ok"] | None = None
    wrong_value: Failure
    severity: Severity = Severity.ERROR
    expected: Text
    remedy: Text
    source: Source


class Relation(_Row):
    """A rule for several keys: ``check`` names a function in ``relations``."""

    rule: Text
    check: Text
    when: tuple[Text, ...] = ()
    failure: Failure
    severity: Severity | None = None
    expected: Text
    remedy: Text
    source: Source

    @property
    def weight(self) -> Severity:
        """The given severity; by default a warning where the package runs with wrong results, else an error."""
        return self.severity or (Severity.WARNING if self.failure is Failure.WRONG else Severity.ERROR)


class RuleGroup(_Row):
    """Rules that apply together."""

    keys: tuple[KeyRule, ...] = ()
    relations: tuple[Relation, ...] = ()


class StageType(_Row):
    """A stage type: its names, the source of its mask, and its groups of rules."""

    names: Annotated[tuple[Text, ...], Field(min_length=1)]
    mask: Literal["segmentation", "pixel-normal-ids"] | None = None
    groups: tuple[Text, ...] = ()
    runtime: Text = "dlr"
    refused: Failure | None = None
    reason: str = ""
    remedy: str = ""
    source: Source | None = None


class Runtime(_Row):
    """A runtime for the network; ``artifact`` is the file it opens by default."""

    name: Text
    artifact: str | None = None


class CompiledRule(_Row):
    """How many files with a name, or with a name's ending, the loader accepts at the top of a stage folder."""

    rule: Text
    name: str | None = None
    ends: str | None = None
    besides: tuple[str, ...] = Field((), alias="except")
    at_least: int = 0
    at_most: int
    failure: Failure
    what: Text
    remedy: Text
    source: Source

    def counts(self, name: str) -> bool:
        """Whether the rule counts a file of this name."""
        if self.name is not None:
            return name == self.name
        return name.endswith(str(self.ends)) and name not in self.besides


class Backend(_Row):
    """A set of files that the loader recognises as a model: one file with each of these endings."""

    name: Text
    ends: Annotated[tuple[Text, ...], Field(min_length=1)]


class DeviceRules(_Row):
    """The whole YAML file."""

    conditions: dict[Text, Text]
    stage_types: tuple[StageType, ...]
    runtimes: tuple[Runtime, ...]
    common: RuleGroup
    groups: dict[Text, RuleGroup]
    compiled: tuple[CompiledRule, ...]
    backends: tuple[Backend, ...]
    device_types: tuple[Text, ...]
    machines: dict[Text, int]
    root_names: tuple[Text, ...]

    @model_validator(mode="after")
    def _names_are_known(self) -> Self:
        for stage_type in self.stage_types:
            if unknown := set(stage_type.groups) - self.groups.keys():
                raise ValueError(f"stage type {stage_type.names[0]}: unknown groups {', '.join(sorted(unknown))}")
        names = [name for stage_type in self.stage_types for name in stage_type.names]
        if twice := {name for name in names if names.count(name) > 1}:
            raise ValueError(f"stage types in two rows: {', '.join(sorted(twice))}")
        for group in (self.common, *self.groups.values()):
            named = [(row.rule, row.when) for row in group.keys] + [(row.rule, row.when) for row in group.relations]
            for rule, conditions in named:
                for condition in conditions:
                    if condition.removeprefix("not ") not in self.conditions:
                        raise ValueError(f"rule {rule}: unknown condition {condition!r}")
        return self

    def stage_type(self, name: object) -> StageType | None:
        """The row of a stage's ``type``, case-sensitive; None for a type that no device knows."""
        return next((row for row in self.stage_types if name in row.names), None)

    def runtime(self, name: str) -> Runtime | None:
        """The row of that runtime; None if no device knows it."""
        return next((row for row in self.runtimes if row.name == name), None)

    def groups_of(self, stage_type: StageType | None) -> list[RuleGroup]:
        """The groups of rules for a stage of that type, with the common group first."""
        return [self.common, *(self.groups[name] for name in (stage_type.groups if stage_type else ()))]


@cache
def device_rules() -> DeviceRules:
    """The rules in ``device_rules.yaml``.

    Raises:
        InvalidCatalogue: the file is not valid.
    """
    try:
        return DeviceRules.model_validate(yaml.safe_load(RULES.read_text(encoding="utf-8")))
    except (OSError, yaml.YAMLError, ValidationError) as error:
        raise InvalidCatalogue(str(error), where=str(RULES)) from error
