"""A use case: one factory problem, with its account, Region, bucket, roles, fleet and default targets."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Annotated, TypeVar

from pydantic import (
    BaseModel,
    ConfigDict,
    Field,
    SecretStr,
    ValidationError,
    ValidationInfo,
    field_validator,
    model_validator,
)

from dda_core.exceptions import DdaError, FileMissing, InvalidUseCase, TargetUnavailable, UnknownTarget, YamlRefused
from dda_core.fleets import SAVED_BEFORE, Fleet, find_fleet, localservers_of, new_fleet
from dda_core.naming import bucket_name_problem, partition
from dda_core.safe_yaml import read_yaml_file
from dda_core.sanitise import remember_secret
from dda_core.targets import (
    CompilationTarget,
    ComponentName,
    all_targets,
    find_target,
    find_targets,
    look_up,
    own_row_problems,
    read_own_targets,
    target_names,
)
from dda_core.validation import explained, unquoted_values

T = TypeVar("T")
RoleArn = Annotated[str, Field(pattern=r"^arn:aws[a-z-]*:iam::\d{12}:role/.+$")]
TagKey = Annotated[str, Field(min_length=1, max_length=128)]
TagValue = Annotated[str, Field(max_length=256)]

RESERVED_TAGS = {
    "aws:": "AWS reserves it for its own tags",
    "dda:": "the pipeline finds its jobs by such tags",
    "dda-portal:": "the pipeline and the portal find components by such tags",
}
"""Reserved prefixes of tag keys, in lower case, and why."""

DEFAULT_ROLE = "DDASageMakerExecutionRole"
DEFAULT_STARTUP_WAIT_SECONDS = 600
LONGEST_STARTUP_WAIT_SECONDS = 86_400


class UseCase(BaseModel):
    """Where a use case's models are stored, and its roles. The fields are those of the YAML file.

    Attributes:
        fleet: the preset with the devices' LocalServer components and the default targets; None in a use case saved
            before presets existed, which means ``original``.
        startup_wait_seconds: how long a device waits for LocalServer's files before it converts a model; 0: not at all.
        own_targets: rows in addition to the table of targets; a file names them by ``targets_file``.
        localserver: the LocalServer component of these devices by target, if it differs from the fleet's.
        targets: the names of the default targets, if they differ from the fleet's.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    usecase_id: Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]{0,62}$")]
    account_id: Annotated[str, Field(pattern=r"^\d{12}$")]
    region: Annotated[str, Field(pattern=r"^[a-z]{2}(-[a-z]+)+-\d$")]
    s3_bucket: Annotated[str, Field(pattern=r"^[a-z0-9][a-z0-9.-]{1,61}[a-z0-9]$")]
    sagemaker_execution_role_arn: RoleArn | None = None
    cross_account_role_arn: RoleArn | None = None
    external_id: SecretStr | None = None
    fleet: str | None = None
    startup_wait_seconds: Annotated[int, Field(strict=True, ge=0, le=LONGEST_STARTUP_WAIT_SECONDS)] = (
        DEFAULT_STARTUP_WAIT_SECONDS
    )
    own_targets: tuple[CompilationTarget, ...] = ()
    localserver: dict[str, ComponentName] = {}
    targets: tuple[str, ...] = ()
    tags: Annotated[dict[TagKey, TagValue], Field(max_length=40)] = {}
    require_approval: bool = False

    @field_validator("account_id", mode="before")
    @classmethod
    def _account_is_text(cls, value: object) -> object:
        # An unquoted account id is a number in YAML; one with a leading zero loses it and is then refused.
        return str(value) if isinstance(value, int) else value

    @field_validator("s3_bucket")
    @classmethod
    def _bucket_name_is_one_that_s3_takes(cls, value: str) -> str:
        if problem := bucket_name_problem(value):
            raise ValueError(f"not a valid bucket name: {problem}")
        return value

    @field_validator("tags")
    @classmethod
    def _tags_are_the_users_own(cls, value: dict[str, str]) -> dict[str, str]:
        for key in value:
            if reserved := next((start for start in RESERVED_TAGS if key.lower().startswith(start)), None):
                raise ValueError(f"a key must not begin with {reserved!r}: {RESERVED_TAGS[reserved]}")
        return value

    @field_validator("fleet")
    @classmethod
    def _fleet_is_known(cls, value: str | None) -> str | None:
        return None if value is None else _or_value_error(lambda: find_fleet(value).name)

    @field_validator("own_targets")
    @classmethod
    def _own_targets_stand_beside_the_table(cls, value: tuple[CompilationTarget, ...]) -> tuple[CompilationTarget, ...]:
        if problems := own_row_problems(value):
            raise ValueError("; ".join(problems))
        return value

    @field_validator("localserver")
    @classmethod
    def _localservers_are_of_known_targets(cls, value: dict[str, str], info: ValidationInfo) -> dict[str, str]:
        own = info.data.get("own_targets", ())
        named = {}
        for name, localserver in value.items():
            if (row := look_up(name, own)) is None:
                raise ValueError(str(UnknownTarget(name, (*target_names(), *(row.name for row in own)))))
            if row.name in named:
                raise ValueError(f"target {row.name} is named twice, by its name or an alias; name it once")
            named[row.name] = localserver
        return named

    @field_validator("targets")
    @classmethod
    def _targets_are_known(cls, value: tuple[str, ...], info: ValidationInfo) -> tuple[str, ...]:
        own = info.data.get("own_targets", ())
        named = _or_value_error(lambda: [find_target(name, own).name for name in value])
        if twice := sorted(name for name, count in Counter(named).items() if count > 1):
            raise ValueError(f"target {', '.join(twice)} is named twice, by its name or an alias; name it once")
        return tuple(named)

    @model_validator(mode="after")
    def _devices_run_the_targets(self) -> UseCase:
        _or_value_error(lambda: [self.localserver_for(target) for target in self.default_targets()])
        return self

    @model_validator(mode="after")
    def _external_id_is_kept_from_logs_and_errors(self) -> UseCase:
        if self.external_id:
            remember_secret(self.external_id.get_secret_value())
        return self

    @property
    def sagemaker_role(self) -> str:
        """The role that SageMaker Neo assumes."""
        default = f"arn:{partition(self.region)}:iam::{self.account_id}:role/{DEFAULT_ROLE}"
        return self.sagemaker_execution_role_arn or default

    @property
    def preset(self) -> Fleet:
        """The use case's fleet."""
        return find_fleet(self.fleet or SAVED_BEFORE)

    def localserver_for(self, target: CompilationTarget) -> str:
        """The LocalServer component of these devices for ``target``: the use case's, else the row's, else the fleet's.

        Raises:
            TargetUnavailable: the fleet has none.
        """
        named = self.localserver.get(target.name) or target.localserver or self.preset.localserver.get(target.name)
        if named is None:
            reason = self.preset.refused.get(target.name, "it names no LocalServer for it")
            raise TargetUnavailable(
                target.name,
                f"in fleet {self.preset.name}: {reason}",
                f"Name the devices' LocalServer in the use case's localserver "
                f"({{{target.name}: aws.edgeml.dda.LocalServer...}}), or use another target.",
            )
        return named

    def preset_localservers(self, target: CompilationTarget) -> tuple[str, ...]:
        """The LocalServer components that presets name for the target; empty if the use case or the row names one."""
        return () if target.name in self.localserver or target.localserver else localservers_of(target)

    def find_target(self, name: str) -> CompilationTarget:
        """The target of that name or alias, in the table or among the use case's own rows.

        Raises:
            UnknownTarget: no row has it.
            TargetUnavailable: it cannot be compiled for, or these devices cannot run it.
        """
        target = find_target(name, self.own_targets)
        self.localserver_for(target)
        return target

    def find_targets(self, names: Iterable[str]) -> tuple[CompilationTarget, ...]:
        """The targets of those names or aliases, each once, in the order given.

        Raises:
            UnknownTarget, TargetUnavailable: as ``find_target`` does.
        """
        return tuple(dict.fromkeys(self.find_target(name) for name in names))

    def default_targets(self) -> tuple[CompilationTarget, ...]:
        """The default targets: the use case's own, else its fleet's."""
        return find_targets(self.targets, self.own_targets) if self.targets else self.preset.default_targets()

    def target_names(self) -> tuple[str, ...]:
        """The names of all targets that can be compiled for these devices."""
        return tuple(row.name for row in (*all_targets(), *self.own_targets) if self._runs(row))

    def _runs(self, target: CompilationTarget) -> bool:
        try:
            return bool(self.find_target(target.name))
        except TargetUnavailable:
            return False

    def on_fleet(self, name: str) -> UseCase:
        """The use case with that fleet.

        Raises:
            UnknownFleet: there is none of that name.
            InvalidUseCase: its devices cannot run the use case's default targets.
        """
        fields = {field: getattr(self, field) for field in type(self).model_fields}
        return check_use_case({**fields, "fleet": find_fleet(name).name}, where=f"use case {self.usecase_id!r}")


