"""A process killed while Prefect writes a result leaves a truncated file, which must count as missing."""

from __future__ import annotations

from pathlib import Path
from typing import Any
from uuid import UUID

import pytest
from prefect.settings import PREFECT_LOCAL_STORAGE_PATH

TARGETS = ["x86_64-cpu", "arm64-cpu"]


def results(since: set[Path] | None = None) -> set[Path]:
    folder = PREFECT_LOCAL_STORAGE_PATH.value()
    return {path for path in folder.rglob("*") if path.is_file()} - (since or set())


@pytest.mark.slow
@pytest.mark.parametrize("kept", [0.0, 0.5], ids=["empty", "half"])
async def test_a_run_continues_when_every_result_is_truncated(pipeline: Any, kept: float) -> None:
    before = results()
    name = f"torn-{int(100 * kept)}"
    pipeline.train(name)
    pipeline.aws.faults.add("compile", target="arm64-cpu", reason="ClientError: CompilationError: no")
    view = await pipeline.run(name, targets=TARGETS)
    assert view.status == "partial"
    torn = results(since=before)
    assert len(torn) >= 4, "model, attempts, compilation, package"
    for path in torn:
        content = path.read_bytes()
        path.write_bytes(content[: int(len(content) * kept)])

    view = await pipeline.go_on(UUID(view.flow_run_id), retry=True)
    assert view.status == "completed"
    assert {record.version for record in view.targets.values()} == {"1.0.0"}
    assert len(pipeline.jobs()) == 3, "one for each target, and the second attempt at the one that failed"
    whole = [path for path in torn if path.stat().st_size > 0 and path.read_bytes().endswith(b"}")]
    assert whole, "what was done again is written again"
