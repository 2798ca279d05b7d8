"""The demo, interrupted. That it comes to its end is seen by ``make demo`` itself, which CI runs."""

from __future__ import annotations

import signal
import subprocess
from pathlib import Path

import pytest

from tests.deployments.local.conftest import PYTHON, processes_of, until

pytestmark = pytest.mark.slow


def test_an_interrupted_demo_leaves_nothing_behind(tmp_path: Path) -> None:
    directory, output = tmp_path / "demo", tmp_path / "demo.out"
    with output.open("wb") as written:
        demo = subprocess.Popen(
            [PYTHON, "-m", "deployments.local.demo", "--dir", str(directory)], stdout=written, stderr=written
        )
    until(lambda: "compiling" in output.read_text(), 120)
    assert set(processes_of(directory).values()) >= {"aws", "prefect-server", "prefect-worker"}
    demo.send_signal(signal.SIGTERM)
    assert demo.wait(60) == 130, output.read_text()
    assert processes_of(directory) == {}
    assert not (directory / "local.json").exists()
