"""The initial state of the embedded AWS, to which a reset returns: a bucket, a caller and the SageMaker role."""

from __future__ import annotations

from moto.core import DEFAULT_ACCOUNT_ID
from moto.core.base_backend import BackendDict
from moto.moto_api._internal.models import moto_api_backend
from moto.s3.models import s3_backends

from deployments.local.aws.environment import begin, current, end, partition
from deployments.local.aws.services import iam
from deployments.local.aws.settings import AwsSettings


def start(settings: AwsSettings) -> None:
    """Discard all state; begin with new settings and the initial state."""
    BackendDict.reset()
    _begin(settings)


def reset() -> None:
    """Return to the initial state: no resources, faults, holds or call counts of before. The settings stay."""
    # All of moto, which has state outside of its services too. This calls `restore`.
    moto_api_backend.reset()


def restore() -> None:
    """Restore the initial state after moto was reset; do nothing where no embedded AWS is running."""
    if current().active:
        _begin(current().settings)


def stop() -> None:
    """Discard all state; from now on a reset of moto restores nothing."""
    end()
    BackendDict.reset()


def _begin(settings: AwsSettings) -> None:
    begin(settings)
    iam.seed(settings.region)
    if settings.bucket is not None:
        s3_backends[DEFAULT_ACCOUNT_ID][partition(settings.region)].create_bucket(settings.bucket, settings.region)
