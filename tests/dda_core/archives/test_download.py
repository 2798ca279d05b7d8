"""Presigned links and downloads, against the embedded AWS."""

from __future__ import annotations

import json
import os
import urllib.error
import urllib.request
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

import pytest

from dda_core.archives.download import LONGEST, download, presign
from dda_core.aws.clients import AwsClients
from dda_core.exceptions import FileMissing, NoPlainFile, ObjectChanged, UsageError
from dda_core.use_case import UseCase
from deployments.local.aws import LocalAws, local_aws
from tests.fixtures.s3 import BUCKET, s3_in_process

MEBIBYTE = 1024 * 1024


@pytest.fixture
def aws(monkeypatch: pytest.MonkeyPatch) -> Iterator[LocalAws]:
    with local_aws() as aws:
        for name, value in aws.environ.items():
            monkeypatch.setenv(name, value)
        yield aws


def clients(aws: LocalAws, **fields: Any) -> AwsClients:
    return AwsClients(
        UseCase(usecase_id="local", account_id="123456789012", region="us-east-1", s3_bucket=aws.bucket, **fields)
    )


def put(aws: LocalAws, content: bytes, key: str = "a/model.tar.gz") -> str:
    aws.client("s3").put_object(Bucket=aws.bucket, Key=key, Body=content)
    return f"s3://{aws.bucket}/{key}"


def test_a_link_needs_no_credentials_and_has_its_expiry(aws: LocalAws) -> None:
    made = presign(clients(aws), put(aws, b"compiled"), timedelta(minutes=30))
    with urllib.request.urlopen(made.url) as answer:
        assert answer.read() == b"compiled"
    query = parse_qs(urlsplit(made.url).query)
    assert query["X-Amz-Expires"] == ["1800"]
    assert query["X-Amz-Algorithm"] == ["AWS4-HMAC-SHA256"]
    assert abs(made.expires - datetime.now(UTC) - timedelta(minutes=30)) < timedelta(seconds=10)


@pytest.mark.parametrize("valid", [timedelta(0), timedelta(seconds=-5), LONGEST + timedelta(seconds=1)])
def test_a_link_is_valid_for_twelve_hours_at_most(aws: LocalAws, valid: timedelta) -> None:
    with pytest.raises(UsageError, match="12 hours"):
        presign(clients(aws), put(aws, b"x"), valid)


def test_a_missing_object_gets_no_link(aws: LocalAws) -> None:
    with pytest.raises(FileMissing, match="gone"):
        presign(clients(aws), f"s3://{aws.bucket}/gone", timedelta(hours=1))


def test_a_link_expires_with_the_credentials_that_signed_it(aws: LocalAws) -> None:
    role = "arn:aws:iam::123456789012:role/DDAPortal"
    made = presign(clients(aws, cross_account_role_arn=role), put(aws, b"x"), timedelta(hours=12))
    assert made.expires - datetime.now(UTC) <= timedelta(hours=1, seconds=5)


def test_a_download_is_complete_and_leaves_no_part_files(aws: LocalAws, tmp_path: Path) -> None:
    content, told = os.urandom(20 * MEBIBYTE + 7), []
    file = tmp_path / "model.tar.gz"
    size = download(aws.client("s3"), put(aws, content), file, lambda done, size: told.append((done, size)))
    assert size == len(content)
    assert file.read_bytes() == content
    assert os.listdir(tmp_path) == ["model.tar.gz"]
    assert told[0] == (0, size)
    assert told[-1] == (size, size)


def test_an_interrupted_download_resumes(aws: LocalAws, tmp_path: Path) -> None:
    content, file = os.urandom(20 * MEBIBYTE), tmp_path / "model.tar.gz"
    uri = put(aws, content)

    def interrupt(done: int, size: int) -> None:
        if done >= 9 * MEBIBYTE:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        download(aws.client("s3"), uri, file, interrupt)
    assert not file.exists()
    kept = (tmp_path / "model.tar.gz.part").stat().st_size
    assert kept >= 9 * MEBIBYTE
    told: list[int] = []
    download(aws.client("s3"), uri, file, lambda done, size: told.append(done))
    assert told[0] == kept, "what was there is not fetched again"
    assert file.read_bytes() == content


