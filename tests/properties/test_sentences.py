"""Texts for people may be reworded freely without changing any decision."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from itertools import cycle, pairwise
from typing import Any, NamedTuple
from unittest.mock import patch
from uuid import UUID, uuid4

from hypothesis import given, settings
from hypothesis import strategies as st
from prefect.client.schemas.objects import Artifact, FlowRun, State, StateType

from dda_core import failures
from dda_core.exceptions import (
    CompilationFailed,
    CompilationStopped,
    DdaError,
    PublishFailed,
    PublishingRejected,
    QuotaReached,
    RunCancelled,
    StepTimedOut,
)
from dda_core.failures import RETRY_HELPS, Catalogue, guidance_for
from dda_core.pages import overview
from dda_core.pages.links import Ui
from dda_core.pages.overview import NEXT_STEPS, OverviewRow, TargetGlance
from dda_core.runs import liveness
from dda_core.runs.history import CompilationFacts, TargetLine
from dda_core.runs.liveness import CRASHED, IN_PROGRESS, CrashKind, Limits, Liveness, Process, Resumption, judge
from dda_core.runs.retry_class import RetryClass, retry_class_of
from dda_core.runs.retry_policy import decide
from dda_core.runs.status import RunStatus, TargetStatus
from dda_core.settings import Settings
from tasks.operations.crash_reversal import reverse_crashes
from tasks.operations.liveness_probes import _own_crashes
from tasks.operations.retries import failed_targets
from tasks.store.history import JobRun, _writings
from tasks.store.refusals import REFUSED
from tasks.store.run_states import times_ended
from tasks.store.transitions import SILENT_NAME, retry_id, transition_id

NOW = datetime(2026, 11, 20, 12, tzinfo=UTC)
MEANT_SOMETHING = (
    *("Goes on where it was: again.", "Everything that ran for the stack was ended.", "No heartbeat of the run came."),
    *("STOPPED: MaxRuntimeInSeconds was reached", "It took longer than its limit of 5 s.", "Wait for it", "x", ""),
    *RETRY_HELPS.values(),
)
"""Sentences that decisions once depended on: the worst wording that could appear elsewhere."""
sentences = st.sampled_from(MEANT_SOMETHING) | st.text(max_size=40)
newer = st.text(alphabet="abc .", max_size=40)
"""Sentences of other programs, which no earlier version had; their states have only a message."""


@contextmanager
def reworded(draw: Any) -> Iterator[None]:
    """The failure catalogue and the texts about retries, in arbitrary words."""
    # A few drawn texts are reused in rotation.
    texts = [{"cause": draw(sentences), "remedy": draw(sentences)} for _ in range(5)]
    rows = zip(failures.catalogue().rows, cycle(texts), strict=False)
    changed = Catalogue(tuple(row.model_copy(update=text) for row, text in rows))
    help_texts = {retry: draw(sentences) for retry in RETRY_HELPS}
    with patch.object(failures, "catalogue", lambda: changed), patch.dict(RETRY_HELPS, help_texts):
        yield


# These have AWS's text, which says what happened; it is not a sentence of ours.
OF_AWS = (
    CompilationFailed("x", reason="ClientError: InputConfiguration: No model file found."),
    CompilationFailed("x", reason="ServerError: There was an internal server error during the compilation job"),
    CompilationFailed("x", reason="ResourceNotFound: no such job"),
    PublishFailed("x", reason="ThrottlingException: Rate exceeded"),
    QuotaReached("x", reason="ResourceLimitExceeded: no slot"),
)
OURS: dict[RetryClass, list[Any]] = {
    RetryClass.TIMED_OUT: [StepTimedOut, lambda text: CompilationStopped(text, time_limit_reached=True)],
    RetryClass.STOPPED: [CompilationStopped, RunCancelled, PublishingRejected],
}


class Ended(NamedTuple):
    """How a target ended: with an error from AWS, or with one of ours in any words."""

    error: Any
    ours: bool

    def said(self, text: str) -> DdaError:
        return self.error(text) if self.ours else self.error


ends = st.sampled_from(
    [*(Ended(error, False) for error in OF_AWS), *(Ended(make, True) for makes in OURS.values() for make in makes)]
)


def row_of(target: str, error: DdaError) -> dict[str, Any]:
    """The row that a run records for a target that failed with this error."""
    known = guidance_for(error)
    stopped = isinstance(error, CompilationStopped | RunCancelled | PublishingRejected)
    line = TargetLine(
        target=target,
        status=TargetStatus.STOPPED if stopped else TargetStatus.FAILED,
        reason=getattr(error, "reason", None) or str(error),
        cause=known.cause,
        remedy=known.remedy,
        facts=CompilationFacts(will_retry_help=RETRY_HELPS[known.retry], retry_class=retry_class_of(error)),
    )
    return line.model_dump(mode="json")


class Server:
    """Stands in for the Prefect server, whose answers do not depend on the wording."""

    def __init__(self, states: Sequence[State[Any]] = (), beat: datetime | None = None) -> None:
        self.states, self.beat = list(states), beat
        self.put_back: list[StateType] = []

    async def read_flow_run_states(self, flow_run_id: UUID) -> list[State[Any]]:
        return self.states

    async def read_deployments(self, deployment_filter: Any, limit: int) -> list[Any]:
        return [type("Deployment", (), {"id": each}) for each in deployment_filter.id.any_]

    async def read_events(self, *_: Any, **__: Any) -> Any:
        found = [type("Event", (), {"occurred": self.beat})] if self.beat else []
        return type("Events", (), {"events": found})

    async def set_flow_run_state(self, flow_run_id: UUID, state: State[Any], force: bool) -> None:
        self.put_back.append(state.type)


def decided(rows: Sequence[dict[str, Any]], refused: RetryClass | None, message: str) -> list[tuple[Any, ...]]:
    """A sweep's decision about a run that ended with this message."""
    artifact = Artifact(data=json.dumps(rows), created=NOW, updated=NOW)
    run = FlowRun(
        id=UUID(int=1),
        flow_id=UUID(int=2),
        deployment_id=UUID(int=3),
        parameters={"training_job_name": "lid-7", "use_case": "local"},
        tags=[f"{REFUSED}{refused}"] if refused else [],
        state=State(type=StateType.FAILED, message=message, timestamp=NOW),
        run_count=1,
        start_time=NOW,
    )
    server: Any = Server()
    failed = asyncio.run(failed_targets(server, [[JobRun(run, _writings([artifact] if rows else []))]]))
    decisions = decide(failed, NOW + timedelta(hours=5), Settings())
    return [(each.target, each.retry, each.retry_class, each.attempts, each.not_before) for each in decisions]


