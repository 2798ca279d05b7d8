from __future__ import annotations

import json
from typing import Any

import pytest

from dda_core.exceptions import InvalidEvent
from dda_core.training.events import (
    QueuedMessage,
    dead_letter_queue_name,
    parse_training_event,
    queue_name,
    training_event,
)
from tests.fixtures.events import sagemaker_event


def test_an_event_gives_job_account_and_region():
    event = parse_training_event(json.dumps(sagemaker_event("lid-7")), "event.json")
    assert (event.training_job, event.account, event.region) == ("lid-7", "123456789012", "us-east-1")
    assert event.idempotency_key("lids") == "sagemaker/123456789012/us-east-1/lids/lid-7"


def test_a_generated_event_is_valid():
    made = training_event("lid-7", "123456789012", "eu-central-1")
    event = parse_training_event(json.dumps(made), "here")
    assert event.idempotency_key("lids") == "sagemaker/123456789012/eu-central-1/lids/lid-7"


def without(*path: str) -> dict[str, Any]:
    event = sagemaker_event()
    *before, last = path
    at = event
    for key in before:
        at = at[key]
    del at[last]
    return event


@pytest.mark.parametrize(
    ("event", "said"),
    [
        (without("account"), "account is missing"),
        (without("region"), "region is missing"),
        (without("detail"), "detail is missing"),
        (without("detail", "TrainingJobName"), "detail.TrainingJobName is missing"),
        (without("detail", "TrainingJobStatus"), "detail.TrainingJobStatus is missing"),
        (sagemaker_event(status="Failed"), "detail.TrainingJobStatus: Input should be 'Completed' (found 'Failed')"),
        (sagemaker_event(status="COMPLETED"), "(found 'COMPLETED')"),
        (sagemaker_event(source="aws.s3"), "source: Input should be 'aws.sagemaker' (found 'aws.s3')"),
        (sagemaker_event(**{"detail-type": "Object Created"}), "detail-type: Input should be"),
        (sagemaker_event('x", "tags": ["'), "detail.TrainingJobName"),
        (sagemaker_event("a" * 64), "detail.TrainingJobName"),
        (sagemaker_event("job_1"), "detail.TrainingJobName"),
        (sagemaker_event(account="12345"), "account: String should match"),
        (sagemaker_event(account=123456789012), "account: Input should be a valid string"),
        (sagemaker_event(region='us-east-1"'), "region: String should match"),
        ([sagemaker_event()], "holds list, not a JSON object"),
        ("{", "holds str"),
    ],
)
def test_an_invalid_event_is_refused_with_every_invalid_field(event: Any, said: str):
    with pytest.raises(InvalidEvent) as refused:
        parse_training_event(json.dumps(event), "event.json")
    assert str(refused.value).startswith("event.json ")
    assert said in str(refused.value)
    assert "expected an EventBridge event" in str(refused.value)


@pytest.mark.parametrize("text", ["", "{", b"\xff\xfe", "[" * 100_000])
def test_invalid_json_is_refused(text: str | bytes):
    with pytest.raises(InvalidEvent, match=r"message 1 is not JSON"):
        QueuedMessage("1", "receipt", text).event()  # type: ignore[arg-type]


def test_queue_names_of_the_longest_use_case_are_valid():
    for name in (queue_name("a" * 63), dead_letter_queue_name("a" * 63)):
        assert len(name) <= 80
