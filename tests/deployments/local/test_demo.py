"""The demo: interruption and output. CI runs it to its end with ``make demo``."""

from __future__ import annotations

import signal
import subprocess
from pathlib import Path

import pytest
from rich.console import Console

from dda_core.runs.history import TargetRecord
from dda_core.runs.status import RunStatus, TargetStatus
from dda_core.runs.view import RunView
from deployments.local.demo import print_end
from tests.deployments.local.conftest import PYTHON, processes_of, until


@pytest.mark.slow
def test_an_interrupted_demo_leaves_no_processes(tmp_path: Path) -> None:
    directory, output = tmp_path / "demo", tmp_path / "demo.out"
    with output.open("wb") as written:
        demo = subprocess.Popen(
            [PYTHON, "-m", "deployments.local.demo", "--dir", str(directory)], stdout=written, stderr=written
        )
    until(lambda: "compiling" in output.read_text(), 300)
    assert set(processes_of(directory).values()) >= {"aws", "prefect-server", "prefect-worker"}
    demo.send_signal(signal.SIGTERM)
    assert demo.wait(120) == 130, output.read_text()
    assert processes_of(directory) == {}
    assert not (directory / "local.json").exists()


def test_the_table_is_narrow_and_long_names_are_printed_in_full_below_it(capsys: pytest.CaptureFixture[str]) -> None:
    arn = "arn:aws:greengrass:us-east-1:123456789012:components:model-lid-inspection-arm64-cpu:versions:1.0.0"
    artifact = f"s3://dda-local-artifacts/models/compilation/{'x' * 90}.tar.gz"
    done = TargetRecord(
        status=TargetStatus.DEPLOYABLE,
        component="model-lid-inspection-arm64-cpu",
        version="1.0.0",
        arn=arn,
        compiled_artifact=artifact,
    )
    targets = {"arm64-cpu": done, "jetson-xavier-jp5": TargetRecord(status=TargetStatus.FAILED)}
    view = RunView(training_job="lids", flow_run_id=None, state=None, status=RunStatus.PARTIAL, targets=targets)
    print_end(view, {"arm64-cpu": "DEPLOYABLE"}, Console(width=80))
    lines = capsys.readouterr().out.splitlines()
    table, notes = [line for line in lines if line[0] != " "], [line.strip() for line in lines if line[0] == " "]
    assert max(map(len, table)) <= 80
    assert [line.split()[:2] for line in table[2:]] == [["arm64-cpu", "deployable"], ["jetson-xavier-jp5", "failed"]]
    assert notes == [f"component: {done.component}", f"ARN: {arn}", f"compiled artifact: {artifact}"]
