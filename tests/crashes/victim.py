"""One process of a flow run, as a worker starts it, that kills itself at a given point.

The production code is unaware of this: the points are hooks in botocore, in Prefect and in the run's record. They have
these names::

    before CreateCompilationJob     an AWS operation of the target, before it is sent
    after CreateCompilationJob      ... when its response has arrived but was not returned yet
    archive read                    the compiled archive was read to its end
    recorded version                the server's record has the target's version
    before write status=deployable  the record with that is about to be sent
    after write ...                 the server has it, the process has not registered that
    noted write ...                 the process has registered it too
    before state of compile         the target's task is done, and its state not sent
    after state of compile          ... sent, and the result that a restart uses not written
    half result of compile          ... and that result half written
    after result of compile         ... and written
    before run state Completed      the run's own state; after run state Completed
"""

from __future__ import annotations

import asyncio
import json
import os
import re
import signal
import sys
import threading
import time
from collections.abc import Mapping
from contextvars import ContextVar
from pathlib import Path
from typing import Any, NamedTuple
from uuid import UUID

import botocore.client
from prefect.client.orchestration import PrefectClient
from prefect.engine import handle_engine_signals
from prefect.flow_engine import AsyncFlowRunEngine, load_flow_run, run_flow
from prefect.results import ResultStore
from prefect.settings import PREFECT_TASKS_REFRESH_CACHE, temporary_settings
from prefect.task_engine import AsyncTaskRunEngine

import dda_core.archives.s3_sink
import dda_core.model.package
import tasks.packaging
import tasks.store.record
from dda_core.runs.ledger import Ledger
from dda_core.runs.status import TargetStatus
from dda_core.targets import all_targets
from flows.compile_training_job import compile_training_job
from tasks.store.record import RecordWriter

PART = 256 << 10
"""Part size in bytes, so that even small packages are multipart uploads."""
JOB = re.compile(r"-([a-z0-9]+)-[0-9a-f]{8}-\d+")
COMPILED = re.compile(r"models/compilation/([^/]+)/[^/]+/[^/]+\.tar\.gz$")

_target: ContextVar[str] = ContextVar("victim_target", default="")
_finished: ContextVar[str] = ContextVar("victim_finished", default="")


class Kill(NamedTuple):
    """Where a process kills itself: at a target's point. ``held`` targets stop at their gates."""

    point: str
    target: str
    held: Mapping[str, str] | None = None


def run_to_the_end(
    flow_run_id: str, environment: dict[str, str], kill: Kill | None, folder: Path, name: str, forgetful: bool
) -> None:
    """Execute a flow run like a worker's child process; its events are in ``<name>.jsonl``, its output in ``.log``."""
    os.environ.update(environment)
    with temporary_settings({PREFECT_TASKS_REFRESH_CACHE: True} if forgetful else {}):
        go_on(flow_run_id, Trap(kill, folder / f"{name}.jsonl"), folder / f"{name}.log")


def go_on(flow_run_id: str, trap: Trap, log: Path) -> None:
    """Execute a flow run with a trap."""
    said = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
    os.dup2(said, 1)
    os.dup2(said, 2)
    install(trap)
    with handle_engine_signals(UUID(flow_run_id)):
        asyncio.run(run_flow(compile_training_job, flow_run=load_flow_run(UUID(flow_run_id))))  # type: ignore[arg-type]
    sys.stdout.flush()