def test_a_replaced_object_is_downloaded_from_the_start(aws: LocalAws, tmp_path: Path) -> None:
    file, uri = tmp_path / "f", put(aws, b"a" * 100)
    (tmp_path / "f.part").write_bytes(b"a" * 50)
    etag = aws.client("s3").head_object(Bucket=aws.bucket, Key="a/model.tar.gz")["ETag"]
    (tmp_path / "f.part.json").write_text(json.dumps({"uri": uri, "etag": etag, "size": 100}))
    put(aws, b"b" * 100)
    download(aws.client("s3"), uri, file)
    assert file.read_bytes() == b"b" * 100


def test_an_object_replaced_during_the_download_is_downloaded_from_the_start(aws: LocalAws, tmp_path: Path) -> None:
    first, second, file = os.urandom(80 * MEBIBYTE), os.urandom(60 * MEBIBYTE), tmp_path / "f"
    uri = put(aws, first)
    replaced = []

    def replace(done: int, size: int) -> None:
        if not replaced and done >= MEBIBYTE:
            replaced.append(put(aws, second))

    download(aws.client("s3"), uri, file, replace)
    assert replaced
    assert file.read_bytes() == second


def test_a_part_without_a_state_file_is_not_trusted(aws: LocalAws, tmp_path: Path) -> None:
    (tmp_path / "f.part").write_bytes(b"something else")
    download(aws.client("s3"), put(aws, b"content of the object"), tmp_path / "f")
    assert (tmp_path / "f").read_bytes() == b"content of the object"


def test_an_empty_object_and_an_existing_file(aws: LocalAws, tmp_path: Path) -> None:
    (tmp_path / "f").write_bytes(b"old")
    assert download(aws.client("s3"), put(aws, b""), tmp_path / "f") == 0
    assert (tmp_path / "f").read_bytes() == b""


def test_a_folder_is_refused(aws: LocalAws, tmp_path: Path) -> None:
    with pytest.raises(NoPlainFile, match="folder"):
        download(aws.client("s3"), put(aws, b"x"), tmp_path)


@pytest.mark.parametrize("name", ["model.tar.gz", "model.tar.gz.part", "model.tar.gz.part.json"])
def test_a_pipe_or_a_link_to_a_device_is_not_written_to(aws: LocalAws, tmp_path: Path, name: str) -> None:
    uri = put(aws, b"x")
    os.mkfifo(tmp_path / name)
    with pytest.raises(NoPlainFile, match="a named pipe"):
        download(aws.client("s3"), uri, tmp_path / "model.tar.gz")
    (tmp_path / name).unlink()
    (tmp_path / name).symlink_to("/dev/null")
    with pytest.raises(NoPlainFile, match="a symbolic link"):
        download(aws.client("s3"), uri, tmp_path / "model.tar.gz")
    assert (tmp_path / name).is_symlink()
    assert os.listdir(tmp_path) == [name]


@pytest.mark.parametrize("suffix", [".part", ".part.json"])
def test_no_link_is_followed_for_the_parts_of_a_download(aws: LocalAws, tmp_path: Path, suffix: str) -> None:
    other = tmp_path / "other"
    other.write_bytes(b"precious")
    (tmp_path / f"model.tar.gz{suffix}").symlink_to(other)
    with pytest.raises(NoPlainFile, match="a symbolic link"):
        download(aws.client("s3"), put(aws, b"x"), tmp_path / "model.tar.gz")
    assert other.read_bytes() == b"precious"


def test_the_users_own_link_is_followed(aws: LocalAws, tmp_path: Path) -> None:
    file, link = tmp_path / "file", tmp_path / "link"
    file.write_bytes(b"before")
    link.symlink_to(file)
    download(aws.client("s3"), put(aws, b"after"), link)
    assert (link.is_symlink(), file.read_bytes()) == (True, b"after")
    assert sorted(os.listdir(tmp_path)) == ["file", "link"]


@pytest.fixture
def s3() -> Iterator[Any]:
    with s3_in_process() as client:
        yield client


URI = f"s3://{BUCKET}/a/model.tar.gz"


def stored(s3: Any, content: bytes) -> str:
    return str(s3.put_object(Bucket=BUCKET, Key="a/model.tar.gz", Body=content)["ETag"])


