"""Deflate and gzip as streams: ISA-L where it is installed, the standard library's zlib elsewhere.

Output is deterministic: ISA-L's output depends on how its input is split, so the compressor is always fed blocks of
exactly 1 MiB.
"""

from __future__ import annotations

import struct
import zlib
from collections.abc import Generator, Iterable
from contextlib import closing
from queue import Full, Queue
from threading import Event, Thread
from typing import TYPE_CHECKING, Any, Protocol, TypeVar

from dda_core.exceptions import ArchiveBroken, Interrupted

if TYPE_CHECKING:
    from _typeshed import ReadableBuffer

codec: Any
try:
    from isal import isal_zlib as codec
except ImportError:  # no wheel for this platform: zlib has the same interface and is about three times slower
    codec = zlib

BLOCK = 1 << 20
"""Maximum bytes per call into the codecs, in and out."""
LEVEL = 1
"""On model weights ISA-L's level 1 compresses slightly better than zlib's level 6, over ten times as fast."""

_GZIP_HEADER = b"\x1f\x8b\x08\x00" + bytes(4) + b"\x00\xff"
_AHEAD = 8

T = TypeVar("T")


class Writable(Protocol):
    """Anything bytes can be written to: a sink, a file, another stage of a pipeline."""

    def write(self, data: ReadableBuffer, /) -> object:
        """Write ``data``."""


def check_stop(stop: Event | None) -> None:
    """Raise ``Interrupted`` once ``stop`` is set; long loops call it once per block."""
    if stop is not None and stop.is_set():
        raise Interrupted


def crc32(data: ReadableBuffer, value: int = 0) -> int:
    """The CRC-32 of ``data``, continuing from ``value``."""
    result: int = codec.crc32(data, value)
    return result


def inflate(blocks: Iterable[bytes], where: str, stop: Event | None = None) -> Generator[bytes, None, None]:
    """Decompress a gzip stream of one or more members, in pieces of at most 1 MiB.

    Zeros after the last member are padding, as tapes and block devices leave it; they are skipped, as gzip does. Each
    member's checksum and length come at its end, so the content is verified only once this iterator is exhausted.

    Args:
        blocks: the compressed bytes, split anywhere.
        where: the archive's URI, for messages.
        stop: set it to stop with ``Interrupted``.

    Raises:
        ArchiveBroken: not gzip, empty, truncated, damaged, or followed by anything but gzip members and zeros.
    """
    member: Any = None
    members = 0
    padding = False
    for block in blocks:
        data = block
        more = False
        while data or more:
            check_stop(stop)
            if member is None and members and data[0] == 0:
                padding = True
                data = data.lstrip(b"\0")
                continue
            if padding:
                raise _broken(where, members, "after zeros")
            if member is None:
                member = codec.decompressobj(wbits=31)
            try:
                content = member.decompress(data, BLOCK)
            except (codec.error, zlib.error) as error:
                raise _broken(where, members, str(error)) from error
            if content:
                yield content
            # One block may inflate a thousandfold: anything beyond BLOCK stays in the tail or the decompressor.
            data, more = member.unconsumed_tail, len(content) == BLOCK
            if member.eof:
                data, more, member = member.unused_data, False, None
                members += 1
    if member is not None:
        raise _broken(where, members, "the stream is truncated")
    if not members:
        raise ArchiveBroken(
            f"{where} is empty", archive=where, expected="a gzip-compressed tar archive", remedy="Upload it again."
        )


def _broken(where: str, members: int, detail: str) -> ArchiveBroken:
    if members:
        return ArchiveBroken(
            f"{where} has data after its gzip stream that is not a complete gzip member ({detail})",
            archive=where,
            remedy="Create the archive again.",
        )
    return ArchiveBroken(
        f"{where} is damaged, or is not a gzip-compressed tar archive ({detail})",
        archive=where,
        remedy="Upload it again, or rerun the job that wrote it.",
    )


class Deflater:
    """Raw deflate whose output depends only on the content."""

    def __init__(self) -> None:
        self._compressor = codec.compressobj(level=LEVEL, wbits=-15)
        self._held = bytearray()

    def compress(self, data: ReadableBuffer) -> bytes:
        """Compress ``data``; returns the output that is ready."""
        view = memoryview(data)
        if not self._held and len(view) == BLOCK:
            return bytes(self._compressor.compress(view))
        out = []
        while view:
            room = BLOCK - len(self._held)
            self._held += view[:room]
            view = view[room:]
            if len(self._held) == BLOCK:
                out.append(self._compressor.compress(self._held))
                self._held = bytearray()
        return b"".join(out)

    def finish(self) -> bytes:
        """The rest of the output, including the end of the stream."""
        return bytes(self._compressor.compress(self._held) + self._compressor.flush())


class GzipWriter:
    """A gzip stream of one member, without a name or a timestamp, so that the same content gives the same bytes."""

    def __init__(self, sink: Writable) -> None:
        self._sink = sink
        self._deflater = Deflater()
        self._crc = 0
        self._size = 0
        sink.write(_GZIP_HEADER)

    def write(self, data: ReadableBuffer) -> None:
        """Compress ``data`` into the sink."""
        self._crc = crc32(data, self._crc)
        self._size += memoryview(data).nbytes
        self._sink.write(self._deflater.compress(data))

    def finish(self) -> None:
        """Write the remaining output and the trailer; the sink stays open."""
        trailer = struct.pack("<II", self._crc, self._size & 0xFFFFFFFF)
        self._sink.write(self._deflater.finish() + trailer)


def in_thread(items: Generator[T, None, None]) -> Generator[T, None, None]:
    """The same items, produced in a separate thread, a few ahead of the consumer.

    The codecs and hashes release the GIL, so that reading and writing use one core each. Closing the iterator ends
    the thread and closes ``items``.
    """
    queue: Queue[tuple[bool, Any]] = Queue(_AHEAD)
    closed = Event()

    def put(entry: tuple[bool, Any]) -> bool:
        while not closed.is_set():
            try:
                queue.put(entry, timeout=0.1)
            except Full:
                continue
            return True
        return False

    def make() -> None:
        try:
            with closing(items):
                for item in items:
                    if not put((True, item)):
                        return
            put((False, None))
        except BaseException as error:  # reraised in the consumer
            put((False, error))

    thread = Thread(target=make, name="dda-ahead", daemon=True)
    thread.start()
    try:
        while True:
            more, item = queue.get()
            if not more:
                if item is not None:
                    raise item
                return
            yield item
    finally:
        closed.set()
        thread.join(timeout=5)  # do not wait for a read that hangs in the network
