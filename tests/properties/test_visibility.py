"""Properties of the operator's view: manual compilation, the overview of training jobs, their history."""

from __future__ import annotations

import asyncio
import json
import string
from datetime import UTC, datetime, timedelta
from types import SimpleNamespace
from typing import Any
from unittest import mock
from urllib.parse import parse_qs, unquote, urlsplit
from uuid import UUID, uuid4

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from markdown_it import MarkdownIt
from prefect.client.schemas.objects import FlowRun, State, StateType

from dda_core.components.component import ComponentVersion
from dda_core.components.status import ComponentState
from dda_core.delivery import Delivered
from dda_core.exceptions import TrainingJobNotCompleted
from dda_core.pages.links import Ui
from dda_core.pages.markdown import cell, hover
from dda_core.pages.overview import (
    RUN_MARKS,
    OverviewRow,
    in_order,
    next_action,
    overview_page,
    with_row,
)
from dda_core.runs.history import Attempt, AttemptStatus, TargetLine, merged
from dda_core.runs.ledger import Ledger
from dda_core.runs.status import RunStatus, TargetRecord, TargetStatus, run_message, run_status
from dda_core.targets import target_names
from dda_core.training.job import TrainingJob, check_completed
from dda_core.use_case import UseCase
from flows import compile_training_job as flow_module
from flows import outcome
from tasks.operations.overview import true_tags
from tasks.store.history import JobRun, Writing, history_of

EXAMPLES = 100
BEGAN = datetime(2026, 1, 1, tzinfo=UTC)
UI = Ui.within(None)
MARKDOWN = MarkdownIt("commonmark", {"html": True}).enable("table")

# --- What the generators are made of ----------------------------------------------------------------------------------

names = st.text(string.ascii_letters + string.digits, min_size=1, max_size=12)
other_peoples_texts = st.text(st.sampled_from("ab7 |<>\"'`*_[]()\\&#;:~!\n\t-é"), max_size=30)
chosen_targets = st.lists(st.sampled_from(target_names()), min_size=1, unique=True)
run_ids = st.uuids(version=4).map(str)
times = st.integers(0, 10**6).map(lambda seconds: BEGAN + timedelta(seconds=seconds))


@st.composite
def records(draw: st.DrawFn, statuses: Any = st.sampled_from(TargetStatus)) -> dict[str, TargetRecord]:
    return {
        target: TargetRecord(status=draw(statuses), cause=draw(st.none() | other_peoples_texts))
        for target in draw(chosen_targets)
    }


@st.composite
def overview_rows(draw: st.DrawFn) -> OverviewRow:
    compiled = draw(st.booleans())
    row = OverviewRow(
        training_job=draw(names),
        use_case=draw(names),
        block=draw(names),
        model=draw(other_peoples_texts.filter(str.strip)),
        last_change=draw(st.none() | times),
        flow_run_id=draw(run_ids) if compiled else None,
        deployment_id=draw(st.none() | run_ids),
    )
    return row.with_targets(draw(records()) if compiled else {})


def html_rows(page: str) -> list[list[str]]:
    """The cells of the page's table as a browser shows them: everything between the tags is text."""
    tokens = MARKDOWN.parse(page)
    rows: list[list[str]] = []
    for token, inner in zip(tokens, [*tokens[1:], tokens[-1]], strict=True):
        if token.type == "tr_open":
            rows.append([])
        elif token.type == "td_open":
            rows[-1].append(MARKDOWN.renderer.render(inner.children or [], MARKDOWN.options, {}))
    return [row for row in rows if row]


def text_of(html: str) -> str:
    import html as library
    import re

    return library.unescape(re.sub(r"<[^>]*>", "", html)).replace("\xa0", " ")


# --- 5 to 9: manual compilation ---------------------------------------------------------------------------------------


