"""Liveness probes of flow runs: their processes on this machine, their heartbeats, and what they last wrote."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime, timedelta
from pathlib import Path
from typing import Protocol

from prefect.client.orchestration import PrefectClient
from prefect.client.schemas.filters import (
    ArtifactFilter,
    ArtifactFilterFlowRunId,
    FlowRunFilter,
    FlowRunFilterExpectedStartTime,
    FlowRunFilterId,
    FlowRunFilterName,
    FlowRunFilterTags,
)
from prefect.client.schemas.objects import FlowRun, State, StateType
from prefect.client.schemas.sorting import ArtifactSort
from prefect.events.filters import EventFilter, EventNameFilter, EventOccurredFilter, EventResourceFilter
from prefect.settings import PREFECT_FLOWS_HEARTBEAT_FREQUENCY

from dda_core.runs.liveness import CRASHED, CrashKind, Limits, Liveness, Process
from dda_core.settings import Settings
from tasks.store.history import IGNORED
from tasks.store.transitions import crash_kind

HEARTBEAT = "prefect.flow-run.heartbeat"
HEARTBEATS = 3
"""How many heartbeats must be missing before a run counts as silent."""
_MARK = b"PREFECT__FLOW_RUN_ID="
_PROC = Path("/proc")
_ENDS = (StateType.COMPLETED, StateType.FAILED, StateType.CANCELLED)


def limits_of(settings: Settings, ended_before: datetime | None = None) -> Limits:
    """When a run is presumed dead, by the settings and the interval of Prefect's heartbeats."""
    heartbeats = HEARTBEATS * (PREFECT_FLOWS_HEARTBEAT_FREQUENCY.value() or 0) + 30
    return Limits(
        silence=timedelta(seconds=max(settings.silence_seconds, heartbeats)),
        pending=timedelta(seconds=settings.pending_seconds),
        max_restarts=settings.max_restarts,
        ended_before=ended_before,
    )


class Probe(Protocol):
    """One probe of processes."""

    def look(self, run: FlowRun) -> Process:
        """Whether the run has a process."""


class Processes:
    """The flow runs that have a process on this machine, read from the processes' environments.

    ``whole`` is False if workers may run elsewhere; then no run's process is known to be gone.
    """

    def __init__(self, whole: bool, root: Path = _PROC) -> None:
        self.runs: set[str] = set()
        self._hidden: set[str] = set()
        self._whole = whole and (root / "self").exists()
        for entry in root.glob("[0-9]*") if self._whole else ():
            try:
                environment = (entry / "environ").read_bytes()
            except (FileNotFoundError, ProcessLookupError):
                continue  # it ended in the meantime
            except OSError:
                self._hidden.add(entry.name)
            else:
                for line in environment.split(b"\0"):
                    if line.startswith(_MARK):
                        self.runs.add(line.removeprefix(_MARK).decode(errors="replace"))

    def look(self, run: FlowRun) -> Process:
        """Whether the run has a process here. A reused process id does not count."""
        if str(run.id) in self.runs:
            return Process.ALIVE
        pid = run.infrastructure_pid or ""
        # Only a process worker reports a bare number; a container's name says nothing about this machine.
        if not self._whole or not pid.isdigit() or pid in self._hidden:
            return Process.UNKNOWN
        return Process.GONE


async def liveness_of(client: PrefectClient, run: FlowRun, processes: Probe, limits: Limits, now: datetime) -> Liveness:
    """The results of the run's liveness probes; the server is only asked for what its state leaves open."""
    state = run.state
    assert state is not None
    since = state.timestamp or now
    process = processes.look(run)
    crashed = state.type.value == CRASHED
    last_seen = None
    if process is Process.UNKNOWN and not crashed and limits.ended_before is None and now - since > limits.silence:
        last_seen = await _last_seen(client, run, now - limits.silence)
    alive = process is Process.ALIVE and not crashed
    return Liveness(
        state=state.type.value,
        since=since,
        last_seen=last_seen,
        process=process,
        crashes=0 if alive else _own_crashes(await client.read_flow_run_states(run.id)),
        restartable=run.deployment_id is not None,
        followed=crashed and await _followed(client, run, since),
    )


def _own_crashes(states: Sequence[State[object]]) -> int:
    """How often the run crashed since it last ended otherwise; crashes from a stopped stack do not count."""
    crashes = 0
    for state in sorted(states, key=lambda state: (state.timestamp is not None, state.timestamp)):
        if state.type in _ENDS:
            crashes = 0
        elif state.type is StateType.CRASHED and crash_kind(state) is not CrashKind.STACK_ENDED:
            crashes += 1
    return crashes


async def _last_seen(client: PrefectClient, run: FlowRun, since: datetime) -> datetime | None:
    """The newest heartbeat after ``since`` or the last update of an artifact of the run, whichever is later."""
    heartbeat = await last_heartbeat(client, run, since)
    seen: list[datetime] = [heartbeat] if heartbeat else []
    written = await client.read_artifacts(
        artifact_filter=ArtifactFilter(flow_run_id=ArtifactFilterFlowRunId(any_=[run.id])),
        sort=ArtifactSort.UPDATED_DESC,
        limit=1,
    )
    seen += [artifact.updated for artifact in written if artifact.updated]
    return max(seen, default=None)


async def last_heartbeat(client: PrefectClient, run: FlowRun, since: datetime) -> datetime | None:
    """When the newest heartbeat after ``since`` was sent."""
    beats = EventFilter(
        occurred=EventOccurredFilter(since=since),
        event=EventNameFilter(name=[HEARTBEAT]),
        resource=EventResourceFilter(id=[f"prefect.flow-run.{run.id}"]),
    )
    newest = (await client.read_events(beats, limit=1)).events
    return newest[0].occurred if newest else None


async def _followed(client: PrefectClient, run: FlowRun, since: datetime) -> bool:
    """Whether another run of the same training job and use case was created after the run crashed."""
    job, use_case = run.parameters.get("training_job_name"), run.parameters.get("use_case")
    for later in (
        FlowRunFilter(name=FlowRunFilterName(any_=[str(job)])),
        FlowRunFilter(tags=FlowRunFilterTags(all_=[f"training-job:{job}"])),
    ):
        later.id = FlowRunFilterId(not_any_=[run.id])
        later.expected_start_time = FlowRunFilterExpectedStartTime(after_=since)
        for other in await client.read_flow_runs(flow_run_filter=later, limit=10):
            same = (other.parameters.get("training_job_name"), other.parameters.get("use_case")) == (job, use_case)
            if same and IGNORED not in other.tags:
                return True
    return False
