from __future__ import annotations

import json
import time
from typing import Any

import pytest

from dda_core.exceptions import InvalidName, UsageError
from tests.deployments.local.aws.conftest import Aws, error_of, settings

REQUEST: dict[str, Any] = {
    "TrainingJobName": "cookie-1",
    "RoleArn": "arn:aws:iam::123456789012:role/DDASageMakerExecutionRole",
    "AlgorithmSpecification": {"TrainingImage": "image", "TrainingInputMode": "File"},
    "OutputDataConfig": {"S3OutputPath": "s3://dda-local-artifacts/models/training"},
    "ResourceConfig": {"InstanceType": "ml.g4dn.2xlarge", "InstanceCount": 1, "VolumeSizeInGB": 50},
    "StoppingCondition": {"MaxRuntimeInSeconds": 3600},
}


def test_a_training_job_with_a_given_archive(aws: Aws) -> None:
    sagemaker = aws.client("sagemaker")
    uri = aws.train("cookie-1", b"an archive", model_name="cookie", tags={"dda:use-case": "local"})
    assert uri == f"s3://{aws.bucket}/models/training/cookie-1/output/model.tar.gz"
    job = sagemaker.describe_training_job(TrainingJobName="cookie-1")
    assert job["TrainingJobStatus"] == "Completed"
    assert job["ModelArtifacts"]["S3ModelArtifacts"] == uri
    key = uri.removeprefix(f"s3://{aws.bucket}/")
    assert aws.client("s3").get_object(Bucket=aws.bucket, Key=key)["Body"].read() == b"an archive"
    tags = {t["Key"]: t["Value"] for t in sagemaker.list_tags(ResourceArn=job["TrainingJobArn"])["Tags"]}
    assert tags == {"dda:model-name": "cookie", "dda:use-case": "local"}


@pytest.mark.parametrize("status", ["Failed", "Stopped", "InProgress"])
def test_a_training_job_with_a_given_status(mocked: Aws, status: str) -> None:
    mocked.train("cookie-1", b"", status=status, failure_reason="AlgorithmError: no images")
    job = mocked.client("sagemaker").describe_training_job(TrainingJobName="cookie-1")
    assert job["TrainingJobStatus"] == status
    assert job.get("FailureReason") == ("AlgorithmError: no images" if status == "Failed" else None)
    assert job["ModelArtifacts"]["S3ModelArtifacts"] == ""
    assert ("TrainingEndTime" in job) == (status != "InProgress")


def test_names_and_statuses_are_validated(mocked: Aws) -> None:
    mocked.train("cookie-1", b"")
    for name in ("cookie-1", "cookie_1", "-cookie", "a" * 64, ""):
        with pytest.raises(InvalidName):
            mocked.train(name, b"")
    with pytest.raises(UsageError, match="Completed"):
        mocked.train("cookie-2", b"", status="Done")


@settings(train_seconds=0.3)
def test_a_job_created_with_the_api_completes(aws: Aws) -> None:
    sagemaker = aws.client("sagemaker")
    sagemaker.create_training_job(**REQUEST)
    assert error_of(sagemaker.create_training_job, **REQUEST)["Code"] == "ResourceInUse"
    job = sagemaker.describe_training_job(TrainingJobName="cookie-1")
    assert job["TrainingJobStatus"] == "InProgress"
    time.sleep(0.31)
    job = sagemaker.describe_training_job(TrainingJobName="cookie-1")
    assert job["TrainingJobStatus"] == "Completed"
    expected = "s3://dda-local-artifacts/models/training/cookie-1/output/model.tar.gz"
    assert job["ModelArtifacts"]["S3ModelArtifacts"] == expected
    assert error_of(sagemaker.stop_training_job, TrainingJobName="cookie-1")["Code"] == "ValidationException"


@settings(stop_seconds=0.2)
def test_a_job_can_be_stopped(aws: Aws) -> None:
    sagemaker = aws.client("sagemaker")
    aws.train("cookie-1", b"", status="InProgress")
    sagemaker.stop_training_job(TrainingJobName="cookie-1")
    assert sagemaker.describe_training_job(TrainingJobName="cookie-1")["TrainingJobStatus"] == "Stopping"
    time.sleep(0.21)
    job = sagemaker.describe_training_job(TrainingJobName="cookie-1")
    assert job["TrainingJobStatus"] == "Stopped"
    phases = [entry["Status"] for entry in job["SecondaryStatusTransitions"]]
    assert phases == ["Starting", "Downloading", "Training", "Stopping", "Stopped"]


@settings(train_seconds=1)
def test_a_job_lists_its_secondary_statuses(aws: Aws) -> None:
    sagemaker = aws.client("sagemaker")
    sagemaker.list_training_jobs()  # the first call loads the service model, which is slow
    sagemaker.create_training_job(**REQUEST)
    seen: list[str] = []
    while "Completed" not in seen:
        job = sagemaker.describe_training_job(TrainingJobName="cookie-1")
        transitions = job["SecondaryStatusTransitions"]
        assert job["SecondaryStatus"] == transitions[-1]["Status"]
        assert [entry["EndTime"] for entry in transitions[:-1]] == [entry["StartTime"] for entry in transitions[1:]]
        assert ("EndTime" in transitions[-1]) == ("TrainingEndTime" in job) == (job["TrainingJobStatus"] == "Completed")
        assert ("TrainingStartTime" in job) == (len(transitions) > 1), "billing starts when the data is downloaded"
        assert len({entry["StatusMessage"] for entry in transitions}) == len(transitions)
        if transitions[-1]["Status"] not in seen:
            seen.append(transitions[-1]["Status"])
        time.sleep(0.01)
    assert seen == ["Starting", "Downloading", "Training", "Uploading", "Completed"]
    assert [entry["Status"] for entry in transitions] == seen


