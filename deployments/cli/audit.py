"""``dda audit``: who started which runs, when, from where, and with what result."""

from __future__ import annotations

import asyncio
import re
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Annotated

import typer

from dda_core.pages.overview import moment
from deployments.cli.options import AsJson
from deployments.cli.output import print_json, print_table

if TYPE_CHECKING:
    from tasks.store.audit import AuditRow

COLUMNS = ("started", "from", "who", "use case", "training job", "state", "result", "approval", "run")
_UNITS = {"m": "minutes", "h": "hours", "d": "days", "w": "weeks"}


def audit_command(
    since: Annotated[
        str | None,
        typer.Option(metavar="WHEN", help="Only runs since then: 2026-11-01, 2026-11-01T08:00, or 30m, 12h, 7d, 4w."),
    ] = None,
    as_json: AsJson = False,
) -> None:
    """List every run that Prefect still keeps, oldest first.

    From: ui, cli, eventbridge, queue or schedule. Who: known if the command line started the run or a person decided
    on publishing; a server with one shared account does not know who uses its UI.
    """
    rows = asyncio.run(_rows(moment_of(since) if since else None))
    if as_json:
        print_json([row.model_dump(mode="json") for row in rows])
        return
    if not rows:
        typer.echo("No run was started" + (f" since {since}." if since else "."))
        return
    print_table(COLUMNS, [_cells(row) for row in rows])


def moment_of(text: str, now: datetime | None = None) -> datetime:
    """The time that a text means: a date, a date and time (UTC unless it has a zone), or how long ago.

    Raises:
        BadParameter: it is none of these.
    """
    if ago := re.fullmatch(r"(\d{1,5})([mhdw])", text.strip()):
        return (now or datetime.now(UTC)) - timedelta(**{_UNITS[ago[2]]: int(ago[1])})
    try:
        at = datetime.fromisoformat(text.strip())
    except ValueError:
        raise typer.BadParameter(
            f"{text!r} is not a time. Give a date such as 2026-11-01, a time such as 2026-11-01T08:00, or how long "
            f"ago: 30m, 12h, 7d, 4w.",
            param_hint="--since",
        ) from None
    return at if at.tzinfo else at.replace(tzinfo=UTC)


async def _rows(since: datetime | None) -> list[AuditRow]:
    from prefect import get_client

    from deployments.services.runs import prefect_errors
    from tasks.store.audit import audit

    with prefect_errors():
        async with get_client() as client:
            return await audit(client, since)


def _cells(row: AuditRow) -> tuple[object, ...]:
    from tasks.store.ui_links import run_link

    again = [f"{count} {word}" for count, word in ((row.retries, "retries"), (row.crashes, "crashes")) if count]
    return (
        moment(row.started),
        row.trigger,
        row.who or "",
        row.use_case,
        row.training_job,
        (row.state or "") + (f" ({', '.join(again)})" if again else ""),
        " ".join((row.result or "").split()),
        "; ".join(f"{each.decision} by {each.who}" for each in row.approvals),
        run_link(row.flow_run_id),
    )
