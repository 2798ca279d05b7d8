"""The names of the flows. The server identifies runs and deployments by them, so they are a contract."""

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
"""The flows that compile nothing. Their next run catches up, so a dead run is only marked Crashed."""