@settings(max_examples=100, deadline=None)
@given(st.lists(ends, max_size=5), st.sampled_from(RetryClass), sentences, sentences, st.data())
def test_retries_do_not_depend_on_texts(
    found: list[Ended], refused: RetryClass, text: str, message: str, data: st.DataObject
) -> None:
    """**Feature: compilation-job-visibility, Property 39: A reworded failure is retried as before**

    For any failed targets, and for a run that was refused before it had any, the same targets are retried whatever
    causes, remedies, texts about retries, our errors and state messages say.
    """
    tag = None if found else refused
    usual = decided([row_of(str(n), each.said("as ever.")) for n, each in enumerate(found)], tag, "0 deployable")
    with reworded(data.draw):
        rows = [row_of(str(n), each.said(text or "x")) for n, each in enumerate(found)]
        assert decided(rows, tag, message) == usual
    assert len(usual) == len(found or [None])


LIVES = ("running", "resumed", "retried", "retried in the UI", "failed", "suspended", *CrashKind, "as a worker says")


def lived(lives: Sequence[str], messages: Iterator[str], others: Iterator[str]) -> list[State[Any]]:
    """The states of a run with this life, each with the next message; ``others`` are from programs that set no mark."""
    states: list[State[Any]] = []
    for number, life in enumerate(lives):
        why, name, message = None, None, next(messages)
        if life in ("running", "failed"):
            kind = StateType(life.upper())
        elif life == "suspended":
            kind, name = StateType.PAUSED, "Suspended"
        elif life in ("resumed", "retried", "retried in the UI"):
            kind, name = StateType.SCHEDULED, "AwaitingRetry"
            if life == "retried in the UI":
                message = next(others)
            elif life == "resumed":
                why = transition_id(Resumption.RESUMED)
            else:
                why = retry_id(states[-1].id) if states else None
                message = message if states else next(others)
        else:
            kind = StateType.CRASHED
            if life == CrashKind.SILENT:
                name = SILENT_NAME
            elif life == "as a worker says":
                message = next(others)
            else:
                why = transition_id(CrashKind(life))
        state: State[Any] = State(
            id=uuid4(), type=kind, name=name, message=message, timestamp=NOW + timedelta(minutes=number)
        )
        state.state_details.transition_id = why
        states.append(state)
    return states


def drawn(data: st.DataObject, strategy: st.SearchStrategy[str]) -> Iterator[str]:
    while True:
        yield data.draw(strategy)


