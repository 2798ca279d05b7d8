"""Reads a finished package as a device would, and reports everything that is wrong with it."""

from __future__ import annotations

import codecs
import json
import stat
import zipfile
import zlib
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import IO, Any, NamedTuple

from dda_core.archives.codec import BLOCK
from dda_core.archives.tar import MAX_TEXT, plain_name, unsafe_name
from dda_core.archives.zip import MAX_PACKAGE, MAX_UNPACKED
from dda_core.device.findings import DeviceFinding, Failure, broken_rule
from dda_core.device.folder import HEAD, MAX_META, NOTHING, Expectation, StageFile, StageFiles
from dda_core.device.manifest import MANIFEST_NAME
from dda_core.device.package import package_findings
from dda_core.encoding import foreign_encoding
from dda_core.exceptions import FileMissing
from dda_core.model.package import SUFFIX

_UNREADABLE = (zipfile.BadZipFile, zlib.error, EOFError, NotImplementedError, RuntimeError, OSError, ValueError)
_ENCRYPTED = 0x1
UNREADABLE = "zip"
"""The rule that a package must be a ZIP."""
_BUILD = "Build the package again."
_finding = partial(broken_rule, failure=Failure.STARTUP)
"""A finding because of which the device cannot unpack the package or start the component."""


class PackageContents(NamedTuple):
    """The parts of a package that the rules check.

    Attributes:
        files: its members.
        manifest: the parsed ``manifest.json``; None if it is missing or cannot be read.
        findings: what is wrong with the ZIP itself: members that cannot be unpacked, a damaged manifest.
    """

    files: list[StageFile]
    manifest: Any
    findings: list[DeviceFinding]

    def all_findings(self, expected: Expectation = NOTHING) -> list[DeviceFinding]:
        """What is wrong with the ZIP and, if it can be read, with its content."""
        if any(each.rule == UNREADABLE for each in self.findings):
            return self.findings
        return [*self.findings, *package_findings(self.files, self.manifest, expected)]


def verify_package(path: Path, expected: Expectation = NOTHING) -> list[DeviceFinding]:
    """Every error and warning for the package at ``path``; empty if there are none.

    Args:
        path: of the ZIP, which is read completely.
        expected: what its model should be for, if known.

    Raises:
        FileMissing: there is no such file.
    """
    if not path.is_file():
        raise FileMissing(f"{path} does not exist or is not a file", path=path, expected="the path of a package (.zip)")
    findings = name_findings(path.name, path.stat().st_size)
    with path.open("rb") as file:
        contents = read_package(file, path.name, whole=True)
    return [*findings, *contents.all_findings(expected)]


def name_findings(name: str, size: int) -> list[DeviceFinding]:
    """What is wrong with a package's name, or its size in bytes."""
    findings = []
    if not name.endswith(SUFFIX):
        findings.append(
            _finding("zip-name", f"the name {name}", f"does not end in {SUFFIX}", "that ending", "Rename the file.")
        )
    if size > MAX_PACKAGE:
        found = f"has {size} bytes"
        findings.append(
            _finding(
                "zip-size", name, found, f"at most {MAX_PACKAGE}, AWS IoT Greengrass's limit", "Train a smaller model."
            )
        )
    return findings


def read_package(file: IO[bytes], name: str, *, whole: bool) -> PackageContents:
    """The parts of a ZIP that the rules check.

    Args:
        file: the ZIP, seekable.
        name: its name, for messages.
        whole: read every member to its checksum; else only the few bytes that the rules check, so that a package in
            S3 needs only a few ranged requests.
    """
    try:
        with zipfile.ZipFile(file) as package:
            return _contents(package, whole)
    except _UNREADABLE as error:
        found = f"is not a readable ZIP ({error})"
        return PackageContents([], None, [_finding(UNREADABLE, name, found, "a package", _BUILD)])