def test_the_state_file_identifies_the_object(s3: Any, tmp_path: Path) -> None:
    etag = stored(s3, b"content")

    def interrupt(done: int, size: int) -> None:
        if done:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        download(s3, URI, tmp_path / "f", interrupt)
    state = json.loads((tmp_path / "f.part.json").read_text())
    assert state == {"uri": URI, "etag": etag, "size": 7}


@pytest.mark.parametrize("change", [{"uri": "s3://b/other"}, {"etag": '"other"'}, {"size": 6}, None])
def test_a_part_of_another_object_is_not_resumed(s3: Any, tmp_path: Path, change: Any) -> None:
    state = {"uri": URI, "etag": stored(s3, b"content"), "size": 7}
    (tmp_path / "f.part").write_bytes(b"CON")
    (tmp_path / "f.part.json").write_text("no JSON" if change is None else json.dumps(state | change))
    assert download(s3, URI, tmp_path / "f") == 7
    assert (tmp_path / "f").read_bytes() == b"content"


@pytest.mark.parametrize(("part", "whole"), [(b"CON", b"CONtent"), (b"CONTENT", b"CONTENT"), (b"CONTENT!", b"content")])
def test_a_part_longer_than_the_object_is_not_trusted(s3: Any, tmp_path: Path, part: bytes, whole: bytes) -> None:
    state = {"uri": URI, "etag": stored(s3, b"content"), "size": 7}
    (tmp_path / "f.part").write_bytes(part)
    (tmp_path / "f.part.json").write_text(json.dumps(state))
    told: list[tuple[int, int]] = []
    download(s3, URI, tmp_path / "f", lambda done, size: told.append((done, size)))
    assert (tmp_path / "f").read_bytes() == whole
    assert told[0] == (0 if whole == b"content" else len(part), 7)
    assert told[-1] == (7, 7)
    assert os.listdir(tmp_path) == ["f"]


def test_a_download_fails_if_its_object_keeps_being_replaced(s3: Any, tmp_path: Path) -> None:
    starts: list[int] = []

    def spoil(done: int, size: int) -> None:
        if not done:
            starts.append(size)
        else:
            with (tmp_path / "f.part").open("ab") as part:
                part.write(b"!")

    stored(s3, b"content")
    with pytest.raises(ObjectChanged, match="3 times"):
        download(s3, URI, tmp_path / "f", spoil)
    assert starts == [7, 7, 7]
    assert not (tmp_path / "f").exists()


class Signing:
    """The part of ``AwsClients`` that ``presign`` needs."""

    def __init__(self, s3: Any, ends: datetime | None = None) -> None:
        self.s3 = s3
        self.ends = ends

    def credentials_end(self) -> datetime | None:
        return self.ends


@pytest.mark.parametrize("valid", [timedelta(seconds=1), LONGEST])
def test_a_link_is_valid_for_the_requested_time(s3: Any, valid: timedelta) -> None:
    stored(s3, b"x")
    made = presign(Signing(s3), URI, valid)  # type: ignore[arg-type]
    assert made.uri == URI
    assert f"/{BUCKET}/a/model.tar.gz?" in made.url or f"{BUCKET}.s3.amazonaws.com/a/model.tar.gz?" in made.url
    left = made.expires - datetime.now(UTC)
    assert valid - timedelta(seconds=60) < left <= valid
    assert made.expires.microsecond == 0


def test_a_link_expires_with_the_credentials_if_they_expire_first(s3: Any) -> None:
    stored(s3, b"x")
    soon, late = (datetime.now(UTC).replace(microsecond=0) + timedelta(hours=hours) for hours in (1, 9))
    assert presign(Signing(s3, soon), URI, timedelta(hours=2)).expires == soon  # type: ignore[arg-type]
    assert presign(Signing(s3, late), URI, timedelta(hours=2)).expires < late  # type: ignore[arg-type]


@pytest.mark.parametrize("seconds", [0, 43_201])
def test_an_invalid_validity_is_refused_with_its_seconds(s3: Any, seconds: int) -> None:
    with pytest.raises(UsageError, match=f"a link cannot be valid for {seconds} s"):
        presign(Signing(s3), URI, timedelta(seconds=seconds))  # type: ignore[arg-type]
