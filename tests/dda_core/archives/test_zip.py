"""ZIPs as other programs read them: Python, unzip and Java."""

from __future__ import annotations

import hashlib
import io
import shutil
import struct
import subprocess
import zipfile
import zlib
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dda_core.archives import zip as zip_module
from dda_core.archives.zip import MAX_UNPACKED, ZipWriter
from dda_core.exceptions import PackageTooLarge, UnpackedTooLarge
from tests.fixtures.archives import weights

READER = """
import java.io.*;
import java.util.*;
import java.util.zip.*;

public class Read {
    public static void main(String[] args) throws Exception {
        byte[] buffer = new byte[1 << 16];
        if (args[1].equals("stream")) {
            try (ZipInputStream in = new ZipInputStream(new BufferedInputStream(new FileInputStream(args[0])))) {
                for (ZipEntry e; (e = in.getNextEntry()) != null; ) print(e.getName(), in, buffer);
            }
        } else {
            try (ZipFile zip = new ZipFile(args[0])) {
                for (ZipEntry e : Collections.list(zip.entries())) print(e.getName(), zip.getInputStream(e), buffer);
            }
        }
    }

    static void print(String name, InputStream in, byte[] buffer) throws Exception {
        CRC32 crc = new CRC32();
        long size = 0;
        for (int n; (n = in.read(buffer)) > 0; size += n) crc.update(buffer, 0, n);
        System.out.println(name + " " + size + " " + crc.getValue());
    }
}
"""

FILES = {
    "manifest.json": b"{}",
    "mochi/empty": b"",
    "mochi/compiled.params": weights(2_500_000),
    "mochi/sub/größe.txt": b"text" * 1000,
}


class Bytes(bytearray):
    def write(self, data: Any) -> None:
        self.extend(data)


def packed(files: dict[str, bytes], piece: int = 1 << 20) -> tuple[bytes, str]:
    sink = Bytes()
    writer = ZipWriter(sink, "a.tar.gz")
    for name, content in files.items():
        writer.add(name, len(content), (content[i : i + piece] for i in range(0, len(content), piece)))
    digest = writer.finish()
    return bytes(sink), digest


@pytest.fixture(scope="module")
def path(tmp_path_factory: pytest.TempPathFactory) -> Path:
    target = tmp_path_factory.mktemp("zip") / "a.zip"
    with target.open("wb") as file:
        writer = ZipWriter(file, "a.tar.gz")
        for name, content in FILES.items():
            writer.add(name, len(content), [content])
        writer.finish()
    return target


@pytest.fixture(scope="module")
def java(tmp_path_factory: pytest.TempPathFactory) -> Path:
    if not shutil.which("java") or not shutil.which("javac"):
        pytest.skip("no java and javac on this machine")
    folder = tmp_path_factory.mktemp("java")
    (folder / "Read.java").write_text(READER)
    subprocess.run(["javac", "-d", folder, folder / "Read.java"], check=True)
    return folder


def read_by_java(java: Path, path: Path, way: str) -> dict[str, tuple[int, int]]:
    command = ["java", "-Dfile.encoding=UTF-8", "-Dstdout.encoding=UTF-8", "-cp", java, "Read", path, way]
    lines = subprocess.run(command, check=True, capture_output=True).stdout.decode().splitlines()
    return {name: (int(size), int(crc)) for name, size, crc in (line.rsplit(" ", 2) for line in lines)}


def test_python_reads_it(path: Path):
    with zipfile.ZipFile(path) as package:
        assert package.testzip() is None
        assert {info.filename: package.read(info) for info in package.infolist()} == FILES
        for info in package.infolist():
            assert info.date_time == (1980, 1, 1, 0, 0, 0)
            assert info.external_attr >> 16 == 0o100644
            assert info.compress_type == zipfile.ZIP_DEFLATED


def test_unzip_reads_it(path: Path, tmp_path: Path):
    if not shutil.which("unzip"):
        pytest.skip("no unzip on this machine")
    subprocess.run(["unzip", "-tq", path], check=True)
    subprocess.run(["unzip", "-q", path, "-d", tmp_path], check=True)
    assert (tmp_path / "mochi/compiled.params").read_bytes() == FILES["mochi/compiled.params"]


@pytest.mark.parametrize("way", ["stream", "file"])
def test_java_reads_it(java: Path, path: Path, way: str):
    expected = {name: (len(content), zip_module.crc32(content)) for name, content in FILES.items()}
    assert read_by_java(java, path, way) == expected


