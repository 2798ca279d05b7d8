"""The trained archive: one streaming pass reads what the manifest needs and repackages the model file.

The ``.pt`` is streamed from the archive into the input of the compilation jobs, which becomes visible only after the
whole archive has been read and has passed every check.
"""

from __future__ import annotations

import codecs
import hashlib
import tarfile
from collections.abc import Callable
from contextlib import closing
from pathlib import PurePosixPath
from threading import Event

from dda_core.archives.codec import GzipWriter
from dda_core.archives.s3_sink import Sink
from dda_core.archives.source import Source
from dda_core.archives.tar import Member, TarReader, read_tar
from dda_core.device.manifest import check_manifest
from dda_core.exceptions import ModelFileAmbiguous, ModelFileInvalid, ModelFileMissing
from dda_core.model.description import (
    CONFIG,
    DESCRIPTIONS,
    MANIFEST,
    MOCHI,
    Description,
    read_description,
)
from dda_core.model.manifest import TrainedModel, dda_manifest

EXPORT_FOLDER = "export_artifacts"

_ZIP = b"PK\x03\x04"
"""The first bytes of a TorchScript file, which is a ZIP since PyTorch 1.0."""
_HEAD = 64
"""Leading bytes of the model file that identify its format."""
_OTHER_KINDS = {
    b"<!doctype html": "a web page (HTML)",
    b"<html": "a web page (HTML)",
    b"<?xml": "an XML document",
    b"<error": "an XML document",
    b"{": "a JSON document",
    b"version https://git-lfs": "a Git LFS pointer in place of the file",
    b"\x1f\x8b": "a gzip file",
    b"\x80": "a pickle, as torch.save of old PyTorch versions writes it",
}
"""Other formats by their leading bytes, in lower case and without leading white space."""


def read_trained_archive(
    source: Source, repackage: Callable[[], Sink] | None = None, stop: Event | None = None
) -> TrainedModel:
    """Read a trained archive once, through to its checksum.

    Args:
        source: the archive.
        repackage: creates a sink for the repackaged archive (a tar.gz with the model file as its only member). It may
            be called again: a model file at the root replaces one found earlier in ``export_artifacts/``. The last
            sink is completed after every check has passed; any other is aborted. None: nothing is repackaged.
        stop: set it to stop with ``Interrupted``.

    Raises:
        ArchiveBroken: empty, damaged, truncated, or not a gzip tar.
        ArchiveHostile: a member is not a regular file or folder.
        ModelFileMissing: a required file is missing.
        ModelFileAmbiguous: there are several TorchScript files in the same folder.
        ModelFileInvalid: the model file is not a TorchScript file.
        ModelDescriptionInvalid: a description cannot be read or lacks a key.
        ShapeMismatch: the descriptions disagree, or the pipeline does not compile that shape.
        DeviceWouldRefuse: the manifest breaks a device rule.
    """
    texts: dict[str, bytes] = {}
    choice = _Choice(repackage)
    try:
        with closing(read_tar(source, stop)) as members:
            for reader, member in members:
                if not member.is_file:
                    continue
                if member.name in DESCRIPTIONS:
                    texts[member.name] = reader.text(member)
                elif _is_candidate(member.name):
                    choice.offer(reader, member)
        model_file = choice.chosen(source.uri)
        description = _describe(texts, source.uri)
        model = TrainedModel(
            uri=source.uri,
            etag=source.etag,
            model_file=PurePosixPath(model_file.name).name,
            model_file_size=model_file.size,
            model_file_sha256=choice.sha256,
            input_shape=description.input_shape,
            image_width=description.image_width,
            image_height=description.image_height,
            model_graph=description.model_graph,
        )
        check_manifest(dda_manifest(model), source.uri)
        choice.complete()
    finally:
        choice.abandon()
    return model


