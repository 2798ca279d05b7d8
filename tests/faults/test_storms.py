"""Transient errors in every operation of a run at the same time."""

from __future__ import annotations

from typing import Any

import pytest

pytestmark = [pytest.mark.slow, pytest.mark.timeout(1500)]


async def test_a_run_survives_transient_errors_in_every_operation(survive_all: Any) -> None:
    await survive_all(at_least=300)