@settings(max_examples=100, deadline=None)
@given(
    st.dictionaries(st.text(st.characters(exclude_categories=["Cs", "Cc"]), min_size=1), st.binary(max_size=5000)),
    st.integers(1, 6000),
)
def test_any_members_are_read_back_however_the_content_is_split(files: dict[str, bytes], piece: int):
    data, digest = packed(files, piece)
    assert (data, digest) == packed(files)
    assert digest == hashlib.sha256(data).hexdigest()
    with zipfile.ZipFile(io.BytesIO(data)) as package:
        assert {info.orig_filename: package.read(info) for info in package.infolist()} == files


def test_every_byte_around_the_content_follows_the_format():
    data, digest = packed({"a/ü": b"abc", "b": b"c" * 1000})
    central = data.index(b"PK\x01\x02")
    sizes = [info.compress_size for info in zipfile.ZipFile(io.BytesIO(data)).infolist()]
    expected, directory = b"", b""
    for path, content, size in (("a/ü".encode(), b"abc", sizes[0]), (b"b", b"c" * 1000, sizes[1])):
        offset = len(expected)
        checked = struct.pack("<III", zlib.crc32(content), size, len(content))
        begin = offset + 30 + len(path)
        deflated = data[begin : begin + size]
        assert zlib.decompress(deflated, -15) == content
        # version 2.0, sizes after the content and a name in UTF-8, deflated, at midnight on 1980-01-01
        common = struct.pack("<HHHHH", 20, 0x0808, 8, 0, 0x21)
        expected += b"PK\3\4" + common + bytes(12) + struct.pack("<HH", len(path), 0) + path
        expected += deflated + b"PK\7\10" + checked
        directory += b"PK\1\2" + struct.pack("<BB", 20, 3) + common + checked
        directory += struct.pack("<HHHHHII", len(path), 0, 0, 0, 0, 0o100644 << 16, offset) + path
    end = b"PK\5\6" + struct.pack("<HHHHIIH", 0, 0, 2, 2, len(directory), central, 0)
    assert data == expected + directory + end
    assert digest == hashlib.sha256(data).hexdigest()


def test_the_returned_entry_describes_the_member():
    writer = ZipWriter(Bytes(), "a.tar.gz")
    for name in ("first", "second"):
        offset = writer.size
        entry = writer.add(name, 3, [b"a", memoryview(b"bc")])
        assert (entry.name, entry.size, entry.offset) == (name, 3, offset)
        assert (entry.crc, entry.sha256) == (zlib.crc32(b"abc"), hashlib.sha256(b"abc").hexdigest())
    assert [entry.name for entry in writer.entries] == ["first", "second"]


def test_a_package_at_the_limit_is_accepted(monkeypatch: pytest.MonkeyPatch):
    whole = len(packed({"a": weights(2000)})[0])
    monkeypatch.setattr(zip_module, "MAX_PACKAGE", whole)
    assert len(packed({"a": weights(2000)})[0]) == whole
    monkeypatch.setattr(zip_module, "MAX_PACKAGE", whole - 1)
    with pytest.raises(PackageTooLarge) as refused:
        packed({"a": weights(2000)})
    assert refused.value.limit == whole - 1


def test_content_of_an_unexpected_size_is_an_error():
    writer = ZipWriter(Bytes(), "a.tar.gz")
    with pytest.raises(ValueError, match="has 2 bytes, expected 3"):
        writer.add("a", 3, [b"ab"])


def test_a_package_over_the_limit_is_refused(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(zip_module, "MAX_PACKAGE", 10_000)
    with pytest.raises(PackageTooLarge, match=r"a.tar.gz: .* over 10000 bytes"):
        packed({"a": weights(20_000)})


def test_a_package_that_would_unpack_to_over_four_gigabytes_is_refused_before_it_is_written():
    sink = Bytes()
    writer = ZipWriter(sink, "a.tar.gz")
    writer.add("manifest.json", 2, [b"{}"])
    written = len(sink)
    with pytest.raises(UnpackedTooLarge, match=r"a.tar.gz: .* over 4000000000 bytes") as refused:
        writer.add("mochi/compiled.params", MAX_UNPACKED - 1, (pytest.fail("it is read") for _ in [0]))
    assert (refused.value.limit, len(sink)) == (MAX_UNPACKED, written)


def test_a_package_may_unpack_to_the_limit(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(zip_module, "MAX_UNPACKED", 3000)
    assert len(packed({"a": bytes(1000), "b": bytes(2000)})[0]) < 3000
    with pytest.raises(UnpackedTooLarge):
        packed({"a": bytes(1000), "b": bytes(2001)})
