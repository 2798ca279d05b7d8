"""Finding flow runs whose process died, and restarting them: they adopt their resources in AWS by name.

A run that may be alive is never touched: missing evidence is re-checked, and a state is read again right before it is
changed. Of two concurrent reconciliations, the later one finds the state already changed.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from datetime import UTC, datetime, timedelta
from functools import partial
from typing import NamedTuple
from uuid import UUID

from prefect import get_client
from prefect.client.orchestration import PrefectClient
from prefect.client.schemas.filters import (
    FlowFilter,
    FlowFilterName,
    FlowRunFilter,
    FlowRunFilterEndTime,
    FlowRunFilterState,
    FlowRunFilterStateType,
)
from prefect.client.schemas.objects import FlowRun, State, StateType
from prefect.client.schemas.sorting import FlowRunSort
from prefect.exceptions import ObjectNotFound
from prefect.logging import get_logger
from prefect.states import AwaitingRetry, Cancelled, Crashed

from dda_core.pages.markdown import cell, link, table
from dda_core.runs.flows import HOUSEKEEPING, FlowName
from dda_core.runs.liveness import IN_PROGRESS, RESTARTED_WITHIN, Action, Limits, Process, Resumption, Verdict, judge
from dda_core.settings import load_settings
from tasks.operations.crash_reversal import reverse_crashes
from tasks.operations.liveness_probes import Probe, Processes, limits_of, liveness_of
from tasks.store.queries import PAGE
from tasks.store.transitions import set_state, transition_id
from tasks.store.ui_links import run_link

logger = get_logger("dda.reconcile")

CRASHED_LOOKED_AT = 20
"""How many of the newest crashed runs are considered."""
GONE_SECONDS = 5.0
"""The wait before a missing process is probed again: its worker may be about to report its end."""
SILENT_SECONDS = 75.0
"""The same for a silent run: after a server outage its next heartbeats arrive within this time."""


class LostRun(NamedTuple):
    """A run that had lost its process, what was done about it, and the evidence as a sentence."""

    flow_run_id: str
    flow: str
    name: str
    action: Action
    evidence: str

    def __str__(self) -> str:
        done = {
            Action.RESTART: "was restarted",
            Action.CANCEL: "was cancelled, and its compilation jobs stopped",
            Action.CRASH: "was marked Crashed",
        }[self.action]
        return f"{self.flow} {self.name} {done}. {self.evidence}"


def _now() -> datetime:
    return datetime.now(UTC)


async def reconcile_runs(
    *,
    own: str | None = None,
    ended_before: datetime | None = None,
    probe: Callable[[bool], Probe] = Processes,
    clock: Callable[[], datetime] = _now,
    sleep: Callable[[float], Awaitable[object]] = asyncio.sleep,
) -> list[LostRun]:
    """Find the runs without a live process, and restart, cancel or mark each of them.

    Args:
        own: the id of the flow run that calls this; it is alive.
        ended_before: all processes that started a run before this moment are known to have ended.
        probe: probes processes; its argument says whether this machine has them all.
        clock: returns the time, with its time zone.
        sleep: waits that many seconds between the first probe and the second.
    """
    settings = load_settings()
    limits = limits_of(settings, ended_before)
    lost = []
    async with get_client() as client:
        look = partial(probe, settings.single_host)
        runs = await _runs(client, own, clock())
        left = await _reverse_crashes(client, runs, limits, look, clock)
        runs = [(run, flow) for run, flow in runs if run.id not in left]
        found = await _judge(client, runs, limits, look, clock)
        doubtful = [each for each in found if not each.verdict.certain]
        if doubtful:
            silent = any(each.process is not Process.GONE for each in doubtful)
            await sleep(SILENT_SECONDS if silent else GONE_SECONDS)
            again = await _judge(client, [(each.run, each.flow) for each in doubtful], limits, look, clock)
            found = [each for each in found if each.verdict.certain] + again
        for each in found:
            try:
                if await _act(client, each.run, each.flow, each.verdict):
                    lost.append(
                        LostRun(str(each.run.id), each.flow, each.run.name, each.verdict.action, each.verdict.evidence)
                    )
            except ObjectNotFound:
                continue  # deleted in the meantime
    return lost


async def forget_overdue(before: datetime) -> int:
    """Delete overdue scheduled housekeeping runs, due before ``before``, except each deployment's newest.

    A stack that was down has one for every missed interval; each would only repeat the first.
    """
    newest: set[object] = set()
    forgotten = 0
    async with get_client() as client:
        for run, _ in await _in_states(client, HOUSEKEEPING, [StateType.SCHEDULED]):
            if not run.auto_scheduled or run.expected_start_time is None or run.expected_start_time >= before:
                continue
            if run.deployment_id in newest:
                await client.delete_flow_run(run.id)
                forgotten += 1
            newest.add(run.deployment_id)
    return forgotten


def lost_runs_page(lost: Sequence[LostRun]) -> str:
    """What was found and done, as Markdown."""
    rows = [
        [link(cell(each.name), run_link(each.flow_run_id)), cell(each.flow), each.action, cell(each.evidence)]
        for each in lost
    ]
    return (
        "\n\n".join(["# Runs that had lost their process", table(["run", "flow", "action", "evidence"], rows)]) + "\n"
    )


async def _reverse_crashes(
    client: PrefectClient,
    runs: Sequence[tuple[FlowRun, str]],
    limits: Limits,
    look: Callable[[], Probe],
    clock: Callable[[], datetime],
) -> set[UUID]:
    crashed = [run for run, _ in runs if run.state and run.state.is_crashed()]
    if not crashed:
        return set()
    processes = await asyncio.to_thread(look)
    return await reverse_crashes(client, crashed, processes, clock(), all_ended=limits.ended_before is not None)


class _Judged(NamedTuple):
    run: FlowRun
    flow: str
    process: Process
    verdict: Verdict


async def _runs(client: PrefectClient, own: str | None, now: datetime) -> list[tuple[FlowRun, str]]:
    """The runs that have or should have a process, and those that crashed, each with its flow's name."""
    in_progress = [StateType(state) for state in IN_PROGRESS]
    found = await _in_states(client, (FlowName.COMPILE, *HOUSEKEEPING), in_progress)
    ended_after = now - RESTARTED_WITHIN - timedelta(hours=1)
    found += await _in_states(
        client, (FlowName.COMPILE,), [StateType.CRASHED], ended_after=ended_after, limit=CRASHED_LOOKED_AT
    )
    return [(run, flow) for run, flow in found if str(run.id) != own]


