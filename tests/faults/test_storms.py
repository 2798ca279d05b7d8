"""Errors that pass, at every operation of a run at once."""

from __future__ import annotations

from typing import Any

import pytest

pytestmark = [pytest.mark.slow, pytest.mark.timeout(1500)]


async def test_a_run_weathers_what_passes_also_where_it_strikes_every_operation(weather_all: Any) -> None:
    await weather_all(at_least=300)
