"""The tag of a run that ended before it told of any target: whether a retry can help, ``refused:backoff``."""

from __future__ import annotations

from collections.abc import Iterable

from dda_core.runs.retry_class import RetryClass

REFUSED = "refused:"
"""What the tag begins with; the run's retry class follows."""


def refusal_of(tags: Iterable[str]) -> RetryClass | None:
    """The class that a run's tags tell; None where they tell none that is known."""
    words = {tag.removeprefix(REFUSED) for tag in tags if tag.startswith(REFUSED)}
    return next((kind for kind in RetryClass if kind in words), None)
