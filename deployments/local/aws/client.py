"""Clients of an embedded AWS in another process, given its URL."""

from __future__ import annotations

import json
import threading
import urllib.error
import urllib.request
from functools import cache
from pathlib import Path
from typing import Any

import boto3
from botocore.config import Config
from botocore.exceptions import BotoCoreError, ClientError

from dda_core import exceptions
from dda_core.aws.tags import MODEL_NAME_TAG
from dda_core.exceptions import FileMissing, InvalidName, LocalStackError
from dda_core.targets import find_target
from deployments.local.aws.control import PREFIX, SERVICE, check_job_name, training_archive_key
from deployments.local.aws.faults import Kind, known_error, known_operation, known_spoil
from deployments.local.directory import CREDENTIALS

TIMEOUT_SECONDS = 30.0
_START = "Start one with: dda local up (or dda local aws for the AWS alone)."


def answers(endpoint_url: str, timeout: float = 2.0) -> bool:
    """Whether an embedded AWS answers at this URL."""
    try:
        return bool(AwsControl(endpoint_url, timeout=timeout).health())
    except LocalStackError:
        return False


_creating = threading.Lock()


@cache
def _session() -> boto3.session.Session:
    # One session, because it caches the parsed service models. Creating clients is not thread-safe.
    return boto3.session.Session()


def boto3_client(service: str, endpoint_url: str | None, region: str, **config: Any) -> Any:
    """A boto3 client of the embedded AWS, without retries; ``config`` is passed to botocore's Config."""
    with _creating:
        return _session().client(  # type: ignore[call-overload]
            service,
            region_name=region,
            endpoint_url=endpoint_url,
            aws_access_key_id=CREDENTIALS["AWS_ACCESS_KEY_ID"],
            aws_secret_access_key=CREDENTIALS["AWS_SECRET_ACCESS_KEY"],
            config=Config(
                **{"retries": {"mode": "standard", "total_max_attempts": 1}, "max_pool_connections": 32, **config}
            ),
        )


