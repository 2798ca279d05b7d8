"""The tags of SageMaker's jobs, where the caller may read them."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

from botocore.exceptions import ClientError

from dda_core.access.findings import POLICIES
from dda_core.aws.errors import error_code, is_denied

if TYPE_CHECKING:
    from mypy_boto3_sagemaker import SageMakerClient

Warn = Callable[[str], None]
"""Takes one sentence that a person should read."""


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
