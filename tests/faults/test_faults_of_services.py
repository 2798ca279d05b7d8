"""The fault grid for the calls to every service except S3 and CloudWatch Logs."""

from __future__ import annotations

from typing import Any

import pytest

from tests.faults.test_faults_of_storage import STORAGE

pytestmark = [pytest.mark.slow, pytest.mark.timeout(1500)]


async def test_whatever_fails_the_run_ends_as_documented(go_through: Any) -> None:
    await go_through(lambda case: case.service not in STORAGE, at_least=100)
