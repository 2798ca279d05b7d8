"""The log of a compilation job, against the embedded AWS."""

from __future__ import annotations

import time
from collections.abc import Iterator

import pytest
from botocore.exceptions import ClientError

from dda_core.compilation.logs import LOG_GROUP, job_ended, log_tail, log_uri, read_log, read_saved_log, save_log
from deployments.local.aws import LocalAws, local_aws

ARCHIVE = "models/compilation/lid-1/x86_64-cpu/model-LINUX_X86_64.tar.gz"


@pytest.fixture
def aws() -> Iterator[LocalAws]:
    with local_aws(server=False) as aws:
        yield aws


def write(aws: LocalAws, stream: str, *texts: str, at: int | None = None) -> None:
    logs = aws.client("logs")
    if not logs.describe_log_groups(logGroupNamePrefix=LOG_GROUP)["logGroups"]:
        logs.create_log_group(logGroupName=LOG_GROUP)
    logs.create_log_stream(logGroupName=LOG_GROUP, logStreamName=stream)
    begin = at or int(time.time() * 1000)
    events = [{"timestamp": begin + number, "message": text} for number, text in enumerate(texts)]
    for start in range(0, len(events), 1000):
        logs.put_log_events(logGroupName=LOG_GROUP, logStreamName=stream, logEvents=events[start : start + 1000])


def test_a_missing_group_or_log_is_not_an_error(aws: LocalAws) -> None:
    assert read_log(aws.client("logs"), "lid-1") == []
    write(aws, "another-1", "x")
    assert read_log(aws.client("logs"), "lid-1") == []
    assert save_log(aws.client("logs"), aws.client("s3"), "lid-1", f"s3://{aws.bucket}/{ARCHIVE}") is None


def test_all_streams_of_the_job_are_read_and_none_of_a_job_with_a_longer_name(aws: LocalAws) -> None:
    now = int(time.time() * 1000)
    write(aws, "lid-1", "first", "third", at=now)
    write(aws, "lid-1/model-info-extraction", "second", at=now)
    write(aws, "lid-10", "other", at=now)
    write(aws, "lid-1-2", "other", at=now)
    lines = read_log(aws.client("logs"), "lid-1")
    assert [(line.stream, line.text) for line in lines] == [
        ("lid-1", "first"),
        ("lid-1/model-info-extraction", "second"),
        ("lid-1", "third"),
    ]


def test_a_log_of_many_pages_is_read_to_its_end(aws: LocalAws) -> None:
    write(aws, "lid-1", *(f"line {number}" for number in range(12_000)))
    lines = read_log(aws.client("logs"), "lid-1")
    assert [line.text for line in lines] == [f"line {number}" for number in range(12_000)]


def test_more_streams_than_one_call_takes_are_read(aws: LocalAws) -> None:
    for number in range(103):
        write(aws, f"lid-1/part-{number:03}", str(number))
    assert {line.text for line in read_log(aws.client("logs"), "lid-1")} == {str(number) for number in range(103)}


def test_it_is_saved_next_to_the_archive_without_secrets_and_read_back(aws: LocalAws) -> None:
    write(aws, "lid-1", "role arn:aws:iam::123456789012:role/R, ext-77", "two\nlines", "Umläute ✓")
    logs, s3 = aws.client("logs"), aws.client("s3")
    uri = save_log(logs, s3, "lid-1", f"s3://{aws.bucket}/{ARCHIVE}", secrets=["ext-77"])
    assert uri == f"s3://{aws.bucket}/models/compilation/lid-1/x86_64-cpu/lid-1.log"
    texts = [line.text for line in read_saved_log(s3, uri)]
    assert texts == ["role arn:aws:iam::************:role/R, ***", "two\nlines", "Umläute ✓"]
    assert read_saved_log(s3, f"{uri}.not-there") == []


def test_the_log_of_a_job_without_archive_goes_to_its_output_location() -> None:
    assert log_uri("lid-1", "s3://b/models/compilation/lid-1/arm64-cpu/") == (
        "s3://b/models/compilation/lid-1/arm64-cpu/lid-1.log"
    )


def test_the_tail_counts_text_lines(aws: LocalAws) -> None:
    write(aws, "lid-1", *(f"line {number}" for number in range(30)), "two\nlines")
    lines = read_log(aws.client("logs"), "lid-1")
    assert log_tail(lines, 3) == ("line 29", "two", "lines")
    assert len(log_tail(lines)) == 20
    assert log_tail(lines, 0) == ()
    assert log_tail([]) == ()


def test_an_error_other_than_not_found_is_raised(aws: LocalAws) -> None:
    aws.faults.add("call", operation="logs:DescribeLogStreams", error="AccessDeniedException", times=1)
    with pytest.raises(ClientError, match="AccessDenied"):
        read_log(aws.client("logs"), "lid-1")


def test_a_deleted_job_writes_nothing_more(aws: LocalAws) -> None:
    assert job_ended(aws.client("sagemaker"), "nobody-started-this")
