from __future__ import annotations

from datetime import timedelta

import pytest
from prefect import get_client
from prefect.client.schemas.objects import StateType

from dda_core.runs.history import Attempt, AttemptStatus, HistoryRow, Phase, TargetLine
from dda_core.runs.status import RunStatus, TargetStatus
from dda_core.runs.view import RunView
from tasks.store.history import CANCELLED, LOST, JobRun, all_runs, history_of, runs_of, view_of_runs
from tests.fixtures.past_runs import BEGAN, PastRun, write_past_runs

pytestmark = pytest.mark.usefixtures("prefect_server")


def line(target: str, status: str, *attempts: tuple[int, str], run: int = 0, **fields: object) -> TargetLine:
    began = BEGAN + timedelta(minutes=run)
    made = []
    for number, word in attempts:
        attempt = Attempt(attempt=number, status=AttemptStatus.COMPILING, started=began + timedelta(seconds=number))
        if word != "compiling":
            attempt = attempt.ending(AttemptStatus(word), began + timedelta(seconds=number + 5), None)
        made.append(attempt)
    last = attempts[-1][0] if attempts else None
    return TargetLine(
        target=target, status=TargetStatus(status), attempt=last, attempts=tuple(made), **{"component": None, **fields}
    )


async def read(training_job: str) -> list[JobRun]:
    async with get_client() as client:
        return await runs_of(client, training_job)


async def history(training_job: str) -> list[HistoryRow]:
    return history_of(await read(training_job))


async def view(training_job: str) -> RunView:
    return await view_of_runs(await read(training_job), training_job)


def words(rows: list[HistoryRow]) -> list[tuple[str, int | None, str]]:
    return [(row.target, row.attempt, row.status.value) for row in rows]


async def test_every_attempt_of_every_run_is_there_oldest_first() -> None:
    runs = [
        PastRun(
            "many", 0, [[line("a", "failed", (1, "failed"), (2, "failed")), line("b", "deployable", (1, "deployable"))]]
        ),
        PastRun("many", 1, [[line("a", "deployable", (3, "deployable"), run=1)]]),
    ]
    ids = await write_past_runs(runs)
    rows = await history("many")
    assert words(rows) == [
        ("a", 1, "failed"),
        ("b", 1, "deployable"),
        ("a", 2, "failed"),
        ("a", 3, "deployable"),
    ]
    assert [row.flow_run_id for row in rows] == [str(ids[0])] * 3 + [str(ids[1])]


async def test_a_row_has_the_keys_of_the_contract_in_their_order() -> None:
    await write_past_runs([PastRun("keys", 0, [[line("a", "deployable", (1, "deployable"))]], tags=["trigger:cli"])])
    (row,) = await history("keys")
    assert list(row.model_dump()) == [
        "target",
        "attempt",
        "status",
        "started",
        "ended",
        "seconds",
        "compilation_job",
        "component",
        "version",
        "reason",
        "flow_run_id",
        "trigger",
    ]
    assert (row.seconds, row.trigger) == (5.0, "cli")


async def test_a_killed_run_is_shown_as_crashed() -> None:
    await write_past_runs([PastRun("killed", 0, [[line("a", "compiling", (1, "compiling"))]], StateType.CRASHED)])
    (row,) = await history("killed")
    assert (row.status, row.reason) == (AttemptStatus.CRASHED, LOST)
    assert row.ended is not None
    shown = await view("killed")
    assert (shown.status, shown.targets["a"].status) == (RunStatus.FAILED, TargetStatus.FAILED)
    assert shown.targets["a"].remedy


async def test_what_had_ended_before_the_crash_keeps_its_end() -> None:
    lines = [line("a", "deployable", (1, "deployable")), line("b", "compiling", (1, "compiling"))]
    await write_past_runs([PastRun("half", 0, [lines], StateType.CRASHED)])
    assert words(await history("half")) == [("a", 1, "deployable"), ("b", 1, "crashed")]
    assert (await view("half")).status is RunStatus.PARTIAL


async def test_a_cancelled_run_stopped_its_attempts() -> None:
    await write_past_runs([PastRun("stopped", 0, [[line("a", "compiling", (1, "compiling"))]], StateType.CANCELLED)])
    (row,) = await history("stopped")
    assert (row.status, row.reason) == (AttemptStatus.STOPPED, CANCELLED)
    assert (await view("stopped")).targets["a"].status is TargetStatus.STOPPED


async def test_a_superseded_process_crashed_and_its_successor_has_its_own_row() -> None:
    writings = [[line("a", "compiling", (1, "compiling"))], [line("a", "deployable", (1, "deployable"), run=1)]]
    await write_past_runs([PastRun("again", 0, writings)])
    rows = await history("again")
    assert sorted(words(rows)) == [("a", 1, "crashed"), ("a", 1, "deployable")]
    assert len({row.flow_run_id for row in rows}) == 1
    assert (await view("again")).status is RunStatus.COMPLETED


