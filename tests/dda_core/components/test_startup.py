"""The startup script, run by the installed shells with a folder in place of the device's ``/aws_dda``."""

from __future__ import annotations

import re
import shutil
import subprocess
import time
from pathlib import Path

import pytest

from dda_core.components.startup import COPIED_LAST, FILES, startup_line, startup_script, startup_timeout, without_wait

SHELLS = [shell for shell in ("sh", "dash", "bash") if shutil.which(shell)]
LINE = startup_line("model-lid-arm64-cpu", "3.0.0", "0123456789ab_greengrass_model_component")


@pytest.fixture(params=SHELLS)
def shell(request: pytest.FixtureRequest) -> str:
    return str(request.param)


class Device:
    """A device's folder; ``ran`` has the arguments of its converter."""

    def __init__(self, folder: Path) -> None:
        self.root = folder / "aws_dda"
        self.root.mkdir()
        self.ran = folder / "ran"

    def copy(self, path: str) -> None:
        place = self.root / path.removeprefix("/aws_dda/")
        place.parent.mkdir(exist_ok=True)
        if place.name == "ensemble_model":
            place.mkdir()
        elif place.name == "model_convertor.py":
            place.write_text(f"import sys\nopen({str(self.ran)!r}, 'w').write(' '.join(sys.argv[1:]))\n")
        else:
            place.touch()

    def script(self, wait: int) -> str:
        whole = startup_script(LINE, wait).replace("{artifacts:decompressedPath}", "/packages")
        return whole.replace("/aws_dda", str(self.root))

    def start(self, shell: str, wait: int) -> subprocess.Popen[str]:
        return subprocess.Popen([shell, "-c", self.script(wait)], stderr=subprocess.PIPE, text=True)


@pytest.fixture
def device(tmp_path: Path) -> Device:
    return Device(tmp_path)


def test_a_device_with_the_files_converts_the_model_immediately(device: Device, shell: str) -> None:
    for path in FILES + COPIED_LAST:
        device.copy(path)
    began = time.monotonic()
    with device.start(shell, 600) as process:
        assert process.wait(30) == 0
    assert time.monotonic() - began < 4
    assert device.ran.read_text() == (
        "--unarchived_model_path /packages/0123456789ab_greengrass_model_component/ --model_version 3.0.0 "
        "--model_name model-lid-arm64-cpu"
    )


@pytest.mark.parametrize("missing", FILES + COPIED_LAST)
def test_a_device_that_never_gets_a_file_gives_up_and_names_it(device: Device, missing: str) -> None:
    for path in FILES + COPIED_LAST:
        if path != missing:
            device.copy(path)
    began = time.monotonic()
    with device.start("sh", 1) as process:
        _, said = process.communicate(timeout=30)
    assert process.returncode == 1
    assert 1 <= time.monotonic() - began < 5
    assert said.endswith(f"within 1 seconds; missing: {device.root}/{missing.removeprefix('/aws_dda/')}\n")
    assert not device.ran.exists()


def test_a_folder_instead_of_the_converter_does_not_count(device: Device, shell: str) -> None:
    for path in (*FILES[1:], *COPIED_LAST):
        device.copy(path)
    (device.root / "model_convertor.py").mkdir()
    with device.start(shell, 1) as process:
        assert process.wait(30) == 1


def test_a_device_waits_until_the_last_file_is_copied(device: Device, shell: str) -> None:
    with device.start(shell, 30) as process:
        for path in FILES + COPIED_LAST:
            device.copy(path)
            if path != COPIED_LAST[-1]:
                with pytest.raises(subprocess.TimeoutExpired):
                    process.wait(0.2)
        assert process.wait(20) == 0
    assert device.ran.exists()


@pytest.mark.parametrize("wait", [0, 1, 4, 5, 600, 86_400])
def test_every_shell_parses_the_script(shell: str, wait: int) -> None:
    subprocess.run([shell, "-n"], input=startup_script(LINE, wait), text=True, check=True, timeout=30)


def test_greengrass_finds_nothing_to_replace_in_the_wait() -> None:
    script = startup_script(LINE, 600)
    assert re.findall(r"\{[^}]*\}", script) == ["{artifacts:decompressedPath}"]
    assert script.count("{") == 1


def test_the_timeout_leaves_the_converter_its_own_time() -> None:
    assert [startup_timeout(wait) for wait in (0, 1, 600)] == [900, 1201, 1800]


def test_without_a_wait_the_script_is_the_line() -> None:
    assert startup_script(LINE, 0) == LINE
    assert without_wait(startup_script(LINE, 77)) == without_wait(LINE) == LINE