@pytest.mark.parametrize(
    ("status", "phases"),
    [
        ("Completed", ["Starting", "Downloading", "Training", "Uploading", "Completed"]),
        ("Failed", ["Starting", "Downloading", "Training", "Failed"]),
        ("Stopped", ["Starting", "Downloading", "Training", "Stopped"]),
        ("InProgress", ["Starting", "Downloading", "Training"]),
    ],
)
def test_a_job_with_a_given_status_lists_the_secondary_statuses_before_it(
    mocked: Aws, status: str, phases: list[str]
) -> None:
    mocked.train("cookie-1", b"", status=status)
    job = mocked.client("sagemaker").describe_training_job(TrainingJobName="cookie-1")
    assert [entry["Status"] for entry in job["SecondaryStatusTransitions"]] == phases


def test_omitted_members_are_returned_as_by_sagemaker(mocked: Aws) -> None:
    sagemaker = mocked.client("sagemaker")
    sagemaker.create_training_job(**REQUEST)
    job = sagemaker.describe_training_job(TrainingJobName="cookie-1")
    assert job["OutputDataConfig"] == {"KmsKeyId": "", **REQUEST["OutputDataConfig"]}
    assert job["EnableNetworkIsolation"] is False
    own = REQUEST["OutputDataConfig"] | {"KmsKeyId": "alias/mine"}
    sagemaker.create_training_job(**REQUEST | {"TrainingJobName": "cookie-2", "OutputDataConfig": own})
    assert sagemaker.describe_training_job(TrainingJobName="cookie-2")["OutputDataConfig"] == own


def test_an_unknown_job_is_the_real_services_error(mocked: Aws) -> None:
    refused = error_of(mocked.client("sagemaker").describe_training_job, TrainingJobName="none")
    assert (refused["Code"], refused["Message"]) == ("ValidationException", "Requested resource not found.")


def test_jobs_are_filtered_before_pagination(aws: Aws) -> None:
    sagemaker = aws.client("sagemaker")
    for number in range(25):
        aws.train(f"job-{number:02}", b"", status="Failed" if number % 2 else "Completed")
    pages = list(sagemaker.get_paginator("list_training_jobs").paginate(StatusEquals="Completed", NameContains="job"))
    names = [job["TrainingJobName"] for page in pages for job in page["TrainingJobSummaries"]]
    assert names == [f"job-{number:02}" for number in range(0, 25, 2)]
    assert len(pages) == 2


PATTERN = {"source": ["aws.sagemaker"], "detail-type": ["SageMaker Training Job State Change"]}


def events_of(aws: Aws) -> Any:
    """A function that returns the training job events since its last call."""
    sqs, events = aws.client("sqs"), aws.client("events")
    url = sqs.create_queue(QueueName="seen")["QueueUrl"]
    arn = sqs.get_queue_attributes(QueueUrl=url, AttributeNames=["QueueArn"])["Attributes"]["QueueArn"]
    events.put_rule(Name="seen", EventPattern=json.dumps(PATTERN))
    events.put_targets(Rule="seen", Targets=[{"Id": "seen", "Arn": arn}])

    def read() -> list[dict[str, Any]]:
        messages = sqs.receive_message(QueueUrl=url, MaxNumberOfMessages=10).get("Messages", [])
        return [json.loads(message["Body"]) for message in messages]

    return read


@pytest.mark.parametrize("status", ["Completed", "Failed", "Stopped"])
def test_the_end_of_a_training_job_is_an_eventbridge_event(aws: Aws, status: str) -> None:
    read = events_of(aws)
    aws.train("cookie-1", b"", status=status, tags={"dda:use-case": "lids"})
    [event] = read()
    assert event.items() >= {"source": "aws.sagemaker", "account": "123456789012", "region": "us-east-1"}.items()
    assert event["detail-type"] == "SageMaker Training Job State Change"
    arn = "arn:aws:sagemaker:us-east-1:123456789012:training-job/cookie-1"
    assert event["resources"] == [arn]
    detail = event["detail"]
    assert (detail["TrainingJobName"], detail["TrainingJobArn"]) == ("cookie-1", arn)
    assert (detail["TrainingJobStatus"], detail["SecondaryStatus"]) == (status, status)
    assert detail["Tags"] == {"dda:use-case": "lids"}
    assert abs(detail["TrainingEndTime"] - 1000 * time.time()) < 60_000
    aws.client("sagemaker").describe_training_job(TrainingJobName="cookie-1")
    assert read() == [], "the event is sent once"


@settings(train_seconds=0.3)
def test_a_running_job_sends_its_event_when_it_ends(aws: Aws) -> None:
    read, sagemaker = events_of(aws), aws.client("sagemaker")
    sagemaker.create_training_job(**REQUEST)
    assert read() == []
    time.sleep(0.31)
    sagemaker.describe_training_job(TrainingJobName="cookie-1")
    assert [event["detail"]["TrainingJobStatus"] for event in read()] == ["Completed"]
