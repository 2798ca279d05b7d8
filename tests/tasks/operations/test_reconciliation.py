from __future__ import annotations

import asyncio
import os
import subprocess
import sys
from collections.abc import Awaitable, Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any
from uuid import UUID, uuid4

import pytest
import sqlalchemy as sa
from prefect import flow, get_client
from prefect.client.schemas.filters import FlowRunFilter, FlowRunFilterName
from prefect.client.schemas.objects import FlowRun, State, StateType
from prefect.events import emit_event
from prefect.events.worker import EventsWorker
from prefect.exceptions import ObjectNotFound
from prefect.server.database import provide_database_interface
from prefect.states import Cancelled, Cancelling, Completed, Crashed, Paused, Pending, Running, Scheduled, Suspended

from dda_core.runs.liveness import Action, CrashKind, Process, Resumption
from deployments.server.registration import save_use_case
from flows.compile_training_job import compile_training_job
from flows.reconcile import reconcile, run_reconciliation
from tasks.operations.liveness_probes import HEARTBEAT, Processes, _last_seen
from tasks.operations.reconciliation import SILENT_SECONDS, LostRun, forget_overdue, reconcile_runs
from tasks.store.artifacts import latest_artifact
from tasks.store.transitions import crash_kind, resumption, set_state, transition_id
from tasks.store.use_cases import load_use_case
from tests.fixtures.denials import deny_tags

PID = "4711"


class Look:
    """A machine whose processes and clock are controlled by the test."""

    def __init__(self) -> None:
        self.found: dict[str, list[Process]] = {}
        """The results of successive probes, by flow run; the last one repeats."""
        self.slept: list[float] = []
        self.meanwhile: Callable[[], Awaitable[None]] | None = None
        """What happens between two probes."""

    def __call__(self, single_host: bool) -> Look:
        return self

    def look(self, run: FlowRun) -> Process:
        looks = self.found.get(str(run.id), [Process.UNKNOWN])
        return looks.pop(0) if len(looks) > 1 else looks[0]

    async def sleep(self, seconds: float) -> None:
        self.slept.append(seconds)
        if self.meanwhile:
            await self.meanwhile()

    async def reconcile_runs(self, **options: Any) -> list[LostRun]:
        return await reconcile_runs(probe=self, sleep=self.sleep, **options)

    async def reconcile(self, *runs: UUID, after: float = 0, **options: Any) -> dict[UUID, LostRun]:
        """What a reconciliation does about these runs, ``after`` seconds from now; other runs are ignored."""
        options["clock"] = lambda: datetime.now(UTC) + timedelta(seconds=after)
        found = await self.reconcile_runs(**options)
        return {UUID(each.flow_run_id): each for each in found if UUID(each.flow_run_id) in runs}


@pytest.fixture
def processes() -> Look:
    return Look()


@pytest.fixture
async def deployment(pipeline: Any) -> UUID:
    return await save_use_case(await load_use_case("local"))


async def run_in(
    state: State[Any], deployment_id: UUID | None = None, name: str = "", *, ago: float = 0, **parameters: Any
) -> UUID:
    """A run of the flow in that state, since ``ago`` seconds."""
    name = name or f"lost-{uuid4().hex[:8]}"
    given = {"training_job_name": name, "use_case": "local", **parameters}
    async with get_client() as client:
        if deployment_id:
            run = await client.create_flow_run_from_deployment(deployment_id, parameters=given, name=name)
        else:
            run = await client.create_flow_run(compile_training_job, parameters=given, name=name)
        if state.is_cancelling():
            # Prefect cancels a run that never ran immediately.
            await client.set_flow_run_state(run.id, Running(), force=True)
        await client.set_flow_run_state(run.id, state, force=True)
        await client.update_flow_run(run.id, infrastructure_pid=PID)
    if ago:
        db = provide_database_interface()
        async with get_client() as client:
            now = (await client.read_flow_run(run.id)).state_id
        newest = db.FlowRunState.id == now
        moment = datetime.now(UTC) - timedelta(seconds=ago)
        async with db.session_context(begin_transaction=True) as session:
            await session.execute(sa.update(db.FlowRunState).where(newest).values(timestamp=moment))
    return run.id


