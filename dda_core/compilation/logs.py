"""The log of a compilation job: read from CloudWatch, saved next to the compiled archive, and read back from there.

A job writes several log streams: one with its own name, and others below it such as ``<job>/model-info-extraction``.
CloudWatch's copy may expire and the job may be deleted; the saved object stays with the archive.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from datetime import UTC, datetime
from typing import TYPE_CHECKING

from botocore.exceptions import ClientError
from pydantic import BaseModel, ConfigDict

from dda_core.aws.errors import is_missing_in_s3, is_not_found
from dda_core.aws.s3 import parse_s3_uri
from dda_core.compilation.status import CompilationStatus
from dda_core.sanitise import sanitise

if TYPE_CHECKING:
    from mypy_boto3_logs import CloudWatchLogsClient
    from mypy_boto3_s3 import S3Client
    from mypy_boto3_sagemaker import SageMakerClient

LOG_GROUP = "/aws/sagemaker/CompilationJobs"
STREAMS_PER_CALL = 100
"""FilterLogEvents's limit for log streams per call."""

_SAVED = re.compile(r"(\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z) (\S+) ?(.*)")


class LogLine(BaseModel):
    """One event of a compilation job's log, verbatim from CloudWatch unless it was read from a saved log."""

    model_config = ConfigDict(frozen=True)

    stream: str
    at: datetime
    text: str


def read_log(logs: CloudWatchLogsClient, job_name: str) -> list[LogLine]:
    """Every line of every stream of the job, oldest first; empty if there is no log yet, or it has expired."""
    try:
        streams = _streams(logs, job_name)
        lines = [
            line
            for start in range(0, len(streams), STREAMS_PER_CALL)
            for line in _lines(logs, streams[start : start + STREAMS_PER_CALL])
        ]
    except ClientError as error:
        if is_not_found(error):
            return []
        raise
    return sorted(lines, key=lambda line: line.at)


def job_ended(sagemaker: SageMakerClient, job_name: str) -> bool:
    """Whether the job has ended, or was deleted: then it writes nothing more."""
    try:
        response = sagemaker.describe_compilation_job(CompilationJobName=job_name)
    except ClientError as error:
        if is_not_found(error):
            return True
        raise
    return CompilationStatus.normalise(response["CompilationJobStatus"]).ended


def log_uri(job_name: str, artifact_or_output_uri: str) -> str:
    """The URI of a job's saved log: next to its archive, or at the output location of a job without one."""
    folder = artifact_or_output_uri.rstrip("/")
    if folder.endswith(".tar.gz"):
        folder = folder.rpartition("/")[0]
    return f"{folder}/{job_name}.log"


def save_log(
    logs: CloudWatchLogsClient,
    s3: S3Client,
    job_name: str,
    artifact_or_output_uri: str,
    *,
    secrets: Iterable[str] = (),
) -> str | None:
    """Save the job's log as a text object; returns its ``s3://`` URI, or None if CloudWatch has no log.

    Keys, tokens, signatures, account ids and the given ``secrets`` are masked. Saving again overwrites the object.

    Args:
        logs, s3: clients of the account that the job ran in.
        job_name: the compilation job.
        artifact_or_output_uri: the compiled archive, or ``S3OutputLocation`` of a job without one.
        secrets: further strings to mask.
    """
    lines = read_log(logs, job_name)
    if not lines:
        return None
    uri = log_uri(job_name, artifact_or_output_uri)
    bucket, key = parse_s3_uri(uri)
    body = "".join(f"{_stamp(line.at)} {line.stream} {line.text}\n" for line in sanitised(lines, secrets))
    s3.put_object(Bucket=bucket, Key=key, Body=body.encode(), ContentType="text/plain; charset=utf-8")
    return uri


def read_saved_log(s3: S3Client, uri: str) -> list[LogLine]:
    """The lines of a saved log; empty if there is no such object."""
    bucket, key = parse_s3_uri(uri)
    try:
        text = s3.get_object(Bucket=bucket, Key=key)["Body"].read().decode("utf-8", "replace")
    except ClientError as error:
        if is_missing_in_s3(error):
            return []
        raise
    found: list[LogLine] = []
    for row in text.removesuffix("\n").split("\n") if text else ():
        if match := _SAVED.fullmatch(row):
            found.append(LogLine(stream=match[2], at=datetime.fromisoformat(match[1]), text=match[3]))
        elif found:  # a multi-line event
            found[-1] = found[-1].model_copy(update={"text": f"{found[-1].text}\n{row}"})
    return found


def log_tail(lines: Sequence[LogLine], count: int = 20, *, secrets: Iterable[str] = ()) -> tuple[str, ...]:
    """The text of the last ``count`` lines, without secrets and account ids."""
    texts = [row for line in sanitised(lines[-count:] if count else (), secrets) for row in line.text.splitlines()]
    return tuple(texts[-count:])


def sanitised(lines: Iterable[LogLine], secrets: Iterable[str] = ()) -> list[LogLine]:
    """The lines with secrets and account ids masked, for readers outside the account."""
    words = tuple(secrets)
    return [
        line.model_copy(update={"text": sanitise(line.text.rstrip("\r\n"), words, mask_accounts=True)})
        for line in lines
    ]


def _streams(logs: CloudWatchLogsClient, job_name: str) -> list[str]:
    pages = logs.get_paginator("describe_log_streams").paginate(
        logGroupName=LOG_GROUP, logStreamNamePrefix=job_name, orderBy="LogStreamName"
    )
    names = [stream["logStreamName"] for page in pages for stream in page["logStreams"]]
    # By prefix alone, attempt 10's streams would match attempt 1.
    return [name for name in names if name == job_name or name.startswith(f"{job_name}/")]


def _lines(logs: CloudWatchLogsClient, streams: Sequence[str]) -> list[LogLine]:
    pages = logs.get_paginator("filter_log_events").paginate(logGroupName=LOG_GROUP, logStreamNames=list(streams))
    return [
        LogLine(
            stream=event["logStreamName"],
            at=datetime.fromtimestamp(event["timestamp"] / 1000, UTC),
            text=event["message"],
        )
        for page in pages
        for event in page["events"]
    ]


def _stamp(at: datetime) -> str:
    return at.astimezone(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")
