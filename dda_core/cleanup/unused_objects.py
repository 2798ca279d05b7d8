"""Objects of the pipeline that are no longer used: repackaged inputs, compiled outputs, packages.

Only keys that this pipeline could have created are considered. Whatever a component version names, a compilation job
in progress reads or writes, or a training job's runs may still need is kept, whatever its age.
"""

from __future__ import annotations

import re
from collections.abc import Container, Iterable, Iterator
from datetime import datetime, timedelta
from enum import StrEnum
from typing import TYPE_CHECKING

from botocore.exceptions import ClientError
from pydantic import BaseModel, ConfigDict

from dda_core.aws.errors import is_not_found, is_object_missing
from dda_core.aws.s3 import list_objects, parse_s3_uri
from dda_core.aws.tags import COMPILATION_JOB_TAG
from dda_core.components.devices import Spacing
from dda_core.model.package import SUFFIX
from dda_core.naming import REPACKAGED_NAME, attempt_of, training_part
from dda_core.targets import target_names

if TYPE_CHECKING:
    from mypy_boto3_greengrassv2 import GreengrassV2Client
    from mypy_boto3_s3 import S3Client
    from mypy_boto3_sagemaker import SageMakerClient

COMPILED = "models/compilation/"
PACKAGES = "model_artifacts/"
MODELS = "models/"
YOUNGEST = timedelta(days=1)
"""Nothing younger is offered for deletion, because a run may be about to use it."""


class Kind(StrEnum):
    """What a stored object is."""

    INPUT = "input"
    """A repackaged model, which a compilation job reads."""
    COMPILED = "compiled"
    """What a compilation job wrote, and its saved log."""
    PACKAGE = "package"
    """The ZIP that devices unpack."""


class StoredObject(BaseModel):
    """An object of the pipeline in the bucket. ``size`` is in bytes.

    ``owner`` is a compiled output's compilation job, a package's 12-digit id, or an input's own key.
    """

    model_config = ConfigDict(frozen=True)

    kind: Kind
    key: str
    size: int
    modified: datetime
    etag: str
    owner: str


class InUse(BaseModel):
    """What must stay.

    Attributes:
        recipes: the recipe text of every existing component version.
        compilation_jobs: the jobs that compiled existing component versions, and those in progress.
        inputs: the keys that compilation jobs in progress read.
        training_jobs: those whose runs are in progress or may be retried.
        packaging: whether any run is in progress; which package it will use cannot be known.
    """

    model_config = ConfigDict(frozen=True)

    recipes: tuple[str, ...] = ()
    compilation_jobs: frozenset[str] = frozenset()
    inputs: frozenset[str] = frozenset()
    training_jobs: frozenset[str] = frozenset()
    packaging: bool = False

    def holds(self, stored: StoredObject) -> bool:
        """Whether the object must stay."""
        if stored.kind is Kind.PACKAGE:
            return self.packaging or any(stored.owner in recipe for recipe in self.recipes)
        if stored.kind is Kind.COMPILED:
            parts = (f"{training_part(job)}-" for job in self.training_jobs)
            return stored.owner in self.compilation_jobs or stored.owner.startswith(tuple(parts))
        return stored.key in self.inputs or not self.training_jobs.isdisjoint(stored.key.split("/"))


def classify(key: str, own_targets: Container[str] = ()) -> tuple[Kind, str] | None:
    """The kind and owner of the object with that key; None if the pipeline did not create the key.

    ``own_targets`` are the names of the own targets of the bucket's use cases.
    """
    if key.startswith(COMPILED):
        job, _, rest = key.removeprefix(COMPILED).partition("/")
        target, _, name = rest.partition("/")
        known = target in target_names() or target in own_targets
        return (Kind.COMPILED, job) if attempt_of(job) and known and name else None
    if match := re.fullmatch(rf"{PACKAGES}model-([0-9a-f]{{12}})/\1{re.escape(SUFFIX)}", key):
        return Kind.PACKAGE, match[1]
    if key.startswith(MODELS) and key.endswith(f"/{REPACKAGED_NAME}"):
        return Kind.INPUT, key
    return None


