"""The tags that the pipeline sets on AWS resources or reads from them: their names, and who made a resource.

The names are a contract: existing resources have them, and the portal and the devices look for them.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, NamedTuple, Self

from botocore.exceptions import ClientError

from dda_core.aws.errors import error_code, is_denied
from dda_core.aws.principals import POLICIES

if TYPE_CHECKING:
    from mypy_boto3_sagemaker import SageMakerClient

# On training jobs, compilation jobs and component versions.
USE_CASE_TAG = "dda:use-case"
MODEL_NAME_TAG = "dda:model-name"
TARGETS_TAG = "dda:targets"
"""The targets to compile a training job for."""
TRAINING_JOB_TAG = "dda:training-job"
TARGET_TAG = "dda:target"
COMPILATION_JOB_TAG = "dda:compilation-job"
FLOW_RUN_TAG = "dda:flow-run"
RETRY_TAG = "dda:flow-run-retry"

# On component versions and the webhook's stack; the portal chose the names.
PORTAL_MANAGED_TAG = "dda-portal:managed"
PORTAL_USE_CASE_TAG = "dda-portal:usecase-id"
PORTAL_TRAINING_TAG = "dda-portal:training-id"
PORTAL_MODEL_NAME_TAG = "dda-portal:model-name"
"""The model's name; the earlier portal writes the friendly name or the component's base."""
PORTAL_CREATED_BY_TAG = "dda-portal:created-by"

Warn = Callable[[str], None]
"""Receives one sentence that a person should read."""


class Maker(NamedTuple):
    """The creator of a job or component version: a flow run, and its ``retry``.

    ``retry`` counts how often the run had ended and was retried.
    """

    flow_run_id: str
    retry: int = 0

    @classmethod
    def tagged(cls, tags: Mapping[str, str]) -> Self | None:
        """The maker of a resource with these tags; None if they do not name it."""
        flow_run_id, retry = tags.get(FLOW_RUN_TAG), tags.get(RETRY_TAG, "")
        return cls(flow_run_id, int(retry) if retry.isdecimal() else 0) if flow_run_id else None

    @property
    def tags(self) -> dict[str, str]:
        """The tags that identify the maker."""
        return {FLOW_RUN_TAG: self.flow_run_id, RETRY_TAG: str(self.retry)}


def silent(sentence: str) -> None:
    """A :data:`Warn` that does nothing."""


def read_tags(sagemaker: SageMakerClient, arn: str, warn: Warn = silent) -> dict[str, str]:
    """The tags of a training or compilation job.

    If the caller may not read them, the job counts as untagged; ``warn`` gets the same sentence for every job of that
    kind.
    """
    try:
        pages = sagemaker.get_paginator("list_tags").paginate(ResourceArn=arn)
        return {tag["Key"]: tag["Value"] for page in pages for tag in page.get("Tags", [])}
    except ClientError as error:
        if not is_denied(error):
            raise
        kind = arn.split(":")[5].partition("/")[0]
        warn(
            f"No permission to read the tags of a {kind} ({error_code(error)}), so it counts as untagged. "
            f"Allow sagemaker:ListTags on {kind}/* ({POLICIES}/pipeline.json)."
        )
        return {}
