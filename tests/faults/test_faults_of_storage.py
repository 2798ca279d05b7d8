"""The fault grid for the calls to S3 and CloudWatch Logs."""

from __future__ import annotations

from typing import Any

import pytest

pytestmark = [pytest.mark.slow, pytest.mark.timeout(1500)]
STORAGE = ("s3", "logs")


async def test_whatever_fails_the_run_ends_as_documented(go_through: Any) -> None:
    await go_through(lambda case: case.service in STORAGE, at_least=100)
