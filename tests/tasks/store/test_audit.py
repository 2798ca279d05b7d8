"""Who started what: tags, schedules and accounts become the rows of the audit."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest
import typer
from prefect import get_client
from prefect.client.schemas.objects import CreatedBy, FlowRun, StateType

from deployments.cli.audit import moment_of
from tasks.store.audit import audit
from tasks.store.provenance import started_by
from tests.fixtures.past_runs import BEGAN, PastRun, write_past_runs


async def test_each_run_is_a_row_with_who_when_where_and_result(prefect_server: None) -> None:
    await write_past_runs(
        [
            PastRun("audit-1", 0, tags=["trigger:cli", "by:ada", "status:completed"], targets=["arm64-cpu"]),
            PastRun("audit-2", 1, tags=["trigger:eventbridge", "status:ignored"]),
            PastRun("audit-3", 2, state=StateType.FAILED, tags=["status:failed"]),
        ]
    )
    async with get_client() as client:
        rows = {row.training_job: row for row in await audit(client) if row.training_job.startswith("audit-")}
        later = {row.training_job for row in await audit(client, BEGAN + timedelta(minutes=2))}
    one, two, three = (rows[f"audit-{number}"] for number in (1, 2, 3))
    assert (one.trigger, one.who, one.status, one.started) == ("cli", "ada", "completed", BEGAN)
    assert one.parameters == {"training_job_name": "audit-1", "use_case": "local", "targets": ["arm64-cpu"]}
    # A run that ignored its training job was started too.
    assert (two.trigger, two.who, two.status) == ("eventbridge", None, "ignored")
    assert (three.trigger, three.state, three.ended) == ("ui", "Failed", three.started + timedelta(seconds=50))
    assert "audit-3" in later
    assert "audit-1" not in later


def run(*tags: str, **fields: object) -> FlowRun:
    return FlowRun.model_validate({"flow_id": "00000000-0000-0000-0000-000000000000", "tags": list(tags), **fields})


def test_who_started_a_run_fits_into_an_aws_tag() -> None:
    assert started_by(run("trigger:cli", "by:ada")) == "cli:ada"
    assert started_by(run("trigger:eventbridge")) == "eventbridge"
    assert started_by(run()) == "ui"
    assert started_by(run(created_by=CreatedBy(type="USER", display_value="grace"))) == "ui:grace"
    schedule = CreatedBy(type="SCHEDULE", display_value="IntervalSchedule")
    assert started_by(run(auto_scheduled=True, created_by=schedule)) == "schedule"
    assert started_by(run("trigger:cli", "by:a(b)c;" + "x" * 300)) == ("cli:a_b_c_" + "x" * 300)[:256]


def test_since_accepts_a_date_a_time_or_a_duration() -> None:
    now = datetime(2026, 11, 21, 12, tzinfo=UTC)
    assert moment_of("7d", now) == datetime(2026, 11, 14, 12, tzinfo=UTC)
    assert moment_of("30m", now) == datetime(2026, 11, 21, 11, 30, tzinfo=UTC)
    assert moment_of("2026-11-01") == datetime(2026, 11, 1, tzinfo=UTC)
    assert moment_of("2026-11-01T08:00+01:00") == datetime(2026, 11, 1, 7, tzinfo=UTC)


@pytest.mark.parametrize("text", ["yesterday", "7", "7y", "2026-13-01", "", "-1d"])
def test_since_refuses_other_texts(text: str) -> None:
    with pytest.raises(typer.BadParameter, match="is not a time"):
        moment_of(text)
