from __future__ import annotations

import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from botocore.exceptions import ClientError, EndpointConnectionError, IncompleteReadError, NoCredentialsError

from dda_core.archives import source
from dda_core.archives.source import S3Source, open_source
from dda_core.aws.errors import error_code
from dda_core.aws.s3 import s3_failed
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
    """A body that is truncated after some bytes."""

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
    """An S3 client whose GetObject can be made to fail; it records every requested range."""

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


def test_a_missing_file_and_a_folder_are_reported(tmp_path: Path):
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


def test_a_truncated_body_is_resumed_from_where_it_ended(s3: Any):
    client = Client(s3)
    client.breaks = {0: 0, 1: 7_000, 5: 9_999}
    assert b"".join(S3Source(client, BUCKET, "a/model.tar.gz").blocks()) == DATA
    assert len(client.ranges) == 18
    assert len(set(client.ranges)) >= 17  # the range that failed immediately is requested again


def test_a_range_that_always_fails_reports_the_uri_and_the_cause(s3: Any, monkeypatch: pytest.MonkeyPatch):
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
def test_s3_errors_become_our_errors(error: Exception, kind: type[Exception], what: str):
    class Refusing:
        def head_object(self, **_: Any) -> None:
            raise error

    with pytest.raises(kind, match=what):
        S3Source(Refusing(), "b", "k")  # type: ignore[arg-type]


def test_a_refusal_in_mid_read_is_not_retried(s3: Any):
    client = Client(s3)
    client.errors = {
        0: ClientError({"Error": {"Code": "AccessDenied"}, "ResponseMetadata": {"HTTPStatusCode": 403}}, "GetObject")
    }
    with pytest.raises(AwsCallFailed, match="access denied"):
        list(S3Source(client, BUCKET, "a/model.tar.gz").blocks())
    assert client.ranges.count("bytes=0-19999") == 1


def test_every_range_request_is_conditional_on_the_first_etag(s3: Any):
    asked: list[dict[str, Any]] = []

    class Asked(Client):
        def get_object(self, **request: Any) -> Any:
            asked.append(request)
            return super().get_object(**request)

    opened = S3Source(Asked(s3), BUCKET, "a/model.tar.gz")  # type: ignore[arg-type]
    assert opened.uri == f"s3://{BUCKET}/a/model.tar.gz"
    assert b"".join(opened.blocks(start=250_000)) == DATA[250_000:]
    assert sorted(request.pop("Range") for request in asked) == [
        "bytes=250000-269999",
        "bytes=270000-289999",
        "bytes=290000-299999",
    ]
    assert asked == [{"Bucket": BUCKET, "Key": "a/model.tar.gz", "IfMatch": opened.etag}] * 3


def test_a_single_range_can_be_read(s3: Any):
    client = Client(s3)
    opened = S3Source(client, BUCKET, "a/model.tar.gz")  # type: ignore[arg-type]
    assert opened.range(10, 15_000) == DATA[10:15_000]
    assert opened.range(7, 8) == DATA[7:8]
    assert opened.range(8, 8) == opened.range(9, 8) == b""
    assert client.ranges == ["bytes=10-14999", "bytes=7-7"]


def answer(code: str, status: int) -> ClientError:
    return ClientError({"Error": {"Code": code}, "ResponseMetadata": {"HTTPStatusCode": status}}, "GetObject")  # type: ignore[typeddict-item]


@pytest.mark.parametrize(
    ("error", "asked"),
    [
        (answer("InternalError", 500), 2),
        (answer("SlowDown", 503), 2),
        (ClientError({"Error": {"Code": "?"}}, "GetObject"), 2),
        (ConnectionResetError("broken"), 2),
        (answer("AccessDenied", 403), 1),
        (answer("RequestTimeTooSkewed", 499), 1),
        (Interrupted(), 1),
    ],
    ids=["500", "503", "no-status", "connection", "403", "499", "interrupted"],
)
def test_only_transient_errors_are_retried(s3: Any, error: Exception, asked: int):
    client = Client(s3)
    client.errors = {0: error}
    opened = S3Source(client, BUCKET, "a/model.tar.gz")  # type: ignore[arg-type]
    if asked == 2:
        assert opened.range(0, 9) == DATA[:9]
    else:
        with pytest.raises((AwsCallFailed, Interrupted)):
            opened.range(0, 9)
    assert client.ranges == ["bytes=0-8"] * asked


