"""What a training job's target made, for a person to fetch: presigned links, and downloads that can be resumed."""

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
    """What of a target can be fetched."""

    COMPILED = "compiled"
    PACKAGE = "package"
    LOG = "log"


LONGEST = timedelta(hours=12)
"""The most that a link may be valid."""
STARTS = 3
"""How often a download begins anew because its object was replaced meanwhile."""


class DownloadLink(BaseModel):
    """A presigned link. Whoever has it may read the object until ``expires``."""

    model_config = ConfigDict(frozen=True)

    uri: str
    url: str
    expires: datetime


def presign(aws: AwsClients, uri: str, valid: timedelta) -> DownloadLink:
    """A link to the object that works for ``valid``, or until the credentials that sign it end.

    Raises:
        UsageError: ``valid`` is over 12 hours or under a second.
        FileMissing: there is no such object.
        AwsCallFailed: S3 cannot be asked.
    """
    seconds = int(valid.total_seconds())
    if not 1 <= seconds <= LONGEST.total_seconds():
        raise UsageError(f"a link cannot be valid for {seconds} s", expected="at least a second and at most 12 hours")
    S3Source(aws.s3, *parse_s3_uri(uri))  # a link to nothing is worth nothing
    bucket, key = parse_s3_uri(uri)
    ends = aws.credentials_end()
    made = datetime.now(UTC)
    url = aws.s3.generate_presigned_url("get_object", Params={"Bucket": bucket, "Key": key}, ExpiresIn=seconds)
    expires = made + timedelta(seconds=seconds)
    return DownloadLink(uri=uri, url=url, expires=(min(ends, expires) if ends else expires).replace(microsecond=0))


def download(s3: S3Client, uri: str, file: Path, tell: Callable[[int, int], None] = lambda done, size: None) -> int:
    """Download the object to ``file``, which appears when it is whole; its size in bytes.

    What came of an earlier, interrupted download of the same object is kept in ``<file>.part``, and not fetched again.

    Args:
        s3: a client that may read the object.
        uri: the ``s3://`` URI.
        file: overwritten if it is there.
        tell: given the bytes that are there and the object's size, again and again.

    Raises:
        FileMissing: there is no such object.
        NoPlainFile: something else than a plain file is where one is written.
        OSError: it cannot be written; it names the file.
        ObjectChanged: the object was replaced again and again.
        AwsCallFailed: S3 cannot be read.
    """
    file = output_file(file)
    part, state = (file.with_name(f"{file.name}{suffix}") for suffix in (".part", ".part.json"))
    for each in (part, state):
        if each.is_symlink():  # nobody but us makes these files
            raise NoPlainFile(each, "a symbolic link")
        output_file(each)
    for _ in range(STARTS):
        source = S3Source(s3, *parse_s3_uri(uri))
        about: dict[str, object] = {"uri": uri, "etag": source.etag, "size": source.size}
        if not _same(state, about) or not part.is_file() or part.stat().st_size > source.size:
            _write(part, b"")
            _write(state, json.dumps(about).encode())
        try:
            _fetch(source, part, tell)
        except ObjectChanged:
            continue
        if part.stat().st_size != source.size:  # another process writes to it too
            part.unlink()
            continue
        os.replace(part, output_file(file))
        state.unlink()
        return source.size
    raise ObjectChanged(
        f"{uri} was replaced, or {part} was written by others, {STARTS} times", uri=uri, remedy="Try again later."
    )


def _write(path: Path, content: bytes) -> None:
    with open(path, "wb", opener=_without_following) as file:
        file.write(content)


def _without_following(path: str, flags: int) -> int:
    """Open a file of ours; a link that has come there since is an error."""
    return os.open(path, flags | os.O_NOFOLLOW, 0o666)


def _same(state: Path, about: dict[str, object]) -> bool:
    try:
        return bool(json.loads(state.read_text(encoding="utf-8")) == about)
    except (OSError, ValueError):
        return False


def _fetch(source: S3Source, part: Path, tell: Callable[[int, int], None]) -> None:
    with open(part, "ab", opener=_without_following) as out:
        done = out.tell()
        tell(done, source.size)
        for block in source.blocks(start=done):
            out.write(block)
            done += len(block)
            tell(done, source.size)
        out.flush()
        os.fsync(out.fileno())
