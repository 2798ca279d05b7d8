"""The loader's requirements for a compiled archive, broken one at a time."""

from __future__ import annotations

import json
from typing import Any

import pytest

from dda_core.device.findings import errors, warnings
from dda_core.device.folder import Expectation, StageFiles, compiled_findings
from dda_core.targets import find_target
from tests.fixtures.archives import compiled_files, compiled_meta, elf

CPU = Expectation.of(find_target("x86_64-cpu"))
ARM = Expectation.of(find_target("arm64-cpu"))
CUDA = Expectation.of(find_target("x86_64-cuda"))
JETSON = Expectation.of(find_target("jetson-xavier-jp5"))


def found(expected: Expectation = CPU, away: tuple[str, ...] = (), **more: bytes) -> list[Any]:
    files = {name: content for name, content in compiled_files(1000).items() if name not in away}
    return judged(files | {name.replace("__", "."): content for name, content in more.items()}, expected)


def judged(files: dict[str, bytes], expected: Expectation = CPU) -> list[Any]:
    seen = StageFiles()
    for name, content in files.items():
        assert b"".join(bytes(piece) for piece in seen.watch(name, [content[:7], content[7:]])) == content
    return compiled_findings(seen.files, "mochi", expected)


def rule(findings: list[Any]) -> str:
    (finding,) = findings
    return str(finding.rule)


def test_neo_s_output_is_accepted():
    assert found() == []
    for expected, architecture in ((ARM, "aarch64"), (CPU, "amd64")):
        assert judged(compiled_files(1000, architecture=architecture), expected) == []
    for expected, architecture in ((CUDA, "amd64"), (JETSON, "aarch64")):
        assert judged(compiled_files(1000, architecture=architecture, device_type="gpu"), expected) == []


@pytest.mark.parametrize(
    ("files", "broken"),
    [
        ({"second__so": elf(b"")}, "model-library"),
        ({"second__json": b"{}"}, "graph-file"),
        ({"version__json": b"{}"}, "graph-file"),
        ({"second__params": b""}, "params-file"),
        ({"second__meta": b"{}"}, "meta-file"),
        ({"model__tensorrt": b""}, "other-backends"),
        ({"saved_model__pb": b""}, "other-backends"),
    ],
)
def test_a_second_file_of_a_kind_is_refused(files: dict[str, bytes], broken: str):
    assert rule(found(**files)) == broken


@pytest.mark.parametrize(
    ("away", "broken"),
    [
        (("libdlr.so",), "loader-library"),
        (("compiled.so",), "model-library"),
        (("compiled.meta",), "meta-file"),
        (("compiled.params",), "backend"),
        (("compiled_model.json",), "backend"),
    ],
)
def test_a_missing_file_is_named(away: tuple[str, ...], broken: str):
    findings = found(away=away)
    assert rule(findings) == broken
    assert "mochi/ has no" in findings[0].message
    assert "never becomes ready" in findings[0].message


@pytest.mark.parametrize("name", ["hyperparams.json", "model-shapes.json", "sub/second.so", "sub/a.json", "notes.txt"])
def test_files_that_the_loader_ignores_do_not_count(name: str):
    assert judged(compiled_files(1000) | {name: b"{}"}) == []


def test_a_wrapper_folder_is_reported():
    findings = judged(compiled_files(1000, wrapper="model"))
    assert rule(findings) == "wrapper-folder"
    assert "contains only the folder model/" in findings[0].message


def test_a_readme_alone_lacks_everything():
    findings = judged({"README.md": b"nothing here"})
    assert [each.rule for each in findings] == ["loader-library", "model-library", "meta-file", "backend"]


