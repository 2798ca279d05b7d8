"""A run's ledger, whatever its steps report in whatever order (feature ``compilation-job-visibility``)."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from itertools import count, pairwise

from hypothesis import given, settings
from hypothesis import strategies as st

from dda_core.runs.history import AttemptStatus, CompilationFacts, Phase, TargetLine
from dda_core.runs.ledger import Failure, Installable, Ledger
from dda_core.runs.status import TargetStatus

EXAMPLES = settings(max_examples=200, deadline=None)
BEGAN = datetime(2026, 1, 1, tzinfo=UTC)
TARGET, OTHER = "arm64-cpu", "x86_64-cpu"
Transition = Callable[[Ledger], object]
"""Something that happens to ``TARGET``."""

numbers = st.integers(1, 5)
words = st.sampled_from(["no model", "no slot", "stopped by hand"])
maker = st.sampled_from(["run-1", "run-2"])
failures = st.builds(Failure, reason=words, cause=st.none() | words, remedy=st.none() | words)
installable = st.builds(
    Installable, component=st.just("model-a"), version=st.just("2.0.0"), arn=st.just("arn"), attempt=st.none() | numbers
)


def job(attempt: int) -> str:
    return f"lid-7-arm64cpu-0a1b2c3d-{attempt}"


steps: st.SearchStrategy[Transition] = st.one_of(
    st.just(lambda ledger: ledger.compiling(TARGET, component="model-a")),
    numbers.map(lambda n: lambda ledger: ledger.job_seen(TARGET, job(n), n)),
    st.tuples(numbers, st.sampled_from([AttemptStatus.FAILED, AttemptStatus.STOPPED]), words).map(
        lambda each: lambda ledger: ledger.attempt_ended(TARGET, job(each[0]), *each)
    ),
    numbers.map(
        lambda n: lambda ledger: ledger.packaging(TARGET, compilation_job=job(n), attempt=n, compiled_artifact="s3://b")
    ),
    st.just(lambda ledger: ledger.packaged(TARGET, package="s3://b/p", size=7)),
    st.just(lambda ledger: ledger.publishing(TARGET)),
    st.just(lambda ledger: ledger.published(TARGET, version="1.0.0", arn="arn")),
    maker.map(lambda run: lambda ledger: ledger.made_by(TARGET, run)),
    (st.none() | words).map(lambda why: lambda ledger: ledger.waiting(TARGET, why)),
    numbers.map(lambda n: lambda ledger: ledger.learned(TARGET, CompilationFacts(bytes_in=n))),
    numbers.map(lambda n: lambda ledger: ledger.claim_job(TARGET, job(n), 0)),
    numbers.map(lambda n: lambda ledger: ledger.disclaim_job(TARGET, job(n))),
    st.just(lambda ledger: ledger.age()),
)
ends: st.SearchStrategy[Transition] = st.one_of(
    (st.none() | installable).map(lambda made: lambda ledger: ledger.deployable(TARGET, made)),
    installable.map(lambda made: lambda ledger: ledger.skipped(TARGET, made)),
    failures.map(lambda failure: lambda ledger: ledger.failed(TARGET, failure)),
    failures.map(lambda failure: lambda ledger: ledger.stopped(TARGET, failure)),
    st.just(lambda ledger: ledger.keep(TargetLine(target=TARGET, status=TargetStatus.FAILED, reason="kept"))),
)
# Realistic proportions: many steps, few ends, and ends that are reported twice.
histories = st.lists(steps | steps | ends, max_size=12) | st.lists(steps, max_size=12).flatmap(
    lambda before: st.lists(ends | steps, min_size=1, max_size=5).map(lambda after: before + after)
)


def lines_after(transitions: list[Transition]) -> list[TargetLine]:
    """The target's line at the start and after each transition, one second apart."""
    seconds = count()
    ledger = Ledger(clock=lambda: BEGAN + timedelta(seconds=next(seconds)))
    ledger.expect([TARGET, OTHER])
    lines = [ledger.targets[TARGET]]
    for transition in transitions:
        transition(ledger)
        lines.append(ledger.targets[TARGET])
    assert ledger.targets[OTHER] == TargetLine(target=OTHER), "what happens to one target changes no other"
    return lines


@EXAMPLES
@given(histories)
def test_an_end_is_final(transitions: list[Transition]) -> None:
    """**Feature: compilation-job-visibility, Property 3: Status transitions** (an end is final)

    After the first end only the details of the compilation, and the owners of jobs, still change.
    """
    for before, after in pairwise(lines_after(transitions)):
        if before.status.ended:
            assert after == before.model_copy(update={"facts": after.facts, "own_jobs": after.own_jobs})


@EXAMPLES
@given(histories)
def test_the_first_reason_stays(transitions: list[Transition]) -> None:
    """**Feature: compilation-job-visibility, Property 18: The first failure reason stays**

    A target has a reason from its end on, and each attempt keeps the reason that it ended with.
    """
    lines = lines_after(transitions)
    reasons = [line.reason for line in lines if line.reason]
    assert len(set(reasons)) <= 1
    for line in lines:
        assert (line.reason is not None) == (line.status in (TargetStatus.FAILED, TargetStatus.STOPPED))
    for before, after in pairwise(lines):
        for one, other in zip(before.attempts, after.attempts, strict=False):
            if one.started == other.started and one.status.ended:
                assert other.reason == one.reason


@EXAMPLES
@given(histories)
def test_a_phase_never_goes_back(transitions: list[Transition]) -> None:
    """**Feature: compilation-job-visibility, Property 3: Status transitions** (forward only)

    Statuses follow the order of the phases, and each is recorded once, with its start time.
    """
    lines = lines_after(transitions)
    kept = any(line.reason == "kept" for line in lines)
    for before, after in pairwise(lines):
        assert after.status.phase >= before.status.phase
        if not kept and after.status is not TargetStatus.SKIPPED:
            assert after.phases[: len(before.phases)] == before.phases
            added: list[Phase] = list(after.phases[len(before.phases) :])
            assert [phase.status for phase in added] == ([after.status] if after.status is not before.status else [])
    ordered = [phase.status.phase for phase in lines[-1].phases]
    assert ordered == sorted(set(ordered))
    times = [phase.at for phase in lines[-1].phases]
    assert times == sorted(times)


@EXAMPLES
@given(histories)
def test_attempts_only_grow(transitions: list[Transition]) -> None:
    """**Feature: compilation-job-visibility, Property 15: Every attempt is kept under the number of its job**

    No attempt is lost, and none that has ended changes, except for observed ones of another run. Only one is in
    progress, the last one's number is the target's, and it ends with the target.
    """
    lines = lines_after(transitions)
    if any(line.reason == "kept" for line in lines):
        return
    for before, after in pairwise(lines):
        looked_at = before.by_flow_run is not None and after.by_flow_run is None
        expected = [each for each in before.attempts if not looked_at or (each.attempt or 0) <= (after.attempt or 0)]
        assert len(after.attempts) >= len(expected)
        for one, other in zip(expected, after.attempts, strict=False):
            assert (other.attempt, other.started) == (one.attempt, one.started)
            assert not one.status.ended or other == one
        assert all(each.status.ended for each in after.attempts[:-1])
        if after.attempts and after.status is not TargetStatus.SKIPPED:
            assert after.attempts[-1].attempt == after.attempt
            assert after.attempts[-1].status.ended or not after.status.ended
