"""The names of the flows, by which the server keeps their runs and deployments. They are a contract."""

from __future__ import annotations

from enum import StrEnum


class FlowName(StrEnum):
    """Every flow of the pipeline."""

    COMPILE = "compile-training-job"
    RECONCILE = "reconcile"
    REFRESH_OVERVIEW = "refresh-overview"
    REFRESH_DEVICES = "refresh-devices"
    ARTIFACT_LINKS = "artifact-links"
    RETRY_FAILED = "retry-failed"
    DRAIN_TRAINING_EVENTS = "drain-training-events"


HOUSEKEEPING = tuple(name for name in FlowName if name is not FlowName.COMPILE)
"""The flows that compile nothing. What one of them lost is done by its next run, so a dead one is only marked
Crashed."""