class Trap:
    """Kills the process at its point, and holds targets that must wait."""

    def __init__(self, kill: Kill | None, journal: Path) -> None:
        self._kill = kill
        self._journal = journal
        self._lock = threading.Lock()
        self.noted: set[tuple[str, str]] = set()
        """A target's known fields in the run's record."""

    def record(self, **entry: Any) -> None:
        """Record an event; it is on disk before the call returns."""
        with self._lock, self._journal.open("a") as journal:
            journal.write(json.dumps(entry) + "\n")

    def reach(self, point: str, target: str) -> None:
        """Reach a point in a thread."""
        if self._holds(point, target):
            threading.Event().wait()
        self._die_here(point, target)

    async def areach(self, point: str, target: str) -> None:
        """Reach a point in the event loop."""
        if self._holds(point, target):
            await asyncio.Event().wait()
        self._die_here(point, target)

    def reach_rows(self, kind: str, rows: list[dict[str, Any]]) -> None:
        """Reach a write of the record."""
        kill = self._kill
        if kill is None or not kill.point.startswith(f"{kind} "):
            return
        field, _, value = kill.point.removeprefix(f"{kind} ").partition("=")
        row = next((row for row in rows if row["target"] == kill.target), {})
        if row.get(field) and (not value or row[field] == value):
            self._die_here(kill.point, kill.target)

    def is_next(self, point: str, target: str) -> bool:
        """Whether the process dies at this point."""
        return self._kill is not None and (point, target) == (self._kill.point, self._kill.target)

    def _holds(self, point: str, target: str) -> bool:
        return self._kill is not None and (self._kill.held or {}).get(target) == point

    def _die_here(self, point: str, target: str) -> None:
        if self.is_next(point, target):
            self.record(killed=point, target=target, pid=os.getpid())
            os.kill(os.getpid(), signal.SIGKILL)
            time.sleep(60)


def target_of_job(name: str) -> str:
    """The target in a compilation job's name."""
    match = JOB.search(name)
    assert match, name
    return next(target.name for target in all_targets() if target.suffix == match[1])


def target_of_component(name: str) -> str:
    """The target in a component's name or its version's ARN."""
    component = name.partition(":components:")[2].partition(":")[0] or name
    fitting = [target for target in all_targets() if component.endswith(f"-{target.component_suffix}")]
    return max(fitting, key=lambda target: len(target.component_suffix)).name


def install(trap: Trap) -> None:
    """Install the trap in every hook."""
    dda_core.archives.s3_sink.PART = PART
    tasks.store.record.WRITE_SECONDS = 0.2
    _on_aws(trap)
    _on_packaging(trap)
    _on_the_record(trap)
    _on_states(trap)


def _on_aws(trap: Trap) -> None:
    call = botocore.client.BaseClient._make_api_call

    def trapped(client: Any, operation: str, parameters: dict[str, Any]) -> Any:
        target = _target_of_call(trap, operation, parameters)
        if target is None:
            return call(client, operation, parameters)
        trap.reach(f"before {operation}", target)
        answer = call(client, operation, parameters)
        if operation in ("CreateCompilationJob", "CreateComponentVersion"):
            trap.record(created=operation, target=target)
        # Only the poll that shows the end counts, because the next step depends on it.
        looks = {"DescribeCompilationJob": "COMPLETED", "DescribeComponent": "DEPLOYABLE"}
        shown = answer.get("CompilationJobStatus") or answer.get("status", {}).get("componentState")
        if operation not in looks or shown == looks[operation]:
            trap.reach(f"after {operation}", target)
        return answer

    botocore.client.BaseClient._make_api_call = trapped


def _target_of_call(trap: Trap, operation: str, parameters: dict[str, Any]) -> str | None:
    """The target of a call that has points; None of any other."""
    match operation:
        case "CreateCompilationJob":
            return target_of_job(parameters["CompilationJobName"])
        case "DescribeCompilationJob":
            target = target_of_job(parameters["CompilationJobName"])
            return target if (target, "compilation_job") in trap.noted else None
        case "GetObject":
            job = COMPILED.search(parameters["Key"])
            return target_of_job(job[1]) if job else None
        case "CompleteMultipartUpload" | "CopyObject" | "DeleteObject":
            return _target.get()
        case "CreateComponentVersion":
            return target_of_component(json.loads(parameters["inlineRecipe"])["ComponentName"])
        case "DescribeComponent":
            target = target_of_component(parameters["arn"])
            return target if (target, "version") in trap.noted else None
        case _:
            return None


