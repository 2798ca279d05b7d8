"""The retries page: what was decided about each failed target."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from datetime import datetime

from dda_core.pages.markdown import cell, link, table
from dda_core.runs.retry_policy import RetryDecision, summary

SHOWN = 500
"""Rows of the page."""


def retries_page(decisions: Sequence[RetryDecision], now: datetime, link_of: Callable[[str], str]) -> str:
    """What was decided about each failed target, as Markdown; ``link_of`` returns the URL of a flow run's page."""
    shown = sorted(decisions, key=lambda each: (not each.retry, each.not_before is None))
    rows = [
        [
            "🔁" if each.retry else "⏳" if each.not_before else "⏸",
            link(cell(each.training_job), link_of(each.flow_run_id)),
            cell(each.use_case),
            cell(each.target or "(whole run)"),
            cell(each.why),
            cell(each.reason),
        ]
        for each in shown[:SHOWN]
    ]
    more = f" The first {SHOWN} are shown; all are in the rows for programs." if len(shown) > SHOWN else ""
    return (
        "\n\n".join(
            [
                "# Retries",
                f"{summary(decisions)}. Decided {now:%Y-%m-%d %H:%M} UTC.{more}",
                table(["", "training job", "use case", "target", "decision", "reason of the failure"], rows),
                "`dda retry TRAINING_JOB` retries manually without a wait; `--force` ignores the class.",
            ]
        )
        + "\n"
    )
