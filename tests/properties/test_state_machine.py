"""Whatever happens to the runs of a training job, in whatever order: what must always hold does.

The rules are what can happen from outside; each waits until all runs have ended or wait for AWS, see ``played_runs``.
"""

from __future__ import annotations

import base64
import hashlib
import sys
import time
from collections import Counter
from collections.abc import Callable
from datetime import datetime
from pathlib import Path
from uuid import UUID

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

from dda_core.history import HistoryRow, TargetLine
from dda_core.naming import attempt_of
from dda_core.recipe import artifact_uri_of
from dda_core.status import RunStatus
from deployments.local.aws.compilation import LIVE
from tasks.history import JobRun, history_of, view_of_runs
from tasks.retry_order import retry_tags
from tests.properties.played_runs import TARGETS, PlayedRun, PlayedRuns, World, shared_world

pytestmark = [pytest.mark.slow, pytest.mark.timeout(1500)]

EXAMPLES, STEPS = 100, 7
RUNS = 3
NEVER = "ClientError: OperatorNotImplemented: The following operators are not implemented: ['aten::nms']"
PASSES = "ServerError: There was an internal server error during the compilation job, please try again"
CALLS = [
    ("DescribeCompilationJob", "ThrottlingException", False),
    ("CreateCompilationJob", "InternalServerException", True),
    ("DescribeComponent", "InternalServerException", False),
    ("CreateComponentVersion", "InternalServerException", True),
    ("s3:GetObject", "SlowDown", False),
]
a_target, any_run = st.sampled_from(TARGETS), st.integers(0, RUNS - 1)
Rule = Callable[[Callable[..., None]], Callable[..., None]]


def where_a_run(standing: str) -> Rule:
    """Lets a rule happen only where some run is ``alive``, has ``failed`` or has ``crashed``."""
    return precondition(lambda machine: bool(machine.played.those(standing)))


