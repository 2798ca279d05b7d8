"""Writing a run's ledger."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import pytest

from dda_core.runs.ledger import Failure, Ledger
from tasks.store.record import RecordWriter, artifact_key

RUN = "11111111-2222-3333-4444-555555555555"
MAKER = "66666666-2222-3333-4444-555555555555"


class Written:
    """A Prefect server that keeps artifacts by key, and counts how often each was written."""

    def __init__(self) -> None:
        self.data: dict[str, Any] = {}
        self.times: dict[str, int] = {}
        self.refuses = 0

    async def put(self, key: str, data: Any) -> None:
        if self.refuses:
            self.refuses -= 1
            raise ConnectionError("no server")
        self.data[key] = data
        self.times[key] = self.times.get(key, 0) + 1


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch) -> Written:
    written = Written()
    keys: dict[Any, str] = {}

    class Client:
        async def create_artifact(self, artifact: Any) -> Any:
            await written.put(artifact.key, artifact.data)
            artifact.id = len(keys)
            keys[artifact.id] = artifact.key
            return artifact

        async def update_artifact(self, artifact_id: Any, artifact: Any) -> None:
            await written.put(keys[artifact_id], artifact.data)

    class Made:
        key: str
        data: Any
        id: Any

        def __init__(self, key: str, data: Any, **_: Any) -> None:
            self.key, self.data, self.id = key, data, None

    @asynccontextmanager
    async def client() -> AsyncIterator[Client]:
        yield Client()

    monkeypatch.setattr("tasks.store.record.get_client", client)
    monkeypatch.setattr("tasks.store.record.ArtifactCreate", Made)
    monkeypatch.setattr("tasks.store.record.WRITE_SECONDS", 0.01)
    return written


def writer(ledger: Ledger) -> RecordWriter:
    return RecordWriter(ledger, "lid-7", RUN, "runs/{}".format, poll_seconds=60)


async def test_the_record_is_written_when_the_block_ends_and_what_did_not_change_is_not_written_again(server: Written):
    ledger = Ledger()
    ledger.expect(["arm64-cpu", "x86_64-cpu"])
    async with writer(ledger):
        ledger.failed("arm64-cpu", Failure("no model"))
    assert '"status": "failed"' in server.data[artifact_key("record", "lid-7")]
    assert server.data["progress-arm64-cpu-lid-7"] == 100.0
    assert server.times["progress-x86-64-cpu-lid-7"] == 1


async def test_a_server_that_refuses_the_last_write_is_asked_again(server: Written):
    ledger = Ledger()
    ledger.expect(["arm64-cpu"])
    server.refuses = 2
    async with writer(ledger):
        ledger.failed("arm64-cpu", Failure("no model"))
    assert '"status": "failed"' in server.data[artifact_key("record", "lid-7")]


async def test_the_page_leads_to_the_run_that_made_what_a_target_goes_on_with():
    ledger = Ledger()
    record = writer(ledger)
    ledger.expect(["arm64-cpu"])
    ledger.compiling("arm64-cpu", component="model-lid-7-arm64-cpu")
    ledger.made_by("arm64-cpu", MAKER)
    assert f"[by this run](runs/{MAKER})" in record.page()


async def test_no_row_holds_an_arn():
    ledger = Ledger()
    record = writer(ledger)
    ledger.expect(["arm64-cpu"])
    ledger.published("arm64-cpu", version="1.0.0", arn="arn:aws:greengrass:us-east-1:123456789012:components:a")
    [row] = record.rows()
    assert row["version"] == "1.0.0"
    assert "arn" not in row
    assert next(iter(row)) == "target"
