from __future__ import annotations

import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from botocore.exceptions import ClientError, EndpointConnectionError, IncompleteReadError, NoCredentialsError

from dda_core.archives import source
from dda_core.archives.source import S3Source, open_source
from dda_core.exceptions import AwsCallFailed, FileMissing, Interrupted, MissingCredentials, ObjectChanged
from tests.fixtures.archives import weights
from tests.fixtures.s3 import BUCKET, s3_in_process

DATA = weights(300_000)


@pytest.fixture(autouse=True)
def small_ranges(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(source, "RANGE", 20_000)
    monkeypatch.setattr(source, "BLOCK", 6_000)


@pytest.fixture
def s3() -> Iterator[Any]:
    with s3_in_process() as client:
        client.put_object(Bucket=BUCKET, Key="a/model.tar.gz", Body=DATA)
        yield client


class Broken:
    """A body that breaks off after some bytes."""

    def __init__(self, body: Any, after: int) -> None:
        self._body = body
        self._left = after

    def read(self, size: int) -> bytes:
        if not self._left:
            raise IncompleteReadError(actual_bytes=1, expected_bytes=2)
        data: bytes = self._body.read(min(size, self._left))
        self._left -= len(data)
        return data

    def __enter__(self) -> Broken:
        return self

    def __exit__(self, *_: object) -> None:
        self._body.close()


class Client:
    """An S3 client whose GetObject can be made to fail; every range asked for is kept."""

    def __init__(self, s3: Any) -> None:
        self._s3 = s3
        self.ranges: list[str] = []
        self.breaks: dict[int, int] = {}
        self.errors: dict[int, Exception] = {}
        self._lock = threading.Lock()

    def head_object(self, **request: Any) -> Any:
        return self._s3.head_object(**request)

    def get_object(self, **request: Any) -> Any:
        with self._lock:
            call = len(self.ranges)
            self.ranges.append(request["Range"])
        if call in self.errors:
            raise self.errors[call]
        answer = self._s3.get_object(**request)
        if call in self.breaks:
            answer["Body"] = Broken(answer["Body"], self.breaks[call])
        return answer


def test_a_local_file_gives_its_bytes(tmp_path: Path):
    path = tmp_path / "a.tar.gz"
    path.write_bytes(DATA)
    opened = open_source(str(path))
    assert (opened.uri, opened.size, opened.etag) == (str(path), len(DATA), None)
    assert b"".join(opened.blocks()) == DATA


def test_a_missing_file_or_a_folder_is_said_to_be_one(tmp_path: Path):
    with pytest.raises(FileMissing, match="does not exist"):
        open_source(tmp_path / "no.tar.gz")
    with pytest.raises(FileMissing, match="is a folder"):
        open_source(tmp_path)


def test_an_object_gives_its_bytes_in_order(s3: Any):
    opened = open_source(f"s3://{BUCKET}/a/model.tar.gz", s3)
    assert (opened.size, opened.etag) == (len(DATA), s3.head_object(Bucket=BUCKET, Key="a/model.tar.gz")["ETag"])
    pieces = list(opened.blocks())
    assert b"".join(pieces) == DATA
    assert max(map(len, pieces)) <= 6_000


def test_each_byte_is_fetched_once_and_only_a_few_ranges_ahead(s3: Any):
    client = Client(s3)
    blocks = S3Source(client, BUCKET, "a/model.tar.gz").blocks()
    next(blocks)
    assert len(client.ranges) <= source.AHEAD + 1
    assert sum(map(len, blocks)) + 6_000 == len(DATA)
    assert len(client.ranges) == len(set(client.ranges)) == 15


def test_a_body_that_breaks_off_is_asked_for_again_from_there(s3: Any):
    client = Client(s3)
    client.breaks = {0: 0, 1: 7_000, 5: 9_999}
    assert b"".join(S3Source(client, BUCKET, "a/model.tar.gz").blocks()) == DATA
    assert len(client.ranges) == 18
    assert len(set(client.ranges)) >= 17  # the one that broke at once is the same request again


def test_a_range_that_always_breaks_ends_with_the_uri_and_the_cause(s3: Any, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(source, "ATTEMPTS", 2)
    client = Client(s3)
    client.breaks = dict.fromkeys(range(100), 0)
    with pytest.raises(AwsCallFailed, match=r"a/model.tar.gz: s3:GetObject failed: "):
        list(S3Source(client, BUCKET, "a/model.tar.gz").blocks())


def test_an_object_replaced_in_mid_read_is_an_error(s3: Any):
    blocks = open_source(f"s3://{BUCKET}/a/model.tar.gz", s3).blocks()
    next(blocks)
    s3.put_object(Bucket=BUCKET, Key="a/model.tar.gz", Body=DATA[::-1])
    with pytest.raises(ObjectChanged, match="was replaced while it was read"):
        list(blocks)


def test_an_object_deleted_in_mid_read_is_an_error(s3: Any):
    blocks = open_source(f"s3://{BUCKET}/a/model.tar.gz", s3).blocks()
    next(blocks)
    s3.delete_object(Bucket=BUCKET, Key="a/model.tar.gz")
    with pytest.raises(FileMissing):
        list(blocks)


def test_a_set_stop_interrupts_reading(s3: Any):
    stop = threading.Event()
    blocks = open_source(f"s3://{BUCKET}/a/model.tar.gz", s3).blocks(stop)
    next(blocks)
    stop.set()
    with pytest.raises(Interrupted):
        list(blocks)


def test_a_missing_object_and_a_missing_bucket_name_the_uri(s3: Any):
    with pytest.raises(FileMissing, match=f"s3://{BUCKET}/no.tar.gz does not exist"):
        open_source(f"s3://{BUCKET}/no.tar.gz", s3)
    with pytest.raises(FileMissing, match=r"s3://dda-nowhere/no.tar.gz does not exist"):
        open_source("s3://dda-nowhere/no.tar.gz", s3)


@pytest.mark.parametrize(
    ("error", "kind", "what"),
    [
        (ClientError({"Error": {"Code": "403"}}, "HeadObject"), AwsCallFailed, "s3:ListBucket"),
        (ClientError({"Error": {"Code": "SlowDown"}}, "GetObject"), AwsCallFailed, "SlowDown"),
        (NoCredentialsError(), MissingCredentials, "Log in"),
        (EndpointConnectionError(endpoint_url="http://s3"), AwsCallFailed, "Run again later"),
    ],
)
def test_what_s3_answers_becomes_an_error_of_ours(error: Exception, kind: type[Exception], what: str):
    class Refusing:
        def head_object(self, **_: Any) -> None:
            raise error

    with pytest.raises(kind, match=what):
        S3Source(Refusing(), "b", "k")  # type: ignore[arg-type]


def test_a_refusal_in_mid_read_is_not_tried_again(s3: Any):
    client = Client(s3)
    client.errors = {
        0: ClientError({"Error": {"Code": "AccessDenied"}, "ResponseMetadata": {"HTTPStatusCode": 403}}, "GetObject")
    }
    with pytest.raises(AwsCallFailed, match="access denied"):
        list(S3Source(client, BUCKET, "a/model.tar.gz").blocks())
    assert client.ranges.count("bytes=0-19999") == 1


def test_an_empty_object_has_no_blocks(s3: Any):
    s3.put_object(Bucket=BUCKET, Key="empty", Body=b"")
    assert list(open_source(f"s3://{BUCKET}/empty", s3).blocks()) == []
