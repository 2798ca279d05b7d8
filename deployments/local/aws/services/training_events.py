"""SageMaker's event for the end of a training job, sent to the default bus of the emulated EventBridge."""

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
    """Send the event of a job that has ended, once. moto delivers it to SQS queues and log groups.

    AWS also sends events for earlier status changes; nothing here needs them.
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
        # A rule target that moto does not support must not fail the job.
        log.exception("the event of training job %s", job.training_job_name)


def _milliseconds(value: Any) -> int:
    """Times in events are milliseconds since the epoch."""
    assert isinstance(value, datetime)
    return round(value.timestamp() * 1000)