class Runs(RuleBasedStateMachine):
    """The runs of one training job."""

    world: World

    def __init__(self) -> None:
        super().__init__()
        self.played: PlayedRuns
        self.touched: set[str] = set()
        """Targets that something happened to which no run can mend by itself."""
        self.passing: set[str] = set()
        self.broken: set[str] = set()
        self.seen_jobs: dict[str, str] = {}
        self.seen_lines: dict[tuple[UUID, datetime, str], TargetLine] = {}
        self.seen_rows: dict[tuple[str, str, int | None, datetime], HistoryRow] = {}
        self.whole: set[tuple[str, str | None]] = set()

    # --- What happens ------------------------------------------------------------------------------------------------

    @initialize(quota=st.sampled_from([1, 50]))
    def a_training_job_has_ended(self, quota: int) -> None:
        self.world.counts["examples"] += 1
        self.played = PlayedRuns(self.world, quota)
        self.played.runs.append(PlayedRun(self.played.event()))
        self.begin_new()

    @rule()
    def the_event_comes_again(self) -> None:
        """At once, or long after everything has ended."""
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

    @rule(name=a_target)
    def its_compilation_ends(self, name: str) -> None:
        self.played.let_go("compile", name)
        self.settle()

    @rule(name=a_target)
    def its_component_ends(self, name: str) -> None:
        self.played.let_go("publish", name)
        self.settle()

    @rule(name=a_target, how=st.sampled_from(["never", "passes", "stays"]))
    def its_next_compilation_will_fail(self, name: str, how: str) -> None:
        if how == "passes" and name in self.passing:
            return  # too many of them in a row would not pass
        self.passing.add(name)
        if how != "passes":
            self.touched.add(name)
        reason, times = NEVER if how == "never" else PASSES, 9 if how == "stays" else 1
        self.played.aws.faults.add("compile", target=name, reason=reason, times=times)

    @rule(name=a_target)
    def its_next_component_will_fail(self, name: str) -> None:
        self.touched.add(name)
        self.played.aws.faults.add("publish", target=name, reason="The artifact could not be read")

    @rule(name=a_target)
    def somebody_stops_its_job(self, name: str) -> None:
        if (job := self.played.newest_job(name)) and job.stop():
            self.touched.add(name)
            self.settle()

    @rule(times=st.integers(1, 3))
    def the_quota_is_reached(self, times: int) -> None:
        self.played.aws.faults.add("call", operation="CreateCompilationJob", error="ResourceLimitExceeded", times=times)
        self.world.counts["quota hits"] += 1

    @rule(call=st.sampled_from(CALLS), nth=st.integers(1, 3))
    def calls_break(self, call: tuple[str, str, bool], nth: int) -> None:
        operation, error, after_effect = call
        if operation not in self.broken:  # more of them in a row than a run puts up with would be another story
            self.broken.add(operation)
            self.played.aws.faults.add(
                "call", operation=operation, error=error, nth=nth, times=2, after_effect=after_effect
            )

    @where_a_run("alive")
    @rule(
        number=any_run,
        going_on=st.none() | st.tuples(st.sampled_from(["compile", "publish"]), a_target),
        after=st.sampled_from([0.0, 0.03, 0.1]),
    )
    def a_process_is_killed(self, number: int, going_on: tuple[str, str] | None, after: float) -> None:
        """At rest, or a moment after something has moved."""
        run = self.pick("alive", number)
        if going_on:
            self.played.let_go(*going_on)
            time.sleep(after)
        self.played.kill(run)
        self.world.counts["crashes"] += 1
        self.settle()

    @where_a_run("crashed")
    @rule(number=any_run)
    def a_crashed_run_is_mended(self, number: int) -> None:
        self.begin(self.played.mend, self.pick("crashed", number))

    @where_a_run("failed")
    @rule(number=any_run, only=st.sets(a_target, max_size=1), force=st.booleans())
    def a_failed_run_is_retried(self, number: int, only: set[str], force: bool) -> None:
        self.begin(self.played.retry, self.pick("failed", number), retry_tags(sorted(only), force=force))
        self.world.counts["retries"] += 1

    @where_a_run("alive")
    @rule(number=any_run)
    def a_run_is_cancelled(self, number: int) -> None:
        self.touched.update(TARGETS)  # other runs may have joined the jobs that it stops
        self.played.cancel(self.pick("alive", number))
        self.world.counts["cancels"] += 1
        self.settle()

    # --- What must hold ----------------------------------------------------------------------------------------------

    @invariant()
    def aws_has_each_thing_once(self) -> None:
        """One live job per identity, attempts without a gap, ends that stay, and one version of each package."""
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
    def what_was_written_is_true(self) -> None:
        self.world.counts["steps"] += 1
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
                # A run that was cut off could not say what became of what it had made in AWS.
                assert (line.target, line.component, line.version) in made or line.by_flow_run in cut_off

    def record_goes_forward(self, run: JobRun) -> None:
        """Ends are final, a first reason stays, and attempts only grow, in everything that any process wrote."""
        attempts: dict[str, int] = {}
        for writing in run.writings:
            for line in writing.lines:
                key = (run.run.id, writing.began, line.target)
                goes_forward(self.seen_lines.get(key), line)
                self.seen_lines[key] = line
                if line.attempt is not None:
                    assert line.attempt >= attempts.get(line.target, 0)
                    attempts[line.target] = line.attempt

    def history_goes_forward(self, rows: list[HistoryRow]) -> None:
        """No row is lost, and none that has ended changes; one whose process died may still turn out otherwise."""
        found = {(row.flow_run_id, row.target, row.attempt, row.started): row for row in rows}
        assert len(found) == len(rows)
        for key, before in self.seen_rows.items():
            assert key in found
            if before.status.ended and before.status != "crashed":
                assert found[key] == before
        self.seen_rows = found

    def is_deployable(self, line: TargetLine) -> None:
        """AWS has the version; its recipe names the package of the record, and has the digest of what is stored."""
        [version] = [
            each for each in self.played.versions() if (each.name, each.version) == (line.component, line.version)
        ]
        assert version.state == "DEPLOYABLE"
        assert artifact_uri_of(version.recipe) == line.package
        if (version.arn, line.package) not in self.whole:
            assert digest_of(self.stored(str(line.package))) == version.recipe["Manifests"][0]["Artifacts"][0]["Digest"]
            self.whole.add((version.arn, line.package))

    def stored(self, uri: str) -> bytes:
        bucket, _, key = uri.removeprefix("s3://").partition("/")
        body: bytes = self.played.aws.client("s3").get_object(Bucket=bucket, Key=key)["Body"].read()
        return body

    def has_ended_well(self, run: PlayedRun) -> None:
        """A run that came to its end by itself: its state says what came of its targets, each of them on its own."""
        lines = self.played.lines(run)
        bad = {target for target, line in lines.items() if not line.status.good}
        assert bad <= self.touched, "what happens to one target changes no other one's end"
        assert run.ended is (StateType.FAILED if bad else StateType.COMPLETED)
        message = (state := self.played.read(run).state) and state.message
        assert str(message).startswith(f"{len(lines) - len(bad)}/{len(lines)} targets deployable")
        assert all(line.reason and line.cause and line.remedy for target, line in lines.items() if target in bad)

    def teardown(self) -> None:
        """Once nothing goes wrong any more, every target's component gets made."""
        if not hasattr(self, "played"):
            return
        try:
            if sys.exc_info()[0] is None:
                self.everything_heals()
        finally:
            self.played.close()

    def everything_heals(self) -> None:
        self.played.aws.faults.clear()
        for target in TARGETS:
            self.played.aws.holds.release("compile", target)
            self.played.aws.holds.release("publish", target)
        self.settle()
        for run in self.played.those("crashed"):
            self.begin(self.played.mend, run)
        self.touched.clear()
        self.played.runs.append(PlayedRun(self.played.command()))
        self.begin_new()
        assert self.played.runs[-1].ended is StateType.COMPLETED
        self.aws_has_each_thing_once()
        self.what_was_written_is_true()
        view = self.world.wait(view_of_runs(self.played.written(), self.played.training_job))
        assert list(view.targets) == TARGETS
        assert view.status is RunStatus.COMPLETED

    # --- How it is done ----------------------------------------------------------------------------------------------

    def pick(self, standing: str, number: int) -> PlayedRun:
        runs = self.played.those(standing)
        return runs[number % len(runs)]

    def begin_new(self) -> None:
        self.begin(self.played.begin, self.played.runs[-1])

    def begin(self, way: Callable[..., None], run: PlayedRun, *how: list[str]) -> None:
        self.world.counts["processes"] += 1
        way(run, *how)
        self.settle()

    def settle(self) -> None:
        for run in self.played.settle():
            self.has_ended_well(run)


def digest_of(body: bytes) -> str:
    return base64.b64encode(hashlib.sha256(body).digest()).decode()


def goes_forward(before: TargetLine | None, after: TargetLine) -> None:
    """What was written of a target is followed only by what comes later."""
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


def test_what_must_hold_always_holds(
    prefect_server: None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, counted: Callable[..., None]
) -> None:
    """What a run's end, its record and the history say after every step of every sequence of the rules.

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
                # What fails is a few steps long as it is, and each costs seconds.
                phases=[Phase.explicit, Phase.reuse, Phase.generate],
                suppress_health_check=list(HealthCheck),
                print_blob=True,
            ),
        )
    assert world.counts["examples"] >= EXAMPLES
    assert all(world.counts[what] for what in ("crashes", "retries", "cancels", "quota hits"))
    for what, number in world.counts.items():
        counted(f"state machine: {what}", number)