@settings(max_examples=EXAMPLES, deadline=None)
@given(chosen=chosen_targets, tagged=chosen_targets)
def test_only_the_selected_targets_are_compiled(chosen: list[str], tagged: list[str]) -> None:
    """**Feature: compilation-job-visibility, Property 5: Manual target selection**"""
    use_case = UseCase(
        usecase_id="x", account_id="1" * 12, region="eu-west-1", s3_bucket="dda-x", targets=("arm64-cpu",)
    )
    job = TrainingJob(name="lid", arn="arn", status="Completed", tags={"dda:targets": " ".join(tagged)})
    assert [target.name for target in job.targets(chosen, use_case)] == chosen
    assert [target.name for target in job.targets([], use_case)] == tagged


@settings(max_examples=EXAMPLES, deadline=None)
@given(
    status=st.sampled_from(["InProgress", "Completed", "Failed", "Stopping", "Stopped", "Deleting"]),
    artifact=st.none() | names.map("s3://bucket/{}".format),
    reason=st.none() | names,
)
def test_only_a_completed_training_job_is_compiled(status: str, artifact: str | None, reason: str | None) -> None:
    """**Feature: compilation-job-visibility, Property 6: Training job completion check**"""
    job = TrainingJob(name="lid", arn="arn", status=status, model_artifact=artifact, failure_reason=reason)
    if status == "Completed" and artifact:
        assert check_completed(job) == artifact
        return
    with pytest.raises(TrainingJobNotCompleted) as refusal:
        check_completed(job)
    assert status in str(refusal.value)
    assert reason is None or status == "Completed" or reason in str(refusal.value)


def delivered(target: str, flow_run_id: str) -> Delivered:
    version = ComponentVersion(
        component=f"model-{target}",
        version="1.0.0",
        arn="arn",
        state=ComponentState.DEPLOYABLE,
        tags={"dda:flow-run": flow_run_id},
    )
    return Delivered(version=version, package="s3://b/p", compilation_job="job-1", attempt=1, compiled_artifact=None)


@settings(max_examples=EXAMPLES, deadline=None)
@given(targets=chosen_targets, data=st.data(), force=st.booleans())
def test_a_deployable_target_is_not_compiled_twice(targets: list[str], data: st.DataObject, force: bool) -> None:
    """**Feature: compilation-job-visibility, Property 7: Duplicate compilation prevention**"""
    own = str(uuid4())
    makers = data.draw(st.dictionaries(st.sampled_from(targets), st.just(own) | run_ids))
    there = {target: delivered(target, maker) for target, maker in makers.items()}
    asked: Any = [SimpleNamespace(target=target) for target in targets]
    ledger = Ledger()
    ledger.expect(targets)
    run: Any = SimpleNamespace(flow_run_id=own, ledger=ledger)
    with mock.patch.object(flow_module, "find_deployable_components", mock.AsyncMock(return_value=there)):
        todo = asyncio.run(flow_module.without_deployable(run, asked, force, {}))
    left = [each.target for each in todo]
    settled = {target: line for target, line in ledger.targets.items() if line.status.ended}
    assert left + sorted(settled, key=targets.index) == sorted(
        targets, key=lambda name: (name in settled, targets.index(name))
    )
    assert set(settled) == {target for target, maker in makers.items() if not force or maker == own}
    for target, line in settled.items():
        assert line.status is (TargetStatus.DEPLOYABLE if makers[target] == own else TargetStatus.SKIPPED)
        assert line.by_flow_run == (None if makers[target] == own else makers[target])


