"""The runs of one training job, and what the worker, the webhook, ``reconcile`` and people do to them, step by step.

The flow and everything below it is real, on a real Prefect server. AWS is the embedded one, whose compilation jobs and
component versions are held back until released. A run's process is a thread with its own event loop; a crash stops the
loop for good (see ``tests.fixtures.run_process``).
"""

from __future__ import annotations

import asyncio
import base64
import hashlib
import itertools
import time
from collections import Counter
from collections.abc import Coroutine, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any, TypeVar
from uuid import UUID

import pytest
from botocore.loaders import JSONFileLoader
from moto.s3.models import s3_backends
from moto.sagemaker.models import sagemaker_backends
from prefect import get_client
from prefect.client.orchestration import PrefectClient
from prefect.client.schemas.objects import FlowRun, State, StateType
from prefect.states import Cancelled, Cancelling, Crashed, Scheduled

from dda_core.naming import attempt_of
from dda_core.runs.history import TargetLine
from dda_core.runs.liveness import Resumption
from dda_core.runs.status import TargetStatus
from dda_core.use_case import UseCase
from deployments.local.aws import local_aws
from deployments.local.aws.greengrassv2.components import ComponentVersion
from deployments.local.aws.greengrassv2.components import target_of as target_of_component
from deployments.local.aws.greengrassv2.models import greengrassv2_backends
from deployments.local.aws.services.compilation import LIVE, CompilationJob, target_of
from flows.compile_training_job import compile_training_job, stop_compilation_jobs
from tasks.store.history import JobRun, runs_of
from tasks.store.record import RecordWriter
from tasks.store.transitions import set_state, transition_id
from tasks.store.use_cases import UseCaseBlock
from tests.fixtures.archives import trained_archive
from tests.fixtures.run_process import RunProcess
from tests.flows.conftest import ACCOUNT, FAST

T = TypeVar("T")
REGION = "us-east-1"
TARGETS = ["arm64-cpu", "x86_64-cuda"]
MAKING = ("REQUESTED", "INITIATED")
SETTLE_SECONDS = 90
_DEFAULTS: dict[str, Any] = {
    "targets": [],
    "model_name": None,
    "component_name": None,
    "friendly_name": None,
    "force": False,
}
_numbers = itertools.count(1)


class World:
    """Shared by all examples: Prefect, a use case with a deployment, a trained archive, and the live records."""

    def __init__(self, folder: Path) -> None:
        self.archive = trained_archive(folder / "model.tar.gz").read_bytes()
        self.records: dict[UUID, RecordWriter] = {}
        self.counts: Counter[str] = Counter()
        self._loop = asyncio.new_event_loop()
        self.client: PrefectClient = self.wait(get_client().__aenter__())
        use_case = UseCase(usecase_id="local", account_id=ACCOUNT, region=REGION, s3_bucket="dda-local-artifacts")
        self.wait(UseCaseBlock.of(use_case).asave("local", overwrite=True))
        self.deployment = self.wait(self._deploy())

    def wait(self, work: Coroutine[Any, Any, T]) -> T:
        return self._loop.run_until_complete(work)

    async def _deploy(self) -> UUID:
        deployment = await compile_training_job.ato_deployment("state-machine", parameters={"use_case": "local"})
        return await deployment.aapply()

    def close(self) -> None:
        self.wait(self.client.__aexit__(None, None, None))
        self._loop.close()