def _contents(package: zipfile.ZipFile, whole: bool) -> PackageContents:
    members = package.infolist()
    findings = [each for member in members for each in _member_findings(member)]
    findings += _name_clashes([member.filename for member in members])
    unpacked = sum(member.file_size for member in members)
    if unpacked > MAX_UNPACKED:
        found = f"unpacks to {unpacked} bytes"
        findings.append(
            _finding("zip-unpacked", "the package", found, f"at most {MAX_UNPACKED}", "Train a smaller model.")
        )
        whole = False  # no point in inflating gigabytes
    seen = StageFiles()
    manifest: Any = None
    for member in members:
        is_manifest = member.filename == MANIFEST_NAME
        too_large = is_manifest and member.file_size > MAX_TEXT
        if too_large:
            found = f"has {member.file_size} bytes"
            findings.append(_finding("manifest", member.filename, found, f"at most {MAX_TEXT}", _BUILD))
        if member.filename.endswith("/") or member.flag_bits & _ENCRYPTED or too_large:
            seen.files.append(StageFile(member.filename, b""))
            continue
        with _reported(member.filename, findings):
            text = _read(package, member, seen, keep=is_manifest, whole=whole)
            if is_manifest:
                manifest, problem = _parse(text)
                findings += problem
    return PackageContents(seen.files, manifest, findings)


def _read(package: zipfile.ZipFile, member: zipfile.ZipInfo, seen: StageFiles, *, keep: bool, whole: bool) -> bytes:
    """Read a member; ``seen`` records what the rules check. Returns its bytes if ``keep``."""

    def pieces() -> Iterator[bytes]:
        with package.open(member) as file:
            if whole or keep:
                size = 0
                while block := file.read(BLOCK):
                    size += len(block)
                    yield block
                if size != member.file_size:
                    raise ValueError(f"it has {size} bytes, its header says {member.file_size}")
            elif member.filename.endswith(".meta"):
                yield file.read(MAX_META + 1)
            elif member.filename.endswith(".so"):
                yield file.read(HEAD)

    kept = bytearray()
    for piece in seen.watch(member.filename, pieces()):
        if keep:
            kept += piece
    return bytes(kept)


@contextmanager
def _reported(name: str, findings: list[DeviceFinding]) -> Iterator[None]:
    """Report a member that cannot be read as a finding."""
    try:
        yield
    except _UNREADABLE as error:
        findings.append(
            _finding("zip-member", name, f"is damaged ({error})", "content that matches its checksum", _BUILD)
        )


def _name_clashes(names: list[str]) -> Iterator[DeviceFinding]:
    present = set(names)
    counts = Counter(plain_name(name) for name in names)
    for name, count in counts.items():
        if count > 1:
            yield _finding("zip-member", name, f"occurs {count} times", "each name once", "Keep one.")
    for name in counts:
        parents = name.split("/")[:-1]
        for depth in range(1, len(parents) + 1):
            parent = "/".join(parents[:depth])
            if parent in present:
                found = f"is a file and {name} is below it"
                yield _finding("zip-member", parent, found, "a file or a folder of that name", "Remove one.")


def _member_findings(member: zipfile.ZipInfo) -> Iterator[DeviceFinding]:
    name = member.orig_filename
    key = repr(name)
    if not name:
        yield _finding("zip-member", "a member", "has no name", "a name", "Remove it.")
    elif reason := unsafe_name(name):
        yield _finding("zip-member", key, reason, "plain relative names", "Remove it.")
    mode = member.external_attr >> 16
    if stat.S_IFMT(mode) not in (0, stat.S_IFREG, stat.S_IFDIR):
        kind = "a symbolic link" if stat.S_ISLNK(mode) else "a device, pipe or socket"
        yield _finding("zip-member", key, f"is {kind}", "regular files and folders only", "Remove it.")
    if member.flag_bits & _ENCRYPTED:
        yield _finding("zip-member", key, "is encrypted", "members without encryption", "Store it unencrypted.")


def _parse(text: bytes) -> tuple[Any, list[DeviceFinding]]:
    """The manifest as a device parses it: UTF-8 without a byte order mark, NaN and Infinity allowed."""
    try:
        if text.startswith(codecs.BOM_UTF8):
            raise ValueError("it begins with a byte order mark")
        if encoding := foreign_encoding(text):
            raise ValueError(f"it is in {encoding}")
        return json.loads(text.decode()), []
    except (ValueError, RecursionError) as error:
        found = f"is not JSON ({error})"
        return None, [_finding("manifest", MANIFEST_NAME, found, "a JSON object in UTF-8", _BUILD)]