@settings(max_examples=EXAMPLES, deadline=None)
@given(shown=records(), foreign=st.lists(names.map("team:{}".format), unique=True), model=names)
def test_a_runs_tags_say_what_it_is_and_how_it_ended(
    shown: dict[str, TargetRecord], foreign: list[str], model: str
) -> None:
    """**Feature: compilation-job-visibility, Property 8: Tags tell the truth**"""
    written: list[str] = []
    run: Any = SimpleNamespace(
        flow_run_id="id",
        use_case=SimpleNamespace(usecase_id="lids"),
        record=SimpleNamespace(training_job="lid-1"),
        ledger=SimpleNamespace(targets=shown),
    )
    with (
        mock.patch.object(outcome, "tags_of", mock.AsyncMock(return_value=[*foreign, "status:failed", "failed:old"])),
        mock.patch.object(outcome, "set_tags", mock.AsyncMock(side_effect=lambda _, tags: written.extend(tags))),
        mock.patch.object(outcome, "show_run", mock.AsyncMock()),
    ):
        asyncio.run(outcome.tag_run(run, model))
    ended = all(record.status.ended for record in shown.values())
    assert written[: len(foreign)] == foreign
    assert {"use-case:lids", f"model:{model}", "training-job:lid-1", *(f"target:{name}" for name in shown)} <= {
        *written
    }
    assert [tag for tag in written if tag.startswith("status:")] == ([f"status:{run_status(shown)}"] if ended else [])
    failed = {f"failed:{name}" for name, record in shown.items() if not record.status.good} if ended else set()
    assert {tag for tag in written if tag.startswith("failed:")} == failed


@settings(max_examples=EXAMPLES, deadline=None)
@given(shown=records(st.sampled_from([status for status in TargetStatus if status.ended])))
def test_skipped_counts_as_deployable_everywhere(shown: dict[str, TargetRecord]) -> None:
    """**Feature: compilation-job-visibility, Property 9: One count for message, status and overview**"""
    row = OverviewRow(training_job="job", use_case="case", block="case", model="model").with_targets(shown)
    assert run_message(shown).startswith(f"{row.deployable}/{row.asked} targets deployable")
    assert row.deployable == sum(record.status in ("deployable", "skipped") for record in shown.values())
    expected = (
        RunStatus.COMPLETED
        if row.deployable == row.asked
        else RunStatus.PARTIAL
        if row.deployable
        else RunStatus.FAILED
    )
    assert row.status is expected
    assert len(row.failed) == row.asked - row.deployable


# --- 12, 24 to 27: the overview of training jobs ----------------------------------------------------------------------


@settings(max_examples=EXAMPLES, deadline=None)
@given(rows=st.lists(overview_rows(), max_size=8), again=overview_rows(), change=st.booleans())
def test_every_training_job_has_one_row(rows: list[OverviewRow], again: OverviewRow, change: bool) -> None:
    """**Feature: compilation-job-visibility, Property 12: One row per training job**"""
    kept: list[OverviewRow] = []
    for row in rows:
        kept = with_row(kept, row)
    if rows and change:
        again = again.model_copy(update={"use_case": rows[0].use_case, "training_job": rows[0].training_job})
    kept = with_row(kept, again)
    assert [row for row in kept if row.key == again.key] == [again]
    assert {row.key for row in kept} == {row.key for row in [*rows, again]}
    assert len(kept) == len({row.key for row in kept})
    dated = [row.last_change for row in in_order(kept) if row.last_change]
    assert dated == sorted(dated, reverse=True)
    assert len(html_rows(overview_page(kept, BEGAN, UI))) == len(kept)


@settings(max_examples=EXAMPLES, deadline=None)
@given(rows=st.lists(overview_rows(), min_size=1, max_size=5))
def test_status_and_count_are_shown(rows: list[OverviewRow]) -> None:
    """**Feature: compilation-job-visibility, Property 24: Compilation status and counts**"""
    assert len(set(RUN_MARKS.values())) == len(RunStatus)
    for row, cells in zip(rows, html_rows(overview_page(rows, BEGAN, UI)), strict=True):
        assert len(cells) == 8
        assert text_of(cells[0]) == row.training_job
        assert text_of(cells[1]) == f"{RUN_MARKS[row.status]} {row.status}"
        assert text_of(cells[2]) == (f"{row.deployable}/{row.asked}" if row.asked else "")
        assert text_of(cells[4]) == " ".join(row.model.split())