QUOTED = frozenset(UseCase.model_fields) - {"external_id", "tags"}
"""The fields whose values errors may quote; tags may hold private data."""


def _or_value_error(made: Callable[[], T]) -> T:
    """What ``made`` returns; a ``DdaError`` becomes a ValueError, which pydantic reports with the field."""
    try:
        return made()
    except DdaError as error:
        raise ValueError(str(error)) from error


def read_use_case(path: Path, *, saved_fleet: bool = False) -> UseCase:
    """Read a use case's YAML file. Without a fleet, it gets the one for new use cases.

    Args:
        path: the file; its ``targets_file`` is relative to its folder.
        saved_fleet: leave the fleet unset if the file names none, because the use case may have been saved before.

    Raises:
        FileMissing: the file, or its file of targets, does not exist.
        InvalidUseCase: a field is missing, unknown or invalid; the message names file, field, value and rule.
        InvalidCatalogue: a row of its own targets is invalid; the message names file, row, field and value.
    """
    try:
        fields = read_yaml_file(path)
    except (FileNotFoundError, IsADirectoryError) as error:
        raise FileMissing(
            "no such use-case file",
            path=path,
            where=str(path),
            remedy="Give a YAML file with usecase_id, account_id, region and s3_bucket.",
        ) from error
    except YamlRefused as error:
        # The parser's own error, its cause, may quote the line.
        raise InvalidUseCase(f"cannot be read as YAML: {error}", where=str(path)) from None
    except OSError as error:
        raise InvalidUseCase(f"cannot be read: {error.strerror or error}", where=str(path)) from error
    if not isinstance(fields, dict):
        raise InvalidUseCase(
            f"holds {type(fields).__name__}, not the fields of a use case (usecase_id: ...)", where=str(path)
        )
    given = {key: value for key, value in fields.items() if value is not None}
    if "targets_file" in given:
        given["own_targets"] = _targets_beside(path, given)
        del given["targets_file"]
    return check_use_case(given if saved_fleet else {"fleet": new_fleet().name, **given}, where=str(path))


def _targets_beside(path: Path, fields: dict[str, object]) -> tuple[CompilationTarget, ...]:
    named = fields["targets_file"]
    if not isinstance(named, str) or "own_targets" in fields:
        raise InvalidUseCase(
            "targets_file cannot be used",
            where=str(path),
            expected="the path of a YAML file, without own_targets in the same file",
        )
    rows = path.parent / named
    if not rows.is_file():
        raise FileMissing(
            f"no such file; {path} names it as targets_file",
            path=rows,
            where=str(rows),
            remedy="Give the path relative to that file's folder.",
        )
    return read_own_targets(rows)


def check_use_case(fields: dict[str, object], *, where: str) -> UseCase:
    """The use case of those fields.

    Raises:
        InvalidUseCase: a field is missing, unknown or invalid. Secrets are never quoted.
    """
    try:
        return UseCase.model_validate(fields)
    except ValidationError as error:
        # Pydantic's own error quotes every value.
        secrets = unquoted_values(fields, QUOTED)
        raise InvalidUseCase(explained(error, quoted=QUOTED, secrets=secrets), where=where) from None
