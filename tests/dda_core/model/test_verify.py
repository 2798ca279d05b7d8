"""``verify_package``: the device rules on a finished ZIP, and the attacks on tar archives as ZIPs."""

from __future__ import annotations

import json
import stat
import struct
import zipfile
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dda_core.archives.source import open_source
from dda_core.archives.tar import MAX_TEXT
from dda_core.archives.zip import MAX_UNPACKED
from dda_core.exceptions import FileMissing
from dda_core.model.package import package_to_file
from dda_core.model.verify import verify_package as verify
from tests.fixtures.archives import compiled_archive, compiled_files, dda_manifest_of, elf, model_graph

MANIFEST = dda_manifest_of(model_graph())
NAME = "0123456789ab_greengrass_model_component.zip"
GOOD = {
    "manifest.json": json.dumps(MANIFEST).encode(),
    **{f"mochi/{name}": content for name, content in compiled_files(1000).items()},
}


def verify_package(path: Path) -> list[str]:
    return [finding.message for finding in verify(path)]


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / NAME


def write_zip(path: Path, files: dict[str, bytes], *extra: tuple[zipfile.ZipInfo, bytes], **options: Any) -> Path:
    """A ZIP of files followed by members of any kind, without any check."""
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED, **options) as package:
        for name, content in files.items():
            package.writestr(name, content)
        for info, content in extra:
            package.writestr(info, content)
    return path


def member(name: str, mode: int = stat.S_IFREG | 0o644) -> zipfile.ZipInfo:
    info = zipfile.ZipInfo("x")
    info.filename = name  # set afterwards: the constructor would sanitise some names
    info.external_attr = mode << 16
    return info


def found(path: Path, *extra: tuple[zipfile.ZipInfo, bytes], files: dict[str, bytes] = GOOD) -> list[str]:
    return verify_package(write_zip(path, files, *extra))


def only(findings: list[str]) -> str:
    (finding,) = findings
    return finding


def hostile(path: Path, name: str, content: bytes = b"evil", mode: int = stat.S_IFREG | 0o644) -> str:
    """The only finding on a good package with this additional member."""
    return only(found(path, (member(name, mode), content)))


def test_our_own_package_has_no_findings(tmp_path: Path):
    archive = compiled_archive(tmp_path / "c.tar.gz")
    path, _ = package_to_file(open_source(archive), MANIFEST, tmp_path)
    assert verify_package(path) == []


def test_the_notebook_s_package_has_no_findings(path: Path):
    folders = [(member(name, stat.S_IFDIR | 0o755), b"") for name in ("mochi/", "mochi/empty/")]
    assert found(path, *folders) == []


def test_a_missing_package_is_an_error(tmp_path: Path):
    with pytest.raises(FileMissing, match="does not exist"):
        verify_package(tmp_path / NAME)


def test_another_name(tmp_path: Path):
    assert "does not end in _greengrass_model_component.zip" in only(found(tmp_path / "package.zip"))


def test_no_manifest(path: Path):
    assert "manifest.json is missing" in only(
        found(path, files={name: content for name, content in GOOD.items() if name != "manifest.json"})
    )


def test_a_wrapper_folder(path: Path):
    findings = found(path, files={f"package/{name}": content for name, content in GOOD.items()})
    assert "inside the wrapper folder package/" in only(findings)


def test_a_model_py_at_the_root(path: Path):
    assert "model.py is at the root" in only(found(path, (member("model.py"), b"")))


def test_a_stage_without_its_folder(path: Path):
    assert "mochi/ is missing" in only(found(path, files={"manifest.json": GOOD["manifest.json"]}))


def test_two_libraries(path: Path):
    assert "mochi/ contains 2 .so files besides libdlr.so: compiled.so, second.so" in only(
        found(path, (member("mochi/second.so"), elf(b"")))
    )


@pytest.mark.parametrize("text", [b"{", b"\xff", b"[" * 100_000], ids=["cut", "binary", "deep"])
def test_a_manifest_that_is_not_json(path: Path, text: bytes):
    findings = found(path, files=GOOD | {"manifest.json": text})
    assert any("manifest.json is not JSON (" in finding for finding in findings)


