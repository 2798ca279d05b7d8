"""Presigned links to a target's products, and resumable downloads of them."""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING

from pydantic import BaseModel, ConfigDict

from dda_core.archives.file_sink import output_file
from dda_core.archives.source import S3Source
from dda_core.aws.s3 import parse_s3_uri
from dda_core.exceptions import NoPlainFile, ObjectChanged, UsageError

if TYPE_CHECKING:
    from mypy_boto3_s3 import S3Client

    from dda_core.aws.clients import AwsClients


class Product(StrEnum):
    """A file of a target that can be downloaded."""

    COMPILED = "compiled"
    PACKAGE = "package"
    LOG = "log"


LONGEST = timedelta(hours=12)
"""The longest time that a link may be valid."""
STARTS = 3
"""How often a download is started because its object was replaced in the meantime."""


class DownloadLink(BaseModel):
    """A presigned link. Anyone who has it can read the object until ``expires``."""

    model_config = ConfigDict(frozen=True)

    uri: str
    url: str
    expires: datetime


def presign(aws: AwsClients, uri: str, valid: timedelta) -> DownloadLink:
    """A link to the object that works for ``valid``, or until the credentials that signed it expire.

    Raises:
        UsageError: ``valid`` is more than 12 hours or less than a second.
        FileMissing: there is no such object.
        AwsCallFailed: S3 refused, or did not respond.
    """
    seconds = int(valid.total_seconds())
    if not 1 <= seconds <= LONGEST.total_seconds():
        raise UsageError(f"a link cannot be valid for {seconds} s", expected="at least a second and at most 12 hours")
    S3Source(aws.s3, *parse_s3_uri(uri))  # raises FileMissing: S3 would sign a link to a missing object too
    bucket, key = parse_s3_uri(uri)
    ends = aws.credentials_end()
    made = datetime.now(UTC)
    url = aws.s3.generate_presigned_url("get_object", Params={"Bucket": bucket, "Key": key}, ExpiresIn=seconds)
    expires = made + timedelta(seconds=seconds)
    return DownloadLink(uri=uri, url=url, expires=(min(ends, expires) if ends else expires).replace(microsecond=0))


def download(s3: S3Client, uri: str, file: Path, progress: Callable[[int, int], None] = lambda done, size: None) -> int:
    """Download the object to ``file``, which appears only when it is complete; returns its size in bytes.

    An interrupted download leaves ``<file>.part``; the next one of the same object resumes from there.

    Args:
        s3: a client that may read the object.
        uri: the ``s3://`` URI.
        file: overwritten if it exists.
        progress: called after each block with the bytes downloaded so far and the object's size.

    Raises:
        FileMissing: there is no such object.
        NoPlainFile: ``file`` or its ``.part`` exists and is not a regular file.
        OSError: a file cannot be written; the error names it.
        ObjectChanged: the object was replaced during each of the ``STARTS`` downloads.
        AwsCallFailed: S3 refused, or did not respond.
    """
    file = output_file(file)
    part, state = (file.with_name(f"{file.name}{suffix}") for suffix in (".part", ".part.json"))
    for each in (part, state):
        if each.is_symlink():  # only this function creates these files, never as links
            raise NoPlainFile(each, "a symbolic link")
        output_file(each)
    for _ in range(STARTS):
        source = S3Source(s3, *parse_s3_uri(uri))
        about: dict[str, object] = {"uri": uri, "etag": source.etag, "size": source.size}
        if not _same(state, about) or not part.is_file() or part.stat().st_size > source.size:
            _write(part, b"")
            _write(state, json.dumps(about).encode())
        try:
            _fetch(source, part, progress)
        except ObjectChanged:
            continue
        if part.stat().st_size != source.size:  # another process wrote to it too
            part.unlink()
            continue
        os.replace(part, output_file(file))
        state.unlink()
        return source.size
    raise ObjectChanged(
        f"{uri} was replaced, or another process wrote to {part}, {STARTS} times", uri=uri, remedy="Try again later."
    )


def _write(path: Path, content: bytes) -> None:
    with open(path, "wb", opener=_open_no_follow) as file:
        file.write(content)


def _open_no_follow(path: str, flags: int) -> int:
    """An opener that fails on a symbolic link, which may have appeared since the check."""
    return os.open(path, flags | os.O_NOFOLLOW, 0o666)


def _same(state: Path, about: dict[str, object]) -> bool:
    try:
        return bool(json.loads(state.read_text(encoding="utf-8")) == about)
    except (OSError, ValueError):
        return False


def _fetch(source: S3Source, part: Path, progress: Callable[[int, int], None]) -> None:
    with open(part, "ab", opener=_open_no_follow) as out:
        done = out.tell()
        progress(done, source.size)
        for block in source.blocks(start=done):
            out.write(block)
            done += len(block)
            progress(done, source.size)
        out.flush()
        os.fsync(out.fileno())