def test_a_range_is_requested_up_to_the_limit(s3: Any, monkeypatch: pytest.MonkeyPatch):
    waits: list[float] = []

    class Waiting(threading.Event):
        def wait(self, timeout: float | None = None) -> bool:
            waits.append(timeout or 0)
            return False

    monkeypatch.setattr(source, "Event", Waiting)
    client = Client(s3)
    client.breaks = dict.fromkeys(range(4), 1)
    assert S3Source(client, BUCKET, "a/model.tar.gz").range(0, 9) == DATA[:9]  # type: ignore[arg-type]
    assert client.ranges == ["bytes=0-8", "bytes=1-8", "bytes=2-8", "bytes=3-8", "bytes=4-8"]
    assert waits == [0.2, 0.4, 0.8, 1.6]
    client.ranges.clear()
    client.breaks = dict.fromkeys(range(99), 0)
    with pytest.raises(AwsCallFailed):
        S3Source(client, BUCKET, "a/model.tar.gz").range(0, 9)  # type: ignore[arg-type]
    assert len(client.ranges) == 5


def test_a_body_that_ends_too_early_reports_the_position(s3: Any, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(source, "ATTEMPTS", 1)

    class Short(Client):
        def get_object(self, **request: Any) -> Any:
            return super().get_object(**{**request, "Range": "bytes=0-3"})

    with pytest.raises(AwsCallFailed, match="the body ended at byte 4 of 9"):
        S3Source(Short(s3), BUCKET, "a/model.tar.gz").range(0, 9)  # type: ignore[arg-type]


URI = "s3://b/k"


@pytest.mark.parametrize(
    ("code", "kind", "words"),
    [
        ("404", FileMissing, f"{URI} does not exist. Check the bucket, the key"),
        ("NoSuchKey", FileMissing, f"{URI} does not exist. Check the bucket, the key"),
        ("NotFound", FileMissing, f"{URI} does not exist. Check the bucket, the key"),
        ("NoSuchBucket", FileMissing, f"{URI} does not exist: there is no such bucket"),
        ("412", ObjectChanged, f"{URI} was replaced while it was read"),
        ("PreconditionFailed", ObjectChanged, f"{URI} was replaced while it was read"),
        ("403", AwsCallFailed, f"{URI}: access denied for s3:GetObject"),
        ("AccessDenied", AwsCallFailed, f"{URI}: access denied for s3:GetObject"),
        ("Forbidden", AwsCallFailed, f"{URI}: access denied for s3:GetObject"),
        ("SlowDown", AwsCallFailed, f"{URI}: s3:GetObject failed: An error occurred (SlowDown)"),
    ],
)
def test_s3_error_codes_are_distinguished(code: str, kind: type[Exception], words: str):
    found = s3_failed(answer(code, 400), "s3:GetObject", URI)
    assert type(found) is kind
    assert str(found).startswith(words)


def test_errors_that_are_not_from_s3_are_distinguished():
    assert str(s3_failed(NoCredentialsError(), "s3:GetObject", URI)).startswith(f"{URI} cannot be reached: Unable to")
    for error in (EOFError("it broke."), OSError("it broke"), ConnectionResetError("it broke")):
        found = s3_failed(error, "s3:GetObject", URI)
        assert (type(found), str(found)) == (
            AwsCallFailed,
            f"{URI}: s3:GetObject failed: it broke. Run again later.",
        )
    ours = Interrupted()
    assert s3_failed(ours, "s3:GetObject", URI) is ours


def test_an_error_code_is_aws_s_code_or_empty():
    assert error_code(answer("SlowDown", 503)) == "SlowDown"
    assert error_code(ClientError({}, "GetObject")) == ""
    assert error_code(ValueError("x")) == ""
    odd = ValueError("x")
    odd.response = "text"  # type: ignore[attr-defined]
    assert error_code(odd) == ""


def test_a_uri_is_opened_with_the_default_credentials_without_a_client(s3: Any):
    assert b"".join(open_source(f"s3://{BUCKET}/a/model.tar.gz").blocks()) == DATA


def test_a_set_stop_interrupts_reading_a_file(tmp_path: Path):
    path, stop = tmp_path / "a.tar.gz", threading.Event()
    path.write_bytes(DATA)
    blocks = open_source(path).blocks(stop)
    assert len(next(blocks)) == 6_000
    stop.set()
    with pytest.raises(Interrupted):
        next(blocks)


def test_a_file_that_becomes_unreadable_is_named(tmp_path: Path):
    path = tmp_path / "a.tar.gz"
    path.write_bytes(DATA)
    opened = open_source(path)
    path.unlink()
    with pytest.raises(FileMissing, match=f"{path} cannot be read: No such file or directory"):
        list(opened.blocks())


def test_a_stop_ends_the_wait_for_a_range(s3: Any):
    stop, go_on = threading.Event(), threading.Event()

    class Hanging(Client):
        def get_object(self, **request: Any) -> Any:
            go_on.wait(20)
            return super().get_object(**request)

    stop.set()
    try:
        with pytest.raises(Interrupted):
            list(S3Source(Hanging(s3), BUCKET, "a/model.tar.gz").blocks(stop))  # type: ignore[arg-type]
    finally:
        go_on.set()


def test_an_empty_object_has_no_blocks(s3: Any):
    s3.put_object(Bucket=BUCKET, Key="empty", Body=b"")
    assert list(open_source(f"s3://{BUCKET}/empty", s3).blocks()) == []
