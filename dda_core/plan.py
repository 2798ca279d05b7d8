"""What a run would send to AWS for a trained model, computed without AWS calls.

Requests and recipes come from the same code as in a run, for the first attempt and the first version.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import TYPE_CHECKING, Any

from dda_core import naming
from dda_core.components.component import ComponentNames
from dda_core.components.recipe import check_recipe
from dda_core.delivery import deliveries
from dda_core.exceptions import InvalidName
from dda_core.model.manifest import dda_manifest
from dda_core.model.package import package_key
from dda_core.targets import CompilationTarget
from dda_core.training.job import TrainingJob
from dda_core.use_case import UseCase

if TYPE_CHECKING:
    from dda_core.model.manifest import TrainedModel

FIRST_VERSION = "1.0.0"
UNBUILT_PACKAGE = "000000000000"
"""Placeholder for the package's id, which depends on the compiled archive."""
VERSION_PATTERN = re.compile(r"([0-9]+)\.0+\.0+")


def check_names(
    targets: Iterable[CompilationTarget],
    names: ComponentNames,
    *,
    component_version: str = FIRST_VERSION,
    training_job: str | None = None,
) -> None:
    """Check all arguments of ``plan`` except the model, so that a wrong name fails before an archive is read.

    Raises:
        InvalidName: a name is not valid in AWS, or devices cannot read the version.
    """
    if training_job is not None:
        naming.check_training_job_name(training_job)
    base = names.base
    for target in targets:
        naming.component_name(base, target.component_suffix)
    version = VERSION_PATTERN.fullmatch(component_version)
    if not version or int(version[1]) == 0:
        raise InvalidName(
            f"component version {component_version!r} cannot be used: devices keep only the major part",
            name=component_version,
            expected="x.0.0 with x over 0",
            remedy="Give a version such as 1.0.0.",
        )


def plan(
    model: TrainedModel,
    use_case: UseCase,
    targets: Iterable[CompilationTarget],
    names: ComponentNames,
    *,
    component_version: str = FIRST_VERSION,
    training_job: str | None = None,
) -> dict[str, Any]:
    """The manifest, and per target the CreateCompilationJob request and the component with its recipe.

    Args:
        model: from ``read_trained_archive``. A local archive gets the URI that it would have in the use case's bucket.
        use_case: provides account, bucket, role and LocalServer components.
        targets: the targets to compile for.
        names: the names of the model and its components.
        component_version: the version of all components.
        training_job: the prefix of compilation job names; by default derived from the model's name.

    Raises:
        InvalidName: a name is not valid in AWS, or devices cannot read the version.
        RecipeInvalid: a recipe breaks a rule of the service.
    """
    targets = list(targets)
    check_names(targets, names, component_version=component_version, training_job=training_job)
    job = training_job or _as_training_job(names.model_name)
    artifact = model.uri if model.uri.startswith("s3://") else naming.trained_archive_uri(use_case.s3_bucket, job)
    package_uri = f"s3://{use_case.s3_bucket}/{package_key(UNBUILT_PACKAGE)}"
    compile_requests, components = {}, {}
    trained = TrainingJob(
        name=job,
        arn=naming.training_job_arn(use_case.region, use_case.account_id, job),
        status="Completed",
        model_artifact=artifact,
    )
    for delivery in deliveries(use_case, targets, trained, model.input_shape, names):
        recipe = delivery.component.recipe(component_version, package_uri)
        check_recipe(recipe)
        compile_requests[delivery.target] = delivery.work.request(attempt=1)
        components[delivery.target] = {
            "name": delivery.component.component,
            "version": component_version,
            "recipe": recipe,
        }
    return {"manifest": dda_manifest(model), "compile_requests": compile_requests, "components": components}


def _as_training_job(model_name: str) -> str:
    """The model's name if valid for a training job, otherwise a sanitised form of it."""
    fits = len(model_name) <= 63 and naming.JOB_NAME_PATTERN.fullmatch(model_name)
    return model_name if fits else naming.training_part(model_name)
