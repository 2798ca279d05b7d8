"""Which listed compilation jobs belong to the pipeline, and to which run."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime
from typing import Any

import pytest
from botocore.exceptions import ClientError

from dda_core.cleanup import orphaned_jobs
from dda_core.cleanup.orphaned_jobs import OurJob, job_exists, our_jobs
from dda_core.compilation.status import CompilationStatus
from dda_core.use_case import UseCase

USE_CASE = UseCase(usecase_id="lids", account_id="123456789012", region="us-east-1", s3_bucket="dda-lids")
SINCE = datetime(2026, 5, 4, tzinfo=UTC)
JOB = "lid-7-x86cpu-0123abcd-1"
TAGS = {"dda:use-case": "lids", "dda:training-job": "lid-7", "dda:target": "x86_64-cpu", "dda:flow-run": "run-1"}


def refusal(code: str) -> ClientError:
    return ClientError({"Error": {"Code": code, "Message": "no"}}, "Call")


class Listed:
    """SageMaker with compilation jobs, each with a status, tags and a request, or an error in place of the tags."""

    def __init__(self) -> None:
        self.statuses: dict[str, str] = {}
        self.tags: dict[str, dict[str, str] | ClientError] = {}
        self.requests: dict[str, dict[str, Any]] = {}
        self.asked: dict[str, Any] = {}

    def add(self, name: str, status: str = "Completed", tags: dict[str, str] | ClientError | None = None) -> Listed:
        self.statuses[name] = status
        self.tags[name] = TAGS if tags is None else tags
        return self

    def get_paginator(self, operation: str) -> Any:
        listed = self

        class Pages:
            def paginate(self, **request: Any) -> Iterator[dict[str, Any]]:
                if operation == "list_tags":
                    tags = listed.tags[request["ResourceArn"].rpartition("/")[2]]
                    if isinstance(tags, ClientError):
                        raise tags
                    yield {"Tags": [{"Key": key, "Value": value} for key, value in tags.items()]}
                    return
                assert operation == "list_compilation_jobs"
                listed.asked = request
                for name, status in listed.statuses.items():
                    arn = f"arn:aws:sagemaker:us-east-1:123456789012:compilation-job/{name}"
                    row = {"CompilationJobName": name, "CompilationJobStatus": status, "CompilationJobArn": arn}
                    yield {"CompilationJobSummaries": [row]}

        return Pages()

    def describe_compilation_job(self, CompilationJobName: str) -> dict[str, Any]:
        if CompilationJobName not in self.requests:
            raise refusal("ResourceNotFound")
        return self.requests[CompilationJobName]


def found(sagemaker: Listed, warnings: list[str] | None = None) -> list[OurJob]:
    return list(our_jobs(sagemaker, USE_CASE, SINCE, (warnings if warnings is not None else []).append))  # type: ignore[arg-type]


def request(
    name: str = JOB, bucket: str = "dda-lids", training_job: str = "lid-7", target: str = "x86_64-cpu"
) -> dict[str, Any]:
    return {
        "InputConfig": {"S3Uri": f"s3://{bucket}/models/training/{training_job}/output/model_for_compilation.tar.gz"},
        "OutputConfig": {"S3OutputLocation": f"s3://{bucket}/models/compilation/{name}/{target}/"},
    }


def test_a_job_is_described_by_its_tags() -> None:
    sagemaker = Listed().add(JOB, "InProgress")
    assert found(sagemaker) == [
        OurJob(
            name=JOB,
            status=CompilationStatus.INPROGRESS,
            training_job="lid-7",
            target="x86_64-cpu",
            flow_run_id="run-1",
        )
    ]
    assert sagemaker.asked == {
        "CreationTimeAfter": SINCE,
        "SortBy": "CreationTime",
        "SortOrder": "Descending",
        "PaginationConfig": {"PageSize": 100},
    }


def test_jobs_in_progress_and_completed_keep_the_lists_order() -> None:
    sagemaker = Listed()
    statuses = ["InProgress", "Failed", "Completed", "Stopping", "Starting", "Stopped"]
    for number, status in enumerate(statuses, 1):
        sagemaker.add(f"lid-7-x86cpu-0123abcd-{number}", status)
    sagemaker.add("somebody-elses-job")
    assert [each.name[-1] for each in found(sagemaker)] == ["1", "3", "5"]


@pytest.mark.parametrize(
    "tags",
    [
        {**TAGS, "dda:use-case": "cookies"},
        {key: value for key, value in TAGS.items() if key != "dda:training-job"},
        {key: value for key, value in TAGS.items() if key != "dda:use-case"},
    ],
    ids=["another-use-case", "no-training-job", "no-use-case"],
)
def test_a_job_whose_tags_name_another_owner_is_skipped(tags: dict[str, str]) -> None:
    sagemaker = Listed().add(JOB, tags=tags).add("lid-7-x86cpu-0123abcd-2")
    assert [each.name[-1] for each in found(sagemaker)] == ["2"]


def test_a_job_deleted_in_the_meantime_is_skipped() -> None:
    sagemaker = Listed().add(JOB, tags=refusal("ResourceNotFound")).add("lid-7-x86cpu-0123abcd-2")
    assert [each.name[-1] for each in found(sagemaker)] == ["2"]
    with pytest.raises(ClientError, match="InternalFailure"):
        found(Listed().add(JOB, tags=refusal("InternalFailure")))


def test_a_job_with_unreadable_tags_is_described_by_its_request() -> None:
    warnings: list[str] = []
    sagemaker = Listed().add(JOB, tags=refusal("AccessDeniedException"))
    sagemaker.requests[JOB] = request()
    [job] = found(sagemaker, warnings)
    assert (job.training_job, job.target, job.flow_run_id) == ("lid-7", "x86_64-cpu", None)
    [warning] = warnings
    assert "Allow sagemaker:ListTags on compilation-job/*" in warning


def test_an_untagged_jobs_full_training_job_name_comes_from_its_request() -> None:
    training_job = "lid-inspection-of-the-second-line-2026-05-04"
    name = f"{training_job[:40]}-x86cpu-0123abcd-12"
    sagemaker = Listed().add(name, tags={})
    sagemaker.requests[name] = request(name, training_job=training_job)
    assert [each.training_job for each in found(sagemaker)] == [training_job]
    # Compiled from elsewhere: only its name is left.
    sagemaker.requests[name] = request(name, training_job="elsewhere")
    assert [each.training_job for each in found(sagemaker)] == [training_job[:40]]


def test_an_untagged_job_with_another_output_is_ignored() -> None:
    sagemaker = Listed().add(JOB, tags={})
    for elsewhere in (request(bucket="dda-cookies"), request(name="lid-7-x86cpu-0123abcd-2")):
        sagemaker.requests[JOB] = elsewhere
        assert found(sagemaker) == []


def test_only_the_newest_jobs_are_read(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(orphaned_jobs, "LOOKED_AT", 3)
    sagemaker = Listed().add("lid-7-x86cpu-0123abcd-9", "Failed")
    for number in range(1, 6):
        sagemaker.add(f"lid-7-x86cpu-0123abcd-{number}", tags={} if number == 2 else None)
    sagemaker.requests["lid-7-x86cpu-0123abcd-2"] = request(bucket="elsewhere")
    assert [each.name[-1] for each in found(sagemaker)] == ["1", "3"]


def test_a_job_exists_unless_sagemaker_does_not_know_it() -> None:
    sagemaker = Listed()
    assert not job_exists(sagemaker, JOB)  # type: ignore[arg-type]
    sagemaker.requests[JOB] = request()
    assert job_exists(sagemaker, JOB)  # type: ignore[arg-type]

    class Failing(Listed):
        def describe_compilation_job(self, **_: Any) -> dict[str, Any]:
            raise refusal("InternalFailure")

    with pytest.raises(ClientError, match="InternalFailure"):
        job_exists(Failing(), JOB)  # type: ignore[arg-type]
