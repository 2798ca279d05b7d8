"""The embedded AWS in one ``with``: for tests and for programs that bring their own AWS along."""

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
    """An embedded AWS of this process. ``endpoint_url`` is None where botocore itself is mocked."""

    def __init__(self, settings: AwsSettings, endpoint_url: str | None) -> None:
        self.settings = settings
        self.endpoint_url = endpoint_url

    @property
    def faults(self) -> FaultBook:
        """The faults in force: ``aws.faults.add("compile", target="x86_64-cpu", reason="...")``."""
        return current().faults

    @property
    def holds(self) -> Holds:
        """What is held back: ``aws.holds.hold("compile", "x86_64-cpu")``."""
        return current().holds

    @property
    def calls(self) -> Counter[str]:
        """How often each operation was called, by names such as ``s3:GetObject``."""
        return current().calls

    @property
    def bucket(self) -> str:
        """The bucket that exists from the start."""
        assert self.settings.bucket is not None, "this local AWS was made without a bucket"
        return self.settings.bucket

    @property
    def environ(self) -> dict[str, str]:
        """The environment variables that make every AWS client speak to it."""
        url = {"AWS_ENDPOINT_URL": self.endpoint_url} if self.endpoint_url else {}
        return {**CREDENTIALS, **url, "AWS_DEFAULT_REGION": self.settings.region}

    def client(self, service: str, region: str | None = None, **config: Any) -> Any:
        """A boto3 client of it; ``config`` goes into botocore's Config."""
        return boto3_client(service, self.endpoint_url, region or self.settings.region, **config)

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
        """Put in a trained archive and the training job that made it; the archive's ``s3://`` URI."""
        key = training_archive_key(name)
        content = archive if isinstance(archive, bytes) else archive.read_bytes()
        self.client("s3").put_object(Bucket=self.bucket, Key=key, Body=content)
        artifact = f"s3://{self.bucket}/{key}"
        all_tags = {**(tags or {}), **({MODEL_NAME_TAG: model_name} if model_name else {})}
        add_job(name, artifact, status=status, failure_reason=failure_reason, tags=all_tags)
        return artifact

    def reset(self) -> None:
        """Forget everything but the settings and what is there from the start: resources, faults, holds, calls."""
        initial_state.reset()

    def add_device(self, **seed: Any) -> None:
        """Put in a core device; the fields are those of ``CoreDeviceSeed``."""
        add_device(CoreDeviceSeed.model_validate(seed))


@contextmanager
def local_aws(*, server: bool = True, port: int = 0, **settings: Any) -> Iterator[LocalAws]:
    """An embedded AWS, without any state, for the length of a ``with``.

    >>> with local_aws() as aws:
    ...     aws.client("sagemaker").list_compilation_jobs()["CompilationJobSummaries"]
    []

    Args:
        server: an HTTP server on ``port`` (0: a free one), for any client and any process; else moto's
            ``mock_aws``, for the boto3 clients of this process, which then need no endpoint.
        port: the server's port.
        settings: what differs from :meth:`AwsSettings.instant`, where every life cycle ends at once.
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