@pytest.mark.parametrize(
    ("text", "broken"),
    [
        (b"", "meta"),
        (b"{", "meta"),
        (b"\xff", "meta"),
        (b'{"Requirements": {"TargetDeviceType": "cpu"}, "loss": NaN}', "meta"),
        (b'{"Requirements": {"TargetDeviceType": "cpu"}, "loss": 1e999}', "meta"),
        (b"[" * 100_000, "meta"),
        (b'{"pad": "' + b"x" * (1 << 20) + b'"}', "meta"),
        (b"[]", "meta-device-type"),
        (b"{}", "meta-device-type"),
        (b'{"Requirements": []}', "meta-device-type"),
        (b'{"Requirements": {"TargetDeviceType": null}}', "meta-device-type"),
        (b'{"Requirements": {"TargetDeviceType": "GPU"}}', "meta-device-type"),
        (b'{"Requirements": {"TargetDeviceType": ["cpu"]}}', "meta-device-type"),
    ],
)
def test_a_meta_that_the_loader_cannot_use_is_refused(text: bytes, broken: str):
    assert rule(errors(judged(compiled_files(1000) | {"compiled.meta": text}))) == broken


def test_a_byte_order_mark_in_the_meta_is_accepted():
    assert judged(compiled_files(1000) | {"compiled.meta": b"\xef\xbb\xbf" + compiled_meta()}) == []


def test_the_other_set_of_files_needs_the_inputs_and_outputs_in_the_meta():
    relay = {k: v for k, v in compiled_files(1000).items() if k not in ("compiled.params", "compiled_model.json")}
    relay["compiled.ro"] = b"relay"
    assert judged(relay) == []
    bare = json.dumps({"Requirements": {"TargetDeviceType": "cpu"}}).encode()
    assert {each.rule for each in judged(relay | {"compiled.meta": bare})} == {"meta-relay"}


def test_both_sets_of_files_are_a_warning_because_either_loads():
    findings = found(compiled__ro=b"relay")
    assert errors(findings) == []
    assert rule(warnings(findings)) == "backend"


@pytest.mark.parametrize("library", ["compiled.so", "libdlr.so"])
def test_code_for_another_architecture_is_refused_in_either_library(library: str):
    findings = judged(compiled_files(1000) | {library: elf(b"x" * 50, "aarch64")})
    assert rule(findings) == "library-machine"
    assert f"mochi/{library} is built for aarch64" in findings[0].message
    assert "amd64, the architecture of the target" in findings[0].message


def test_without_a_target_the_libraries_must_at_least_agree():
    findings = judged(compiled_files(1000) | {"compiled.so": elf(b"", "aarch64")}, Expectation())
    assert rule(findings) == "library-machine"
    assert judged(compiled_files(1000, architecture="aarch64"), Expectation()) == []


@pytest.mark.parametrize(
    "content",
    [b"", b"#!/bin/sh\n" * 9, b"\x7fELF\x01" + bytes(40), b"\x7fELF\x02\x02" + bytes(40), elf(b"")[:19]],
    ids=["empty", "script", "32-bit", "big-endian", "cut"],
)
def test_a_file_that_is_not_a_library_is_refused(content: bytes):
    assert rule(judged(compiled_files(1000) | {"compiled.so": content})) == "library"


def test_a_library_for_an_unknown_machine_is_refused():
    riscv = bytearray(elf(b"x" * 20))
    riscv[18] = 243
    for expected in (CPU, Expectation()):
        findings = judged(compiled_files(1000) | {"compiled.so": bytes(riscv)}, expected)
        assert "is built for machine 243" in findings[0].message


@pytest.mark.parametrize(("expected", "device_type"), [(CPU, "gpu"), (CUDA, "cpu")])
def test_a_device_type_that_contradicts_the_target_is_a_warning(expected: Expectation, device_type: str):
    findings = judged(compiled_files(1000, device_type=device_type), expected)
    assert errors(findings) == []
    assert rule(findings) == "meta-device-type"


def test_a_network_input_that_differs_from_the_manifest_is_a_warning():
    findings = judged(compiled_files(1000), Expectation(network=(1, 3, 8, 8)))
    assert errors(findings) == []
    assert "[1, 3, 768, 576]" in findings[0].message
