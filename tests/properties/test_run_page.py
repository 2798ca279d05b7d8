"""The content of a run's page and record, whatever happens to its targets (feature ``compilation-job-visibility``)."""

from __future__ import annotations

import base64
import json
import re
from datetime import UTC, datetime, timedelta
from types import SimpleNamespace
from typing import Any
from xml.etree import ElementTree

from hypothesis import given, settings
from hypothesis import strategies as st

from dda_core.compilation.job import CompilationJob
from dda_core.compilation.status import CompilationStatus
from dda_core.pages.run import MARKS, PROGRESS, PageContext, run_page
from dda_core.pages.timeline import timeline_svg
from dda_core.runs.history import AttemptStatus, CompilationFacts, Phase, TargetLine
from dda_core.runs.ledger import Failure, Ledger
from dda_core.runs.status import TargetStatus
from dda_core.targets import target_names
from tasks.compilation import note_look

ACCOUNT = "123456789012"
NOW = datetime(2026, 11, 21, 12, tzinfo=UTC)
FORWARD = [
    TargetStatus.NOT_STARTED,
    TargetStatus.COMPILING,
    TargetStatus.PACKAGING,
    TargetStatus.PUBLISHING,
    TargetStatus.DEPLOYABLE,
]
EXAMPLES = settings(max_examples=120, deadline=None)
texts = st.text(st.characters(codec="utf-8", exclude_categories=["Cs", "Cc"]), min_size=1, max_size=60).filter(
    str.strip
)
words = st.from_regex(r"[a-zA-Z][a-zA-Z0-9-]{0,20}", fullmatch=True)


@st.composite
def lines(draw: st.DrawFn, target: str) -> TargetLine:
    """A target in any phase, with the fields that it can have by then."""
    end = draw(st.sampled_from([None, TargetStatus.FAILED, TargetStatus.STOPPED, TargetStatus.SKIPPED]))
    reached = draw(st.integers(0, 4))
    statuses = FORWARD[1 : reached + 1] if end is not TargetStatus.SKIPPED else []
    if end and (not statuses or statuses[-1] is not TargetStatus.DEPLOYABLE):
        statuses = [*statuses, end]
    gaps = draw(st.lists(st.floats(0, 2000), min_size=len(statuses), max_size=len(statuses)))
    at, phases = NOW - timedelta(seconds=9000), []
    for status, gap in zip(statuses, gaps, strict=True):
        at += timedelta(seconds=gap)
        phases.append(Phase(status=status, at=at))
    status = statuses[-1] if statuses else TargetStatus.NOT_STARTED
    attempt = draw(st.integers(1, 12)) if statuses else None
    failed = status in (TargetStatus.FAILED, TargetStatus.STOPPED)
    return TargetLine(
        target=target,
        status=status,
        phases=tuple(phases),
        attempt=attempt,
        compilation_job=f"{draw(words)}-jetson-0a1b2c3d-{attempt}" if attempt else None,
        compiled_artifact=f"s3://dda-b/models/compilation/{draw(words)}.tar.gz" if reached >= 2 and attempt else None,
        package="s3://dda-b/model_artifacts/model-0a1b2c3d4e5f/0a1b2c3d4e5f_greengrass_model_component.zip"
        if reached >= 3 and attempt
        else None,
        component=f"model-{draw(words).lower()}" if statuses else None,
        version=f"{draw(st.integers(1, 99))}.0.0" if status.good or reached >= 4 else None,
        seconds=draw(st.floats(0, 9000)) if statuses else None,
        reason=draw(texts) if failed else None,
        cause=draw(texts) if failed else None,
        remedy=draw(texts) if failed else None,
        facts=CompilationFacts(
            will_retry_help=draw(texts) if failed else None,
            queue_seconds=draw(st.none() | st.floats(0, 500)),
            compile_seconds=draw(st.none() | st.floats(0, 2000)),
            bytes_in=draw(st.none() | st.integers(0, 2**31)),
            package_bytes=draw(st.none() | st.integers(0, 2**31)),
        ),
    )


runs = st.lists(st.sampled_from(target_names()), min_size=1, max_size=6, unique=True).flatmap(
    lambda targets: st.tuples(*(lines(target) for target in targets)).map(list)
)
CONTEXT = PageContext("lid-7", "Lid", "lids", "eu-central-1")


def rows_of(page: str) -> dict[str, list[str]]:
    """The cells in the first table, by target."""
    table = page.split("\n\n## ")[0].split("![")[0]
    cells = [row[2:-2].split(" | ") for row in table.splitlines() if row.startswith("| ")]
    return {row[0]: row for row in cells[2:]}


@EXAMPLES
@given(runs)
def test_property_1(targets: list[TargetLine]) -> None:
    """**Feature: compilation-job-visibility, Property 1: Every target of a run is shown with its status**"""
    rows = rows_of(run_page(CONTEXT, targets, {}, NOW))
    assert list(rows) == [line.target for line in targets]
    for line in targets:
        assert rows[line.target][1].startswith(f"{MARKS[line.status]}&nbsp;{line.status}")


