"""AWS's event for a completed training job, and the queue where such events may wait.

AWS may send an event several times, late or out of order. All copies give the same idempotency key, for which the
Prefect server only ever creates one run.
"""

from __future__ import annotations

import json
from typing import Annotated, Any, Literal, NamedTuple

from botocore.exceptions import ClientError
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from dda_core.aws.errors import is_queue_missing
from dda_core.exceptions import InvalidEvent
from dda_core.naming import JOB_NAME_PATTERN, training_job_arn

EVENT_SOURCE = "aws.sagemaker"
EVENT_TYPE = "SageMaker Training Job State Change"
BATCH = 10
"""The most messages that SQS returns per call."""
WAIT_SECONDS = 1
"""How long SQS waits for a first message; over 0 (long polling), so that it queries all of its servers."""
LONGEST_SHOWN = 200


class TrainingJobDetail(BaseModel):
    """What the event says about the training job; its other fields are ignored."""

    model_config = ConfigDict(frozen=True)

    training_job: Annotated[str, Field(alias="TrainingJobName", pattern=f"^{JOB_NAME_PATTERN.pattern}$", max_length=63)]
    status: Annotated[Literal["Completed"], Field(alias="TrainingJobStatus")]


class TrainingEvent(BaseModel):
    """The fields of an EventBridge event that a run is started from."""

    model_config = ConfigDict(frozen=True)

    source: Literal["aws.sagemaker"]
    detail_type: Annotated[Literal["SageMaker Training Job State Change"], Field(alias="detail-type")]
    account: Annotated[str, Field(pattern=r"^\d{12}$")]
    region: Annotated[str, Field(pattern=r"^[a-z]{2}(-[a-z]+)+-\d$")]
    detail: TrainingJobDetail

    @property
    def training_job(self) -> str:
        """The name of the completed training job."""
        return self.detail.training_job

    def idempotency_key(self, use_case: str) -> str:
        """The idempotency key of this event's run. ``use_case`` is the name of the use case's deployment.

        The key is unique per flow, not per deployment, so it includes the use case.
        """
        return f"sagemaker/{self.account}/{self.region}/{use_case}/{self.training_job}"


def parse_training_event(text: str | bytes, where: str) -> TrainingEvent:
    """The event of a completed training job from its JSON ``text``.

    Raises:
        InvalidEvent: it is not one; the message names ``where`` and every invalid field.
    """
    try:
        fields = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise InvalidEvent(f"{where} is not JSON ({error})", expected=_EXPECTED) from error
    if not isinstance(fields, dict):
        raise InvalidEvent(f"{where} holds {type(fields).__name__}, not a JSON object", expected=_EXPECTED)
    try:
        return TrainingEvent.model_validate(fields)
    except ValidationError as error:
        problems = "; ".join(_problem(problem) for problem in error.errors())
        raise InvalidEvent(
            f"{where} is not the event of a completed training job: {problems}", expected=_EXPECTED
        ) from error


_EXPECTED = (
    f"an EventBridge event with source {EVENT_SOURCE}, detail-type {EVENT_TYPE!r}, account, region, "
    f"detail.TrainingJobName and detail.TrainingJobStatus Completed"
)


def _problem(problem: Any) -> str:
    where = ".".join(map(str, problem["loc"]))
    if problem["type"] == "missing":
        return f"{where} is missing"
    return f"{where}: {problem['msg']} (found {str(problem['input'])[:LONGEST_SHOWN]!r})"


def training_event(training_job: str, account: str, region: str) -> dict[str, Any]:
    """AWS's event for that completed training job, reduced to the fields that a run is started from."""
    return {
        "version": "0",
        "source": EVENT_SOURCE,
        "detail-type": EVENT_TYPE,
        "account": account,
        "region": region,
        "resources": [training_job_arn(region, account, training_job)],
        "detail": {"TrainingJobName": training_job, "TrainingJobStatus": "Completed"},
    }


def queue_name(use_case: str) -> str:
    """The queue of a use case's events, for a server that AWS cannot reach."""
    return f"dda-training-{use_case}"


def dead_letter_queue_name(use_case: str) -> str:
    """The dead-letter queue, for events that neither the server nor a drain of the other queue accepted."""
    return f"dda-undelivered-{use_case}"


class QueuedMessage(NamedTuple):
    """One message of a queue. ``receipt`` is its receipt handle, needed to delete it."""

    message_id: str
    receipt: str
    body: str

    def event(self) -> TrainingEvent:
        """The message's event.

        Raises:
            InvalidEvent: its body is not one.
        """
        return parse_training_event(self.body, f"message {self.message_id}")


class TrainingQueue:
    """A queue of training events. ``sqs`` is a boto3 client for Amazon SQS."""

    def __init__(self, sqs: Any, name: str, url: str) -> None:
        self.name = name
        self._sqs = sqs
        self._url = url

    def receive(self) -> list[QueuedMessage]:
        """The next messages, at most ``BATCH``; empty if the queue is.

        They are hidden from other consumers for the queue's visibility timeout, and reappear unless deleted.
        """
        answer = self._sqs.receive_message(QueueUrl=self._url, MaxNumberOfMessages=BATCH, WaitTimeSeconds=WAIT_SECONDS)
        return [
            QueuedMessage(message["MessageId"], message["ReceiptHandle"], message["Body"])
            for message in answer.get("Messages", [])
        ]

    def delete(self, message: QueuedMessage) -> None:
        """Delete a message that has been processed."""
        self._sqs.delete_message(QueueUrl=self._url, ReceiptHandle=message.receipt)


def find_queue(sqs: Any, name: str) -> TrainingQueue | None:
    """The queue of that name; None if there is none, or if SQS does not reveal it to the caller."""
    try:
        return TrainingQueue(sqs, name, sqs.get_queue_url(QueueName=name)["QueueUrl"])
    except ClientError as error:
        if is_queue_missing(error):
            return None
        raise
