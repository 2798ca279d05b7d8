"""Whether a flow run still has a live process, and what to do if it has none.

Pure: liveness is probed elsewhere. A run that waits (scheduled, paused, suspended) needs no process and is always left
alone, as is a run whose process is seen.
"""

from __future__ import annotations

from datetime import datetime, timedelta
from enum import StrEnum
from typing import NamedTuple

from pydantic import BaseModel, ConfigDict

IN_PROGRESS = ("PENDING", "RUNNING", "CANCELLING")
"""Types of Prefect states in which a run has, or is about to get, a process."""
CRASHED = "CRASHED"
FIRST_WAIT = timedelta(seconds=30)
"""The wait before the restart after a second crash, doubled for each further one. After the first there is none."""
RESTARTED_WITHIN = timedelta(days=7)
"""A run that crashed longer ago is not restarted automatically."""


class CrashKind(StrEnum):
    """What is known about a crash."""

    OWN = "own"
    """The run's process died: observed, or reported by the worker."""
    SILENT = "silent"
    """An automation noticed that its heartbeats stopped. The run may have been wrongly marked Crashed."""
    STACK_ENDED = "stack-ended"
    """All processes of the stack ended. It does not count towards the limit of restarts."""


class Resumption(StrEnum):
    """How a crashed run was scheduled again."""

    RESUMED = "resumed"
    """Restarted: it keeps its attempt numbers, and the crash does not count as an end."""
    RETRIED = "retried"
    """Retried, as after any other end."""


class Process(StrEnum):
    """What a probe of this machine's processes found."""

    ALIVE = "alive"
    GONE = "gone"
    UNKNOWN = "unknown"


class Action(StrEnum):
    """What is done about a run."""

    LEAVE = "leave"
    RESTART = "restart"
    """Mark it Crashed if it is not, and schedule it again."""
    CRASH = "crash"
    """Mark it Crashed and leave it."""
    CANCEL = "cancel"
    """Stop the compilation jobs that it started, and mark it Cancelled."""


class Liveness(BaseModel):
    """The results of a run's liveness probes.

    Attributes:
        state: the type of its Prefect state, such as ``RUNNING``.
        since: when it entered that state.
        last_seen: its newest heartbeat or record; None if there is none.
        process: what a probe of this machine's processes found.
        crashes: how often its own process crashed since it last ended.
        restartable: whether a worker can run it again.
        followed: whether another run of the same training job was created after this one crashed.
    """

    model_config = ConfigDict(frozen=True)

    state: str
    since: datetime
    last_seen: datetime | None = None
    process: Process = Process.UNKNOWN
    crashes: int = 0
    restartable: bool = True
    followed: bool = False

    @property
    def newest(self) -> datetime:
        """The last moment at which the run is known to have been alive."""
        return max(self.since, self.last_seen or self.since)


class Limits(BaseModel):
    """When a run is presumed dead. All processes of runs whose state is older than ``ended_before`` have ended."""

    model_config = ConfigDict(frozen=True)

    silence: timedelta
    pending: timedelta
    max_restarts: int
    ended_before: datetime | None = None


class Verdict(NamedTuple):
    """What to do about a run, and the evidence as a sentence. ``crash`` is the kind of crash to mark it with.

    ``certain`` is False if the evidence is an absence: the run is then probed once more before anything is done.
    """

    action: Action
    evidence: str = ""
    certain: bool = True
    crash: CrashKind = CrashKind.OWN


def judge(run: Liveness, limits: Limits, now: datetime) -> Verdict:
    """What to do about a run with these probe results."""
    if run.state == CRASHED:
        return _crashed(run, limits, now)
    # A live process outweighs silence: a busy run may miss its heartbeats.
    if run.state not in IN_PROGRESS or run.process is Process.ALIVE:
        return Verdict(Action.LEAVE)
    # If all processes were ended, that decides; it says nothing about runs that started later.
    if limits.ended_before is not None:
        if run.since >= limits.ended_before:
            return Verdict(Action.LEAVE)
        evidence = f"All processes of the stack ended while it was {run.state.lower()}."
        crash, certain = CrashKind.STACK_ENDED, True
    elif (lost := _lost(run, limits, now)) is None:
        return Verdict(Action.LEAVE)
    else:
        # The absence of evidence may be a matter of timing.
        evidence, crash, certain = lost, CrashKind.OWN, False
    # A person asked for its end; a restart would undo that.
    if run.state == "CANCELLING":
        return Verdict(Action.CANCEL, evidence, certain, crash)
    # Stopping the stack is not the run's fault, so it does not use up a restart.
    own = 1 if crash is CrashKind.OWN else 0
    again = run.restartable and run.crashes + own <= limits.max_restarts
    return Verdict(Action.RESTART if again else Action.CRASH, evidence, certain, crash)


def wait_before_restart(crashes: int) -> timedelta:
    """How long a run waits before its restart after that many crashes of its own."""
    return FIRST_WAIT * 2 ** min(crashes - 2, 10) if crashes > 1 else timedelta(0)


def _lost(run: Liveness, limits: Limits, now: datetime) -> str | None:
    """Why the run is presumed dead; None if it is not."""
    silent = now - run.newest
    if run.state == "PENDING":
        if silent <= limits.pending:
            return None
        return f"It was pending for {silent.total_seconds():.0f} s without a process."
    if run.process is Process.GONE:
        return "Its process no longer exists on its machine."
    if silent <= limits.silence:
        return None
    return f"It has been silent for {silent.total_seconds():.0f} s, since {run.newest:%H:%M:%S} UTC."


def _crashed(run: Liveness, limits: Limits, now: datetime) -> Verdict:
    due = run.since + wait_before_restart(run.crashes)
    left_alone = (
        run.followed
        or not run.restartable
        or run.crashes > limits.max_restarts
        or now - run.since > RESTARTED_WITHIN
        or (now < due and limits.ended_before is None)
    )
    return Verdict(Action.LEAVE) if left_alone else Verdict(Action.RESTART, "It had crashed.")
