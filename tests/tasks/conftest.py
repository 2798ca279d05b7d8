"""The embedded AWS of the flows' tests."""

from __future__ import annotations

from tests.flows.conftest import aws_options, pipeline

__all__ = ["aws_options", "pipeline"]