def _describe(texts: dict[str, bytes], where: str) -> Description:
    missing = [name for name in (CONFIG, MOCHI, MANIFEST) if name not in texts]
    if missing:
        raise ModelFileMissing(
            f"{where} holds no {' and no '.join(missing)}",
            archive=where,
            expected=f"{CONFIG}, {MOCHI} and {MANIFEST}, which a trained archive needs",
            remedy="Export the model again.",
        )
    return read_description(texts, where)


def _is_candidate(name: str) -> bool:
    """Whether the file is a ``*.pt`` at the root or in ``export_artifacts/`` and, as with a glob, not hidden."""
    path = PurePosixPath(name)
    return name.endswith(".pt") and not path.name.startswith(".") and str(path.parent) in (".", EXPORT_FOLDER)


class _Choice:
    """Chooses the model file while the archive is read, and repackages the best candidate so far."""

    def __init__(self, repackage: Callable[[], Sink] | None) -> None:
        self.sha256 = ""
        self._head = b""
        self._repackage = repackage
        self._sink: Sink | None = None
        self._root: list[Member] = []
        self._exported: list[Member] = []

    def offer(self, reader: TarReader, member: Member) -> None:
        """Consider the current member as a candidate."""
        at_root = "/" not in member.name
        place = self._root if at_root else self._exported
        place.append(member)
        if len(place) > 1 and (at_root or not self._root):
            self.abandon()  # ambiguous, unless a file at the root follows
        elif len(place) == 1 and (at_root or not self._root):
            self._take(reader, member)

    def chosen(self, where: str) -> Member:
        """The chosen model file."""
        candidates = self._root or self._exported
        if not candidates:
            raise ModelFileMissing(
                f"{where} holds no TorchScript file",
                archive=where,
                expected=f"a .pt at the root or in {EXPORT_FOLDER}/",
                remedy="Export the model again.",
            )
        if len(candidates) > 1:
            raise ModelFileAmbiguous(where, sorted(member.name for member in candidates))
        if not candidates[0].size:
            raise ModelFileMissing(
                f"{candidates[0].name} in {where} is empty", archive=where, remedy="Export the model again."
            )
        if not self._head.startswith(_ZIP):
            raise ModelFileInvalid(candidates[0].name, where, _kind_of(self._head))
        return candidates[0]

    def complete(self) -> None:
        """Make the repackaged archive visible."""
        if self._sink is not None:
            self._sink.complete()
            self._sink = None

    def abandon(self) -> None:
        """Abort the repackaged archive, unless it is complete."""
        if self._sink is not None:
            sink, self._sink = self._sink, None
            sink.abort()

    def _take(self, reader: TarReader, member: Member) -> None:
        self.abandon()
        digest = hashlib.sha256()
        self._head = b""
        archive: GzipWriter | None = None
        if self._repackage is not None:
            self._sink = self._repackage()
            archive = GzipWriter(self._sink)
            archive.write(_member_header(PurePosixPath(member.name).name, member.size))
        for piece in reader.content():
            digest.update(piece)
            if len(self._head) < _HEAD:
                self._head += bytes(piece[: _HEAD - len(self._head)])
            if archive is not None:
                archive.write(piece)
        if archive is not None:
            archive.write(bytes(-member.size % tarfile.BLOCKSIZE + 2 * tarfile.BLOCKSIZE))
            archive.finish()
        self.sha256 = digest.hexdigest()


def _kind_of(head: bytes) -> str | None:
    """The format of a file that starts with ``head``; None if unknown."""
    if not head.strip(b"\0"):
        return "a file of zeros"
    beginning = head.removeprefix(codecs.BOM_UTF8).lstrip().lower()
    return next((kind for start, kind in _OTHER_KINDS.items() if beginning.startswith(start)), None)


def _member_header(name: str, size: int) -> bytes:
    """A tar header without timestamp or owner, so that the same model file gives the same archive."""
    info = tarfile.TarInfo(name)
    info.size = size
    info.mode = 0o644
    return info.tobuf(tarfile.PAX_FORMAT)
