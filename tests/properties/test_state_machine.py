"""Invariants of a training job's runs, whatever happens to them in whatever order.

The rules are external events; each waits until all runs have ended or are waiting for AWS, see ``played_runs``.
"""

from __future__ import annotations

import sys
import time
from collections import Counter
from collections.abc import Callable, Hashable
from datetime import datetime
from pathlib import Path
from typing import TypeVar

import pytest
from hypothesis import HealthCheck, Phase, settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    invariant,
    precondition,
    rule,
    run_state_machine_as_test,
)
from prefect.client.schemas.objects import StateType

from dda_core.components.recipe_comparison import artifact_uri_of
from dda_core.naming import attempt_of
from dda_core.runs.history import HistoryRow, TargetLine
from dda_core.runs.status import RunStatus
from deployments.local.aws.services.compilation import LIVE
from tasks.retry_scope import retry_tags
from tasks.store.history import JobRun, history_of, view_of_runs
from tests.properties.played_runs import TARGETS, PlayedRun, PlayedRuns, World, shared_world

pytestmark = [pytest.mark.slow, pytest.mark.timeout(1500)]

EXAMPLES, STEPS, RUNS = 100, 9, 3
NEVER = "ClientError: OperatorNotImplemented: The following operators are not implemented: ['aten::nms']"
PASSES = "ServerError: There was an internal server error during the compilation job, please try again"
CALLS = [
    ("DescribeCompilationJob", "ThrottlingException", False),
    ("CreateCompilationJob", "InternalServerException", True),
    ("DescribeComponent", "InternalServerException", False),
    ("CreateComponentVersion", "InternalServerException", True),
    ("s3:GetObject", "SlowDown", False),
]
a_target, a_number = st.sampled_from(TARGETS), st.integers(0, 5)
T = TypeVar("T")


def one_of(them: list[T], number: int) -> T | None:
    """One of the current choices; None makes the step a no-op.

    The choices depend on timing, so they cannot be a precondition, which hypothesis expects to be reproducible.
    """
    return them[number % len(them)] if them else None


