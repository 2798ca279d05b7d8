"""Components: what to publish for one target, and a version as AWS describes it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple

from pydantic import BaseModel, ConfigDict

from dda_core import naming
from dda_core.aws.tags import (
    COMPILATION_JOB_TAG,
    PORTAL_CREATED_BY_TAG,
    PORTAL_MANAGED_TAG,
    PORTAL_MODEL_NAME_TAG,
    PORTAL_TRAINING_TAG,
    PORTAL_USE_CASE_TAG,
    Maker,
)
from dda_core.components.recipe import RecipeValues, component_recipe
from dda_core.components.recipe_comparison import same_recipe
from dda_core.components.status import ComponentState
from dda_core.targets import CompilationTarget
from dda_core.use_case import UseCase

CREATED_BY = "dda-pipeline"
"""The creator of a component if it is unknown who started its run."""


class ComponentNames(NamedTuple):
    """The caller's names for a model and its components.

    Attributes:
        model_name: the model's name; the default for the components' names.
        component_name: the base to which each target's suffix is added.
        friendly_name: what operators see on the device; by default the base.
        created_by: who or what started the run, for the tag ``dda-portal:created-by``.
    """

    model_name: str
    component_name: str | None = None
    friendly_name: str | None = None
    created_by: str = CREATED_BY

    @property
    def base(self) -> str:
        """The common start of the component names of all targets.

        Raises:
            InvalidName: it is not a valid component name.
        """
        return naming.component_base(self.model_name, self.component_name)


class ComponentVersion(BaseModel):
    """One version of a component as AWS IoT Greengrass describes it."""

    model_config = ConfigDict(frozen=True)

    component: str
    version: str
    arn: str
    state: ComponentState
    reason: str | None = None
    discontinued: bool = False
    tags: dict[str, str] = {}

    @property
    def compilation_job(self) -> str | None:
        """The compilation job behind the version's package, from its tag."""
        return self.tags.get(COMPILATION_JOB_TAG)

    @property
    def maker(self) -> Maker | None:
        """The run that created the version, from its tags."""
        return Maker.tagged(self.tags)

    @property
    def flow_run_id(self) -> str | None:
        """The id of the flow run that created the version, from its tag."""
        return self.maker.flow_run_id if self.maker else None


class ComponentPlan(BaseModel):
    """What is published for one target, independent of its package and version.

    ``localservers``: the LocalServer component's names in the presets; empty if the use case names it itself.
    ``name_given``: the caller gave the component's base name, and thereby agrees to share it with other models.
    """

    model_config = ConfigDict(frozen=True)

    component: str
    friendly_name: str
    target: CompilationTarget
    localserver: str
    localservers: tuple[str, ...] = ()
    startup_wait_seconds: int
    region: str
    account_id: str
    usecase_id: str
    training_job: str
    model_name: str
    use_case_tags: dict[str, str] = {}
    created_by: str = CREATED_BY
    name_given: bool = False

    @classmethod
    def of(
        cls,
        use_case: UseCase,
        target: CompilationTarget,
        *,
        training_job: str,
        names: ComponentNames,
    ) -> ComponentPlan:
        """The component of a model for ``target``.

        Raises:
            InvalidName: it is not a valid component name.
            TargetUnavailable: the use case's fleet has no LocalServer for the target.
        """
        base = names.base
        return cls(
            component=naming.component_name(base, target.component_suffix),
            friendly_name=f"{names.friendly_name or base} ({target.name})",
            target=target,
            localserver=use_case.localserver_for(target),
            localservers=use_case.preset_localservers(target),
            startup_wait_seconds=use_case.startup_wait_seconds,
            region=use_case.region,
            account_id=use_case.account_id,
            usecase_id=use_case.usecase_id,
            training_job=training_job,
            model_name=names.model_name,
            use_case_tags=use_case.tags,
            created_by=names.created_by,
            name_given=bool(names.component_name),
        )

    @property
    def base(self) -> str:
        """The component's name without its target."""
        return self.component.removesuffix(f"-{self.target.component_suffix}")

    def recipe(self, version: str, artifact_uri: str) -> dict[str, Any]:
        """The recipe of ``version`` for the package at ``artifact_uri``."""
        values = RecipeValues(
            component=self.component,
            version=version,
            friendly_name=self.friendly_name,
            target=self.target,
            localserver=self.localserver,
            artifact_uri=artifact_uri,
            startup_wait_seconds=self.startup_wait_seconds,
        )
        return component_recipe(values)

    def is_published_by(self, recipe: Mapping[str, Any], version: str, artifact_uri: str) -> bool:
        """Whether ``recipe``, the recipe of ``version``, publishes this plan's package at ``artifact_uri``."""
        return same_recipe(recipe, self.recipe(version, artifact_uri), localservers=self.localservers)

    def arn(self, version: str | None = None) -> str:
        """The ARN of the component, or of one of its versions."""
        return naming.component_arn(self.region, self.account_id, self.component, version)

    def tags(self, compilation_job: str, maker: Maker | None) -> dict[str, str]:
        """The tags of a new version: those that the portal filters by, and the version's maker."""
        return {
            **self.use_case_tags,
            PORTAL_MANAGED_TAG: "true",
            PORTAL_USE_CASE_TAG: self.usecase_id,
            PORTAL_TRAINING_TAG: self.training_job,
            PORTAL_MODEL_NAME_TAG: self.model_name,
            PORTAL_CREATED_BY_TAG: self.created_by,
            COMPILATION_JOB_TAG: compilation_job,
            **(maker.tags if maker else {}),
        }
