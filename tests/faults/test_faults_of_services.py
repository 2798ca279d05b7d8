"""The grid of faults, the calls to every service but S3 and the logs."""

from __future__ import annotations

from typing import Any

import pytest

from tests.faults.test_faults_of_storage import STORAGE

pytestmark = [pytest.mark.slow, pytest.mark.timeout(1500)]


async def test_whatever_happens_to_a_call_the_run_ends_as_documented(go_through: Any) -> None:
    await go_through(lambda case: case.service not in STORAGE, at_least=100)