@contextmanager
def shared_world(folder: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[World]:
    world = World(folder)
    enter, load_file = RecordWriter.__aenter__, JSONFileLoader.load_file
    loaded: dict[str, Any] = {}

    async def entered(record: RecordWriter) -> RecordWriter:
        world.records[UUID(record.flow_run_id)] = record
        return await enter(record)

    def loaded_once(loader: JSONFileLoader, path: str) -> Any:
        """Cache botocore's models, which every session reads: a sixth of a run's time here."""
        if path not in loaded:
            loaded[path] = load_file(loader, path)
        return loaded[path]

    monkeypatch.setattr(RecordWriter, "__aenter__", entered)
    monkeypatch.setattr(JSONFileLoader, "load_file", loaded_once)
    try:
        yield world
    finally:
        world.close()


class PlayedRun:
    """A flow run, with its process while it has one."""

    def __init__(self, flow_run: FlowRun) -> None:
        self.id = flow_run.id
        self.process: RunProcess | None = None
        self.ended: StateType | None = None
        self.processes = 0
        self.cancelled = False
        """Whether it was ever cancelled, whatever it has done since."""

    @property
    def alive(self) -> bool:
        return self.process is not None

    @property
    def ended_badly(self) -> bool:
        return self.ended in (StateType.FAILED, StateType.CANCELLED, StateType.CRASHED)

    @property
    def crashed(self) -> bool:
        return self.ended is StateType.CRASHED


class PlayedRuns:
    """A training job in its own AWS, and its runs."""

    def __init__(self, world: World, quota: int) -> None:
        self.world, self.quota = world, quota
        self.runs: list[PlayedRun] = []
        self._exit = ExitStack()
        self.aws = self._exit.enter_context(local_aws(concurrent_compilation_jobs=quota))
        patch = self._exit.enter_context(pytest.MonkeyPatch.context())
        for name, value in {**FAST, **self.aws.environ, "DDA_POLL_SECONDS": "0.1"}.items():
            patch.setenv(name, value)
        self.training_job = f"machine-{next(_numbers)}"
        self.aws.train(self.training_job, world.archive, tags={"dda:targets": " ".join(TARGETS)})
        for target in TARGETS:
            self.aws.holds.hold("compile", target)
            self.aws.holds.hold("publish", target)

    def close(self) -> None:
        for run in self.runs:
            if run.process:
                run.process.kill()
        self._exit.close()

    # --- What is done to runs ----------------------------------------------------------------------------------------

    def event(self) -> FlowRun:
        """EventBridge's request: a new run the first time, the same run after that."""
        return self._created(
            idempotency_key=f"sagemaker/{ACCOUNT}/{REGION}/local/{self.training_job}", tags=["trigger:eventbridge"]
        )

    def command(self, **parameters: Any) -> FlowRun:
        """A new run, as ``dda compile`` starts it."""
        return self._created(parameters, tags=["trigger:cli"])

    def _created(self, parameters: dict[str, Any] | None = None, **options: Any) -> FlowRun:
        return self.world.wait(
            self.world.client.create_flow_run_from_deployment(
                self.world.deployment,
                name=self.training_job,
                parameters={"training_job_name": self.training_job, **(parameters or {})},
                **options,
            )
        )

    def begin(self, run: PlayedRun) -> None:
        """What a worker does with a scheduled run."""
        flow_run = self.read(run)
        parameters = {**_DEFAULTS, **compile_training_job.validate_parameters(flow_run.parameters)}
        self.world.records.pop(run.id, None)
        run.processes += 1
        run.ended, run.process = None, RunProcess(compile_training_job, flow_run, parameters)

    def retry(self, run: PlayedRun, tags: list[str]) -> None:
        """What ``dda retry`` does."""
        self.world.wait(self.world.client.update_flow_run(run.id, tags=[*self.read(run).tags, *tags]))
        self._set_state(run, Scheduled(name="AwaitingRetry"))
        self.begin(run)

    def restart(self, run: PlayedRun) -> None:
        """What ``reconcile`` does with a crashed run."""
        again: State[None] = Scheduled(name="AwaitingRetry")
        self.world.wait(set_state(self.world.client, run.id, again, transition_id(Resumption.RESUMED)))
        self.begin(run)

    def kill(self, run: PlayedRun) -> None:
        """A process dies, and the run is marked Crashed."""
        assert run.process
        run.process.kill()
        run.process = None
        state = self.read(run).state
        # The process may have ended the run before it was killed.
        if state is None or not state.is_final():
            state = self._set_state(run, Crashed(message="the process died"))
        run.ended = state.type

    def cancel(self, run: PlayedRun) -> None:
        """What a worker does with a Cancelling run."""
        assert run.process
        self._set_state(run, Cancelling())
        run.process.cancel()
        assert run.process.ended
        run.process, run.cancelled = None, True
        run.ended = self._set_state(run, Cancelled()).type
        self.world.wait(stop_compilation_jobs(compile_training_job, self.read(run), Cancelled()))

    def _set_state(self, run: PlayedRun, state: Any) -> Any:
        self.world.wait(self.world.client.set_flow_run_state(run.id, state, force=True))
        return state

    def release(self, kind: Any, target: str) -> None:
        """Release what AWS holds back for the target; the next one is held back again."""
        self.aws.holds.release(kind, target)
        self.aws.holds.hold(kind, target)

    # --- Where they stand --------------------------------------------------------------------------------------------

    def settle(self) -> list[PlayedRun]:
        """Wait until every run has ended or is waiting for AWS, so that the next step finds them idle; none may hang.

        Returns the runs that ended by themselves.
        """
        deadline = time.monotonic() + SETTLE_SECONDS
        while moving := [run for run in self.runs if run.process and not self._rests(run)]:
            assert time.monotonic() < deadline, [self.read(run).state for run in moving]
            time.sleep(0.01)
        ended = [run for run in self.runs if run.process and run.process.ended]
        for run in ended:
            assert run.process
            assert run.process.error is None, run.process.error
            state = self.read(run).state
            assert state
            run.process, run.ended = None, state.type
        return ended

    def _rests(self, run: PlayedRun) -> bool:
        assert run.process
        if run.process.ended:
            return True
        lines = list(self.lines(run).values())
        if not lines or all(line.status.ended for line in lines):
            return False
        return all(line.status.ended or self._waits(line) for line in lines)

    def _waits(self, line: TargetLine) -> bool:
        if line.status is TargetStatus.PUBLISHING:
            return any(
                version.version == line.version and version.state in MAKING
                for version in self._versions_for(line.target)
            )
        if line.status is not TargetStatus.COMPILING:
            return False
        job = self.newest_job(line.target)
        if job and job.status() in LIVE:
            return line.attempt == attempt_of(job.name)
        return bool(line.waiting) and sum(each.takes_a_slot() for each in self._every_job()) >= self.quota

    def those(self, standing: str) -> list[PlayedRun]:
        """The runs that are ``alive``, have ``crashed`` or have ``ended_badly``."""
        return [run for run in self.runs if getattr(run, standing)]

    def lines(self, run: PlayedRun) -> dict[str, TargetLine]:
        """The targets in the run's latest process."""
        record = self.world.records.get(run.id)
        return dict(record.ledger.targets) if record else {}

    def on_their_way(self, kind: str) -> list[str]:
        """The targets that AWS is compiling, or creating a component version for."""
        if kind == "publish":
            return [each for each in TARGETS if any(version.state in MAKING for version in self._versions_for(each))]
        return [target for target in TARGETS if (job := self.newest_job(target)) and job.status() in LIVE]

    def read(self, run: PlayedRun) -> FlowRun:
        return self.world.wait(self.world.client.read_flow_run(run.id))

    def written(self) -> list[JobRun]:
        """The records of this example's runs; another example may have used the same name on this server.

        A process writes at most once a second. What it knows by now is written first, so that what is read is as old
        as the ledgers and not as old as the last write.
        """
        for run in self.runs:
            if run.alive and (record := self.world.records.get(run.id)):
                assert record.write_now()
        ours = {run.id for run in self.runs}
        found = self.world.wait(runs_of(self.world.client, self.training_job))
        return [run for run in found if run.run.id in ours]

    def jobs(self) -> list[CompilationJob]:
        # A process of the previous example may still have created one while it ended.
        return [job for job in self._every_job() if job.name.startswith(f"{self.training_job}-")]

    def _every_job(self) -> list[CompilationJob]:
        return list(sagemaker_backends[ACCOUNT][REGION].compilation_jobs.values())

    def newest_job(self, target: str) -> CompilationJob | None:
        mine = [job for job in self.jobs() if target_of(job.request) == target]
        return max(mine, key=lambda job: attempt_of(job.name) or 0, default=None)

    def stored_digest(self, uri: str) -> str:
        """The digest of the stored object, as in recipes."""
        bucket, _, key = uri.removeprefix("s3://").partition("/")
        # Not with an API call, which could hit a fault meant for the runs.
        stored = s3_backends[ACCOUNT]["aws"].get_object(bucket, key)
        assert stored
        return base64.b64encode(hashlib.sha256(stored.value).digest()).decode()

    def _versions_for(self, target: str) -> list[ComponentVersion]:
        return [version for version in self.versions() if target_of_component(version.name) == target]

    def versions(self) -> list[ComponentVersion]:
        components = list(greengrassv2_backends[ACCOUNT][REGION].components.values())
        return [version for versions in components for version in list(versions.values())]
