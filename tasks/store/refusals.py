"""The tag of a run that ended before it recorded any target, with its retry class: ``refused:backoff``."""

from __future__ import annotations

from collections.abc import Iterable

from dda_core.runs.retry_class import RetryClass

REFUSED = "refused:"
"""The tag's prefix; the run's retry class follows."""


def refusal_of(tags: Iterable[str]) -> RetryClass | None:
    """The retry class in a run's tags; None if there is no known one."""
    words = {tag.removeprefix(REFUSED) for tag in tags if tag.startswith(REFUSED)}
    return next((kind for kind in RetryClass if kind in words), None)
