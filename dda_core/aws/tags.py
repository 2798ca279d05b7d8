"""The tags that the pipeline puts on AWS resources or reads from them: every name, whose a resource is, and reading.

The names are a contract: resources that exist carry them, and the portal and the devices look for them.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, NamedTuple, Self

from botocore.exceptions import ClientError

from dda_core.aws.errors import error_code, is_denied
from dda_core.aws.principals import POLICIES

if TYPE_CHECKING:
    from mypy_boto3_sagemaker import SageMakerClient

# Of training jobs, compilation jobs and component versions.
USE_CASE_TAG = "dda:use-case"
MODEL_NAME_TAG = "dda:model-name"
TARGETS_TAG = "dda:targets"
"""What to compile a training job for."""
TRAINING_JOB_TAG = "dda:training-job"
TARGET_TAG = "dda:target"
COMPILATION_JOB_TAG = "dda:compilation-job"
FLOW_RUN_TAG = "dda:flow-run"
RETRY_TAG = "dda:flow-run-retry"

# Of component versions and of the webhook's stack, named by the portal.
PORTAL_MANAGED_TAG = "dda-portal:managed"
PORTAL_USE_CASE_TAG = "dda-portal:usecase-id"
PORTAL_TRAINING_TAG = "dda-portal:training-id"
PORTAL_MODEL_NAME_TAG = "dda-portal:model-name"
"""The model's name; the earlier portal writes the friendly name here, or the component's base."""
PORTAL_CREATED_BY_TAG = "dda-portal:created-by"

Warn = Callable[[str], None]
"""Takes one sentence that a person should read."""


class Maker(NamedTuple):
    """Who makes a job or a component version: a flow run, and which ``retry`` of it.

    ``retry`` counts how often the run had ended before it was started again.
    """

    flow_run_id: str
    retry: int = 0

    @classmethod
    def tagged(cls, tags: Mapping[str, str]) -> Self | None:
        """Who made what carries these tags; None where they do not say."""
        flow_run_id, retry = tags.get(FLOW_RUN_TAG), tags.get(RETRY_TAG, "")
        return cls(flow_run_id, int(retry) if retry.isdecimal() else 0) if flow_run_id else None

    @property
    def tags(self) -> dict[str, str]:
        """The tags that say so."""
        return {FLOW_RUN_TAG: self.flow_run_id, RETRY_TAG: str(self.retry)}


def silent(sentence: str) -> None:
    """A :data:`Warn` for those who have nobody to warn."""


def read_tags(sagemaker: SageMakerClient, arn: str, warn: Warn = silent) -> dict[str, str]:
    """The tags of a training or compilation job.

    A job whose tags the caller may not read counts as one without; ``warn`` is told, in the same words for every job
    of that kind.
    """
    try:
        pages = sagemaker.get_paginator("list_tags").paginate(ResourceArn=arn)
        return {tag["Key"]: tag["Value"] for page in pages for tag in page.get("Tags", [])}
    except ClientError as error:
        if not is_denied(error):
            raise
        kind = arn.split(":")[5].partition("/")[0]
        warn(
            f"The tags of a {kind} may not be read ({error_code(error)}), so it counts as having none. "
            f"Allow sagemaker:ListTags on {kind}/* ({POLICIES}/pipeline.json)."
        )
        return {}
