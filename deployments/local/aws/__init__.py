"""The embedded AWS: S3, SageMaker, AWS IoT Greengrass V2, STS, CloudWatch Logs and more, without an account.

It is moto plus our own Greengrass V2, SageMaker jobs with a life cycle, and fault injection. In a test::

    with local_aws(compile_seconds=0, publish_seconds=0) as aws:
        aws.train("cookie-1", archive, model_name="cookie")
        aws.faults.add("compile", target="x86_64-cuda", reason="ClientError: ...")
        sagemaker = boto3.client("sagemaker", endpoint_url=aws.endpoint_url, ...)

As a server: ``dda local aws``, or ``python -m deployments.local.aws``. See ``docs/local-aws.md``.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from deployments.local.aws.client import AwsControl, answers
    from deployments.local.aws.local import LocalAws, local_aws
    from deployments.local.aws.server import AwsServer
    from deployments.local.aws.settings import AwsSettings

__all__ = ["AwsControl", "AwsServer", "AwsSettings", "LocalAws", "answers", "local_aws"]

_HOMES = {
    "AwsControl": "client",
    "AwsServer": "server",
    "AwsSettings": "settings",
    "LocalAws": "local",
    "answers": "client",
    "local_aws": "local",
}


def __getattr__(name: str) -> Any:
    # Imported lazily: the command line imports this package and must start without moto.
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(importlib.import_module(f"{__name__}.{_HOMES[name]}"), name)