@EXAMPLES
@given(st.sampled_from(TargetStatus), st.sampled_from(TargetStatus))
def test_property_2(one: TargetStatus, other: TargetStatus) -> None:
    """**Feature: compilation-job-visibility, Property 2: Each status has a mark of its own**"""
    assert (MARKS[one] == MARKS[other]) == (one is other)


@EXAMPLES
@given(st.lists(st.sampled_from(TargetStatus), min_size=1, max_size=12))
def test_property_3(statuses: list[TargetStatus]) -> None:
    """**Feature: compilation-job-visibility, Property 3: Progress grows with the phases and is whole at every end**"""
    in_order = sorted(statuses, key=lambda status: status.phase)
    percents = [PROGRESS.get(status, 100.0) for status in in_order]
    assert percents == sorted(percents)
    assert all((percent == 100.0) == status.ended for percent, status in zip(percents, in_order, strict=True))


@EXAMPLES
@given(runs)
def test_property_4(targets: list[TargetLine]) -> None:
    """**Feature: compilation-job-visibility, Property 4: A failure is shown with reason, cause and remedy**"""
    page = run_page(CONTEXT, targets, {}, NOW)
    for line in targets:
        heading = f"## {MARKS[line.status]} {line.target}: {line.status}"
        assert (heading in page) == bool(line.reason)
        if line.reason:
            section = page.split(heading)[1].split("\n## ")[0]
            for label in ("Reason", "Cause", "What to do", "Will a retry help?"):
                assert f"**{label}:** " in section


@EXAMPLES
@given(runs)
def test_property_10(targets: list[TargetLine]) -> None:
    """**Feature: compilation-job-visibility, Property 10: Where an artifact is, and how to fetch it**"""
    page = run_page(CONTEXT, targets, {}, NOW)
    for line in targets:
        for uri in (line.compiled_artifact, line.package):
            assert uri is None or f"`{uri}`" in page
        assert (f"dda artifacts get lid-7 {line.target} " in page) == bool(line.compiled_artifact or line.package)


@EXAMPLES
@given(runs)
def test_property_11(targets: list[TargetLine]) -> None:
    """**Feature: compilation-job-visibility, Property 11: Component, version and ARN, without the account**"""
    page = run_page(CONTEXT, targets, {}, NOW)
    rows = rows_of(page)
    for line in targets:
        cells = rows[line.target]
        assert (line.component or "") in cells[5]
        assert (line.version or "") in cells[6]
        if line.component and line.version:
            arn = f"greengrass:eu-central-1:************:components:{line.component}:versions:{line.version}"
            assert arn in cells[5]
    assert not re.search(r"\b\d{12}\b", re.sub(r"base64,[^)]*", "", page))


@EXAMPLES
@given(runs)
def test_property_13(targets: list[TargetLine]) -> None:
    """**Feature: compilation-job-visibility, Property 13: Links to the console's pages of job and component**"""
    rows = rows_of(run_page(CONTEXT, targets, {}, NOW))
    for line in targets:
        if line.compilation_job:
            assert f"region=eu-central-1#/compilation-jobs/{line.compilation_job})" in rows[line.target][4]
        if line.component and line.version:
            assert f"/{line.component}/{line.version})" in rows[line.target][6]


def recorded(steps: list[CompilationJob], end: TargetStatus | None, reason: str) -> Ledger:
    ledger = Ledger()
    ledger.expect(["arm64-cpu"])
    ledger.compiling("arm64-cpu", component="model-lid-7-arm64-cpu")
    run: Any = SimpleNamespace(ledger=ledger)
    for job in steps:
        note_look(run, "arm64-cpu", job)
    if end is TargetStatus.FAILED:
        ledger.failed("arm64-cpu", Failure(reason))
    elif end is TargetStatus.DEPLOYABLE:
        ledger.deployable("arm64-cpu")
    return ledger


@st.composite
def attempts(draw: st.DrawFn) -> list[CompilationJob]:
    """What polling up to four attempts shows, which fail one after the other."""
    first, count = draw(st.integers(1, 5)), draw(st.integers(1, 4))
    looks = []
    for number in range(first, first + count):
        last = number == first + count - 1
        end = draw(st.sampled_from([CompilationStatus.COMPLETED, CompilationStatus.INPROGRESS])) if last else None
        for status in (CompilationStatus.STARTING, CompilationStatus.INPROGRESS, end or CompilationStatus.FAILED):
            why = f"reason {number}" if status is CompilationStatus.FAILED else None
            looks += [
                CompilationJob(
                    name=f"lid-7-arm64cpu-0a1b2c3d-{number}", attempt=number, arn="", status=status, reason=why
                )
            ] * draw(st.integers(1, 3))
    return looks