def _on_packaging(trap: Trap) -> None:
    package_to_s3, build_package = tasks.packaging.package_to_s3, dda_core.model.package.build_package

    def packaging(compiled: Any, *args: Any, **kwargs: Any) -> Any:
        job = COMPILED.search(compiled.uri)
        assert job, compiled.uri
        _target.set(target_of_job(job[1]))
        return package_to_s3(compiled, *args, **kwargs)

    def building(*args: Any, **kwargs: Any) -> Any:
        package = build_package(*args, **kwargs)
        trap.reach("archive read", _target.get())
        return package

    tasks.packaging.package_to_s3 = packaging
    dda_core.model.package.build_package = building


def _on_the_record(trap: Trap) -> None:
    advance, put = Ledger._advance, RecordWriter._put
    create, update = PrefectClient.create_artifact, PrefectClient.update_artifact

    def noting(ledger: Ledger, target: str, status: TargetStatus | None = None, **fields: Any) -> None:
        advance(ledger, target, status, **fields)
        trap.noted |= {(target, name) for name, value in fields.items() if value is not None}

    async def putting(record: RecordWriter, client: Any, prefix: str, kind: str, data: Any, description: str) -> None:
        await put(record, client, prefix, kind, data, description)
        if prefix == "record":
            trap.reach_rows("noted write", json.loads(data))
            trap.reach_rows("recorded", json.loads(data))

    def rows_of(artifact: Any) -> list[dict[str, Any]]:
        try:
            rows = json.loads(str(artifact.data))
        except ValueError:
            return []
        return rows if isinstance(rows, list) and rows and "target" in rows[0] else []

    async def creating(client: Any, artifact: Any) -> Any:
        rows = rows_of(artifact)
        trap.reach_rows("before write", rows)
        if rows:
            trap.record(sent=rows)
        made = await create(client, artifact)
        if rows:
            trap.record(recorded=rows)
        trap.reach_rows("after write", rows)
        return made

    async def updating(client: Any, artifact_id: UUID, artifact: Any) -> None:
        rows = rows_of(artifact)
        trap.reach_rows("before write", rows)
        if rows:
            trap.record(sent=rows)
        await update(client, artifact_id, artifact)
        if rows:
            trap.record(recorded=rows)
        trap.reach_rows("after write", rows)

    Ledger._advance, RecordWriter._put = noting, putting  # type: ignore[method-assign]
    PrefectClient.create_artifact, PrefectClient.update_artifact = creating, updating  # type: ignore[method-assign]


def _on_states(trap: Trap) -> None:
    task_state, run_state = AsyncTaskRunEngine.set_state, AsyncFlowRunEngine.set_state
    persist = ResultStore._apersist_result_record

    async def setting(engine: Any, state: Any, force: bool = False) -> Any:
        name, target = engine.task.name, (engine.parameters or {}).get("target", "")
        if state.is_completed():
            # Prefect sends the state first and then writes the result.
            _finished.set(name)
            _target.set(target)
            await trap.areach(f"before state of {name}", target)
        state = await task_state(engine, state, force)
        if state.is_completed():
            await trap.areach(f"after state of {name}", target)
        return state

    async def persisting(store: Any, result_record: Any, holder: str) -> None:
        name, target = _finished.get(), _target.get()
        if trap.is_next(f"half result of {name}", target):
            _write_half(Path(result_record.metadata.storage_key), result_record.serialize())
            await trap.areach(f"half result of {name}", target)
        await persist(store, result_record, holder)
        await trap.areach(f"after result of {name}", target)

    async def setting_run(engine: Any, state: Any, force: bool = False) -> Any:
        await trap.areach(f"before run state {state.name}", "")
        state = await run_state(engine, state, force)
        await trap.areach(f"after run state {state.name}", "")
        return state

    AsyncTaskRunEngine.set_state = setting  # type: ignore[method-assign]
    AsyncFlowRunEngine.set_state = setting_run  # type: ignore[method-assign]
    ResultStore._apersist_result_record = persisting  # type: ignore[method-assign]


def _write_half(path: Path, content: bytes) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content[: len(content) // 2])