async def state_of(run: UUID) -> State[Any]:
    async with get_client() as client:
        state = (await client.read_flow_run(run)).state
    assert state is not None
    return state


async def states_of(run: UUID) -> list[str]:
    async with get_client() as client:
        states = await client.read_flow_run_states(run)
    return [str(state.name) for state in sorted(states, key=lambda state: state.timestamp)]


async def test_a_run_without_its_process_is_crashed_and_restarted(deployment: UUID, processes: Look) -> None:
    run = await run_in(Running(), deployment)
    processes.found[str(run)] = [Process.GONE]
    lost = await processes.reconcile(run)
    assert lost[run].action is Action.RESTART
    assert str(lost[run]).endswith("was restarted. Its process no longer exists on its machine.")
    assert (await states_of(run))[-3:] == ["Running", "Crashed", "AwaitingRetry"]
    # A second reconciliation finds a run that waits for a worker.
    assert await processes.reconcile(run) == {}


async def test_a_run_whose_process_appears_in_the_second_probe_is_left_alone(deployment: UUID, processes: Look) -> None:
    run = await run_in(Running(), deployment)
    processes.found[str(run)] = [Process.GONE, Process.ALIVE]
    assert await processes.reconcile(run) == {}
    assert (await state_of(run)).is_running()


async def test_a_run_that_ends_between_the_probes_is_left_alone(deployment: UUID, processes: Look) -> None:
    run = await run_in(Running(), deployment)
    processes.found[str(run)] = [Process.GONE]

    async def ends() -> None:
        async with get_client() as client:
            await client.set_flow_run_state(run, Completed(message="4/4 targets deployable"), force=True)

    processes.meanwhile = ends
    assert await processes.reconcile(run) == {}
    assert (await state_of(run)).message == "4/4 targets deployable"


async def test_two_concurrent_reconciliations_restart_a_run_once(deployment: UUID, processes: Look) -> None:
    run = await run_in(Running(), deployment)
    processes.found[str(run)] = [Process.GONE]
    await asyncio.gather(processes.reconcile(run), processes.reconcile(run), processes.reconcile(run))
    assert (await state_of(run)).name == "AwaitingRetry"
    assert (await states_of(run)).count("Running") == 1


async def test_waiting_live_and_ended_runs_are_left_alone(deployment: UUID, processes: Look) -> None:
    states = [Suspended(), Paused(), Scheduled(), Completed(), Running(), Pending(), Cancelling()]
    runs = [await run_in(state, deployment, ago=99_999) for state in states]
    for run in runs[:4]:
        processes.found[str(run)] = [Process.GONE]
    for run in runs[4:]:
        processes.found[str(run)] = [Process.ALIVE]
    assert await processes.reconcile(*runs) == {}
    assert [(await state_of(run)).name for run in runs] == [state.name for state in states]


async def test_a_silent_run_is_presumed_dead_but_not_with_a_heartbeat_or_record(
    deployment: UUID, processes: Look, monkeypatch: pytest.MonkeyPatch
) -> None:
    silent = await run_in(Running(), deployment, ago=400)
    beating = await run_in(Running(), deployment, ago=400)
    resource = {"prefect.resource.id": f"prefect.flow-run.{beating}"}
    async with get_client() as client:
        for _ in range(100):
            emit_event(event=HEARTBEAT, resource=resource)
            await EventsWorker.drain_all(timeout=10)
            run = await client.read_flow_run(beating)
            if await _last_seen(client, run, datetime.now(UTC) - timedelta(seconds=60)):
                break
            await asyncio.sleep(0.1)
    lost = await processes.reconcile(silent, beating)
    assert set(lost) == {silent}
    assert "It has been silent for 40" in lost[silent].evidence


async def test_a_silent_run_is_probed_again_before_it_is_presumed_dead(deployment: UUID, processes: Look) -> None:
    run = await run_in(Running(), deployment)
    assert await processes.reconcile(run, after=250) == {}
    assert (await processes.reconcile(run, after=400))[run].action is Action.RESTART
    assert SILENT_SECONDS in processes.slept