@settings(max_examples=EXAMPLES, deadline=None)
@given(text=other_peoples_texts, shown=other_peoples_texts)
def test_details_are_shown_on_hover_as_text(text: str, shown: str) -> None:
    """**Feature: compilation-job-visibility, Property 25: Details on hover**"""
    from html.parser import HTMLParser

    seen: list[tuple[str, dict[str, str | None]]] = []
    texts: list[str] = []

    class Reader(HTMLParser):
        def handle_starttag(self, tag: str, attributes: list[tuple[str, str | None]]) -> None:
            seen.append((tag, dict(attributes)))

        def handle_data(self, data: str) -> None:
            texts.append(data)

    page = f"| a | b |\n|---|---|\n| {hover(cell(f'x{shown}'), text)} | end |\n"
    ((first, last),) = html_rows(page)
    Reader().feed(first)
    lines = [" ".join(each.split()) for each in text.splitlines()]
    assert seen == ([("span", {"title": "\n".join(lines)})] if text else [])
    assert "".join(texts) == " ".join(f"x{shown}".split())
    assert last == "end"


@settings(max_examples=EXAMPLES, deadline=None)
@given(rows=st.lists(overview_rows(), min_size=1, max_size=4))
def test_links_lead_to_the_runs_by_status_target_model_and_use_case(rows: list[OverviewRow]) -> None:
    """**Feature: compilation-job-visibility, Property 26: Links to filtered runs**"""
    links = [
        str(child.attrs["href"])
        for token in MARKDOWN.parse(overview_page(rows, BEGAN, UI))
        for child in token.children or []
        if child.type == "link_open"
    ]
    tags = {unquote(urlsplit(link).query.removeprefix("tags=")) for link in links if link.startswith("/v2/runs?tags=")}
    compiled = [row for row in rows if row.flow_run_id]
    assert tags == {
        "status:completed",
        "status:partial",
        "status:failed",
        *(f"target:{target}" for row in rows for target in row.targets),
        *(f"failed:{target}" for row in rows for target in row.failed),
        *(f"model:{row.model}" for row in compiled),
        *(f"use-case:{row.use_case}" for row in compiled),
    }
    for row in compiled:
        assert f"/v2/runs/flow-run/{row.flow_run_id}" in links


@settings(max_examples=EXAMPLES, deadline=None)
@given(row=overview_rows())
def test_the_next_action_is_shown_with_its_link(row: OverviewRow) -> None:
    """**Feature: compilation-job-visibility, Property 27: What to do next**"""
    what = next_action(row)
    assert bool(what) is (row.status not in (RunStatus.COMPLETED, RunStatus.IN_PROGRESS))
    assert row.flow_run_id or what == "Compile it"
    ((*_, last),) = html_rows(overview_page([row], BEGAN, UI))
    assert text_of(last) == what
    if not what or what.startswith("Wait") or not row.deployment_id:
        assert "href" not in last
        return
    address = UI.form(row.deployment_id, row.block, row.training_job, row.failed)
    assert f'href="{address}"' in last
    (parameters,) = parse_qs(urlsplit(address).query)["parameters"]
    assert json.loads(parameters) == {
        "training_job_name": row.training_job,
        "use_case": row.block,
        **({"targets": row.failed} if row.failed else {}),
    }


# --- 23: history ------------------------------------------------------------------------------------------------------


@st.composite
def job_runs(draw: st.DrawFn) -> list[JobRun]:
    runs = []
    for number in range(draw(st.integers(0, 4))):
        state = draw(
            st.sampled_from(
                [StateType.COMPLETED, StateType.FAILED, StateType.CRASHED, StateType.CANCELLED, StateType.RUNNING]
            )
        )
        run = FlowRun(
            id=UUID(draw(run_ids)),
            flow_id=uuid4(),
            name="lid-1",
            parameters={"training_job_name": "lid-1"},
            state=State(type=state, timestamp=BEGAN),
            start_time=BEGAN + timedelta(hours=number),
            tags=draw(st.sampled_from([[], ["trigger:cli"], ["trigger:eventbridge"]])),
        )
        writings = []
        for _ in range(draw(st.integers(0, 2))):
            lines = [draw(lines_of(target)) for target in draw(chosen_targets)]
            writings.append(Writing(lines, BEGAN, BEGAN + timedelta(days=1)))
        runs.append(JobRun(run, writings))
    return runs


