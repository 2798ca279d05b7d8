"""The findings of the access checks, and the subject that they share."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

from pydantic import BaseModel, ConfigDict

from dda_core.aws.clients import AwsClients
from dda_core.aws.principals import principal_of
from dda_core.aws.s3 import parse_s3_uri
from dda_core.use_case import UseCase

ARTIFACTS = "model_artifacts/"
"""The S3 prefix of packages."""


class Level(StrEnum):
    """The result of a check."""

    OK = "ok"
    WARNING = "warning"
    ERROR = "error"
    NOT_CHECKED = "not-checked"


class Finding(BaseModel):
    """What one check found, and the remedy. The field names are a contract."""

    model_config = ConfigDict(frozen=True)

    check: str
    level: Level
    found: str
    remedy: str = ""

    def __str__(self) -> str:
        return f"{self.check}: {self.found}." + (f" {self.remedy}" if self.remedy else "")


def finding(check: str, level: Level, found: str, remedy: str = "") -> Finding:
    """A finding. ``found`` is a clause without a full stop, ``remedy`` a sentence."""
    return Finding(check=check, level=level, found=found, remedy=remedy)


@dataclass(frozen=True)
class Subject:
    """What is checked: the use case of ``aws``, its ``caller`` (an STS or IAM ARN), and optionally an archive."""

    aws: AwsClients
    caller: str
    model_artifact: str | None = None

    @property
    def use_case(self) -> UseCase:
        """The use case to check."""
        return self.aws.use_case

    @property
    def bucket(self) -> str:
        """The use case's bucket."""
        return self.aws.use_case.s3_bucket

    @property
    def buckets(self) -> list[str]:
        """The use case's bucket, and the archive's if it is another one."""
        archive = parse_s3_uri(self.model_artifact)[0] if self.model_artifact else self.bucket
        return list(dict.fromkeys([self.bucket, archive]))

    @property
    def principal(self) -> str:
        """The caller's user or role, as policies name it."""
        return principal_of(self.caller, self.use_case.cross_account_role_arn)

    def s3_arn(self, path: str) -> str:
        """The ARN of ``<bucket>`` or ``<bucket>/<key>``."""
        return f"arn:{self.caller.split(':')[1]}:s3:::{path}"