@EXAMPLES
@given(attempts(), st.sampled_from([None, TargetStatus.FAILED, TargetStatus.DEPLOYABLE]))
def test_property_15(looks: list[CompilationJob], end: TargetStatus | None) -> None:
    """**Feature: compilation-job-visibility, Property 15: Every attempt is kept under the number of its job**"""
    line = recorded(looks, end, "why").targets["arm64-cpu"]
    numbers = list(dict.fromkeys(job.attempt for job in looks))
    assert [each.attempt for each in line.attempts] == numbers
    assert line.attempt == numbers[-1]
    for each in line.attempts[:-1]:
        assert (each.status, each.reason) == (AttemptStatus.FAILED, f"reason {each.attempt}")
        assert each.compilation_job == f"lid-7-arm64cpu-0a1b2c3d-{each.attempt}"
        assert each.ended is not None
    assert line.attempts[-1].status.ended == (end is not None)


@EXAMPLES
@given(runs)
def test_property_16(targets: list[TargetLine]) -> None:
    """**Feature: compilation-job-visibility, Property 16: Durations are shown, and drawn to scale**"""
    rows = rows_of(run_page(CONTEXT, targets, {}, NOW))
    for line in targets:
        assert rows[line.target][2] == (f"{line.seconds:.0f}&nbsp;s" if line.seconds is not None else "")
    svg = timeline_svg(targets, NOW)
    if svg:
        root = ElementTree.fromstring(svg)
        width = float(root.attrib["width"])
        for bar in root.iter("{http://www.w3.org/2000/svg}rect"):
            assert float(bar.attrib["x"]) >= 0
            assert float(bar.attrib["x"]) + float(bar.attrib["width"]) <= width + 1


@EXAMPLES
@given(runs)
def test_property_17(targets: list[TargetLine]) -> None:
    """**Feature: compilation-job-visibility, Property 17: Job, model, package and component are drawn in relation**"""
    page = run_page(CONTEXT, targets, {}, NOW)
    chart = page.split("```mermaid")[1].split("```")[0]
    assert "training job<br/>lid-7" in chart
    for number, line in enumerate(targets):
        assert (f'G{number}["component' in chart) == bool(line.version)
        assert (f'P{number}["package' in chart) == bool(line.package)
        assert (f'C{number}["compiled model' in chart) == bool(line.compiled_artifact)


@EXAMPLES
@given(texts, st.lists(texts, max_size=5))
def test_property_18(first: str, later: list[str]) -> None:
    """**Feature: compilation-job-visibility, Property 18: The first failure reason stays**"""
    ledger = Ledger()
    ledger.expect(["arm64-cpu"])
    for reason in [first, *later]:
        ledger.failed("arm64-cpu", Failure(reason))
    assert ledger.targets["arm64-cpu"].reason == first


@EXAMPLES
@given(texts, texts, texts)
def test_property_20(reason: str, cause: str, remedy: str) -> None:
    """**Feature: compilation-job-visibility, Property 20: No text of a failure breaks the page around it**"""
    failed = TargetLine(
        target="arm64-cpu", status=TargetStatus.FAILED, reason=reason, cause=cause, remedy=remedy, compilation_job="j-1"
    )
    other = TargetLine(target="x86_64-cpu")
    page = run_page(CONTEXT, [failed, other], {}, NOW)
    rows = rows_of(page)
    assert list(rows) == ["arm64-cpu", "x86_64-cpu"]
    assert all(len(row) == 7 for row in rows.values())
    section = page.split("## 🔴 arm64-cpu: failed")[1].split("```mermaid")[0]
    assert "<" not in section.replace("&lt;", "")


@EXAMPLES
@given(runs)
def test_property_22(targets: list[TargetLine]) -> None:
    """**Feature: compilation-job-visibility, Property 22: Times and sizes are shown where AWS gives them**"""
    page = run_page(CONTEXT, targets, {}, NOW)
    table = page.split("## Duration and resources")[1].split("\n## ")[0] if "## Duration and resources" in page else ""
    shown = {row.strip("| ").split(" | ")[0]: row for row in table.splitlines() if row.startswith("| ")}
    for line in targets:
        facts = line.facts
        known = [facts.queue_seconds, facts.compile_seconds, facts.bytes_in, facts.package_bytes]
        assert (line.target in shown) == any(value is not None for value in known)
        if facts.package_bytes is not None:
            assert f"{facts.package_bytes / 1e6:.1f}&nbsp;MB" in shown[line.target]


def test_the_picture_is_an_image_that_markdown_shows() -> None:
    line = TargetLine(target="arm64-cpu", phases=(Phase(status=TargetStatus.COMPILING, at=NOW),))
    page = run_page(CONTEXT, [line], {}, NOW + timedelta(seconds=9))
    encoded = re.search(r"!\[Timeline of the targets\]\(data:image/svg\+xml;base64,([^)]+)\)", page)
    assert encoded
    assert base64.b64decode(encoded[1]).startswith(b"<svg ")
    assert json.dumps(page)
