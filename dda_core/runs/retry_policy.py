"""Which failed targets are retried, and when: by retry class, number of attempts and elapsed time.

``decide`` makes the decisions. It is pure: the scheduled sweep and ``dda retry`` pass it what the history holds. No
failure's text decides anything here.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from datetime import datetime, timedelta

from pydantic import BaseModel, ConfigDict, Field

from dda_core.failures import explain
from dda_core.runs.retry_class import RetryClass
from dda_core.settings import Settings


class FailedTarget(BaseModel):
    """A target that did not become deployable, from the newest run that had it.

    Attributes:
        state_id: the id of its run's state when it was read.
        target: its name; None for a run that ended before its targets were known.
        attempts: how often it ended in this class in this run.
        ended: when it last did.
        reason: the recorded text.
        cause: its cause, if recorded.
        obstacle: why the run cannot be scheduled again at all; None if it can.
    """

    model_config = ConfigDict(frozen=True)

    training_job: str
    use_case: str
    flow_run_id: str
    state_id: str
    target: str | None
    retry_class: RetryClass
    attempts: int
    ended: datetime
    reason: str | None = None
    cause: str | None = None
    obstacle: str | None = None


class RetryDecision(BaseModel):
    """What is done about a failed target, and why. The keys are a contract.

    ``not_before`` is the earliest retry by a sweep, if only the wait is missing; ``state_id`` is its run's state.
    """

    model_config = ConfigDict(frozen=True)

    training_job: str
    use_case: str
    target: str | None
    retry: bool
    why: str
    retry_class: RetryClass
    attempts: int
    maximum: int
    not_before: datetime | None
    reason: str | None
    flow_run_id: str
    state_id: str = Field("", exclude=True)


def wait_after(attempts: int, settings: Settings) -> timedelta:
    """How long a sweep waits after that many attempts in one class: doubled each time, up to the cap."""
    doubled = settings.retry_backoff_seconds * 2 ** min(attempts - 1, 60)
    return timedelta(seconds=min(doubled, settings.retry_backoff_cap_seconds))


def decide(
    failed: Iterable[FailedTarget],
    now: datetime,
    settings: Settings,
    *,
    by_hand: bool = False,
    force: bool = False,
) -> list[RetryDecision]:
    """What is done about each failed target; the longest overdue come first.

    Args:
        failed: the targets.
        now: the time of the decision.
        settings: waits, maxima and the budget of a sweep.
        by_hand: a person asks; neither budget nor waits apply.
        force: ignore class and maximum.
    """
    left = None if by_hand else settings.retry_budget
    decisions = []
    for target in sorted(failed, key=lambda each: each.ended + wait_after(each.attempts, settings)):
        decision = _alone(target, now, settings, by_hand=by_hand, force=force)
        if decision.retry and left is not None:
            if left == 0:
                why = f"the budget of this sweep ({settings.retry_budget}) is used up"
                decision = decision.model_copy(update={"retry": False, "why": why})
            else:
                left -= 1
        decisions.append(decision)
    return decisions


def _alone(target: FailedTarget, now: datetime, settings: Settings, *, by_hand: bool, force: bool) -> RetryDecision:
    """The decision regardless of the budget."""
    kind = target.retry_class
    maximum = kind.maximum(settings)
    due = target.ended + wait_after(target.attempts, settings)
    following = f"attempt {target.attempts + 1} of {maximum}"
    retry, not_before = False, None
    if target.obstacle:
        why = target.obstacle
    elif force:
        retry, why = True, f"forced; its class is {kind}"
    elif kind is RetryClass.NEVER:
        why = f"never: {target.cause or explain(target.reason or '').cause}"
    elif kind is RetryClass.STOPPED:
        why = "stopped by a person"
    elif target.attempts >= maximum:
        why = f"{kind}: the maximum of {maximum} attempts is reached"
    elif not by_hand and now < due:
        not_before = due
        why = f"{kind}: {following}, not before {due:%Y-%m-%d %H:%M} UTC"
    else:
        retry, why = True, f"{kind}: {following}"
    return RetryDecision(
        training_job=target.training_job,
        use_case=target.use_case,
        target=target.target,
        retry=retry,
        why=why,
        retry_class=kind,
        attempts=target.attempts,
        maximum=maximum,
        not_before=not_before,
        reason=target.reason,
        flow_run_id=target.flow_run_id,
        state_id=target.state_id,
    )


def summary(decisions: Sequence[RetryDecision]) -> str:
    """The counts as a sentence: ``2 retried, 5 left alone (3 never, 1 stopped, 1 waiting)``."""
    retried = sum(decision.retry for decision in decisions)
    kinds = [
        "waiting" if decision.not_before else str(decision.retry_class) for decision in decisions if not decision.retry
    ]
    counted = ", ".join(f"{kinds.count(kind)} {kind}" for kind in dict.fromkeys(sorted(kinds)))
    return f"{retried} retried, {len(kinds)} left alone" + (f" ({counted})" if counted else "")