async def _in_states(
    client: PrefectClient,
    flows: Sequence[str],
    states: list[StateType],
    *,
    ended_after: datetime | None = None,
    limit: int | None = None,
) -> list[tuple[FlowRun, str]]:
    """The runs of those flows in those states, newest first, each with its flow's name."""
    names = {
        flow.id: flow.name
        for flow in await client.read_flows(flow_filter=FlowFilter(name=FlowFilterName(any_=list(flows))))
    }
    found: dict[object, tuple[FlowRun, str]] = {}
    run_filter = FlowRunFilter(state=FlowRunFilterState(type=FlowRunFilterStateType(any_=states)))
    if ended_after:
        run_filter.end_time = FlowRunFilterEndTime(after_=ended_after)
    while True:
        page = await client.read_flow_runs(
            flow_filter=FlowFilter(name=FlowFilterName(any_=list(flows))),
            flow_run_filter=run_filter,
            sort=FlowRunSort.EXPECTED_START_TIME_DESC,
            limit=limit or PAGE,
            offset=0 if limit else len(found),
        )
        known = len(found)
        found |= {run.id: (run, names.get(run.flow_id, "")) for run in page}
        if limit or len(page) < PAGE or len(found) == known:
            return list(found.values())


async def _judge(
    client: PrefectClient,
    runs: Sequence[tuple[FlowRun, str]],
    limits: Limits,
    look: Callable[[], Probe],
    clock: Callable[[], datetime],
) -> list[_Judged]:
    """The runs that need action."""
    if not runs:
        return []
    processes = await asyncio.to_thread(look)
    judged = []
    for run, flow in runs:
        if run.state is None:
            continue
        now = clock()
        liveness = await liveness_of(client, run, processes, limits, now)
        if flow in HOUSEKEEPING:
            liveness = liveness.model_copy(update={"restartable": False})
        verdict = judge(liveness, limits, now)
        if verdict.action is not Action.LEAVE:
            judged.append(_Judged(run, flow, liveness.process, verdict))
    return judged


async def _act(client: PrefectClient, run: FlowRun, flow: str, verdict: Verdict) -> bool:
    """Change the run's state as decided. False if it has already changed: the run is alive, or another was faster."""
    assert run.state is not None
    if await _moved(client, run):
        return False
    if verdict.action is Action.CANCEL:
        if flow == FlowName.COMPILE and not await _stop_jobs(run):
            return False
        if await _moved(client, run):
            return False
        cancelled: State[None] = Cancelled(message=f"Cancelled by reconcile. {verdict.evidence}")
        await client.set_flow_run_state(run.id, cancelled, force=True)
    elif not run.state.is_crashed():
        await set_state(client, run.id, Crashed(message=verdict.evidence), transition_id(verdict.crash))
    if verdict.action is Action.RESTART:
        again: State[None] = AwaitingRetry(message="Restarted by reconcile.")
        await set_state(client, run.id, again, transition_id(Resumption.RESUMED))
    logger.info("%s %s: %s. %s", flow, run.name, verdict.action, verdict.evidence)
    return True


async def _moved(client: PrefectClient, run: FlowRun) -> bool:
    now = (await client.read_flow_run(run.id)).state
    return now is None or run.state is None or now.id != run.state.id


async def _stop_jobs(run: FlowRun) -> bool:
    """Stop the compilation jobs that the run started; False if AWS or the use case does not allow it yet."""
    # Imported here, because few reconciliations need AWS's libraries.
    from botocore.exceptions import BotoCoreError, ClientError

    from dda_core.aws.clients import AwsClients
    from dda_core.compilation.own_jobs import stop_jobs_of
    from dda_core.exceptions import DdaError, UnknownUseCase
    from tasks.store.history import own_jobs_of
    from tasks.store.use_cases import load_use_case

    try:
        use_case = await load_use_case(str(run.parameters.get("use_case")))
        aws = await asyncio.to_thread(AwsClients, use_case)
        job = str(run.parameters.get("training_job_name"))
        async with get_client() as client:
            own = await own_jobs_of(client, str(run.id), job)
        stopped = await asyncio.to_thread(stop_jobs_of, aws.sagemaker, job, str(run.id), own)
    except UnknownUseCase as error:
        logger.warning("%s: no compilation job could be stopped (%s)", run.name, error)
        return True
    except (DdaError, BotoCoreError, ClientError) as error:
        logger.warning("%s stays Cancelling: its compilation jobs could not be stopped (%s)", run.name, error)
        return False
    logger.info("%s was cancelled; stopped compilation jobs: %s", run.name, ", ".join(stopped) or "none")
    return True
