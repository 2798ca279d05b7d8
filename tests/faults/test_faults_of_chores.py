"""The fault grid for the scheduled flows: a flow reports what AWS did not answer, and loses nothing."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from pathlib import Path
from typing import Any, NamedTuple

import pytest
from prefect import get_client
from prefect.client.schemas.filters import DeploymentFilter, DeploymentFilterId, FlowRunFilter, FlowRunFilterName
from prefect.client.schemas.objects import State

from dda_core.pages.links import OVERVIEW
from dda_core.training import events
from dda_core.training.events import queue_name
from deployments.local.aws import LocalAws
from deployments.server.registration import save_use_case
from flows.drain_training_events import drain_training_events
from flows.reconcile import reconcile
from flows.refresh_devices import refresh_devices
from flows.refresh_overview import refresh_overview
from tasks.operations import orphans
from tasks.store.artifacts import latest_artifact
from tasks.store.use_cases import load_use_case
from tests.faults.cases import ATTEMPTS, Case, dialect_of, modelled
from tests.faults.pipeline import many_runs
from tests.fixtures.events import sagemaker_event
from tests.flows.conftest import forget_other_use_cases

pytestmark = [pytest.mark.slow, pytest.mark.timeout(1200)]


class Chore(NamedTuple):
    """A scheduled flow.

    Attributes:
        run: runs it to its end.
        page: the artifact that says what it could not ask; None if its state's message does.
        says: the words there.
        unneeded: prefixes of optional operations, whose failures are only logged.
        without: says this instead if it lacks the permission for an optional operation.
    """

    run: Callable[[], Awaitable[State[Any]]]
    page: str | None
    says: str
    unneeded: tuple[str, ...] = ()
    without: Mapping[str, str] = {}

    def words(self, case: Case) -> str:
        """What it says when the case's call fails permanently."""
        denied = case.error == dialect_of(case.operation).denied
        return self.without.get(case.operation, self.says) if denied else self.says


NO_TAGS = {"sagemaker:ListTags": "No permission to read the tags"}


async def _refresh_overview() -> State[Any]:
    return await refresh_overview(return_state=True)


async def _reconcile() -> State[Any]:
    return await reconcile(look_at_aws=True, return_state=True)


async def _refresh_devices() -> State[Any]:
    return await refresh_devices(return_state=True)


async def _drain() -> State[Any]:
    return await drain_training_events(return_state=True)


CHORES = {
    "refresh-overview": Chore(_refresh_overview, OVERVIEW, "could not be listed", without=NO_TAGS),
    "reconcile": Chore(_reconcile, orphans.KEY, "its account could not be checked", unneeded=("s3:",), without=NO_TAGS),
    "refresh-devices": Chore(_refresh_devices, None, "Could not read the devices of local"),
    # Most use cases have no queue, and then the worker lacks the permission to look for one.
    "drain-training-events": Chore(
        _drain, None, "Not processed: local:", unneeded=("sqs:GetQueueUrl", "sqs:DeleteMessage", "sts:AssumeRole")
    ),
}


DELETED = (
    ("sagemaker:DescribeTrainingJob", "ResourceNotFound"),
    ("greengrassv2:ListInstalledComponents", "ResourceNotFoundException"),
)
"""Resources that were listed but have been deleted since are left out."""


class Place:
    """The use case ``local``, with a component, a device, a training job without a run, and a queue of events."""

    def __init__(self, aws: LocalAws, deployment: Any) -> None:
        self.aws = aws
        self._deployment = deployment
        self._sent = 0

    def send(self) -> str:
        """Put the event of a completed training job into the queue; returns the job's name."""
        self._sent += 1
        name = f"fetched-{self._sent}"
        sqs = self.aws.client("sqs")
        sqs.send_message(QueueUrl=self._url(sqs), MessageBody=json.dumps(sagemaker_event(name)))
        return name

    def hidden(self) -> int:
        """How many messages were received and not deleted."""
        sqs, name = self.aws.client("sqs"), "ApproximateNumberOfMessagesNotVisible"
        return int(sqs.get_queue_attributes(QueueUrl=self._url(sqs), AttributeNames=[name])["Attributes"][name])

    def _url(self, sqs: Any) -> str:
        url: str = sqs.get_queue_url(QueueName=queue_name("local"))["QueueUrl"]
        return url

    async def do(self, chore: Chore) -> tuple[State[Any], str]:
        state = await chore.run()
        if chore.page is None:
            return state, str(state.message)
        async with get_client() as client:
            latest = await latest_artifact(client, chore.page)
        return state, str(latest.data if latest else "")

    async def runs_of(self, training_job: str) -> int:
        found = DeploymentFilter(id=DeploymentFilterId(any_=[self._deployment]))
        async with get_client() as client:
            runs = await client.read_flow_runs(
                deployment_filter=found, flow_run_filter=FlowRunFilter(name=FlowRunFilterName(any_=[training_job]))
            )
        return len(runs)


@pytest.fixture
async def place(prefect_server: None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Place]:
    monkeypatch.setattr(events, "WAIT_SECONDS", 0)
    async with many_runs(tmp_path, monkeypatch) as runs:
        await forget_other_use_cases()
        await runs.undisturbed()
        runs.train()
        runs.aws.add_device(thing="line-1")
        runs.aws.client("sqs").create_queue(QueueName=queue_name("local"), Attributes={"VisibilityTimeout": "600"})
        yield Place(runs.aws, await save_use_case(await load_use_case("local")))


def cases_of(operation: str) -> list[Case]:
    """Permanent faults first, then transient ones."""
    dialect = dialect_of(operation)
    stays = dict.fromkeys([*modelled(operation), dialect.denied, dialect.expired, dialect.clock, "503", "cut-body"])
    passes = (dialect.throttled, "connection-reset", "429")
    return [
        *(Case(operation, error, endless=True) for error in stays),
        *(Case(operation, error) for error in passes),
    ]


@pytest.mark.parametrize("name", CHORES)
async def test_whatever_fails_the_flow_reports_it_and_loses_nothing(
    name: str, place: Place, subtests: pytest.Subtests, counted: Callable[..., None]
) -> None:
    chore, aws = CHORES[name], place.aws
    place.send()
    before = aws.calls
    state, _ = await place.do(chore)
    assert state.is_completed()
    operations = sorted(aws.calls - before)
    assert operations
    for operation in operations:
        for case in cases_of(operation):
            with subtests.test(msg=f"{name}: {case}"):
                await _check(chore, case, place)
                counted("fault grid: cases of scheduled flows", 1)
        state, text = await place.do(chore)
        assert state.is_completed(), state.message
        assert chore.says not in text


async def _check(chore: Chore, case: Case, place: Place) -> None:
    aws, sent, hidden = place.aws, place.send(), place.hidden()
    aws.faults.add("call", operation=case.operation, error=case.error, times=case.times)
    try:
        state, text = await place.do(chore)
        struck = aws.faults.listed()[0]["struck"]
    finally:
        aws.faults.clear()
    assert struck
    assert state.is_completed() or state.is_failed()
    assert "encountered an exception" not in str(state.message)
    if not case.endless:
        assert struck < ATTEMPTS
        assert chore.says not in text
    elif not case.operation.startswith(chore.unneeded) and (case.operation, case.error) not in DELETED:
        assert chore.words(case) in text

    if chore.run is _drain:
        await place.do(chore)
        if (case.operation, case.error) == ("sqs:ReceiveMessage", "cut-body"):
            # No consumer got the message; it reappears after the visibility timeout.
            assert place.hidden() > hidden
        else:
            assert await place.runs_of(sent) == 1
