"""A use case: one factory problem, with its account, Region, bucket, roles and default targets."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import yaml
from pydantic import BaseModel, ConfigDict, Field, SecretStr, ValidationError, field_validator

from dda_core.exceptions import DdaError, FileMissing, InvalidUseCase
from dda_core.targets import CompilationTarget, default_targets, find_target, find_targets

RoleArn = Annotated[str, Field(pattern=r"^arn:aws[a-z-]*:iam::\d{12}:role/.+$")]
ComponentName = Annotated[str, Field(pattern=r"^[a-zA-Z0-9._-]{1,128}$")]
TagKey = Annotated[str, Field(min_length=1, max_length=128)]
TagValue = Annotated[str, Field(max_length=256)]

DEFAULT_ROLE = "DDASageMakerExecutionRole"


class UseCase(BaseModel):
    """Where a use case's models live and who may work on them. The fields are those of the YAML file."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    usecase_id: Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]{0,62}$")]
    account_id: Annotated[str, Field(pattern=r"^\d{12}$")]
    region: Annotated[str, Field(pattern=r"^[a-z]{2}(-[a-z]+)+-\d$")]
    s3_bucket: Annotated[str, Field(pattern=r"^[a-z0-9][a-z0-9.-]{1,61}[a-z0-9]$")]
    sagemaker_execution_role_arn: RoleArn | None = None
    cross_account_role_arn: RoleArn | None = None
    external_id: SecretStr | None = None
    localserver: dict[str, ComponentName] = {}
    targets: tuple[str, ...] = ()
    tags: Annotated[dict[TagKey, TagValue], Field(max_length=40)] = {}
    require_approval: bool = False

    @field_validator("account_id", mode="before")
    @classmethod
    def _account_is_text(cls, value: object) -> object:
        # An unquoted account id is a number in YAML; one with a leading zero would lose it there, and is refused.
        return str(value) if isinstance(value, int) else value

    @field_validator("targets")
    @classmethod
    def _targets_are_known(cls, value: tuple[str, ...]) -> tuple[str, ...]:
        return tuple(target.name for target in _known(value))

    @field_validator("localserver")
    @classmethod
    def _localservers_are_of_known_targets(cls, value: dict[str, str]) -> dict[str, str]:
        return {target.name: value[name] for name, target in zip(value, (_known([n])[0] for n in value), strict=True)}

    @property
    def sagemaker_role(self) -> str:
        """The role that SageMaker Neo works with."""
        return self.sagemaker_execution_role_arn or f"arn:aws:iam::{self.account_id}:role/{DEFAULT_ROLE}"

    def localserver_for(self, target: CompilationTarget) -> str:
        """The LocalServer component of this fleet for ``target``: the override, else the table's."""
        return self.localserver.get(target.name, target.localserver)

    def default_targets(self) -> tuple[CompilationTarget, ...]:
        """The use case's own targets, else the first four rows of the table."""
        return find_targets(self.targets) if self.targets else default_targets()


def _known(names: tuple[str, ...] | list[str]) -> list[CompilationTarget]:
    try:
        return [find_target(name) for name in names]
    except DdaError as error:
        raise ValueError(str(error)) from error


def read_use_case(path: Path) -> UseCase:
    """Read a use case's YAML file.

    Raises:
        FileMissing: there is no such file.
        InvalidUseCase: a field is missing, unknown or wrong; the message names file, field, value and rule.
    """
    try:
        fields = yaml.safe_load(path.read_text(encoding="utf-8"))
    except (FileNotFoundError, IsADirectoryError) as error:
        raise FileMissing(
            f"{path}: no such use-case file. Give a YAML file with usecase_id, account_id, region and s3_bucket."
        ) from error
    except (OSError, ValueError, RecursionError, yaml.YAMLError) as error:
        raise InvalidUseCase(f"{path}: cannot be read as YAML: {_without_the_text(error)}") from error
    if not isinstance(fields, dict):
        raise InvalidUseCase(f"{path}: holds {type(fields).__name__}, not the fields of a use case (usecase_id: ...)")
    return check_use_case({key: value for key, value in fields.items() if value is not None}, where=str(path))


def _without_the_text(error: Exception) -> str:
    """What the YAML parser says, without the line of the file that it quotes: a secret may stand there."""
    if not isinstance(error, yaml.MarkedYAMLError):
        return " ".join(str(error).split())
    mark = error.problem_mark or error.context_mark
    place = f" in line {mark.line + 1}, column {mark.column + 1}" if mark else ""
    return f"{' '.join(filter(None, (error.context, error.problem)))}{place}"


def check_use_case(fields: dict[str, object], *, where: str) -> UseCase:
    """The use case of those fields.

    Raises:
        InvalidUseCase: a field is missing, unknown or wrong. Secrets are never quoted.
    """
    try:
        return UseCase.model_validate(fields)
    except ValidationError as error:
        problems = "; ".join(
            f"{'.'.join(map(str, problem['loc']))}: {problem['msg']}"
            + (
                ""
                if problem["type"] == "missing" or "external_id" in problem["loc"]
                else f" (found {problem['input']!r})"
            )
            for problem in error.errors()
        )
        raise InvalidUseCase(f"{where}: {problems}") from error
