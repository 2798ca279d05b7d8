from __future__ import annotations

import asyncio
import base64
import hashlib
import threading
import time
import zlib
from collections.abc import Iterator
from typing import Any

import pytest
from botocore.exceptions import ClientError

from dda_core.archives import s3_sink
from dda_core.archives.s3_sink import MultipartUpload, publish_staged
from dda_core.exceptions import AwsCallFailed, ObjectChanged
from tests.fixtures.archives import weights
from tests.fixtures.s3 import BUCKET, keys, open_uploads, s3_in_process

PART = 5 << 20  # S3's minimum, except for the last part
DATA = weights(3 * PART + 1000)


@pytest.fixture
def s3() -> Iterator[Any]:
    with s3_in_process() as client:
        yield client


@pytest.fixture(autouse=True)
def small_parts(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(s3_sink, "PART", PART)


def body(s3: Any, key: str) -> bytes:
    content: bytes = s3.get_object(Bucket=BUCKET, Key=key)["Body"].read()
    return content


def write(sink: Any, data: bytes, size: int = 1 << 20) -> None:
    for start in range(0, len(data), size):
        sink.write(memoryview(data)[start : start + size])


def upload_data(client: Any) -> None:
    with MultipartUpload(client, BUCKET, "k") as sink:
        write(sink, DATA)
        sink.complete()


class Recording:
    """An S3 client that records every request and fails on demand."""

    def __init__(self, s3: Any, **errors: list[Exception]) -> None:
        self._s3 = s3
        self._errors = errors
        self.requests: list[tuple[str, dict[str, Any]]] = []

    def __getattr__(self, name: str) -> Any:
        def call(**request: Any) -> Any:
            self.requests.append((name, request))
            if self._errors.get(name):
                raise self._errors[name].pop(0)
            return getattr(self._s3, name)(**request)

        return call

    def of(self, name: str) -> list[dict[str, Any]]:
        return [request for called, request in self.requests if called == name]


def refusal(code: str, status: int = 400) -> ClientError:
    return ClientError({"Error": {"Code": code}, "ResponseMetadata": {"HTTPStatusCode": status}}, "Call")  # type: ignore[typeddict-item]


def test_parts_arrive_whole_and_in_order(s3: Any):
    with MultipartUpload(s3, BUCKET, "k") as sink:
        write(sink, DATA)
        assert keys(s3) == []
        assert sink.complete() is True
    assert body(s3, "k") == DATA
    assert sink.etag == s3.head_object(Bucket=BUCKET, Key="k")["ETag"]
    assert open_uploads(s3) == []


def test_every_part_carries_its_checksum_and_completion_repeats_them(s3: Any):
    client = Recording(s3)
    with MultipartUpload(client, BUCKET, "k") as sink:  # type: ignore[arg-type]
        write(sink, DATA)
        sink.complete()
    assert client.of("create_multipart_upload")[0]["ChecksumAlgorithm"] == "CRC32"
    sent = {part["PartNumber"]: part for part in client.of("upload_part")}
    for part in sent.values():
        assert part["ChecksumCRC32"] == base64.b64encode(zlib.crc32(part["Body"]).to_bytes(4, "big")).decode()
    (complete,) = client.of("complete_multipart_upload")
    assert [(p["PartNumber"], p["ChecksumCRC32"]) for p in complete["MultipartUpload"]["Parts"]] == [
        (number, sent[number]["ChecksumCRC32"]) for number in (1, 2, 3, 4)
    ]


def test_a_small_object_takes_one_request(s3: Any):
    client = Recording(s3)
    with MultipartUpload(client, BUCKET, "k") as sink:  # type: ignore[arg-type]
        sink.write(b"small")
        sink.complete()
    assert [name for name, _ in client.requests] == ["put_object"]
    assert body(s3, "k") == b"small"


@pytest.mark.parametrize("kind", [ValueError, KeyboardInterrupt, SystemExit, asyncio.CancelledError, GeneratorExit])
def test_any_interruption_leaves_no_upload(s3: Any, kind: type[BaseException]):
    def interrupted() -> None:
        with MultipartUpload(s3, BUCKET, "k") as sink:
            write(sink, DATA)
            assert open_uploads(s3) == ["k"]
            raise kind

    with pytest.raises(kind):
        interrupted()
    assert open_uploads(s3) == []
    assert keys(s3) == []


def test_leaving_without_completing_leaves_no_upload(s3: Any):
    with MultipartUpload(s3, BUCKET, "k") as sink:
        write(sink, DATA)
    assert open_uploads(s3) == []
    assert keys(s3) == []


def test_a_refused_part_ends_the_upload_and_leaves_nothing(s3: Any):
    client = Recording(s3, upload_part=[refusal("AccessDenied", 403)])
    with pytest.raises(AwsCallFailed, match=f"s3://{BUCKET}/k: access denied for s3:PutObject"):
        upload_data(client)
    assert open_uploads(s3) == []


def test_a_refused_completion_leaves_nothing(s3: Any):
    client = Recording(s3, complete_multipart_upload=[refusal("InternalError", 500)])
    with pytest.raises(AwsCallFailed, match="InternalError"):
        upload_data(client)
    assert open_uploads(s3) == []


def test_a_part_in_flight_cannot_arrive_after_the_abort(s3: Any):
    order: list[str] = []

    class Slow(Recording):
        def __getattr__(self, name: str) -> Any:
            call = super().__getattr__(name)

            def slow(**request: Any) -> Any:
                if name == "upload_part":
                    time.sleep(0.3)
                answer = call(**request)
                order.append(name)
                return answer

            return slow

    with MultipartUpload(Slow(s3), BUCKET, "k") as sink:  # type: ignore[arg-type]
        write(sink, DATA[: 2 * PART])
    assert order[-1] == "abort_multipart_upload"
    assert open_uploads(s3) == []


def test_memory_is_bounded_by_the_parts_in_flight(s3: Any, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(s3_sink, "PART", 1000)
    running, most, lock = 0, 0, threading.Lock()

    class Client:
        def create_multipart_upload(self, **_: Any) -> Any:
            return {"UploadId": "u"}

        def upload_part(self, **request: Any) -> Any:
            nonlocal running, most
            with lock:
                running += 1
                most = max(most, running)
            time.sleep(0.002)
            with lock:
                running -= 1
            return {"ETag": "e"}

        def complete_multipart_upload(self, **request: Any) -> Any:
            numbers = [part["PartNumber"] for part in request["MultipartUpload"]["Parts"]]
            assert numbers == list(range(1, 51))
            return {"ETag": "e"}

    with MultipartUpload(Client(), BUCKET, "k") as sink:  # type: ignore[arg-type]
        for _ in range(50):
            sink.write(bytes(1000))
            assert len(sink._in_flight) <= s3_sink.PARTS_IN_FLIGHT
        sink.complete()
    assert 1 < most <= s3_sink.PARTS_IN_FLIGHT


@pytest.mark.parametrize("data", [b"new", DATA], ids=["one-request", "parts"])
def test_an_object_that_is_there_is_kept_on_request(s3: Any, data: bytes):
    s3.put_object(Bucket=BUCKET, Key="k", Body=b"old")
    with MultipartUpload(s3, BUCKET, "k", if_none_match=True) as sink:
        write(sink, data)
        assert sink.complete() is False
    assert body(s3, "k") == b"old"
    assert open_uploads(s3) == []


def test_a_staged_object_is_moved(s3: Any):
    etag = s3.put_object(Bucket=BUCKET, Key="staging", Body=b"zip")["ETag"]
    assert publish_staged(s3, BUCKET, "staging", "final", etag=etag) is True
    assert keys(s3) == ["final"]
    assert body(s3, "final") == b"zip"


def test_the_copy_is_conditional_on_both_objects(s3: Any):
    etag = s3.put_object(Bucket=BUCKET, Key="staging", Body=b"zip")["ETag"]
    client = Recording(s3)
    publish_staged(client, BUCKET, "staging", "final", etag=etag)  # type: ignore[arg-type]
    (copy,) = client.of("copy_object")
    assert copy["IfNoneMatch"] == "*"
    assert copy["CopySourceIfMatch"] == etag


def test_an_object_under_the_final_key_is_kept(s3: Any):
    s3.put_object(Bucket=BUCKET, Key="staging", Body=b"new")
    s3.put_object(Bucket=BUCKET, Key="final", Body=b"old")
    client = Recording(s3, copy_object=[refusal("PreconditionFailed", 412)])
    assert publish_staged(client, BUCKET, "staging", "final") is False  # type: ignore[arg-type]
    assert keys(s3) == ["final"]
    assert body(s3, "final") == b"old"


def test_a_copy_that_collides_with_another_write_is_retried(s3: Any):
    s3.put_object(Bucket=BUCKET, Key="staging", Body=b"zip")
    client = Recording(s3, copy_object=[refusal("ConditionalRequestConflict", 409)] * 2)
    assert publish_staged(client, BUCKET, "staging", "final") is True  # type: ignore[arg-type]
    assert len(client.of("copy_object")) == 3


def test_a_concurrent_run_may_publish_and_delete_first(s3: Any):
    s3.put_object(Bucket=BUCKET, Key="final", Body=b"zip")
    client = Recording(s3, copy_object=[refusal("NoSuchKey", 404)])
    assert publish_staged(client, BUCKET, "staging", "final") is False  # type: ignore[arg-type]
    assert keys(s3) == ["final"]


@pytest.mark.parametrize(("code", "status"), [("NoSuchKey", 404), ("PreconditionFailed", 412)])
def test_a_staged_object_that_is_lost_is_an_error(s3: Any, code: str, status: int):
    client = Recording(s3, copy_object=[refusal(code, status)])
    with pytest.raises(ObjectChanged, match="deleted or replaced before it was copied"):
        publish_staged(client, BUCKET, "staging", "final")  # type: ignore[arg-type]


def test_a_refused_copy_names_the_final_key_and_leaves_nothing_staged(s3: Any):
    s3.put_object(Bucket=BUCKET, Key="staging", Body=b"zip")
    client = Recording(s3, copy_object=[refusal("AccessDenied", 403)])
    with pytest.raises(AwsCallFailed, match=f"s3://{BUCKET}/final: access denied for s3:PutObject"):
        publish_staged(client, BUCKET, "staging", "final")  # type: ignore[arg-type]
    assert keys(s3) == []


@pytest.mark.parametrize("error", [refusal("AccessDenied", 403), refusal("SlowDown", 503), EOFError("broken")])
def test_a_staged_object_that_cannot_be_deleted_is_only_logged(
    s3: Any, error: Exception, caplog: pytest.LogCaptureFixture
):
    s3.put_object(Bucket=BUCKET, Key="staging", Body=b"zip")
    client = Recording(s3, delete_object=[error])
    assert publish_staged(client, BUCKET, "staging", "final") is True  # type: ignore[arg-type]
    assert keys(s3) == ["final", "staging"]
    assert f"s3://{BUCKET}/staging could not be deleted" in caplog.text


def test_every_request_names_the_object_and_the_upload(s3: Any):
    client = Recording(s3)
    with MultipartUpload(client, BUCKET, "k", if_none_match=True) as sink:  # type: ignore[arg-type]
        write(sink, DATA[: 2 * PART])
        sink.complete()
    assert sink.uri == f"s3://{BUCKET}/k"
    assert client.of("create_multipart_upload") == [{"Bucket": BUCKET, "Key": "k", "ChecksumAlgorithm": "CRC32"}]
    parts = client.of("upload_part")
    upload_id = parts[0]["UploadId"]
    assert upload_id
    for part in parts:
        assert (part["Bucket"], part["Key"], part["UploadId"]) == (BUCKET, "k", upload_id)
        assert part["ChecksumAlgorithm"] == "CRC32"
        assert part["Body"] == DATA[(part["PartNumber"] - 1) * PART :][:PART]
    [complete] = client.of("complete_multipart_upload")
    assert [part["ETag"] for part in complete.pop("MultipartUpload")["Parts"]] == [
        f'"{hashlib.md5(DATA[start : start + PART]).hexdigest()}"' for start in (0, PART)
    ]
    assert complete == {"Bucket": BUCKET, "Key": "k", "UploadId": upload_id, "IfNoneMatch": "*"}
    assert [name for name, _ in client.requests if "abort" in name] == []


def test_a_small_object_is_put_with_its_checksum_and_the_condition(s3: Any):
    client = Recording(s3)
    for condition in (False, True):
        with MultipartUpload(client, BUCKET, "k", if_none_match=condition) as sink:  # type: ignore[arg-type]
            sink.write(b"sm")
            sink.write(memoryview(b"all"))
            sink.complete()
    checksum = base64.b64encode(zlib.crc32(b"small").to_bytes(4, "big")).decode()
    request = {
        "Bucket": BUCKET,
        "Key": "k",
        "Body": b"small",
        "ChecksumAlgorithm": "CRC32",
        "ChecksumCRC32": checksum,
    }
    assert client.of("put_object") == [request, request | {"IfNoneMatch": "*"}]


def test_a_part_is_sent_as_soon_as_it_is_full(s3: Any):
    client = Recording(s3)
    with MultipartUpload(client, BUCKET, "k") as sink:  # type: ignore[arg-type]
        sink.write(DATA[: PART - 1])
        assert client.of("create_multipart_upload") == []
        sink.write(b"x")
        assert len(client.of("create_multipart_upload")) == 1
        sink.complete()
    assert [len(part["Body"]) for part in client.of("upload_part")] == [PART]


def test_a_failed_precondition_without_a_condition_is_an_error(s3: Any):
    client = Recording(s3, put_object=[refusal("PreconditionFailed", 412)])
    with MultipartUpload(client, BUCKET, "k") as sink, pytest.raises(ObjectChanged):  # type: ignore[arg-type]
        sink.complete()
    assert sink.etag is None


def test_an_upload_that_cannot_be_created_names_the_object(s3: Any):
    client = Recording(s3, create_multipart_upload=[refusal("AccessDenied", 403)])
    with pytest.raises(AwsCallFailed, match=f"s3://{BUCKET}/k: access denied for s3:PutObject"):
        upload_data(client)


def test_a_failed_abort_is_an_error_unless_another_error_is_raised(s3: Any, caplog: pytest.LogCaptureFixture):
    def leave(error: Exception | None = None) -> None:
        client = Recording(s3, abort_multipart_upload=[refusal("AccessDenied", 403)])
        with MultipartUpload(client, BUCKET, "k") as sink:  # type: ignore[arg-type]
            write(sink, DATA)
            if error:
                raise error

    with pytest.raises(AwsCallFailed, match=f"s3://{BUCKET}/k: access denied for s3:AbortMultipartUpload"):
        leave()
    assert caplog.text == ""
    with pytest.raises(KeyError, match="the first"):
        leave(KeyError("the first"))
    assert f"the unfinished upload to s3://{BUCKET}/k could not be aborted: An error occurred" in caplog.text


def test_an_abort_after_the_completion_does_nothing(s3: Any):
    client = Recording(s3)
    with MultipartUpload(client, BUCKET, "k") as sink:  # type: ignore[arg-type]
        write(sink, DATA)
        sink.complete()
        sink.abort()
    assert client.of("abort_multipart_upload") == []


def test_a_copy_is_tried_six_times_with_growing_waits(s3: Any, monkeypatch: pytest.MonkeyPatch):
    waits: list[float] = []
    monkeypatch.setattr(time, "sleep", waits.append)
    for code in ("ConditionalRequestConflict", "409"):
        s3.put_object(Bucket=BUCKET, Key="staging", Body=b"zip")
        client = Recording(s3, copy_object=[refusal(code, 409)] * 6)
        with pytest.raises(AwsCallFailed, match=f"s3://{BUCKET}/final: s3:PutObject failed"):
            publish_staged(client, BUCKET, "staging", "final")  # type: ignore[arg-type]
        assert len(client.of("copy_object")) == 6
    assert waits == [0.2, 0.4, 0.8, 1.6, 3.2] * 2


def test_the_copy_is_made_in_s3_with_a_full_object_checksum(s3: Any):
    s3.put_object(Bucket=BUCKET, Key="staging", Body=b"zip")
    client = Recording(s3)
    assert publish_staged(client, BUCKET, "staging", "final") is True  # type: ignore[arg-type]
    assert client.requests == [
        (
            "copy_object",
            {
                "Bucket": BUCKET,
                "Key": "final",
                "CopySource": {"Bucket": BUCKET, "Key": "staging"},
                "IfNoneMatch": "*",
                "ChecksumAlgorithm": "CRC32",
            },
        ),
        ("delete_object", {"Bucket": BUCKET, "Key": "staging"}),
    ]


def test_a_final_object_that_cannot_be_described_is_an_error(s3: Any):
    client = Recording(s3, copy_object=[refusal("412", 412)], head_object=[refusal("403", 403)])
    with pytest.raises(AwsCallFailed, match=f"s3://{BUCKET}/final: access denied for s3:GetObject"):
        publish_staged(client, BUCKET, "staging", "final")  # type: ignore[arg-type]
    assert client.of("head_object") == [{"Bucket": BUCKET, "Key": "final"}]
