"""Who or what started a flow run, from its tags and the server."""

from __future__ import annotations

import re

from prefect.client.schemas.objects import FlowRun

_NOBODY = ("SCHEDULE", "AUTOMATION", "DEPLOYMENT")
"""Creators of runs that are not people."""

TRIGGER, PERSON = "trigger:", "by:"
"""Prefixes of the tags that say what started a run, and who."""


def trigger_of(run: FlowRun) -> str:
    """What started the run: ``cli``, ``eventbridge``, ``queue``, ``schedule``, ``demo``, ... or ``ui``."""
    return _tag(run, TRIGGER) or ("schedule" if run.auto_scheduled else "ui")


def person_of(run: FlowRun) -> str | None:
    """Who started the run: its tag ``by:<name>``, else the server's account; None if there is neither.

    An open-source server does not know accounts.
    """
    maker = run.created_by
    known = maker.display_value if maker and (maker.type or "").upper() not in _NOBODY else None
    return _tag(run, PERSON) or known


def started_by(run: FlowRun) -> str:
    """``<trigger>:<person>``, or the trigger alone; only characters that AWS allows in a tag."""
    who = ":".join(filter(None, (trigger_of(run), person_of(run))))
    return re.sub(r"[^\w .:/=+@-]", "_", who)[:256]


def _tag(run: FlowRun, prefix: str) -> str | None:
    return next((tag.removeprefix(prefix) for tag in run.tags if tag.startswith(prefix)), None)
