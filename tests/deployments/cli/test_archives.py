"""``dda manifest`` and ``dda package``, on archives in files and in S3."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
import zipfile
from pathlib import Path

import pytest

from tests.deployments.cli.command import dda, dda_json, refusal
from tests.fixtures.archives import (
    compiled_archive,
    hostile_archive,
    tar_member,
    trained_archive,
    trained_files,
    write_tar_gz,
)
from tests.fixtures.s3 import BUCKET, s3_in_process


@pytest.fixture
def trained(tmp_path: Path) -> Path:
    return trained_archive(tmp_path / "model.tar.gz")


@pytest.fixture
def compiled(tmp_path: Path) -> Path:
    return compiled_archive(tmp_path / "compiled.tar.gz")


def test_manifest_build_prints_the_manifest(trained: Path) -> None:
    manifest = dda_json("manifest", "build", trained)
    assert list(manifest) == ["model_graph", "compilable_models", "dataset"]
    assert manifest["compilable_models"] == [
        {"filename": "mochi.pt", "data_input_config": {"input": [1, 3, 768, 576]}, "framework": "PYTORCH"}
    ]
    assert manifest["dataset"] == {"image_width": 576, "image_height": 768}


def test_manifest_build_writes_a_file_instead(trained: Path, tmp_path: Path) -> None:
    out = tmp_path / "manifest.json"
    result = dda("manifest", "build", trained, "--out", out)
    assert (result.exit_code, result.stdout) == (0, "")
    assert json.loads(out.read_text()) == dda_json("manifest", "build", trained)


def test_manifest_build_of_a_refused_archive_leaves_no_file(tmp_path: Path) -> None:
    archive = write_tar_gz(tmp_path / "model.tar.gz", {"config.yaml": b""})
    out = tmp_path / "out" / "manifest.json"
    refusal("manifest", "build", archive, "--out", out, code=1)
    assert not out.parent.exists()


def test_package_build_writes_the_zip_and_prints_its_path(trained: Path, compiled: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    result = dda("package", "build", trained, compiled, "--target", "x86_64-cpu", "--out", out)
    assert result.exit_code == 0
    (path,) = out.iterdir()
    assert result.stdout == f"{path}\n"
    with zipfile.ZipFile(path) as package:
        assert package.namelist()[0] == "manifest.json"
        assert json.loads(package.read("manifest.json")) == dda_json("manifest", "build", trained)
    assert dda("package", "verify", path).stdout == "ok\n"


def test_package_build_as_json_says_what_it_built(trained: Path, compiled: Path, tmp_path: Path) -> None:
    built = dda_json(
        "package", "build", trained, compiled, "--target", "x86_64-cpu", "--out", tmp_path / "out", "--json"
    )
    path = Path(built["path"])
    assert path.stat().st_size == built["size"]
    assert path.name == built["name"] == f"{built['package_id']}_greengrass_model_component.zip"
    assert built["key"] == f"model_artifacts/model-{built['package_id']}/{built['name']}"


def test_the_same_package_is_built_twice(trained: Path, compiled: Path, tmp_path: Path) -> None:
    arguments = ("package", "build", trained, compiled, "--target", "x86_64-cpu", "--json", "--out")
    first, second = (dda_json(*arguments, tmp_path / name) for name in ("a", "b"))
    assert Path(first.pop("path")).read_bytes() == Path(second.pop("path")).read_bytes()
    assert first == second


def test_an_unknown_target_is_a_usage_error_that_lists_the_known(trained: Path, compiled: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    message = refusal("package", "build", trained, compiled, "--target", "jetson-nano", "--out", out, code=2)
    assert "jetson-xavier-jp6" in message
    assert not out.exists()


def test_an_out_that_is_not_a_plain_file_is_refused_before_the_archive_is_read(tmp_path: Path) -> None:
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    assert "is a named pipe" in refusal("manifest", "build", "/nowhere.tar.gz", "--out", pipe, code=2)
    assert "is a character device" in refusal("manifest", "build", "/nowhere.tar.gz", "--out", "/dev/null", code=2)
    assert "is a character device" in refusal("artifacts", "get", "lid-1", "arm64-cpu", "-o", "/dev/null", code=2)
    assert pipe.is_fifo()
    assert Path("/dev/null").is_char_device()


def test_a_package_does_not_replace_a_link_of_its_name(trained: Path, compiled: Path, tmp_path: Path) -> None:
    arguments = ("package", "build", trained, compiled, "--target", "x86_64-cpu", "--json", "--out", tmp_path / "out")
    path = Path(dda_json(*arguments)["path"])
    path.unlink()
    path.symlink_to("/dev/null")
    assert "is a symbolic link to a character device" in refusal(*arguments, code=2)
    assert list(path.parent.iterdir()) == [path]
    assert path.is_symlink()


@pytest.mark.parametrize(
    "verb",
    [
        ("manifest", "build", "m", "--out", ""),
        ("package", "build", "m", "c", "--target", "x86_64-cpu", "--out", ""),
        ("artifacts", "get", "lid-1", "arm64-cpu", "-o", ""),
    ],
)
def test_an_empty_out_is_a_usage_error(verb: tuple[str, ...]) -> None:
    assert "it is empty; expected a path" in refusal(*verb, code=2)


@pytest.mark.parametrize("which", ["trained", "compiled"])
def test_an_empty_archive_is_refused_and_nothing_is_left(
    which: str, trained: Path, compiled: Path, tmp_path: Path
) -> None:
    empty = write_tar_gz(tmp_path / "empty.tar.gz", {})
    archives = (empty, compiled) if which == "trained" else (trained, empty)
    out = tmp_path / "out"
    out.mkdir()
    assert "empty.tar.gz" in refusal("package", "build", *archives, "--target", "x86_64-cpu", "--out", out, code=1)
    assert list(out.iterdir()) == []


def test_a_hostile_archive_is_refused_and_nothing_is_left(trained: Path, tmp_path: Path) -> None:
    compiled = hostile_archive(tmp_path / "compiled.tar.gz", tar_member("../../escape\x1b[2J", size=3))
    out = tmp_path / "out"
    out.mkdir()
    assert "\x1b" not in refusal("package", "build", trained, compiled, "--target", "x86_64-cpu", "--out", out, code=1)
    assert list(out.iterdir()) == []


def test_the_trained_archive_given_twice_is_refused(trained: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    out.mkdir()
    message = refusal("package", "build", trained, trained, "--target", "x86_64-cpu", "--out", out, code=1)
    assert "has no compiled network" in message
    assert list(out.iterdir()) == []


def test_a_model_file_that_is_a_web_page_is_refused(tmp_path: Path) -> None:
    files = trained_files("bring-your-own") | {"export_artifacts/mochi.pt": b"<!doctype html><title>Log in</title>"}
    message = refusal("manifest", "build", write_tar_gz(tmp_path / "model.tar.gz", files), code=1)
    assert "is not a TorchScript file, but a web page (HTML)" in message


def test_a_wrong_path_is_a_usage_error(trained: Path, tmp_path: Path) -> None:
    missing = tmp_path / "missing.tar.gz"
    assert "missing.tar.gz" in refusal("manifest", "build", missing, code=2)
    out = tmp_path / "out"
    refusal("package", "build", trained, missing, "--target", "x86_64-cpu", "--out", out, code=2)
    refusal("package", "verify", missing, code=2)
    assert "s3://<bucket>/<key>" in refusal("manifest", "build", "s3://bucket", code=2)


def test_an_out_that_is_a_file_is_a_usage_error(trained: Path, compiled: Path) -> None:
    before = trained.read_bytes()
    refusal("package", "build", trained, compiled, "--target", "x86_64-cpu", "--out", trained, code=2)
    assert trained.read_bytes() == before


def test_verify_lists_every_finding_and_ends_with_1(tmp_path: Path) -> None:
    path = tmp_path / "0123456789ab_greengrass_model_component.zip"
    with zipfile.ZipFile(path, "w") as package:
        package.writestr("model.py", "")
        package.writestr("wrapper/manifest.json", "{}")
    result = dda("package", "verify", path)
    assert result.exit_code == 1
    assert len(result.stdout.splitlines()) >= 2
    assert dda_json("package", "verify", path, "--json", code=1) == {
        "package": str(path),
        "findings": result.stdout.splitlines(),
    }


def test_verify_as_json_of_a_sound_package(trained: Path, compiled: Path, tmp_path: Path) -> None:
    built = dda_json("package", "build", trained, compiled, "--target", "x86_64-cpu", "--out", tmp_path, "--json")
    assert dda_json("package", "verify", built["path"], "--json") == {"package": built["path"], "findings": []}


def test_archives_in_s3_give_what_local_ones_give(
    trained: Path, compiled: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "test")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "test")
    with s3_in_process() as s3:
        for path in (trained, compiled):
            s3.upload_file(str(path), BUCKET, path.name)
        uris = [f"s3://{BUCKET}/{path.name}" for path in (trained, compiled)]
        assert dda_json("manifest", "build", uris[0]) == dda_json("manifest", "build", trained)
        arguments = ("--target", "x86_64-cpu", "--json", "--out")
        remote = dda_json("package", "build", *uris, *arguments, tmp_path / "remote")
        local = dda_json("package", "build", trained, compiled, *arguments, tmp_path / "local")
        assert remote["sha256"] == local["sha256"]
        assert "missing" in refusal("manifest", "build", f"s3://{BUCKET}/missing.tar.gz", code=2)


def test_s3_without_credentials_says_how_to_log_in(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_PROFILE"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")
    monkeypatch.setenv("AWS_SHARED_CREDENTIALS_FILE", str(tmp_path / "none"))
    monkeypatch.setenv("AWS_CONFIG_FILE", str(tmp_path / "none"))
    refusal("manifest", "build", "s3://bucket/model.tar.gz", code=3)


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_an_interrupted_build_ends_with_130_and_leaves_nothing(
    number: signal.Signals, trained: Path, tmp_path: Path
) -> None:
    compiled = compiled_archive(tmp_path / "compiled.tar.gz", size=25_000_000)
    out = tmp_path / "out"
    command = ("package", "build", str(trained), str(compiled), "--target", "x86_64-cpu", "--out", str(out))
    process = subprocess.Popen(
        [sys.executable, "-m", "deployments.cli.main", *command],
        stderr=subprocess.PIPE,
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.default_int_handler),
    )
    while not (out.is_dir() and any(path.stat().st_size for path in out.iterdir())):
        assert process.poll() is None
        time.sleep(0.005)
    process.send_signal(number)
    assert process.stderr is not None
    assert process.stderr.read() == b""
    assert process.wait(60) == 130
    assert list(out.iterdir()) == []