async def test_a_process_that_continues_an_attempt_adds_no_row() -> None:
    before = [line("a", "packaging", (1, "compiling")), line("b", "failed", (1, "failed")), line("c", "failed")]
    after = [line("a", "deployable", (1, "deployable")), *before[1:]]
    await write_past_runs([PastRun("goes-on", 0, [before, after])])
    rows = await history("goes-on")
    assert sorted(words(rows))[:2] == [("a", 1, "deployable"), ("b", 1, "failed")]


async def test_one_attempt_followed_by_two_runs_has_two_rows() -> None:
    runs = [PastRun("joined", number, [[line("a", "deployable", (1, "deployable"))]]) for number in range(2)]
    await write_past_runs(runs)
    rows = await history("joined")
    assert words(rows) == [("a", 1, "deployable")] * 2
    assert len({row.flow_run_id for row in rows}) == 2


async def test_a_skipped_target_adds_no_row() -> None:
    runs = [
        PastRun("skipped", 0, [[line("a", "deployable", (1, "deployable"))]]),
        PastRun("skipped", 1, [[line("a", "skipped")]]),
    ]
    await write_past_runs(runs)
    assert words(await history("skipped")) == [("a", 1, "deployable")]
    assert (await view("skipped")).targets["a"].status is TargetStatus.DEPLOYABLE


async def test_a_target_that_failed_before_it_had_a_job_has_a_row() -> None:
    await write_past_runs([PastRun("early", 0, [[line("a", "failed", reason="no such model")]], StateType.FAILED)])
    (row,) = await history("early")
    assert (row.attempt, row.status, row.reason) == (None, AttemptStatus.FAILED, "no such model")


async def test_a_run_that_died_before_it_wrote_anything_shows_its_targets() -> None:
    await write_past_runs([PastRun("mute", 0, [], StateType.CRASHED, targets=["a", "b"], name="sleepy-panda")])
    assert words(await history("mute")) == [("a", None, "crashed"), ("b", None, "crashed")]


async def test_a_run_in_progress_shows_what_it_does() -> None:
    runs = [
        PastRun("busy", 0, [[line("a", "failed", (1, "failed"))]], StateType.FAILED),
        PastRun("busy", 1, [[line("a", "compiling", (2, "compiling"), run=1)]], StateType.RUNNING),
    ]
    await write_past_runs(runs)
    assert words(await history("busy")) == [("a", 1, "failed"), ("a", 2, "compiling")]
    assert (await view("busy")).status is RunStatus.IN_PROGRESS


async def test_of_concurrent_runs_the_last_change_determines_a_targets_status() -> None:
    """A run that joined the first one's job was cancelled before the job had ended."""

    def at(seconds: int, status: str) -> tuple[Phase, ...]:
        return (Phase(status=TargetStatus(status), at=BEGAN + timedelta(seconds=seconds)),)

    made = line("a", "deployable", (1, "deployable"), version="1.0.0", phases=at(150, "deployable"))
    joined = line("a", "stopped", (1, "stopped"), run=1, phases=at(90, "stopped"))
    await write_past_runs(
        [
            PastRun("beside", 0, [[made]], seconds=160),
            PastRun("beside", 1, [[joined]], StateType.CANCELLED, seconds=40),
        ]
    )
    assert (await view("beside")).status is RunStatus.COMPLETED
    await write_past_runs([PastRun("beside", 3, [[line("a", "skipped", version="1.0.0", phases=at(190, "skipped"))]])])
    found = await view("beside")
    assert (found.status, found.targets["a"].version) == (RunStatus.COMPLETED, "1.0.0")


async def test_of_consecutive_runs_the_later_counts_whatever_their_machines_clocks() -> None:
    def at(hours: int) -> tuple[Phase, ...]:
        return (Phase(status=TargetStatus.FAILED, at=BEGAN + timedelta(hours=hours)),)

    first = line("a", "failed", (1, "failed"), phases=at(2))
    second = line("a", "deployable", (2, "deployable"), run=1, phases=at(-2))
    await write_past_runs([PastRun("clocks", 0, [[first]], StateType.FAILED), PastRun("clocks", 1, [[second]])])
    assert (await view("clocks")).status is RunStatus.COMPLETED


async def test_more_runs_than_a_page_holds() -> None:
    count = 450
    await write_past_runs(
        PastRun("pages", number, [[line("a", "failed", (number + 1, "failed"), run=number)]], StateType.FAILED)
        for number in range(count)
    )
    rows = await history("pages")
    assert [row.attempt for row in rows] == list(range(1, count + 1))
    async with get_client() as client:
        assert len((await all_runs(client))["pages"]) == count


async def test_training_jobs_with_similar_names_are_kept_apart() -> None:
    """Artifact keys ignore case and punctuation."""
    await write_past_runs(
        [
            PastRun("Lid-1", 0, [[line("a", "deployable", (1, "deployable"))]]),
            PastRun("lid-1", 1, [[line("a", "failed", (1, "failed"))]]),
        ]
    )
    assert words(await history("Lid-1")) == [("a", 1, "deployable")]
    assert words(await history("lid-1")) == [("a", 1, "failed")]


async def test_an_unknown_training_job_is_not_started() -> None:
    assert await view("nobody") == RunView(
        training_job="nobody", flow_run_id=None, state=None, status=RunStatus.NOT_STARTED, targets={}
    )
