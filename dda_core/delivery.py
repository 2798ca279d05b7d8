"""A delivery: one trained model for one target, from compilation input to published component."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING

from pydantic import BaseModel, ConfigDict

from dda_core import naming
from dda_core.compilation.job import CompilationWork, describe_job
from dda_core.components.component import ComponentNames, ComponentPlan, ComponentVersion
from dda_core.components.published import package_findings_in_s3
from dda_core.components.versions import find_deployable
from dda_core.device.findings import errors
from dda_core.device.folder import Expectation
from dda_core.exceptions import CompilationMismatch, FileMissing
from dda_core.targets import CompilationTarget
from dda_core.training.job import TrainingJob
from dda_core.use_case import UseCase

if TYPE_CHECKING:
    from dda_core.aws.clients import AwsClients


class Delivery(BaseModel):
    """What one target is compiled from and published as."""

    model_config = ConfigDict(frozen=True)

    target: str
    work: CompilationWork
    component: ComponentPlan


class Delivered(BaseModel):
    """A delivery that devices can already install. URIs are ``s3://``; the job and its archive may be deleted."""

    model_config = ConfigDict(frozen=True)

    version: ComponentVersion
    package: str
    compilation_job: str
    attempt: int | None
    compiled_artifact: str | None


def deliveries(
    use_case: UseCase,
    targets: Iterable[CompilationTarget],
    training_job: TrainingJob,
    input_shape: tuple[int, int, int, int],
    names: ComponentNames,
) -> list[Delivery]:
    """One delivery per target, in the order of ``targets``.

    Raises:
        InvalidName: no component can have that name.
        TargetUnavailable: the use case's fleet has no LocalServer for a target.
        TrainingJobNotCompleted: the training job has no archive yet.
    """
    return [
        Delivery(
            target=target.name,
            work=CompilationWork.of(use_case, target, training_job, input_shape),
            component=ComponentPlan.of(use_case, target, training_job=training_job.name, names=names),
        )
        for target in targets
    ]


def find_delivered(aws: AwsClients, delivery: Delivery) -> Delivered | None:
    """The delivery if devices can already run it, else None. Reads AWS only.

    A version does not count if its package was deleted, or if it was made before a rule was known and a device could
    not run it. Such a target is packaged again; that step fails if the compiled model is at fault.
    """
    expected = Expectation.of(delivery.component.target)

    def runs(package: str) -> bool:
        try:
            return not errors(package_findings_in_s3(aws.s3, package, expected))
        except FileMissing:
            return False

    found = find_deployable(aws.greengrass, delivery.component, delivery.work.stem, runs)
    if found is None:
        return None
    version, package = found
    job_name = version.compilation_job or ""
    attempt = naming.attempt_of(job_name)
    try:
        job = describe_job(aws.sagemaker, delivery.work, attempt) if attempt else None
    except CompilationMismatch:
        job = None
    return Delivered(
        version=version,
        package=package,
        compilation_job=job_name,
        attempt=attempt,
        compiled_artifact=job.artifact if job else None,
    )
