"""Reads a finished package as a device would, and says everything that is wrong with it."""

from __future__ import annotations

import json
import stat
import zipfile
import zlib
from collections import Counter
from pathlib import Path

from dda_core.archives.codec import BLOCK
from dda_core.archives.tar import MAX_TEXT, plain_name, unsafe_name
from dda_core.archives.zip import MAX_PACKAGE
from dda_core.device_rules import package_findings
from dda_core.exceptions import FileMissing
from dda_core.manifest import MANIFEST_NAME
from dda_core.package import SUFFIX

_UNREADABLE = (zipfile.BadZipFile, zlib.error, EOFError, NotImplementedError, RuntimeError, OSError, ValueError)
_ENCRYPTED = 0x1


def verify_package(path: Path) -> list[str]:
    """Every reason why a device would refuse the package at ``path``; empty when it would accept it.

    Raises:
        FileMissing: there is no such file.
    """
    if not path.is_file():
        raise FileMissing(f"{path} does not exist or is no file; the path of a package (.zip) was expected")
    findings = []
    if not path.name.endswith(SUFFIX):
        findings.append(f"the name {path.name} does not end in {SUFFIX}; rename the file")
    if path.stat().st_size > MAX_PACKAGE:
        findings.append(f"the package is over {MAX_PACKAGE} bytes, the most that Greengrass takes")
    try:
        with zipfile.ZipFile(path) as package:
            findings += _content_findings(package)
    except _UNREADABLE as error:
        findings.append(f"{path.name} is no readable ZIP ({error}); build the package again")
    return findings


def _content_findings(package: zipfile.ZipFile) -> list[str]:
    findings = []
    for member in package.infolist():
        findings += _member_findings(member)
    names = [member.filename for member in package.infolist()]
    present = set(names)
    counts = Counter(plain_name(name) for name in names)
    findings += [f"{name} is there {count} times; keep one" for name, count in counts.items() if count > 1]
    for name in counts:
        parents = name.split("/")[:-1]
        for depth in range(1, len(parents) + 1):
            parent = "/".join(parents[:depth])
            if parent in present:
                findings.append(f"{parent} is a file and {name} is below it; remove one")
    manifest: object = None
    for member in package.infolist():
        if not member.filename.endswith("/"):
            text, problem = _read(package, member, keep=member.filename == MANIFEST_NAME)
            findings += problem
            if member.filename == MANIFEST_NAME and not problem:
                manifest, problem = _parse(text)
                findings += problem
    return findings + package_findings(names, manifest)


def _member_findings(member: zipfile.ZipInfo) -> list[str]:
    name = member.orig_filename
    findings = []
    if not name:
        findings.append("a member has no name; remove it")
    elif reason := unsafe_name(name):
        findings.append(f"{name!r} {reason}; remove it")
    mode = member.external_attr >> 16
    if stat.S_IFMT(mode) not in (0, stat.S_IFREG, stat.S_IFDIR):
        kind = "a symbolic link" if stat.S_ISLNK(mode) else "a device, pipe or socket"
        findings.append(f"{name!r} is {kind}; only regular files and folders are allowed: remove it")
    if member.flag_bits & _ENCRYPTED:
        findings.append(f"{name!r} is encrypted; store it in the clear")
    return findings


def _read(package: zipfile.ZipFile, member: zipfile.ZipInfo, keep: bool) -> tuple[bytes, list[str]]:
    """Read a member to its checksum; its bytes where they are to be kept."""
    if member.flag_bits & _ENCRYPTED:
        return b"", []
    if keep and member.file_size > MAX_TEXT:
        return b"", [f"{member.filename} has {member.file_size} bytes, over {MAX_TEXT}; build the package again"]
    kept = bytearray()
    try:
        with package.open(member) as file:
            while block := file.read(BLOCK):
                if keep:
                    kept += block
    except _UNREADABLE as error:
        return b"", [f"{member.filename} is damaged ({error}); build the package again"]
    return bytes(kept), []


def _parse(text: bytes) -> tuple[object, list[str]]:
    try:
        return json.loads(text), []
    except (ValueError, RecursionError) as error:
        return None, [f"{MANIFEST_NAME} is no JSON ({error}); build the package again"]