@st.composite
def lines_of(draw: st.DrawFn, target: str) -> TargetLine:
    attempts = tuple(
        Attempt(
            attempt=number + 1,
            status=draw(st.sampled_from([status for status in AttemptStatus if status != "crashed"])),
            started=draw(times),
            compilation_job=f"job-{number + 1}",
        )
        for number in range(draw(st.integers(0, 3)))
    )
    status = TargetStatus.SKIPPED if not attempts else TargetStatus.COMPILING
    return TargetLine(target=target, status=status, attempts=attempts)


@settings(max_examples=EXAMPLES, deadline=None)
@given(runs=job_runs())
def test_every_attempt_of_every_run_stays_in_the_history(runs: list[JobRun]) -> None:
    """**Feature: compilation-job-visibility, Property 23: History keeps every attempt**"""
    rows = history_of(runs)
    # A process that resumes an attempt of the run's previous process records it again.
    noted = {
        (line.target, attempt.attempt, attempt.started, str(run.run.id), run.trigger)
        for run in runs
        for writing in run.writings
        for line in writing.lines
        for attempt in line.attempts
    }
    found = [(row.target, row.attempt, row.started, row.flow_run_id, row.trigger) for row in rows]
    assert sorted(found, key=str) == sorted(noted, key=str)
    assert [row.started for row in rows] == sorted(row.started for row in rows)
    running = {str(run.run.id) for run in runs if run.run.state and not run.run.state.is_final()}
    superseded = {str(run.run.id) for run in runs if len(run.writings) > 1}
    for row in rows:
        assert row.status.ended or row.flow_run_id in running
        assert row.status is not AttemptStatus.CRASHED or row.reason
    crashed = {str(run.run.id) for run in runs if run.run.state and run.run.state.is_crashed()}
    assert {row.flow_run_id for row in rows if row.status is AttemptStatus.CRASHED} <= crashed | superseded
    # Later runs add rows and change none.
    assert history_of(runs[:1]) == [row for row in rows if runs and row.flow_run_id == str(runs[0].run.id)]


@settings(max_examples=EXAMPLES, deadline=None)
@given(runs=st.lists(records(), min_size=1, max_size=4))
def test_the_latest_entry_that_is_not_skipped_counts(runs: list[dict[str, TargetRecord]]) -> None:
    """**Feature: compilation-job-visibility, Property 12: One row per training job** (merged over its runs)"""
    found = merged(runs)
    assert set(found) == {target for run in runs for target in run}
    for target, record in found.items():
        entries = [run[target] for run in runs if target in run]
        real = [number for number, entry in enumerate(entries) if entry.status is not TargetStatus.SKIPPED]
        latest = real[-1] if real else 0
        # A failure is outdated if a later run found the component deployable.
        if entries[latest].status in (TargetStatus.FAILED, TargetStatus.STOPPED) and latest + 1 < len(entries):
            latest += 1
        assert record == entries[latest]


@settings(max_examples=EXAMPLES, deadline=None)
@given(runs=job_runs(), foreign=st.lists(names.map("team:{}".format), unique=True))
def test_tags_of_ended_runs_are_corrected_once(runs: list[JobRun], foreign: list[str]) -> None:
    """**Feature: compilation-job-visibility, Property 26: Links to filtered runs** (the tags behind them)"""
    for run in runs:
        tagged = run._replace(run=run.run.model_copy(update={"tags": [*foreign, "status:completed"]}))
        tags = true_tags(tagged)
        assert tags[: len(foreign)] == foreign
        assert tagged.run.state is not None
        if not tagged.run.state.is_final():
            assert tags == tagged.run.tags
        assert sum(tag.startswith("status:") for tag in tags) == 1
        assert true_tags(run._replace(run=run.run.model_copy(update={"tags": tags}))) == tags
