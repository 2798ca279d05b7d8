from __future__ import annotations

import gzip
import random
import struct
import threading
import time
import zlib
from collections.abc import Generator
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dda_core.archives import codec
from dda_core.archives.codec import BLOCK, Deflater, GzipWriter, in_thread, inflate
from dda_core.exceptions import ArchiveBroken, Interrupted
from tests.fixtures.archives import weights


class Bytes(bytearray):
    def write(self, data: Any) -> None:
        self.extend(data)


@pytest.fixture(params=["isal", "zlib"])
def either_codec(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str:
    name: str = request.param
    if name == "zlib":
        monkeypatch.setattr(codec, "codec", zlib)
    return name


def cut(data: bytes, size: int) -> list[bytes]:
    return [data[start : start + size] for start in range(0, len(data), size)]


def content(data: bytes, size: int = 1000) -> bytes:
    return b"".join(inflate(cut(data, size), "a.tar.gz"))


def test_the_fast_codec_is_installed():
    assert codec.codec.__name__ == "isal.isal_zlib"


@settings(max_examples=100, deadline=None)
@given(st.lists(st.binary(max_size=3000), min_size=1, max_size=4), st.integers(1, 700), st.integers(0, 9))
def test_any_gzip_stream_split_anywhere_gives_its_content(members: list[bytes], size: int, level: int):
    data = b"".join(gzip.compress(member, level) for member in members)
    assert content(data, size) == b"".join(members)


def test_content_that_inflates_a_thousandfold_is_yielded_in_bounded_pieces(either_codec: str):
    pieces = [len(piece) for piece in inflate([gzip.compress(bytes(50 << 20))], "a.tar.gz")]
    assert sum(pieces) == 50 << 20
    assert max(pieces) <= BLOCK


@pytest.mark.parametrize("offset", [-1, -4, -5, -8], ids=["length", "length-low", "crc-high", "crc-low"])
def test_a_wrong_trailer_is_broken(either_codec: str, offset: int):
    data = bytearray(gzip.compress(weights(100_000)))
    data[offset] ^= 0x10
    with pytest.raises(ArchiveBroken, match="damaged"):
        content(bytes(data))


def test_a_wrong_trailer_of_the_first_of_two_members_is_broken(either_codec: str):
    first = bytearray(gzip.compress(b"one"))
    first[-5] ^= 1
    with pytest.raises(ArchiveBroken):
        content(bytes(first) + gzip.compress(b"two"))


@settings(max_examples=100, deadline=None)
@given(st.integers(0, 7), st.data())
def test_a_flipped_bit_never_gives_other_content(bit: int, data: st.DataObject):
    original = weights(5_000)
    packed = bytearray(gzip.compress(original, mtime=0))
    packed[data.draw(st.integers(0, len(packed) - 1))] ^= 1 << bit
    try:
        found = content(bytes(packed))
    except ArchiveBroken:
        return
    assert found == original  # a flipped bit in the header's time or name changes nothing


@settings(max_examples=100, deadline=None)
@given(st.data())
def test_a_stream_truncated_anywhere_is_broken(data: st.DataObject):
    packed = gzip.compress(weights(5_000), mtime=0)
    with pytest.raises(ArchiveBroken):
        content(packed[: data.draw(st.integers(0, len(packed) - 1))])


@pytest.mark.parametrize("tail", [b"garbage", b"\0x", b"\x1f\x8b"], ids=["text", "zero-and-text", "half-header"])
def test_trailing_garbage_is_broken(either_codec: str, tail: bytes):
    with pytest.raises(ArchiveBroken):
        content(gzip.compress(b"content") + tail)


@pytest.mark.parametrize("zeros", [1, 512, (1 << 20) + 1])
def test_zeros_after_the_stream_are_padding(either_codec: str, zeros: int):
    assert content(gzip.compress(b"content") + bytes(zeros)) == b"content"


def test_an_empty_stream_is_reported_as_empty():
    with pytest.raises(ArchiveBroken, match="is empty"):
        content(b"")


def test_a_set_stop_interrupts_inflating_one_small_bomb():
    stop = threading.Event()
    pieces = inflate([gzip.compress(bytes(20 << 20))], "a.tar.gz", stop)
    next(pieces)
    stop.set()
    with pytest.raises(Interrupted):
        next(pieces)


def test_gzip_written_is_read_by_the_standard_library(either_codec: str):
    sink = Bytes()
    writer = GzipWriter(sink)
    data = weights(3_000_000)
    for piece in cut(data, 70_001):
        writer.write(piece)
    writer.finish()
    assert gzip.decompress(sink) == data


def test_gzip_has_no_name_or_timestamp_and_has_checksum_and_size(either_codec: str):
    sink = Bytes()
    writer = GzipWriter(sink)
    writer.write(memoryview(b"a").cast("B"))
    writer.finish()
    assert sink[:10] == bytes([0x1F, 0x8B, 8, 0, 0, 0, 0, 0, 0, 0xFF])
    assert sink[-8:] == struct.pack("<II", 0xE8B7BE43, 1)
    assert zlib.decompress(sink[10:-8], -15) == b"a"


@pytest.mark.parametrize(
    ("data", "words"),
    [
        (b"text", r"a.tar.gz is damaged, or is not a gzip-compressed tar archive \("),
        (gzip.compress(b"a")[:-1], r"a.tar.gz is damaged, .* \(the stream is truncated\)"),
        (
            gzip.compress(b"a") + b"text",
            r"a.tar.gz has data after its gzip stream that is not a complete gzip member",
        ),
        (gzip.compress(b"a") + b"\0\0x", r"a.tar.gz has data after .* \(after zeros\)"),
        (gzip.compress(b"a") * 2 + gzip.compress(b"b")[:-1], r"a.tar.gz has data after .* \(the stream is truncated\)"),
        (b"", "a.tar.gz is empty; expected a gzip-compressed tar archive"),
    ],
    ids=["text", "cut", "text-behind", "zeros-between", "last-member-cut", "empty"],
)
def test_an_error_names_what_is_wrong_with_the_stream(data: bytes, words: str):
    for size in (1, 1000):
        with pytest.raises(ArchiveBroken, match=words):
            content(data, size)


def test_content_of_whole_blocks_is_inflated_to_its_end(either_codec: str):
    for size in (BLOCK - 1, BLOCK, BLOCK + 1, 3 * BLOCK):
        packed = gzip.compress(bytes(size), 1)
        assert len(b"".join(inflate([packed + packed], "a.tar.gz"))) == 2 * size


@pytest.mark.parametrize("cuts", [(BLOCK, BLOCK), (1, BLOCK, BLOCK - 1), (BLOCK - 1, BLOCK + 1), (1000, 1000)])
def test_whole_blocks_and_pieces_of_them_are_compressed_to_the_same_bytes(cuts: tuple[int, ...]):
    data, deflater, out = DATA[: sum(cuts)], Deflater(), b""
    whole = Deflater()
    start = 0
    for size in cuts:
        out += deflater.compress(data[start : start + size])
        start += size
    assert out + deflater.finish() == whole.compress(data) + whole.finish()


def test_a_checksum_continues_the_previous_one():
    assert codec.crc32(b"bc", codec.crc32(b"a")) == codec.crc32(b"abc") == zlib.crc32(b"abc")


def test_closing_early_does_not_wait_for_a_full_queue():
    ahead = in_thread(iter_forever())
    next(ahead)
    time.sleep(0.05)
    before = time.monotonic()
    ahead.close()
    assert time.monotonic() - before < 4


def iter_forever() -> Generator[int, None, None]:
    while True:
        yield 0


def test_items_are_produced_only_a_few_ahead_of_the_consumer():
    made: list[int] = []

    def items() -> Generator[int, None, None]:
        for number in range(1000):
            made.append(number)
            yield number

    ahead = in_thread(items())
    assert next(ahead) == 0
    time.sleep(0.3)
    assert 2 <= len(made) <= 12
    [thread] = [each for each in threading.enumerate() if each.name == "dda-ahead"]
    assert thread.daemon, "a read that hangs must not keep the process"
    ahead.close()
    assert len(made) <= 12


@settings(max_examples=100, deadline=None)
@given(st.lists(st.integers(1, 1_500_000), max_size=6))
def test_compressed_bytes_do_not_depend_on_how_the_input_is_split(cuts: list[int]):
    deflater = Deflater()
    out, rest = b"", DATA
    for size in cuts:
        out += deflater.compress(rest[:size])
        rest = rest[size:]
    out += deflater.compress(rest) + deflater.finish()
    assert out == WHOLE


DATA = weights(2_500_000, seed=3)
_deflater = Deflater()
WHOLE = _deflater.compress(DATA) + _deflater.finish()


def test_items_produced_in_a_thread_arrive_in_order_and_so_does_its_error():
    def items() -> Generator[int, None, None]:
        yield from range(100)
        raise KeyError("made there")

    seen: list[int] = []
    with pytest.raises(KeyError, match="made there"):
        seen.extend(in_thread(items()))
    assert seen == list(range(100))


def test_closing_early_ends_the_thread_and_closes_what_it_read():
    closed = threading.Event()
    before = threading.active_count()

    def items() -> Generator[int, None, None]:
        try:
            while True:
                yield random.randrange(9)
        finally:
            closed.set()

    ahead = in_thread(items())
    next(ahead)
    ahead.close()
    assert closed.wait(5)
    deadline = time.monotonic() + 5
    while threading.active_count() > before and time.monotonic() < deadline:
        time.sleep(0.01)
    assert threading.active_count() == before
