"""The event that SageMaker sends when a training job has ended, put on the emulated EventBridge's default bus."""

from __future__ import annotations

import json
import logging
from datetime import datetime
from typing import Any

from moto.events.models import events_backends

from dda_core.training.events import EVENT_SOURCE, EVENT_TYPE
from deployments.local.aws.services.training import ENDED, TrainingJob

log = logging.getLogger(__name__)


def announce(job: TrainingJob) -> None:
    """Send the event of a job that has ended, once. moto hands it to rules whose targets are SQS queues or log groups.

    AWS sends events on the way too; those say nothing that anybody here waits for.
    """
    described = job.response_object
    if described["TrainingJobStatus"] not in ENDED or not job.announce_once():
        return
    tags = {tag["Key"]: tag["Value"] for tag in job.tags}
    entry = {
        "Source": EVENT_SOURCE,
        "DetailType": EVENT_TYPE,
        "Resources": [job.arn],
        "Detail": json.dumps({**described, "Tags": tags}, default=_milliseconds),
    }
    try:
        events_backends[job.account][job.region].put_events([entry])
    except Exception:
        # A target that moto cannot serve is no reason for the job to fail.
        log.exception("the event of training job %s", job.training_job_name)


def _milliseconds(value: Any) -> int:
    """Times in events are milliseconds since the epoch."""
    assert isinstance(value, datetime)
    return round(value.timestamp() * 1000)