class Runs(RuleBasedStateMachine):
    """The runs of one training job."""

    world: World

    def __init__(self) -> None:
        super().__init__()
        self.played: PlayedRuns
        self.touched: set[str] = set()
        """Targets with a fault that no run can recover from by itself."""
        self.event_came_again = self.moved = False
        self.passing, self.broken = set[str](), set[str]()
        self.seen_jobs: dict[str, str] = {}
        self.seen_lines: dict[tuple[Hashable, ...], TargetLine] = {}
        self.seen_rows: dict[tuple[str, str, int | None, datetime], HistoryRow] = {}
        self.whole: set[tuple[str, str | None]] = set()

    # --- What happens ------------------------------------------------------------------------------------------------

    @initialize(quota=st.sampled_from([1, 50]))
    def a_training_job_has_ended(self, quota: int) -> None:
        self.world.counts["examples"] += 1
        self.played = PlayedRuns(self.world, quota)
        self.played.runs.append(PlayedRun(self.played.event()))
        self.begin_new()

    @precondition(lambda self: not self.event_came_again)
    @rule()
    def the_event_comes_again(self) -> None:
        """Immediately, or long after everything has ended."""
        self.event_came_again = True
        first, known = self.played.event(), self.played.runs[0]
        assert first.id == known.id, "an event that comes again starts no run"
        if known.ended:
            assert first.state
            assert first.state.type is known.ended
        self.world.counts["duplicate and late events"] += 1

    @precondition(lambda self: len(self.played.runs) < RUNS)
    @rule(force=st.booleans(), chosen=st.sets(a_target))
    def a_person_compiles(self, force: bool, chosen: set[str]) -> None:
        run = self.played.command(targets=sorted(chosen), force=force)
        assert run.id not in [known.id for known in self.played.runs]
        self.played.runs.append(PlayedRun(run))
        self.begin_new()

    @rule(kind=st.sampled_from(["compile", "publish"]), number=a_number)
    def a_job_or_version_ends(self, kind: str, number: int) -> None:
        if name := one_of(self.played.on_their_way(kind), number):
            self.end(kind, name)

    @rule(number=a_number)
    def a_target_ends(self, number: int) -> None:
        for kind in ("compile", "publish"):
            if name := one_of(self.played.on_their_way(kind), number):
                self.end(kind, name)

    @rule(name=a_target, how=st.sampled_from(["never", "passes", "stays"]))
    def its_next_compilation_will_fail(self, name: str, how: str) -> None:
        if how == "passes" and name in self.passing:
            return  # too many in a row would not be transient
        self.passing.add(name)
        if how != "passes":
            self.touched.add(name)
        reason, times = NEVER if how == "never" else PASSES, 9 if how == "stays" else 1
        self.played.aws.faults.add("compile", target=name, reason=reason, times=times)

    @rule(name=a_target)
    def its_next_component_will_fail(self, name: str) -> None:
        self.touched.add(name)
        self.played.aws.faults.add("publish", target=name, reason="The artifact could not be read")

    @rule(number=a_number)
    def a_person_stops_a_job(self, number: int) -> None:
        name = one_of(self.played.on_their_way("compile"), number)
        if name and (job := self.played.newest_job(name)) and job.stop():
            self.touched.add(name)
            self.settle()

    @rule(times=st.integers(1, 3))
    def the_quota_is_reached(self, times: int) -> None:
        self.played.aws.faults.add("call", operation="CreateCompilationJob", error="ResourceLimitExceeded", times=times)
        self.world.counts["quota hits"] += 1

    @rule(call=st.sampled_from(CALLS), nth=st.integers(1, 3))
    def calls_break(self, call: tuple[str, str, bool], nth: int) -> None:
        operation, error, after_effect = call
        if operation not in self.broken:  # more in a row than a run tolerates would be a different case
            self.broken.add(operation)
            self.played.aws.faults.add(
                "call", operation=operation, error=error, nth=nth, times=2, after_effect=after_effect
            )

    @rule(number=a_number)
    def a_process_is_killed_at_rest(self, number: int) -> None:
        if run := one_of(self.played.those("alive"), number):
            self.kill(run)

    @rule(number=a_number, kind=st.sampled_from(["compile", "publish"]), name=a_target, after=st.floats(0, 0.3))
    def a_process_is_killed_on_its_way(self, number: int, kind: str, name: str, after: float) -> None:
        if run := one_of(self.played.those("alive"), number):
            self.played.release(kind, name)
            time.sleep(after)
            self.kill(run)

    @rule(number=a_number)
    def a_crashed_run_is_restarted(self, number: int) -> None:
        if run := one_of(self.played.those("crashed"), number):
            self.begin(self.played.restart, run)

    @rule(number=a_number, only=st.sets(a_target, max_size=1), force=st.booleans())
    def a_run_is_retried(self, number: int, only: set[str], force: bool) -> None:
        if run := one_of(self.played.those("ended_badly"), number):
            self.begin(self.played.retry, run, retry_tags(sorted(only), force=force))
            self.world.counts["retries"] += 1

    @rule(number=a_number)
    def a_run_is_cancelled(self, number: int) -> None:
        if run := one_of(self.played.those("alive"), number):
            self.touched.update(TARGETS)  # other runs may have joined the jobs that it stops
            self.played.cancel(run)
            self.world.counts["cancels"] += 1
            self.settle()

    # --- What must hold ----------------------------------------------------------------------------------------------

    @invariant()
    def aws_has_each_thing_once(self) -> None:
        """One live job per piece of work, attempts without gaps, final ends, and one version per package."""
        jobs = {job.name: job.status() for job in self.played.jobs()}
        live = Counter(name.rpartition("-")[0] for name, status in jobs.items() if status in LIVE)
        assert set(live.values()) <= {1}, live
        for name, status in self.seen_jobs.items():
            assert jobs[name] == status or status in LIVE
        self.seen_jobs = jobs
        attempts: dict[str, list[int]] = {}
        for name in jobs:
            attempts.setdefault(name.rpartition("-")[0], []).append(attempt_of(name) or 0)
        for numbers in attempts.values():
            assert sorted(numbers) == list(range(1, len(numbers) + 1))
        good = Counter(
            (each.name, artifact_uri_of(each.recipe)) for each in self.played.versions() if each.state != "FAILED"
        )
        assert set(good.values()) <= {1}, good

    @invariant()
    def what_a_process_knows_goes_forward(self) -> None:
        """Includes what it has not recorded yet."""
        for run in self.played.runs:
            for line in self.played.lines(run).values():
                self.line_goes_forward(line, run.id, run.processes)

    @invariant()
    def what_was_written_is_true(self) -> None:
        self.world.counts["steps"] += 1
        if not self.moved:
            return  # no run had a reason to write, and reading is slow
        self.moved = False
        runs = self.played.written()
        rows = history_of(runs)
        for run in runs:
            self.record_goes_forward(run)
        self.history_goes_forward(rows)
        cut_off = {str(run.id) for run in self.played.runs if run.crashed or run.cancelled}
        made = {(row.target, row.component, row.version) for row in rows if row.status == "deployable"}
        for line in (line for run in runs for writing in run.writings for line in writing.lines):
            if line.status.good:
                self.is_deployable(line)
                # An interrupted run could not record the result of what it had created in AWS.
                assert (line.target, line.component, line.version) in made or line.by_flow_run in cut_off

    def line_goes_forward(self, line: TargetLine, *of: Hashable) -> None:
        goes_forward(self.seen_lines.get((*of, line.target)), line)
        self.seen_lines[(*of, line.target)] = line

    def record_goes_forward(self, run: JobRun) -> None:
        """Ends are final, the first reason stays, and attempts only grow, in everything that any process wrote."""
        attempts: dict[str, int] = {}
        for writing in run.writings:
            for line in writing.lines:
                self.line_goes_forward(line, run.run.id, writing.began)
                if line.attempt is not None:
                    assert line.attempt >= attempts.get(line.target, 0)
                    attempts[line.target] = line.attempt

    def history_goes_forward(self, rows: list[HistoryRow]) -> None:
        """No row is lost, and no ended one changes, unless its process died: its result may still change."""
        found = {(row.flow_run_id, row.target, row.attempt, row.started): row for row in rows}
        assert len(found) == len(rows)
        for key, before in self.seen_rows.items():
            assert key in found
            if before.status.ended and before.status != "crashed":
                assert found[key] == before
        self.seen_rows = found

    def is_deployable(self, line: TargetLine) -> None:
        """AWS has the version; its recipe names the record's package and has the digest of the stored object."""
        [version] = [
            each for each in self.played.versions() if (each.name, each.version) == (line.component, line.version)
        ]
        assert version.state == "DEPLOYABLE"
        assert artifact_uri_of(version.recipe) == line.package
        if (version.arn, line.package) not in self.whole:
            [artifact] = version.recipe["Manifests"][0]["Artifacts"]
            assert self.played.stored_digest(str(line.package)) == artifact["Digest"]
            self.whole.add((version.arn, line.package))

    def has_ended_well(self, run: PlayedRun) -> None:
        """For a run that ended by itself: its state agrees with its targets, which do not affect each other."""
        lines = self.played.lines(run)
        bad = {target for target, line in lines.items() if not line.status.good}
        assert bad <= self.touched, "what happens to one target changes no other one's end"
        assert run.ended is (StateType.FAILED if bad else StateType.COMPLETED)
        message = (state := self.played.read(run).state) and state.message
        assert str(message).startswith(f"{len(lines) - len(bad)}/{len(lines)} targets deployable")
        assert all(line.reason and line.cause and line.remedy for target, line in lines.items() if target in bad)

    def teardown(self) -> None:
        """Once nothing fails, every target's component is published."""
        if not hasattr(self, "played"):
            return
        try:
            if sys.exc_info()[0] is None:
                self.everything_recovers()
        finally:
            self.played.close()

    def everything_recovers(self) -> None:
        self.played.aws.faults.clear()
        for target in TARGETS:
            self.played.aws.holds.release("compile", target)
            self.played.aws.holds.release("publish", target)
        self.settle()
        for run in self.played.those("crashed"):
            self.begin(self.played.restart, run)
        self.touched.clear()
        if self.played.those("ended_badly"):
            self.played.runs.append(PlayedRun(self.played.command()))
            self.begin_new()
        assert self.played.runs[-1].ended is StateType.COMPLETED
        self.aws_has_each_thing_once()
        self.what_was_written_is_true()
        view = self.world.wait(view_of_runs(self.played.written(), self.played.training_job))
        assert list(view.targets) == TARGETS
        assert view.status is RunStatus.COMPLETED

    # --- How it is done ----------------------------------------------------------------------------------------------

    def begin_new(self) -> None:
        self.begin(self.played.begin, self.played.runs[-1])

    def begin(self, way: Callable[..., None], run: PlayedRun, *how: list[str]) -> None:
        self.world.counts["processes"] += 1
        way(run, *how)
        self.settle()

    def end(self, kind: str, name: str) -> None:
        self.played.release(kind, name)
        self.settle()

    def kill(self, run: PlayedRun) -> None:
        self.played.kill(run)
        self.world.counts["crashes"] += 1
        self.settle()

    def settle(self) -> None:
        self.moved = True
        for run in self.played.settle():
            self.has_ended_well(run)


