"""Whether a flow run still has a living process, and what to do where it has none.

Pure: the signs of life are gathered elsewhere. A run that waits (scheduled, paused, suspended) has no process and
needs none; it is always left alone, as is a run whose process is seen.
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
"""Between a run's second crash and its restart; each further one waits twice as long. The first waits for nothing."""
RESTARTED_WITHIN = timedelta(days=7)
"""A run that crashed longer ago is left to people: nobody waits for it any more."""


class CrashKind(StrEnum):
    """What is known of a crash."""

    OWN = "own"
    """The run's process died: it was seen, or the worker said so."""
    SILENT = "silent"
    """Its heartbeats stopped, which an automation noticed. It may be a false alarm."""
    STACK_ENDED = "stack-ended"
    """Everything that ran for the stack was ended. It was not the run's own, and counts for no limit of restarts."""


class Resumption(StrEnum):
    """How a run that had crashed was begun again."""

    RESUMED = "resumed"
    """It goes on where it was: its crash was no end of it."""
    RETRIED = "retried"
    """It was begun anew, as after any other end."""


class Process(StrEnum):
    """What a look at the processes of this machine showed."""

    ALIVE = "alive"
    GONE = "gone"
    UNKNOWN = "unknown"


class Action(StrEnum):
    """What is done about a run."""

    LEAVE = "leave"
    RESTART = "restart"
    """Mark it Crashed where it is not, and schedule it again."""
    CRASH = "crash"
    """Mark it Crashed, and leave it so."""
    CANCEL = "cancel"
    """Stop the compilation jobs that it started, and mark it Cancelled."""


class Signs(BaseModel):
    """What is known of a run's life.

    Attributes:
        state: the type of its Prefect state, such as ``RUNNING``.
        since: when it took that state.
        last_sign: its newest heartbeat or record; None where there was none.
        process: what a look at this machine's processes showed.
        crashes: how often it crashed by itself since it last came to an end.
        restartable: whether a worker can take it again.
        followed: whether another run of the same training job was created after this one crashed.
    """

    model_config = ConfigDict(frozen=True)

    state: str
    since: datetime
    last_sign: datetime | None = None
    process: Process = Process.UNKNOWN
    crashes: int = 0
    restartable: bool = True
    followed: bool = False

    @property
    def newest(self) -> datetime:
        """The last moment at which the run is known to have lived."""
        return max(self.since, self.last_sign or self.since)


class Limits(BaseModel):
    """When a run counts as dead. Runs that took their state before ``ended_before`` had their processes ended."""

    model_config = ConfigDict(frozen=True)

    silence: timedelta
    pending: timedelta
    max_restarts: int
    ended_before: datetime | None = None


class Verdict(NamedTuple):
    """What to do about a run, and the evidence as a sentence. ``crash`` is the kind of crash that it is marked with.

    ``certain`` is False where the evidence is what was not seen: it is looked at once more before anything is done.
    """

    action: Action
    evidence: str = ""
    certain: bool = True
    crash: CrashKind = CrashKind.OWN


def judge(signs: Signs, limits: Limits, now: datetime) -> Verdict:
    """What to do about a run with these signs of life."""
    if signs.state == CRASHED:
        return _crashed(signs, limits, now)
    # A process that was seen outweighs every silence: a busy run may miss its heartbeats.
    if signs.state not in IN_PROGRESS or signs.process is Process.ALIVE:
        return Verdict(Action.LEAVE)
    # Whoever ended the processes knows more than any sign, and of runs begun since then it knows nothing.
    if limits.ended_before is not None:
        if signs.since >= limits.ended_before:
            return Verdict(Action.LEAVE)
        evidence = f"Everything that ran for the stack was ended while it was {signs.state.lower()}."
        crash, certain = CrashKind.STACK_ENDED, True
    elif (lost := _lost(signs, limits, now)) is None:
        return Verdict(Action.LEAVE)
    else:
        # Nothing was seen, which may also be a look at the wrong moment.
        evidence, crash, certain = lost, CrashKind.OWN, False
    # A person has asked for its end; restarting it would undo that.
    if signs.state == "CANCELLING":
        return Verdict(Action.CANCEL, evidence, certain, crash)
    # A stack that is stopped on purpose is no fault of the run, so it costs no restart.
    own = 1 if crash is CrashKind.OWN else 0
    again = signs.restartable and signs.crashes + own <= limits.max_restarts
    return Verdict(Action.RESTART if again else Action.CRASH, evidence, certain, crash)


def wait_before_restart(crashes: int) -> timedelta:
    """How long a run that crashed so often by itself waits before it goes on."""
    return FIRST_WAIT * 2 ** min(crashes - 2, 10) if crashes > 1 else timedelta(0)


def _lost(signs: Signs, limits: Limits, now: datetime) -> str | None:
    """Why the run is taken for dead; None where it is not."""
    silent = now - signs.newest
    if signs.state == "PENDING":
        if silent <= limits.pending:
            return None
        return f"No process began it within {silent.total_seconds():.0f} s of its being pending."
    if signs.process is Process.GONE:
        return "Its process is gone from the machine that it ran on."
    if silent <= limits.silence:
        return None
    return f"It gave no sign of life for {silent.total_seconds():.0f} s, the last one at {signs.newest:%H:%M:%S} UTC."


def _crashed(signs: Signs, limits: Limits, now: datetime) -> Verdict:
    due = signs.since + wait_before_restart(signs.crashes)
    left_alone = (
        signs.followed
        or not signs.restartable
        or signs.crashes > limits.max_restarts
        or now - signs.since > RESTARTED_WITHIN
        or (now < due and limits.ended_before is None)
    )
    return Verdict(Action.LEAVE) if left_alone else Verdict(Action.RESTART, "It had crashed.")
