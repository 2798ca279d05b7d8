"""An S3 object as a file: the same bytes, in few requests."""

from __future__ import annotations

import io
import zipfile
from typing import Any

import pytest

from dda_core.archives.seekable import NEAR, S3File, open_seekable
from dda_core.exceptions import FileMissing, ObjectChanged
from tests.fixtures.archives import weights
from tests.fixtures.s3 import BUCKET, s3_in_process

URI = f"s3://{BUCKET}/package.zip"


@pytest.fixture
def s3() -> Any:
    with s3_in_process() as client:
        yield client


def test_it_reads_the_object_from_any_position(s3: Any):
    content = weights(300_000)
    s3.put_object(Bucket=BUCKET, Key="package.zip", Body=content)
    with open_seekable(s3, URI) as file:
        for start, size in ((0, 10), (299_990, 100), (150_000, 100_000), (400_000, 5), (0, 300_000)):
            file.seek(start)
            assert file.read(size) == content[start : start + size]
        assert file.seek(-5, io.SEEK_END) == 299_995
        assert file.read() == content[-5:]
        file.seek(10)
        file.seek(7, io.SEEK_CUR)
        assert file.read(3) == content[17:20]
        with pytest.raises((ValueError, OSError)):
            file.seek(-1)


def test_opening_a_large_zip_fetches_little_of_it(s3: Any):
    body = io.BytesIO()
    with zipfile.ZipFile(body, "w", zipfile.ZIP_STORED) as package:
        package.writestr("manifest.json", "{}")
        package.writestr("large", bytes(5_000_000))
        package.writestr("compiled.so", b"\x7fELF" + bytes(1_000_000))
    s3.put_object(Bucket=BUCKET, Key="package.zip", Body=body.getvalue())
    fetched = []
    s3.meta.events.register("after-call.s3.GetObject", lambda parsed, **_: fetched.append(parsed["ContentLength"]))
    with open_seekable(s3, URI) as file, zipfile.ZipFile(file) as package:
        assert package.read("manifest.json") == b"{}"
        with package.open("compiled.so") as member:
            assert member.read(4) == b"\x7fELF"
    assert sum(fetched) <= 8 * NEAR


def test_a_missing_object_is_an_error(s3: Any):
    with pytest.raises(FileMissing, match="does not exist"):
        open_seekable(s3, URI)


def test_an_object_replaced_while_reading_is_an_error(s3: Any):
    s3.put_object(Bucket=BUCKET, Key="package.zip", Body=bytes(200_000))
    with open_seekable(s3, URI) as file:
        file.read(10)
        s3.put_object(Bucket=BUCKET, Key="package.zip", Body=b"x" * 200_000)
        file.seek(150_000)
        with pytest.raises(ObjectChanged):
            file.read(10)


class Object:
    """A source for ``S3File``: ten digits, and the requested ranges."""

    size = 10

    def __init__(self) -> None:
        self.ranges: list[tuple[int, int]] = []

    def range(self, start: int, end: int) -> bytes:
        self.ranges.append((start, end))
        return b"0123456789"[start:end]


def test_every_read_is_one_range_from_the_position() -> None:
    asked = Object()
    file = S3File(asked)  # type: ignore[arg-type]
    assert (file.readable(), file.seekable(), file.writable(), file.tell()) == (True, True, False, 0)
    buffer = bytearray(b"....")
    assert file.readinto(buffer) == 4
    assert (bytes(buffer), file.tell()) == (b"0123", 4)
    assert file.seek(-2, io.SEEK_END) == 8
    assert (file.readinto(buffer), bytes(buffer)) == (2, b"8923")
    assert asked.ranges == [(0, 4), (8, 10)]
    assert (file.seek(0), file.seek(3), file.seek(2, io.SEEK_CUR), file.seek(20)) == (0, 3, 5, 20)
    with pytest.raises(ValueError, match="negative seek position -1"):
        file.seek(-21, io.SEEK_CUR)
    assert file.tell() == 20
