"""AWS's own tools with the local AWS, each in its own virtual environment.

They are installed from PyPI into the folder CLIENTS_DIR, which is reused, or into a temporary one. Tests of a tool that
cannot be installed are skipped, with pip's message.
"""

from __future__ import annotations

import os
import re
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from deployments.local.aws import LocalAws, local_aws

CLIENTS_DIR = os.environ.get("CLIENTS_DIR")
INSTALL_SECONDS = 600


@pytest.fixture(scope="session")
def installed(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Path]:
    """``installed("awscli")`` is the ``bin`` folder of an environment with that package."""
    home = Path(CLIENTS_DIR) if CLIENTS_DIR else tmp_path_factory.mktemp("clients")

    def install(requirement: str) -> Path:
        place = home / re.sub(r"[^a-zA-Z0-9.-]+", "-", requirement).strip("-")
        if not (place / "complete").exists():
            subprocess.run([sys.executable, "-m", "venv", "--clear", str(place)], check=True)
            pip = [str(place / "bin" / "python"), "-m", "pip", "install", "--disable-pip-version-check"]
            command = [*pip, "--retries", "1", "--timeout", "15", requirement]
            try:
                done = subprocess.run(command, capture_output=True, text=True, timeout=INSTALL_SECONDS)
            except subprocess.TimeoutExpired:
                pytest.skip(f"{requirement} was not installed within {INSTALL_SECONDS} s")
            if done.returncode:
                errors = [line for line in done.stderr.splitlines() if line.startswith("ERROR")]
                pytest.skip(f"{requirement} cannot be had here: {(errors or ['pip failed'])[-1]}")
            (place / "complete").touch()
        return place / "bin"

    return install


@pytest.fixture
def local() -> Iterator[LocalAws]:
    """A local AWS as a server, in which everything completes immediately."""
    with local_aws() as aws:
        yield aws


@pytest.fixture
def client_environment(local: LocalAws, tmp_path: Path) -> dict[str, str]:
    """The environment of a client: that of ``dda local env``, without anything from this project or user."""
    own = ("AWS_", "DDA_", "PYTHON", "VIRTUAL_ENV")
    kept = {name: value for name, value in os.environ.items() if not name.startswith(own)}
    nothing = {"AWS_CONFIG_FILE": os.devnull, "AWS_SHARED_CREDENTIALS_FILE": os.devnull, "AWS_PAGER": ""}
    return {**kept, **nothing, **local.environ, "HOME": str(tmp_path)}
