"""The embedded AWS as a context manager, for tests and other programs."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from moto import mock_aws

from dda_core.aws.tags import MODEL_NAME_TAG
from deployments.local.aws import initial_state
from deployments.local.aws.client import boto3_client
from deployments.local.aws.control import add_device, add_job, training_archive_key
from deployments.local.aws.environment import current
from deployments.local.aws.faults import FaultBook
from deployments.local.aws.gates import Holds
from deployments.local.aws.greengrassv2.devices import CoreDeviceSeed
from deployments.local.aws.moto_patches import install
from deployments.local.aws.server import AwsServer
from deployments.local.aws.settings import AwsSettings
from deployments.local.directory import CREDENTIALS


class LocalAws:
    """The embedded AWS of this process. ``endpoint_url`` is None under ``mock_aws``."""

    def __init__(self, settings: AwsSettings, endpoint_url: str | None) -> None:
        self.settings = settings
        self.endpoint_url = endpoint_url
        self._clients: dict[tuple[str, str], Any] = {}

    @property
    def faults(self) -> FaultBook:
        """The active faults: ``aws.faults.add("compile", target="x86_64-cpu", reason="...")``."""
        return current().faults

    @property
    def holds(self) -> Holds:
        """The holds: ``aws.holds.hold("compile", "x86_64-cpu")``."""
        return current().holds

    @property
    def calls(self) -> Counter[str]:
        """The number of calls by operation, such as ``s3:GetObject``."""
        return current().calls

    @property
    def bucket(self) -> str:
        """The bucket that exists from the start."""
        assert self.settings.bucket is not None, "this local AWS was made without a bucket"
        return self.settings.bucket

    @property
    def environ(self) -> dict[str, str]:
        """The environment variables that point AWS clients at it."""
        url = {"AWS_ENDPOINT_URL": self.endpoint_url} if self.endpoint_url else {}
        return {**CREDENTIALS, **url, "AWS_DEFAULT_REGION": self.settings.region}

    def client(self, service: str, region: str | None = None, **config: Any) -> Any:
        """A boto3 client of it: the same one at every call, or a new one with ``config`` for botocore's Config."""
        region = region or self.settings.region
        if config:
            return boto3_client(service, self.endpoint_url, region, **config)
        if (service, region) not in self._clients:
            self._clients[service, region] = boto3_client(service, self.endpoint_url, region)
        return self._clients[service, region]

    def train(
        self,
        name: str,
        archive: Path | bytes,
        *,
        status: str = "Completed",
        model_name: str | None = None,
        failure_reason: str | None = None,
        tags: dict[str, str] | None = None,
    ) -> str:
        """Add a trained archive and its training job; return the archive's ``s3://`` URI."""
        key = training_archive_key(name)
        content = archive if isinstance(archive, bytes) else archive.read_bytes()
        self.client("s3").put_object(Bucket=self.bucket, Key=key, Body=content)
        artifact = f"s3://{self.bucket}/{key}"
        all_tags = {**(tags or {}), **({MODEL_NAME_TAG: model_name} if model_name else {})}
        add_job(name, artifact, status=status, failure_reason=failure_reason, tags=all_tags)
        return artifact

    def reset(self) -> None:
        """Return to the initial state; the settings stay. Resources, faults, holds and call counts are lost."""
        initial_state.reset()

    def add_device(self, **seed: Any) -> None:
        """Add a core device; the fields are those of ``CoreDeviceSeed``."""
        add_device(CoreDeviceSeed.model_validate(seed))


@contextmanager
def local_aws(*, server: bool = True, port: int = 0, **settings: Any) -> Iterator[LocalAws]:
    """Run a new embedded AWS for the duration of a ``with``.

    >>> with local_aws() as aws:
    ...     aws.client("sagemaker").list_compilation_jobs()["CompilationJobSummaries"]
    []

    Args:
        server: whether to run an HTTP server, for any client in any process. Without it, moto's ``mock_aws`` is used,
            for boto3 clients of this process, which then need no endpoint.
        port: the server's port; 0 picks a free one.
        settings: changes to :meth:`AwsSettings.instant`, in which nothing takes any time.
    """
    chosen = AwsSettings.instant(**settings)
    if server:
        running = AwsServer(chosen, port=port)
        running.start()
        try:
            yield LocalAws(chosen, running.endpoint_url)
        finally:
            running.stop()
    else:
        with mock_aws():
            install()
            initial_state.start(chosen)
            try:
                yield LocalAws(chosen, None)
            finally:
                initial_state.stop()