class AwsControl:
    """The control routes of a running embedded AWS.

    Every method raises:
        LocalStackError: nothing answers at the URL, or something other than an embedded AWS.
    """

    def __init__(self, endpoint_url: str, *, timeout: float = TIMEOUT_SECONDS) -> None:
        self.endpoint_url = endpoint_url.rstrip("/")
        self._timeout = timeout

    def health(self) -> dict[str, Any]:
        """The server's settings."""
        health = self._call("GET", "health")
        if health.get("service") != SERVICE:
            raise LocalStackError(f"What answers at {self.endpoint_url} is not the local AWS", remedy=_START)
        settings: dict[str, Any] = health["settings"]
        return settings

    def faults(self) -> list[dict[str, Any]]:
        """The active faults."""
        listed: list[dict[str, Any]] = self._call("GET", "faults")["faults"]
        return listed

    def add_fault(self, kind: Kind, **fields: Any) -> dict[str, Any]:
        """Add a fault; see :class:`deployments.local.aws.faults.Fault` for the fields.

        Raises:
            UnknownTarget: there is no such target.
            InvalidName: there is no such operation, error or spoil.
            UsageError: the target's archives cannot be spoiled in that way.
        """
        if fields.get("target"):
            fields["target"] = find_target(fields["target"]).name
        if fields.get("operation"):
            known_operation(fields["operation"])
        if fields.get("error"):
            known_error(fields["error"])
        if fields.get("target") and fields.get("spoil"):
            known_spoil(fields["spoil"], fields["target"])
        return self._call("POST", "faults", {"kind": kind, **fields})

    def clear_faults(self) -> int:
        """Remove all faults; return how many there were."""
        return int(self._call("DELETE", "faults")["cleared"])

    def calls(self) -> dict[str, int]:
        """The number of calls by operation, such as ``s3:GetObject``."""
        counted: dict[str, int] = self._call("GET", "calls")["calls"]
        return counted

    def reset(self) -> None:
        """Return to the initial state; the settings stay. Resources, faults, holds and call counts are lost."""
        self._call("POST", "reset", {})

    def add_device(self, **seed: Any) -> None:
        """Add a core device; the fields are those of ``CoreDeviceSeed``."""
        self._call("POST", "devices", seed)

    def train(
        self,
        name: str,
        archive: Path,
        *,
        status: str = "Completed",
        model_name: str | None = None,
        failure_reason: str | None = None,
        tags: dict[str, str] | None = None,
    ) -> dict[str, str]:
        """Upload a trained archive and add the training job that made it.

        Returns:
            ``training_job``, ``arn``, ``model_artifact`` (an ``s3://`` URI) and ``status``.

        Raises:
            InvalidName: the name is malformed or taken.
            FileMissing: there is no such archive.
        """
        check_job_name(name)
        if not archive.is_file():
            raise FileMissing(
                f"{archive} is not a file", path=archive, expected="a trained model archive (model.tar.gz)"
            )
        settings = self.health()
        bucket, region = settings["bucket"], settings["region"]
        if bucket is None:
            raise LocalStackError(f"The local AWS at {self.endpoint_url} was started without a bucket for archives")
        self._refuse_taken(name, region)
        key = training_archive_key(name)
        try:
            boto3_client("s3", self.endpoint_url, region).upload_file(str(archive), bucket, key)
        except (BotoCoreError, ClientError, boto3.exceptions.S3UploadFailedError) as error:
            raise LocalStackError(f"{archive} could not be uploaded to s3://{bucket}/{key}: {error}") from error
        artifact = f"s3://{bucket}/{key}"
        all_tags = {**(tags or {}), **({MODEL_NAME_TAG: model_name} if model_name else {})}
        body = {"name": name, "artifact": artifact, "status": status, "tags": all_tags}
        if failure_reason:
            body["failure_reason"] = failure_reason
        answer = self._call("POST", "training-jobs", body)
        return {"training_job": name, "arn": answer["arn"], "model_artifact": artifact, "status": status}

    def _refuse_taken(self, name: str, region: str) -> None:
        # Before the upload, which must not overwrite the archive of an existing job.
        try:
            boto3_client("sagemaker", self.endpoint_url, region).describe_training_job(TrainingJobName=name)
        except ClientError:
            return
        except BotoCoreError as error:
            raise LocalStackError(f"The local AWS at {self.endpoint_url} does not answer: {error}") from error
        raise InvalidName(f"the local AWS already has a training job {name}", name=name, remedy="Choose another name.")

    def _call(self, method: str, route: str, body: dict[str, Any] | None = None) -> dict[str, Any]:
        request = urllib.request.Request(  # noqa: S310 - the URL is the caller's own endpoint
            f"{self.endpoint_url}{PREFIX}{route}",
            data=None if body is None else json.dumps(body).encode(),
            method=method,
            headers={"Content-Type": "application/json"},
        )
        try:
            with urllib.request.urlopen(request, timeout=self._timeout) as response:  # noqa: S310
                content: dict[str, Any] = json.load(response)
                return content
        except urllib.error.HTTPError as error:
            raise self._refused(error) from None
        except (OSError, ValueError) as error:
            raise LocalStackError(f"No local AWS answers at {self.endpoint_url} ({error})", remedy=_START) from None

    def _refused(self, error: urllib.error.HTTPError) -> exceptions.DdaError:
        try:
            body = json.load(error)
            kind, facts = body["kind"], body.get("facts") or {"found": str(body["error"])}
        except (ValueError, KeyError, TypeError):
            return LocalStackError(
                f"What answers at {self.endpoint_url} is not the local AWS (HTTP {error.code})", remedy=_START
            )
        if kind == "InvalidName":
            return InvalidName(**facts, name=body["name"])
        return exceptions.UsageError(**facts) if kind == "UsageError" else LocalStackError(**facts)
