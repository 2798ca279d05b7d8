"""Every setting, in one class. Each is read from the environment as ``DDA_<NAME>``; ``dda config show`` lists them."""

from __future__ import annotations

import os
import re
from difflib import get_close_matches
from typing import Literal, NamedTuple

from pydantic import Field, ValidationError
from pydantic_settings import BaseSettings, SettingsConfigDict

from dda_core.exceptions import InvalidSettings

PREFIX = "DDA_"
NO_SETTINGS = frozenset({"DDA_DEBUG", "DDA_LOCAL_STACK", "DDA_LOCAL_ROLE", "DDA_SCREENSHOTS"})
"""Variables of that prefix that mean something else: debugging, the local stack's processes, the browser test."""


class Settings(BaseSettings):
    """Times are in seconds unless the name says otherwise."""

    model_config = SettingsConfigDict(env_prefix=PREFIX, frozen=True, extra="ignore", allow_inf_nan=False)

    poll_seconds: float = Field(30, gt=0, le=3600, description="Time between two looks at a job or a component")
    jitter: float = Field(0.2, ge=0, lt=1, description="Waits vary at random by this share, so that runs spread out")
    backoff_seconds: float = Field(
        30, gt=0, description="Wait before the second attempt of a compilation; the third waits twice as long"
    )
    extra_attempts: int = Field(
        2, ge=0, le=10, description="New compilation jobs in one run after failures that may pass"
    )
    quota_wait_seconds: float = Field(60, gt=0, description="Time between two tries for a slot of the account's quota")
    quota_timeout_seconds: float = Field(14_400, gt=0, description="How long a target waits for a slot")
    prepare_timeout_seconds: float = Field(3_600, gt=0, description="Time limit for reading the trained archive")
    compile_timeout_seconds: float = Field(
        5_400, gt=0, description="Time limit for one compilation job, its queue included"
    )
    package_timeout_seconds: float = Field(3_600, gt=0, description="Time limit for packaging one target")
    publish_timeout_seconds: float = Field(
        1_800, gt=0, description="Time limit until a component version is DEPLOYABLE"
    )
    device_calls_per_second: float = Field(
        10, gt=0, description="Calls to AWS IoT Greengrass per second while core devices are looked at"
    )
    poll_errors: int = Field(20, ge=1, description="Polls that may fail in a row before a target is given up")
    retry_mode: Literal["standard", "adaptive"] = Field("adaptive", description="botocore's retry mode")
    max_attempts: int = Field(8, ge=1, description="botocore's attempts for one AWS call")
    connect_timeout_seconds: float = Field(10, gt=0, description="Time limit for connecting to AWS")
    read_timeout_seconds: float = Field(60, gt=0, description="Time limit for an answer of AWS")
    max_connections: int = Field(50, ge=10, description="Connections kept per AWS service")
    single_host: bool = Field(
        False,
        description="Every worker runs on this machine, outside of containers: a run without a process here is dead",
    )
    silence_seconds: float = Field(
        300, gt=0, description="A run without a sign of life for so long is taken for dead; 3 heartbeats at least"
    )
    pending_seconds: float = Field(
        600, gt=0, description="A run that is pending for so long without a process is taken for dead"
    )
    max_restarts: int = Field(5, ge=0, description="Crashes of a run after which it is not begun again by itself")
    retry_backoff_seconds: float = Field(
        600, gt=0, description="Wait before retry-failed retries a target; doubled with every further failure"
    )
    retry_backoff_cap_seconds: float = Field(14_400, gt=0, description="The longest that retry-failed waits")
    retry_budget: int = Field(20, ge=1, description="Targets that one run of retry-failed retries at most")
    retry_attempts_backoff: int = Field(
        4, ge=1, description="Attempts in all, the first included, where a failure may pass by itself"
    )
    retry_attempts_quota: int = Field(
        6, ge=1, description="Attempts in all, the first included, where the account had no free slot"
    )
    retry_attempts_reconcile: int = Field(
        3, ge=1, description="Attempts in all, the first included, where AWS must be looked at first"
    )
    retry_attempts_crashed: int = Field(
        5, ge=1, description="Attempts in all, the first included, where the run's process died"
    )
    retry_attempts_timed_out: int = Field(
        3, ge=1, description="Attempts in all, the first included, where a step or a job reached its time limit"
    )
    component_versions_per_second: float = Field(
        0.9,
        ge=0,
        description="New component versions per second, account and Region, over all workers; AWS allows 1. "
        "This and the next three: 0 for no limit",
    )
    compilation_jobs_per_second: float = Field(
        1, ge=0, description="New compilation jobs per second, account and Region, over all workers"
    )
    sagemaker_calls_per_second: float = Field(
        10, ge=0, description="Other calls to SageMaker per second, account and Region, over all workers"
    )
    greengrass_calls_per_second: float = Field(
        20, ge=0, description="Other calls to AWS IoT Greengrass per second, account and Region, over all workers"
    )


def load_settings() -> Settings:
    """The settings as the environment has them now.

    Raises:
        InvalidSettings: a value cannot be used; the message names the variable and the rule.
    """
    try:
        return Settings()
    except ValidationError as error:
        problems = "; ".join(
            f"DDA_{str(problem['loc'][0]).upper()}{_found(problem['input'])}: {problem['msg']}"
            for problem in error.errors()
        )
        raise InvalidSettings(problems, remedy="Correct or unset the variable.") from None


def _found(value: object) -> str:
    """``=`` and the value found, where it looks like one of a setting: what was pasted by mistake may be a secret."""
    return f"={value!r}" if re.fullmatch(r"[\w.+-]{0,20}", str(value)) else " (its value is not shown)"


class UnknownVariable(NamedTuple):
    """A ``DDA_`` variable that is no setting, so that its value has no effect; ``nearest`` may be what was meant."""

    name: str
    nearest: str | None

    def __str__(self) -> str:
        """What a person is told."""
        meant = f"Did you mean {self.nearest}?" if self.nearest else "`dda config show` lists the settings."
        return f"{self.name} is no setting of the DDA Pipeline and has no effect. {meant}"


def unknown_variables() -> list[UnknownVariable]:
    """The variables of the environment that look like settings and are none: misspelt ones, most likely."""
    known = [f"{PREFIX}{name.upper()}" for name in Settings.model_fields]
    return [
        UnknownVariable(name, next(iter(get_close_matches(name.upper(), known, n=1)), None))
        for name in sorted(os.environ)
        if name.upper().startswith(PREFIX) and name.upper() not in NO_SETTINGS.union(known)
    ]


def settings_with_origin() -> list[tuple[str, object, str, str]]:
    """``(name, value, where it came from, what it means)`` of every setting."""
    settings = load_settings()
    environment = {name.upper() for name in os.environ}
    return [
        (
            name,
            getattr(settings, name),
            f"environment DDA_{name.upper()}" if f"DDA_{name.upper()}" in environment else "default",
            field.description or "",
        )
        for name, field in Settings.model_fields.items()
    ]
