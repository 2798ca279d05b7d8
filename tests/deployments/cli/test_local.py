"""``dda local`` without a stack: sample archives, and the error if the emulator is not installed."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from tests.deployments.cli.command import dda, refusal


@pytest.mark.parametrize(
    "words",
    [
        ("up",),
        ("up", "--background"),
        ("aws",),
        ("train", "lids-1", "--model-archive", "model.tar.gz"),
        ("fault", "list"),
        ("device", "add", "line-3-camera"),
    ],
)
def test_without_the_emulator_the_verb_says_how_to_get_it(
    words: tuple[str, ...], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    # This is how a missing package looks to the import system.
    monkeypatch.setitem(sys.modules, "moto", None)
    said = refusal("local", *words, code=3)
    assert "needs the package moto, which is not installed" in said
    assert "[local]" in said
    assert list(tmp_path.iterdir()) == []


def test_the_samples_make_a_package_that_devices_accept(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    # Samples need no emulator.
    monkeypatch.setitem(sys.modules, "moto", None)
    assert (
        dda("local", "sample", "-o", "m.tar.gz", "--compiled", "c.tar.gz", "--target", "jetson-xavier").exit_code == 0
    )
    made = dda("package", "build", "m.tar.gz", "c.tar.gz", "--target", "jetson-xavier", "--out", ".")
    assert made.exit_code == 0, made.stderr
    [package] = tmp_path.glob("*.zip")
    assert dda("package", "verify", package, "--target", "jetson-xavier").stdout == "ok\n"
    # An archive compiled for one architecture is refused for another.
    assert dda("package", "build", "m.tar.gz", "c.tar.gz", "--target", "x86_64-cpu", "--out", ".").exit_code == 1


def test_the_sample_is_called_model_by_default(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    result = dda("local", "sample")
    assert (result.exit_code, result.stdout, result.stderr) == (0, "", "Wrote model.tar.gz.\n")
    assert [path.name for path in tmp_path.iterdir()] == ["model.tar.gz"]


@pytest.mark.parametrize("words", [("--compiled", "c.tar.gz"), ("--target", "arm64-cpu")])
def test_a_compiled_sample_needs_a_target(words: tuple[str, ...], tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.chdir(tmp_path)
    assert "--compiled FILE and --target NAME together" in refusal("local", "sample", *words, code=2)
    assert list(tmp_path.iterdir()) == []