@settings(max_examples=150, deadline=None)
@given(st.lists(st.sampled_from(LIVES), max_size=10), st.data())
def test_the_count_of_ends_does_not_depend_on_state_messages(lives: list[str], data: st.DataObject) -> None:
    """**Feature: compilation-job-visibility, Property 40: A reworded state counts as before**

    For any history of a run, the numbers of its ends and of its own crashes are the same whatever its state messages
    say.
    """
    states = lived(lives, drawn(data, sentences), drawn(data, newer))
    crashes = 0
    for life in lives:
        crashes = 0 if life == "failed" else crashes + (life in {*CrashKind, "as a worker says"} - {"stack-ended"})
    assert _own_crashes(states) == crashes
    crashed = {*CrashKind, "as a worker says"}
    retried = sum(before in crashed and after in ("retried", "retried in the UI") for before, after in pairwise(lives))
    assert times_ended(states) == retried + lives.count("failed")


@settings(max_examples=150, deadline=None)
@given(
    st.sampled_from([*IN_PROGRESS, CRASHED]),
    st.integers(0, 3000),
    st.sampled_from(Process),
    st.integers(0, 4),
    st.none() | st.integers(-3000, 3000),
    sentences,
)
def test_reconciliation_does_not_depend_on_the_wording_of_evidence(
    state: str, seconds: int, process: Process, crashes: int, ended: int | None, evidence: str
) -> None:
    """**Feature: compilation-job-visibility, Property 41: A reworded evidence is judged as before**

    For any liveness evidence, the action, its certainty and the kind of crash are the same in any words.
    """
    signs = Liveness(state=state, since=NOW - timedelta(seconds=seconds), process=process, crashes=crashes)
    limits = Limits(
        silence=timedelta(seconds=300),
        pending=timedelta(seconds=600),
        max_restarts=3,
        ended_before=None if ended is None else NOW - timedelta(seconds=ended),
    )
    usual, lost = judge(signs, limits, NOW), liveness._lost
    with patch.object(liveness, "_lost", lambda *given: None if lost(*given) is None else evidence):
        verdict = judge(signs, limits, NOW)
    assert verdict._replace(evidence="") == usual._replace(evidence="")


@settings(max_examples=150, deadline=None)
@given(
    st.sampled_from([CrashKind.SILENT, CrashKind.OWN, CrashKind.STACK_ENDED, "as a worker says"]),
    st.booleans(),
    st.sampled_from(Process),
    st.booleans(),
    st.booleans(),
    st.data(),
)
def test_crash_reversal_does_not_depend_on_messages(
    kind: str, waited: bool, process: Process, beats: bool, late: bool, data: st.DataObject
) -> None:
    """**Feature: compilation-job-visibility, Property 42: A reworded alarm is checked as before**

    For any crash, only the automation's is reversed, and only if the run is alive or waiting, in any words.
    """
    states = lived(["suspended" if waited else "running", kind], drawn(data, sentences), drawn(data, newer))
    run = FlowRun(id=uuid4(), flow_id=uuid4(), state=states[-1])
    server: Any = Server(states, NOW if beats else None)
    probe: Any = type("Probe", (), {"look": staticmethod(lambda run: process)})
    now = NOW + timedelta(minutes=1, hours=1 if late else 0)
    left = asyncio.run(reverse_crashes(server, [run], probe, now))
    lives = process is Process.ALIVE or (process is Process.UNKNOWN and beats)
    put_back = [StateType.PAUSED] if waited else [StateType.RUNNING] if lives else []
    alarm = kind == CrashKind.SILENT
    assert server.put_back == (put_back if alarm else [])
    assert bool(left) == (alarm and (bool(put_back) or (process is Process.UNKNOWN and not late)))


@settings(max_examples=100, deadline=None)
@given(
    st.sampled_from(RunStatus),
    st.lists(st.sampled_from(TargetStatus), max_size=4),
    st.booleans(),
    st.booleans(),
    st.data(),
)
def test_the_next_action_links_to_the_same_form_in_any_words(
    status: RunStatus, targets: list[TargetStatus], has_run: bool, has_form: bool, data: st.DataObject
) -> None:
    """**Feature: compilation-job-visibility, Property 43: A reworded next step leads where it led**

    For any training job, the next action is the same in any words, and its link, if it has one, leads to the same form.
    """
    row = OverviewRow(
        training_job="lid-7",
        use_case="local",
        block="local",
        model="lid",
        status=status,
        targets={f"t{number}": TargetGlance(status=each) for number, each in enumerate(targets)},
        flow_run_id="run" if has_run else None,
        deployment_id="form" if has_form else None,
    )
    usual, action = overview._next(row, Ui.within(None)), row.next_action
    words = st.sampled_from(["Wait", "Go on", ""])
    with patch.dict(NEXT_STEPS, {each: data.draw(words) for each in NEXT_STEPS}):
        now = overview._next(row, Ui.within(None))
        assert row.next_action is action
    assert OverviewRow.model_validate_json(row.model_dump_json()).next_action is action
    assert now.partition("](")[2] == usual.partition("](")[2]
