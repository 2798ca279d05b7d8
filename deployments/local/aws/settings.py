"""The settings of the embedded AWS: durations, quotas and the initial bucket."""

from __future__ import annotations

from enum import StrEnum
from typing import Annotated, Any

from pydantic import BaseModel, ConfigDict, Field

Seconds = Annotated[float, Field(ge=0)]

GIB = 1024**3


class RecipeForm(StrEnum):
    """The form in which GetComponent returns a recipe. The digests of artifacts are always filled in."""

    AS_SENT = "as-sent"
    """The fields that were sent, their keys in PascalCase."""
    WITH_DEFAULTS = "with-defaults"
    """As sent, with the defaults of the recipe reference for omitted fields."""
    NORMALISED = "normalised"
    """With the defaults, keys sorted and in camelCase, empty fields omitted."""


class AwsSettings(BaseModel):
    """The settings of one embedded AWS. The defaults suit a demo: quick, but every state can be seen."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    compile_seconds: Seconds = 5
    """From CreateCompilationJob to its end. The first fifth is STARTING, the rest INPROGRESS."""
    publish_seconds: Seconds = 3
    """From CreateComponentVersion to DEPLOYABLE. The first fifth is REQUESTED, the rest INITIATED."""
    stop_seconds: Seconds = 1
    """How long a stopped job is STOPPING before it is STOPPED."""
    train_seconds: Seconds = 0
    """From CreateTrainingJob to Completed."""
    deploy_seconds: Seconds = 2
    """From CreateDeployment until the core devices have its components."""
    component_versions_per_second: Annotated[float, Field(ge=0)] = 1
    """CreateComponentVersion calls allowed per second and Region, as in AWS; 0 means no limit."""
    concurrent_compilation_jobs: Annotated[int, Field(ge=1)] = 50
    """The account's quota of concurrent compilation jobs."""
    recipe_bytes: Annotated[int, Field(ge=1)] = 16 * 1024
    """The largest recipe that AWS IoT Greengrass accepts."""
    recipe_form: RecipeForm = RecipeForm.AS_SENT
    """The form in which GetComponent returns recipes. Clients must not depend on it: AWS documents none."""
    artifact_bytes: Annotated[int, Field(ge=1)] = 2 * GIB
    """The largest total size of a component's artifacts that AWS IoT Greengrass accepts."""
    region: str = "us-east-1"
    bucket: str | None = "dda-local-artifacts"
    """The initial bucket, in ``region``; None for none."""

    @classmethod
    def instant(cls, **changes: Any) -> AwsSettings:
        """Settings for tests: nothing takes any time, and CreateComponentVersion has no rate limit."""
        instant: dict[str, Any] = {
            "compile_seconds": 0,
            "publish_seconds": 0,
            "stop_seconds": 0,
            "deploy_seconds": 0,
            "component_versions_per_second": 0,
        }
        return cls(**(instant | changes))

    def options(self) -> list[str]:
        """These settings as options of ``dda local up`` and ``dda local aws``."""
        named = {
            "--compile-seconds": self.compile_seconds,
            "--publish-seconds": self.publish_seconds,
            "--stop-seconds": self.stop_seconds,
            "--deploy-seconds": self.deploy_seconds,
            "--component-versions-per-second": self.component_versions_per_second,
            "--concurrent-compilation-jobs": self.concurrent_compilation_jobs,
        }
        return [str(word) for option in named.items() for word in option]