def goes_forward(before: TargetLine | None, after: TargetLine) -> None:
    """A target's written statuses only move forward."""
    if before is None:
        return
    assert after.status.phase >= before.status.phase
    if before.status.ended:
        assert (after.status, after.version, after.package) == (before.status, before.version, before.package)
    if before.reason:
        assert after.reason == before.reason
    assert len(after.attempts) >= len(before.attempts)
    for old, new in zip(before.attempts, after.attempts, strict=False):
        assert new.attempt == old.attempt
        if old.status.ended:
            assert (new.status, new.reason) == (old.status, old.reason)
    numbers = [each.attempt for each in after.attempts if each.attempt is not None]
    assert numbers == sorted(set(numbers))


def test_the_invariants_hold(
    prefect_server: None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, counted: Callable[..., None]
) -> None:
    """A run's end, its record and the history, after every step of every sequence of rules.

    **Feature: compilation-job-visibility, Property 7: Duplicate compilation prevention**
    **Feature: compilation-job-visibility, Property 15: Every attempt is kept under the number of its job**
    **Feature: compilation-job-visibility, Property 18: The first failure reason stays**
    **Feature: compilation-job-visibility, Property 23: History keeps every attempt**
    **Feature: compilation-job-visibility, Property 36: Targets never affect each other**
    **Feature: compilation-job-visibility, Property 37: DEPLOYABLE means that recipe, object and history agree**
    **Feature: compilation-job-visibility, Property 38: Terminal states never go back**
    """
    with shared_world(tmp_path, monkeypatch) as world:
        Runs.world = world
        run_state_machine_as_test(
            Runs,
            settings=settings(
                max_examples=EXAMPLES,
                stateful_step_count=STEPS,
                deadline=None,
                # Failing examples are only a few steps long anyway, and each step takes seconds.
                phases=[Phase.explicit, Phase.reuse, Phase.generate],
                suppress_health_check=list(HealthCheck),
                print_blob=True,
            ),
        )
    assert world.counts["examples"] >= EXAMPLES
    assert all(world.counts[what] for what in ("crashes", "retries", "cancels", "quota hits"))
    for what, number in world.counts.items():
        counted(f"state machine: {what}", number)