def test_every_finding_is_listed(tmp_path: Path):
    manifest = dda_manifest_of(model_graph(threshold=None, type="matcha"))
    del manifest["dataset"]
    files = {"manifest.json": json.dumps(manifest).encode(), "model.py": b"", "../x": b""}
    findings = found(tmp_path / "a.zip", files=files)
    for what in (
        "does not end in",
        "dataset is missing",
        "threshold is missing",
        'type is "matcha"',
        "model.py",
        "escapes",
        "matcha/",
    ):
        assert any(what in finding for finding in findings), what


def test_absolute_path_is_found(path: Path):
    assert "has an absolute name" in hostile(path, "/tmp/escaped.evil")


def test_sly_relative0_is_found(path: Path):
    assert "escapes" in hostile(path, "../moo")


def test_sly_relative2_is_found(path: Path):
    assert "escapes" in hostile(path, "tmp/../../moo")


def test_parent_parts_are_found_even_below_the_root(path: Path):
    assert "escapes" in hostile(path, "mochi/../b")


def test_parent_symlink_is_found(path: Path):
    links = [(member(name, stat.S_IFLNK | 0o777), to) for name, to in (("current", b"."), ("parent", b"current/.."))]
    findings = found(path, *links, (member("parent/evil"), b""))
    assert [finding for finding in findings if "a symbolic link" in finding] == findings[:2]
    assert "parent is a file and parent/evil is below it" in findings[2]


def test_absolute_symlink_is_found(path: Path):
    assert "'parent' is a symbolic link" in hostile(path, "parent", b"/tmp", stat.S_IFLNK | 0o777)


def test_deep_symlink_is_found(path: Path):
    assert "a symbolic link" in hostile(path, "mochi/deep/link", b"../../manifest.json", stat.S_IFLNK | 0o777)


def test_pipe_is_found(path: Path):
    assert "a device, pipe or socket" in hostile(path, "foo", b"", stat.S_IFIFO | 0o644)


def test_character_device_is_found(path: Path):
    assert "a device, pipe or socket" in hostile(path, "null", b"", stat.S_IFCHR | 0o644)


def test_block_device_is_found(path: Path):
    assert "a device, pipe or socket" in hostile(path, "sda", b"", stat.S_IFBLK | 0o644)


def test_modes_do_not_matter(path: Path):
    assert found(path, (member("mochi/all_bits", stat.S_IFREG | 0o7777), b"")) == []


def test_backslash_is_found(path: Path):
    assert "a backslash" in hostile(path, "..\\evil")


def test_drive_letter_is_found(path: Path):
    assert "a drive letter" in hostile(path, "C:/evil")


def test_control_character_is_found(path: Path):
    assert "a control character" in hostile(path, "a\nb")


def test_name_with_zero_byte_is_found(path: Path):
    write_zip(path, GOOD, (member("mochi/Xevil"), b""))
    path.write_bytes(path.read_bytes().replace(b"mochi/Xevil", b"mochi/\0evil"))
    assert any("a control character" in finding for finding in verify_package(path))


@pytest.mark.filterwarnings("ignore:Duplicate name")
@pytest.mark.parametrize("name", ["mochi/dlr.h", "./mochi/dlr.h", "mochi//dlr.h"])
def test_duplicate_name_is_found(path: Path, name: str):
    assert "mochi/dlr.h occurs 2 times" in hostile(path, name)


def test_file_below_a_file_is_found(path: Path):
    assert "mochi/manifest is a file and mochi/manifest/x is below it" in hostile(path, "mochi/manifest/x")


def test_a_flipped_byte_is_found(path: Path):
    write_zip(path, {})
    with zipfile.ZipFile(path, "w", zipfile.ZIP_STORED) as package:
        for name, content in GOOD.items():
            package.writestr(name, content)
    data = bytearray(path.read_bytes())
    data[data.index(GOOD["mochi/compiled.params"]) + 100] ^= 1
    path.write_bytes(data)
    assert "mochi/compiled.params is damaged" in only(verify_package(path))


def test_a_damaged_deflate_stream_is_found(path: Path):
    write_zip(path, GOOD)
    with zipfile.ZipFile(path) as package:
        offset = package.getinfo("mochi/compiled.params").header_offset
    data = bytearray(path.read_bytes())
    data[offset + 60 : offset + 80] = b"\xff" * 20
    path.write_bytes(data)
    assert "mochi/compiled.params is damaged" in only(verify_package(path))


