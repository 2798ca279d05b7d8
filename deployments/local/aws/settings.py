"""What the embedded AWS can be told: how long things take, what its quotas are, and what exists from the start."""

from __future__ import annotations

from enum import StrEnum
from typing import Annotated, Any

from pydantic import BaseModel, ConfigDict, Field

Seconds = Annotated[float, Field(ge=0)]

GIB = 1024**3


class RecipeForm(StrEnum):
    """What GetComponent makes of a recipe that was sent. The digests of its artifacts are always filled in."""

    AS_SENT = "as-sent"
    """The fields that were sent, their keys in PascalCase."""
    WITH_DEFAULTS = "with-defaults"
    """As sent, and what was left out with the defaults of the recipe reference."""
    NORMALISED = "normalised"
    """With the defaults, but keys in camelCase, in an order of the service's own, and nothing that is empty."""


class AwsSettings(BaseModel):
    """The settings of one embedded AWS. The defaults are a demo's: quick, yet every state can be seen."""

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
    """CreateComponentVersion calls allowed per second and Region, as in AWS; 0 is no limit."""
    concurrent_compilation_jobs: Annotated[int, Field(ge=1)] = 50
    """The account's quota: compilation jobs that may be on their way at the same time."""
    recipe_bytes: Annotated[int, Field(ge=1)] = 16 * 1024
    """The largest recipe AWS IoT Greengrass takes."""
    recipe_form: RecipeForm = RecipeForm.AS_SENT
    """How GetComponent gives recipes back. Clients should not depend on it: the service documents no form."""
    artifact_bytes: Annotated[int, Field(ge=1)] = 2 * GIB
    """The largest sum of a component's artifacts that AWS IoT Greengrass takes."""
    region: str = "us-east-1"
    bucket: str | None = "dda-local-artifacts"
    """A bucket that exists from the start, in ``region``; none when null."""

    @classmethod
    def instant(cls, **changes: Any) -> AwsSettings:
        """Settings for tests: everything ends at once and CreateComponentVersion is not limited."""
        instant: dict[str, Any] = {
            "compile_seconds": 0,
            "publish_seconds": 0,
            "stop_seconds": 0,
            "deploy_seconds": 0,
            "component_versions_per_second": 0,
        }
        return cls(**(instant | changes))

    def options(self) -> list[str]:
        """The options of ``dda local up`` and ``dda local aws`` that say the same, for another process."""
        named = {
            "--compile-seconds": self.compile_seconds,
            "--publish-seconds": self.publish_seconds,
            "--stop-seconds": self.stop_seconds,
            "--deploy-seconds": self.deploy_seconds,
            "--component-versions-per-second": self.component_versions_per_second,
            "--concurrent-compilation-jobs": self.concurrent_compilation_jobs,
        }
        return [str(word) for option in named.items() for word in option]