async def test_transitions_carry_their_reason_as_data(deployment: UUID, processes: Look) -> None:
    run = await run_in(Running(), deployment)
    for ended_before, kind in ((None, CrashKind.OWN), (datetime.now(UTC) + timedelta(days=1), CrashKind.STACK_ENDED)):
        processes.found[str(run)] = [Process.GONE]
        await processes.reconcile(run, ended_before=ended_before)
        async with get_client() as client:
            states = await client.read_flow_run_states(run)
            await client.set_flow_run_state(run, Running(), force=True)
        crashed, again = sorted(states, key=lambda state: state.timestamp)[-2:]
        for state in (crashed, again):
            state.message = "whatever"
        assert (crash_kind(crashed), resumption(crashed, again)) == (kind, Resumption.RESUMED)


async def test_a_run_that_no_worker_can_restart_is_only_crashed(pipeline: Any, processes: Look) -> None:
    run = await run_in(Running(), ago=400)
    assert (await processes.reconcile(run))[run].action is Action.CRASH
    assert (await state_of(run)).is_crashed()


async def test_a_crashed_run_is_restarted_up_to_the_limit(
    deployment: UUID, processes: Look, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("DDA_MAX_RESTARTS", "1")
    run = await run_in(Crashed(message="Process exited with status code: -9"), deployment)
    assert (await processes.reconcile(run))[run].action is Action.RESTART
    async with get_client() as client:
        await set_state(client, run, Crashed(message="whatever"), transition_id(CrashKind.STACK_ENDED))
    assert (await processes.reconcile(run))[run].action is Action.RESTART, "the end of a stack is not the run's fault"
    async with get_client() as client:
        await client.set_flow_run_state(run, Crashed(message="Process exited with status code: -9"), force=True)
    assert await processes.reconcile(run, ended_before=datetime.now(UTC)) == {}
    assert (await state_of(run)).is_crashed()


async def test_a_crashed_run_followed_by_another_is_left_alone(deployment: UUID, processes: Look) -> None:
    name = f"followed-{uuid4().hex[:8]}"
    run = await run_in(Crashed(), deployment, name, ago=5)
    other = await run_in(Crashed(), deployment, name, use_case="another")
    await run_in(Completed(), deployment, name)
    assert set(await processes.reconcile(run, other)) == {other}, "a run of another use case is not followed by it"
    assert (await state_of(run)).is_crashed()


async def test_runs_of_a_stopped_stack_are_restarted_immediately(deployment: UUID, processes: Look) -> None:
    before = [await run_in(state, deployment) for state in (Running(), Pending())]
    began = datetime.now(UTC)
    after = [await run_in(state, deployment) for state in (Running(), Pending())]
    lost = await processes.reconcile(*before, *after, ended_before=began)
    assert set(lost) == set(before)
    for run in before:
        assert (await states_of(run))[-2:] == ["Crashed", "AwaitingRetry"]
    async with get_client() as client:
        for run in after:
            await client.delete_flow_run(run)


@pytest.mark.parametrize("tags", [True, False])
@pytest.mark.parametrize("aws_options", [{"compile_seconds": 60}])
async def test_an_unfinished_cancel_is_finished(pipeline: Any, deployment: UUID, processes: Look, tags: bool) -> None:
    if not tags:
        deny_tags(pipeline.aws)
    name = f"cancelled-{'tagged' if tags else 'untagged'}"
    pipeline.train(name)
    running = asyncio.create_task(pipeline.run(name, targets=["arm64-cpu", "x86_64-cpu"]))
    await pipeline.until(lambda: len(pipeline.jobs()) == 2)
    running.cancel()
    await asyncio.gather(running, return_exceptions=True)
    async with get_client() as client:
        named = FlowRunFilter(name=FlowRunFilterName(any_=[name]))
        [run] = await client.read_flow_runs(flow_run_filter=named)
        await client.set_flow_run_state(run.id, Running(), force=True)
        await client.set_flow_run_state(run.id, Cancelling(), force=True)
    processes.found[str(run.id)] = [Process.GONE]
    lost = await processes.reconcile(run.id)
    assert lost[run.id].action is Action.CANCEL
    assert (await state_of(run.id)).is_cancelled()
    sagemaker = pipeline.aws.client("sagemaker")
    for job in pipeline.jobs():
        status = sagemaker.describe_compilation_job(CompilationJobName=job)["CompilationJobStatus"]
        assert status in ("STOPPING", "STOPPED")


async def make_scheduled(*runs: UUID) -> None:
    """Make runs look as if a schedule had created them."""
    db = provide_database_interface()
    async with db.session_context(begin_transaction=True) as session:
        await session.execute(sa.update(db.FlowRun).where(db.FlowRun.id.in_(runs)).values(auto_scheduled=True))


async def test_overdue_housekeeping_runs_are_deleted_except_the_newest(deployment: UUID) -> None:
    housekeeping = await reconcile.ato_deployment("overdue-test", work_pool_name="dda")
    deployment_id = await housekeeping.aapply()
    async with get_client() as client:
        runs = [
            await client.create_flow_run_from_deployment(
                deployment_id, state=Scheduled(scheduled_time=datetime.now(UTC) - timedelta(minutes=minutes))
            )
            for minutes in (3, 2, 1)
        ]
    # Runs created manually are wanted.
    assert await forget_overdue(datetime.now(UTC)) == 0
    await make_scheduled(*(run.id for run in runs))
    assert await forget_overdue(datetime.now(UTC)) == 2
    async with get_client() as client:
        assert (await client.read_flow_run(runs[-1].id)).state_type is StateType.SCHEDULED
        await client.delete_deployment(deployment_id)


async def test_the_flow_shows_what_it_did_and_keeps_few_idle_runs(deployment: UUID, processes: Look) -> None:
    async with get_client() as client:
        cancelled = Cancelled(message="Deployment concurrency limit reached.")
        too_soon, by_hand = [(await client.create_flow_run(reconcile, state=cancelled)).id for _ in range(2)]
    await make_scheduled(too_soon)
    run = await run_in(Running(), deployment)
    processes.found[str(run)] = [Process.GONE]

    @flow(name=reconcile.name)
    async def reconcile_here() -> State[None]:
        return await run_reconciliation(look_at_aws=False, reconcile_runs=processes.reconcile_runs)

    state = await reconcile_here(return_state=True)
    assert state.message is not None
    assert state.message.endswith("runs had lost their process")
    async with get_client() as client:
        page = await latest_artifact(client, "reconcile")
    assert page is not None
    assert f"flow-run/{run}" in str(page.data)
    assert (await reconcile_here(return_state=True)).message == "Nothing to do"
    async with get_client() as client:
        assert (await client.read_flow_run(by_hand)).id == by_hand
        with pytest.raises(ObjectNotFound):
            await client.read_flow_run(too_soon)


def test_a_process_is_identified_by_its_run_not_its_pid(tmp_path: Path) -> None:
    run = FlowRun(id=uuid4(), flow_id=uuid4(), infrastructure_pid=str(os.getpid()))
    assert Processes(True).look(run) is Process.GONE, "another process has the number"
    assert Processes(False).look(run) is Process.UNKNOWN
    child = subprocess.Popen(
        [sys.executable, "-c", "input()"],
        stdin=subprocess.PIPE,
        env={**os.environ, "PREFECT__FLOW_RUN_ID": str(run.id)},
    )
    try:
        # Until the new program runs, the process has its parent's environment.
        while Processes(True).look(run) is not Process.ALIVE:
            assert child.poll() is None
    finally:
        child.kill()
        child.wait()
    assert Processes(True).look(run) is Process.GONE
    container = run.model_copy(update={"infrastructure_pid": "arn:aws:ecs:task/1"})
    assert Processes(True).look(container) is Process.UNKNOWN


def test_a_process_that_may_not_be_inspected_is_not_presumed_dead(tmp_path: Path) -> None:
    (tmp_path / "self").mkdir()
    (tmp_path / PID).mkdir()
    hidden = tmp_path / PID / "environ"
    hidden.mkdir()  # reading it fails, whoever we are
    run = FlowRun(id=uuid4(), flow_id=uuid4(), infrastructure_pid=PID)
    assert Processes(True, tmp_path).look(run) is Process.UNKNOWN
    assert Processes(True, tmp_path / "nothing").look(run) is Process.UNKNOWN