@pytest.mark.parametrize("content", [b"", b"text", b"PK\x05\x06"])
def test_a_file_that_is_not_a_zip_is_found(path: Path, content: bytes):
    path.write_bytes(content)
    assert "is not a readable ZIP" in only(verify_package(path))


def test_a_truncated_zip_is_found(path: Path):
    write_zip(path, GOOD)
    path.write_bytes(path.read_bytes()[:-30])
    assert "is not a readable ZIP" in only(verify_package(path))


def test_an_encrypted_member_is_found(path: Path):
    write_zip(path, GOOD)
    data = path.read_bytes()
    place = data.rindex(b"PK\x01\x02")
    flags = struct.unpack_from("<H", data, place + 8)[0]
    path.write_bytes(data[: place + 8] + struct.pack("<H", flags | 1) + data[place + 10 :])
    assert "is encrypted" in only(verify_package(path))


def test_two_names_for_one_member_are_found(path: Path):
    write_zip(path, GOOD)
    data = path.read_bytes()
    place = data.rindex(b"mochi/dlr.h")
    path.write_bytes(data[:place] + b"mochi/dlr.i" + data[place + 11 :])
    assert "mochi/dlr.i is damaged" in only(verify_package(path))


def test_a_member_without_a_name_is_found(path: Path):
    assert hostile(path, "").startswith("a member has no name")


def test_a_name_of_zero_bytes_is_found(path: Path):
    write_zip(path, GOOD, (member("ab"), b"x"))
    path.write_bytes(path.read_bytes().replace(b"ab", b"\0\0"))
    assert any("control character in its name" in finding for finding in verify_package(path))


def test_a_manifest_bomb_is_found(path: Path):
    findings = found(path, files=GOOD | {"manifest.json": bytes(MAX_TEXT + 1)})
    assert any(f"manifest.json has {MAX_TEXT + 1} bytes" in finding for finding in findings)


def unpacking_to(path: Path, size: int) -> Path:
    """A package whose directory gives that size for its last member, the stage's weights."""
    write_zip(path, {name: content for name, content in GOOD.items() if name != "mochi/compiled.params"})
    with zipfile.ZipFile(path, "a") as package:
        package.writestr("mochi/compiled.params", b"weights")
    content = bytearray(path.read_bytes())
    entry = content.rindex(b"PK\x01\x02")
    content[entry + 24 : entry + 28] = struct.pack("<L", size)
    path.write_bytes(content)
    return path


def test_a_package_that_unpacks_to_too_much_is_found_without_inflating_it(path: Path):
    with zipfile.ZipFile(write_zip(path, GOOD)) as package:
        others = sum(info.file_size for info in package.infolist() if info.filename != "mochi/compiled.params")
    assert "at most 4000000000" in only(verify_package(unpacking_to(path, MAX_UNPACKED - others + 1)))
    # At the limit it is read, and its size turns out wrong.
    finding = only(verify_package(unpacking_to(path, MAX_UNPACKED - others)))
    assert f"mochi/compiled.params is damaged (it has 7 bytes, its header says {MAX_UNPACKED - others})" in finding


@pytest.mark.parametrize("name", ["mochi/" + "n" * 256, "d" * 256 + "/a", "ü" * 128])
def test_a_name_with_a_part_too_long_for_file_systems_is_found(path: Path, name: str):
    assert "has a part of 256 bytes in its name, over 255" in hostile(path, name)


@pytest.mark.parametrize("encoding", ["utf-16", "utf-16-be", "utf-32", "utf-32-le"])
def test_a_manifest_in_another_encoding_is_found_by_its_name(path: Path, encoding: str):
    text = GOOD["manifest.json"].decode().encode(encoding)
    assert f"is in {encoding[:6].upper()}" in only(found(path, files=GOOD | {"manifest.json": text}))


@settings(max_examples=200, deadline=None)
@given(st.data())
def test_changed_bytes_never_raise_an_error(tmp_path_factory: Any, data: st.DataObject):
    path = tmp_path_factory.getbasetemp() / NAME
    small = {"manifest.json": GOOD["manifest.json"], "mochi/compiled.so": b"abc" * 20}
    content = bytearray(write_zip(path, small).read_bytes())
    for _ in range(data.draw(st.integers(1, 4))):
        content[data.draw(st.integers(0, len(content) - 1))] = data.draw(st.integers(0, 255))
    path.write_bytes(content)
    assert all(isinstance(finding, str) for finding in verify_package(path))
