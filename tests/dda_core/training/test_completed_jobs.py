from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from dda_core.training import completed_jobs
from dda_core.training.completed_jobs import belongs_to, finished_training_jobs
from dda_core.training.job import TrainingJob
from dda_core.use_case import UseCase
from deployments.local.aws import LocalAws, local_aws
from tests.fixtures.archives import trained_archive


def use_case(bucket: str, name: str = "local") -> UseCase:
    return UseCase(usecase_id=name, account_id="123456789012", region="us-east-1", s3_bucket=bucket)


@pytest.fixture
def aws(monkeypatch: pytest.MonkeyPatch) -> Iterator[LocalAws]:
    with local_aws() as aws:
        for name, value in aws.environ.items():
            monkeypatch.setenv(name, value)
        yield aws


@pytest.fixture
def archive(tmp_path: Path) -> Path:
    return trained_archive(tmp_path / "model.tar.gz")


def names(aws: LocalAws, of: UseCase, known: tuple[str, ...] = ()) -> list[str]:
    return sorted(each.job.name for each in finished_training_jobs(aws.client("sagemaker"), of, known).jobs)


def test_completed_jobs_of_the_bucket_are_the_use_cases(aws: LocalAws, archive: Path) -> None:
    for name in ("lid-1", "lid-2"):
        aws.train(name, archive)
    aws.train("broken", archive, status="Failed")
    assert names(aws, use_case(aws.bucket)) == ["lid-1", "lid-2"]
    assert names(aws, use_case("dda-other")) == []


def test_known_jobs_are_left_out(aws: LocalAws, archive: Path) -> None:
    aws.train("lid-1", archive)
    aws.train("lid-2", archive)
    assert names(aws, use_case(aws.bucket), known=("lid-1",)) == ["lid-2"]


def test_the_tag_takes_precedence_over_the_bucket(aws: LocalAws, archive: Path) -> None:
    aws.train("lid-1", archive)
    arn = aws.client("sagemaker").describe_training_job(TrainingJobName="lid-1")["TrainingJobArn"]
    aws.client("sagemaker").add_tags(ResourceArn=arn, Tags=[{"Key": "dda:use-case", "Value": "caps"}])
    assert names(aws, use_case(aws.bucket)) == []
    assert names(aws, use_case("dda-elsewhere", "caps")) == ["lid-1"]


def test_every_page_is_read(aws: LocalAws, archive: Path) -> None:
    for number in range(25):
        aws.train(f"lid-{number}", archive)
    assert len(names(aws, use_case(aws.bucket))) == 25


def test_newest_limits_how_many_jobs_are_listed(aws: LocalAws, archive: Path) -> None:
    for number in range(4):
        aws.train(f"lid-{number}", archive)
    newest = finished_training_jobs(aws.client("sagemaker"), use_case(aws.bucket), ("lid-3",), newest=2)
    assert [each.job.name for each in newest.jobs] == ["lid-2"]


def test_beyond_the_limit_only_the_newest_are_read(
    aws: LocalAws, archive: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for number in range(3):
        aws.train(f"lid-{number}", archive)
    monkeypatch.setattr(completed_jobs, "LOOKED_AT", 2)
    found = finished_training_jobs(aws.client("sagemaker"), use_case(aws.bucket))
    assert (len(found.jobs), found.cut) == (2, True)


def test_a_bucket_with_the_same_prefix_is_another() -> None:
    job = TrainingJob(name="x", arn="arn", status="Completed", model_artifact="s3://dda-lids-old/model.tar.gz")
    assert not belongs_to(job, use_case("dda-lids"))
    assert belongs_to(job, use_case("dda-lids-old"))