def stored_objects(
    s3: S3Client, bucket: str, older_than: timedelta, own_targets: Container[str] = ()
) -> Iterator[StoredObject]:
    """The pipeline's objects last written at least ``older_than`` ago, by S3's clock.

    Raises:
        ValueError: ``older_than`` is under a day.
    """
    if older_than < YOUNGEST:
        raise ValueError(f"{older_than} is under {YOUNGEST}")
    for prefix in (MODELS, PACKAGES):
        for item, now in list_objects(s3, bucket, prefix):
            found = classify(item["Key"], own_targets)
            if found and item["LastModified"] <= now - older_than:
                kind, owner = found
                yield StoredObject(
                    kind=kind,
                    key=item["Key"],
                    size=item["Size"],
                    modified=item["LastModified"],
                    etag=item["ETag"],
                    owner=owner,
                )


def in_use_by_components(greengrass: GreengrassV2Client, spacing: Spacing) -> InUse:
    """What all component versions in the account and Region name, including components of others."""
    recipes: list[str] = []
    jobs: set[str] = set()
    for page in greengrass.get_paginator("list_components").paginate(scope="PRIVATE"):
        for component in page.get("components", []):
            spacing.wait()
            for versions in greengrass.get_paginator("list_component_versions").paginate(arn=component["arn"]):
                for version in versions.get("componentVersions", []):
                    spacing.wait()
                    try:
                        answer = greengrass.get_component(arn=version["arn"])
                    except ClientError as error:
                        if is_not_found(error):
                            continue  # deleted after it was listed
                        raise
                    recipes.append(answer["recipe"].decode("utf-8", "replace"))
                    job = answer.get("tags", {}).get(COMPILATION_JOB_TAG)
                    jobs |= {job} if job else set()
    return InUse(recipes=tuple(recipes), compilation_jobs=frozenset(jobs))


def in_use_by_compilations(sagemaker: SageMakerClient) -> InUse:
    """What the compilation jobs in progress in the account and Region read and write."""
    jobs: set[str] = set()
    inputs: set[str] = set()
    for status in ("STARTING", "INPROGRESS", "STOPPING"):
        for page in sagemaker.get_paginator("list_compilation_jobs").paginate(StatusEquals=status):
            for summary in page["CompilationJobSummaries"]:
                name = summary["CompilationJobName"]
                jobs.add(name)
                try:
                    job = sagemaker.describe_compilation_job(CompilationJobName=name)
                except ClientError as error:
                    if is_not_found(error):
                        continue
                    raise
                inputs.add(parse_s3_uri(job["InputConfig"]["S3Uri"])[1])
    return InUse(compilation_jobs=frozenset(jobs), inputs=frozenset(inputs))


def together(parts: Iterable[InUse]) -> InUse:
    """The union of the parts."""
    parts = list(parts)
    return InUse(
        recipes=tuple(recipe for part in parts for recipe in part.recipes),
        compilation_jobs=frozenset().union(*(part.compilation_jobs for part in parts)),
        inputs=frozenset().union(*(part.inputs for part in parts)),
        training_jobs=frozenset().union(*(part.training_jobs for part in parts)),
        packaging=any(part.packaging for part in parts),
    )


def delete(s3: S3Client, bucket: str, stored: StoredObject) -> bool:
    """Delete an object unless it was overwritten or deleted after it was listed; whether it was deleted."""
    try:
        now = s3.head_object(Bucket=bucket, Key=stored.key)
    except ClientError as error:
        if is_object_missing(error):
            return False
        raise
    if (now["ETag"], now["LastModified"]) != (stored.etag, stored.modified):
        return False
    s3.delete_object(Bucket=bucket, Key=stored.key)
    return True
