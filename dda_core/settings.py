"""All settings, in one class. Each is read from the environment as ``DDA_<NAME>``; ``dda config show`` lists them."""

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
"""Variables with that prefix that are not settings: debugging, the local stack's processes, the browser test."""


class Settings(BaseSettings):
    """The settings; times are in seconds."""

    model_config = SettingsConfigDict(env_prefix=PREFIX, frozen=True, extra="ignore", allow_inf_nan=False)

    poll_seconds: float = Field(30, gt=0, le=3600, description="Time between two polls of a job or a component")
    jitter: float = Field(
        0.2, ge=0, lt=1, description="Random variation of waits, as a fraction, so that runs spread out"
    )
    backoff_seconds: float = Field(
        30, gt=0, description="Wait before the second attempt of a compilation; the third waits twice as long"
    )
    extra_attempts: int = Field(2, ge=0, le=10, description="New compilation jobs in one run after transient failures")
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
        10, gt=0, description="Calls to AWS IoT Greengrass per second while listing core devices"
    )
    poll_errors: int = Field(20, ge=1, description="Consecutive failed polls after which a target fails")
    retry_mode: Literal["standard", "adaptive"] = Field("adaptive", description="botocore's retry mode")
    max_attempts: int = Field(8, ge=1, description="botocore's attempts per AWS call")
    connect_timeout_seconds: float = Field(10, gt=0, description="Time limit for connecting to AWS")
    read_timeout_seconds: float = Field(60, gt=0, description="Time limit for a response from AWS")
    max_connections: int = Field(50, ge=10, description="Connections kept open per AWS service")
    single_host: bool = Field(
        False,
        description="Every worker runs on this machine, outside containers: a run without a process here is dead",
    )
    silence_seconds: float = Field(
        300, gt=0, description="A run that is silent for this long is presumed dead; at least 3 heartbeats"
    )
    pending_seconds: float = Field(
        600, gt=0, description="A run that is pending for this long without a process is presumed dead"
    )
    max_restarts: int = Field(5, ge=0, description="Crashes after which a run is no longer restarted automatically")
    retry_backoff_seconds: float = Field(
        600, gt=0, description="Wait before retry-failed retries a target; doubled after every further failure"
    )
    retry_backoff_cap_seconds: float = Field(14_400, gt=0, description="The longest wait of retry-failed")
    retry_budget: int = Field(20, ge=1, description="The most targets that one run of retry-failed retries")
    retry_attempts_backoff: int = Field(
        4, ge=1, description="Total attempts, including the first, if a failure may be transient"
    )
    retry_attempts_quota: int = Field(
        6, ge=1, description="Total attempts, including the first, if the account had no free slot"
    )
    retry_attempts_reconcile: int = Field(
        3, ge=1, description="Total attempts, including the first, if the state in AWS must be read first"
    )
    retry_attempts_crashed: int = Field(
        5, ge=1, description="Total attempts, including the first, if the run's process died"
    )
    retry_attempts_timed_out: int = Field(
        3, ge=1, description="Total attempts, including the first, if a step or a job reached its time limit"
    )
    component_versions_per_second: float = Field(
        0.9,
        ge=0,
        description="New component versions per second, account and Region, across all workers; AWS allows 1. "
        "For this and the next three, 0 means no limit",
    )
    compilation_jobs_per_second: float = Field(
        1, ge=0, description="New compilation jobs per second, account and Region, across all workers"
    )
    sagemaker_calls_per_second: float = Field(
        10, ge=0, description="Other calls to SageMaker per second, account and Region, across all workers"
    )
    greengrass_calls_per_second: float = Field(
        20, ge=0, description="Other calls to AWS IoT Greengrass per second, account and Region, across all workers"
    )


def load_settings() -> Settings:
    """The settings from the current environment.

    Raises:
        InvalidSettings: a value is invalid; the message names the variable and the rule.
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
    """``=`` and the value, if it looks like a setting's: anything else may be a secret pasted by mistake."""
    return f"={value!r}" if re.fullmatch(r"[\w.+-]{0,20}", str(value)) else " (its value is not shown)"


class UnknownVariable(NamedTuple):
    """A ``DDA_`` variable that is not a setting and has no effect; ``nearest`` may be what was meant."""

    name: str
    nearest: str | None

    def __str__(self) -> str:
        """The sentence for people."""
        meant = f"Did you mean {self.nearest}?" if self.nearest else "`dda config show` lists the settings."
        return f"{self.name} is not a setting of the DDA Pipeline and has no effect. {meant}"


def unknown_variables() -> list[UnknownVariable]:
    """Environment variables that look like settings but are not, most likely misspelt ones."""
    known = [f"{PREFIX}{name.upper()}" for name in Settings.model_fields]
    return [
        UnknownVariable(name, next(iter(get_close_matches(name.upper(), known, n=1)), None))
        for name in sorted(os.environ)
        if name.upper().startswith(PREFIX) and name.upper() not in NO_SETTINGS.union(known)
    ]


def settings_with_origin() -> list[tuple[str, object, str, str]]:
    """``(name, value, origin, description)`` of every setting."""
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
