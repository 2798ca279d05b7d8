"""The names of tags, and the maker that they identify."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dda_core.aws import tags
from dda_core.aws.tags import Maker
from dda_core.use_case import RESERVED_TAGS

NAMES = {name: value for name, value in vars(tags).items() if name.endswith("_TAG")}


def test_a_use_case_cannot_set_our_tags():
    assert [value for value in NAMES.values() if not value.startswith(tuple(RESERVED_TAGS))] == []


def test_every_tag_name_is_written_in_one_place():
    root = Path(tags.__file__).parents[2]
    spelt = re.compile("|".join(f'"{re.escape(value)}"' for value in NAMES.values()))
    sources = [path for part in ("dda_core", "tasks", "flows", "deployments") for path in (root / part).rglob("*.py")]
    assert [path.name for path in sources if spelt.search(path.read_text(encoding="utf-8"))] == ["tags.py"]


@given(run=st.text(min_size=1), retry=st.integers(min_value=0))
def test_a_maker_is_read_from_its_tags(run: str, retry: int):
    """For every ``maker``, ``Maker.tagged(maker.tags) == maker``."""
    maker = Maker(run, retry)
    assert Maker.tagged(maker.tags | {"team": "7"}) == maker


@pytest.mark.parametrize(
    ("found", "maker"),
    [
        ({}, None),
        ({"dda:flow-run": ""}, None),
        ({"dda:flow-run-retry": "1"}, None),
        ({"dda:flow-run": "run-1"}, Maker("run-1")),
        ({"dda:flow-run": "run-1", "dda:flow-run-retry": "often"}, Maker("run-1")),
    ],
)
def test_missing_or_odd_retry_tags_count_as_zero(found: dict[str, str], maker: Maker | None):
    assert Maker.tagged(found) == maker
