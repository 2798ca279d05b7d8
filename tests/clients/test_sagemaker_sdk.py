"""The SageMaker Python SDK: reading training jobs, and waiting for them.

Not tested: attaching to a job of ``dda local train``, which uses a marketplace algorithm, as in AWS.
"""

from __future__ import annotations

import json
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

from deployments.local.aws import LocalAws

pytestmark = [pytest.mark.slow, pytest.mark.clients]

PROGRAM = Path(__file__).with_name("sagemaker_program.py")
# Version 3 has other classes; existing notebooks use these.
REQUIREMENT = "sagemaker<3"
NO_TELEMETRY = "SchemaVersion: '1.0'\nSageMaker: {PythonSDK: {Modules: {TelemetryOptOut: true}}}\n"


def test_a_notebook_trains_waits_attaches_and_reads_logs(
    installed: Callable[[str], Path], client_environment: dict[str, str], local: LocalAws, tmp_path: Path
) -> None:
    python = installed(REQUIREMENT) / "python"
    artifact = local.train("cookie-1", b"an archive", model_name="cookie")
    (tmp_path / "config.yaml").write_text(NO_TELEMETRY)
    environment = client_environment | {"SAGEMAKER_USER_CONFIG_OVERRIDE": str(tmp_path / "config.yaml")}
    done = subprocess.run(
        [str(python), str(PROGRAM), local.bucket, "cookie-1"],
        env=environment,
        cwd=tmp_path,
        capture_output=True,
        text=True,
        timeout=300,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    result = json.loads(done.stdout.splitlines()[-1])
    assert result["data"] == f"s3://{local.bucket}/train/a.txt"
    assert (result["status"], result["waited"]) == ("Completed", "Completed")
    assert result["model"] == f"s3://{local.bucket}/out/{result['name']}/output/model.tar.gz"
    assert result["hyperparameters"] == {"epochs": "1"}
    assert result["ended"] == artifact
