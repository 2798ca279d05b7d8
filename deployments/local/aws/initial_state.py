"""What the embedded AWS holds from its start: a bucket, a caller and the SageMaker role. A reset leads back to it."""

from __future__ import annotations

from moto.core import DEFAULT_ACCOUNT_ID
from moto.core.base_backend import BackendDict
from moto.moto_api._internal.models import moto_api_backend
from moto.s3.models import s3_backends

from deployments.local.aws.environment import begin, current, end, partition
from deployments.local.aws.services import iam
from deployments.local.aws.settings import AwsSettings


def start(settings: AwsSettings) -> None:
    """Forget what was; begin with new settings and only what is there from the start."""
    BackendDict.reset()
    _begin(settings)


def reset() -> None:
    """Forget all resources, faults, holds and counted calls; the settings stay, and what is there from the start."""
    # Of moto all of it: it keeps things outside its services too. It comes back to `keep`.
    moto_api_backend.reset()


def keep() -> None:
    """Put back what is there from the start, after moto was reset; nothing where no embedded AWS is in force."""
    if current().in_force:
        _begin(current().settings)


def stop() -> None:
    """Forget all state; a reset of moto puts nothing back from now on."""
    end()
    BackendDict.reset()


def _begin(settings: AwsSettings) -> None:
    begin(settings)
    iam.seed(settings.region)
    if settings.bucket is not None:
        s3_backends[DEFAULT_ACCOUNT_ID][partition(settings.region)].create_bucket(settings.bucket, settings.region)
