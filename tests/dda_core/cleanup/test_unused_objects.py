from __future__ import annotations

import json
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime, parsedate_to_datetime
from typing import Any

import pytest
from botocore.exceptions import ClientError
from hypothesis import given
from hypothesis import strategies as st

from dda_core.cleanup.unused_objects import (
    InUse,
    Kind,
    StoredObject,
    classify,
    delete,
    in_use_by_compilations,
    in_use_by_components,
    stored_objects,
    together,
)
from dda_core.components.devices import Spacing
from dda_core.targets import target_names
from deployments.local.aws import LocalAws, local_aws
from tests.fixtures.s3 import BUCKET, keys, s3_in_process

JOB = "lid-7-x86cpu-0123abcd-1"
INPUT = "models/training/lid-7/output/model_for_compilation.tar.gz"
COMPILED = f"models/compilation/{JOB}/x86_64-cpu/model_for_compilation-LINUX_X86_64.tar.gz"
LOG = f"models/compilation/{JOB}/x86_64-cpu/{JOB}.log"
PACKAGE = "model_artifacts/model-0123456789ab/0123456789ab_greengrass_model_component.zip"
OURS = [INPUT, COMPILED, LOG, PACKAGE]
OTHERS = [
    "models/training/lid-7/output/model.tar.gz",
    "model_for_compilation.tar.gz",
    "models/training/lid-7/output/model_for_compilation.tar.gz.bak",
    "datasets/model_for_compilation.tar.gz",
    "models/compilation/somebody-elses-job/x86_64-cpu/model.tar.gz",
    f"models/compilation/{JOB}/toaster/model.tar.gz",
    f"models/compilation/{JOB}/x86_64-cpu/",
    f"models/compilation/{JOB}/readme",
    "model_artifacts/model-0123456789ab/ba9876543210_greengrass_model_component.zip",
    "model_artifacts/model-0123456789AB/0123456789AB_greengrass_model_component.zip",
    "model_artifacts/model-0123456789ab/0123456789ab_greengrass_model_component.zip/x",
    "model_artifacts/.staging/0123456789ab.zip",
    "model_artifacts/labels.txt",
]
MONTH = timedelta(days=30)


@pytest.fixture
def s3() -> Iterator[Any]:
    with s3_in_process() as client:
        for key in OURS + OTHERS:
            client.put_object(Bucket=BUCKET, Key=key, Body=b"12345")
        yield client


def later(client: Any, **time: float) -> None:
    """Set S3's clock that much ahead of its stored objects."""

    def put_off(parsed: dict[str, Any], **_: Any) -> None:
        headers = parsed["ResponseMetadata"]["HTTPHeaders"]
        now: datetime = parsedate_to_datetime(headers["date"])
        headers["date"] = format_datetime(now + timedelta(**time), usegmt=True)

    client.meta.events.register("after-call.s3.ListObjectsV2", put_off)


def stored(key: str) -> StoredObject:
    found = classify(key)
    assert found
    return StoredObject(
        kind=found[0], key=key, size=5, modified=datetime(2026, 1, 1, tzinfo=UTC), etag="e", owner=found[1]
    )


def test_only_the_pipelines_keys_are_considered(s3: Any) -> None:
    later(s3, days=31)
    assert sorted(each.key for each in stored_objects(s3, BUCKET, MONTH)) == sorted(OURS)
    assert {classify(key) for key in OTHERS} == {None}


def test_outputs_for_a_use_cases_own_target_are_included(s3: Any) -> None:
    key = "models/compilation/lid-7-orin-0a1b2c3d-1/jetson-orin/model.tar.gz"
    s3.put_object(Bucket=BUCKET, Key=key, Body=b"x")
    later(s3, days=31)
    assert key not in [each.key for each in stored_objects(s3, BUCKET, MONTH)]
    assert key in [each.key for each in stored_objects(s3, BUCKET, MONTH, {"jetson-orin"})]


def test_younger_objects_are_not_offered(s3: Any) -> None:
    later(s3, days=29)
    assert list(stored_objects(s3, BUCKET, MONTH)) == []
    with pytest.raises(ValueError, match="under 1 day"):
        next(stored_objects(s3, BUCKET, timedelta(hours=23)))


@given(st.text(max_size=40), st.sampled_from(["", "models/", "models/compilation/", "model_artifacts/", "x/"]))
def test_no_other_key_is_ever_offered(name: str, prefix: str) -> None:
    """**Feature: compilation-job-visibility, Property 35: Only names that the pipeline makes are offered.**"""
    found = classify(prefix + name)
    if found is not None:
        kind, owner = found
        assert (prefix + name).startswith({Kind.PACKAGE: "model_artifacts/model-"}.get(kind, "models/"))
        assert kind is not Kind.COMPILED or any(f"/{target}/" in prefix + name for target in target_names())
        assert owner in prefix + name


@pytest.mark.parametrize(
    ("key", "used"),
    [
        (PACKAGE, InUse(recipes=(json.dumps({"Uri": f"s3://elsewhere/{PACKAGE}"}),))),
        (PACKAGE, InUse(packaging=True)),
        (COMPILED, InUse(compilation_jobs=frozenset({JOB}))),
        (LOG, InUse(training_jobs=frozenset({"lid-7"}))),
        (INPUT, InUse(training_jobs=frozenset({"lid-7"}))),
        (INPUT, InUse(inputs=frozenset({INPUT}))),
    ],
)
def test_what_is_used_is_held(key: str, used: InUse) -> None:
    assert used.holds(stored(key))
    assert together([InUse(), used, InUse()]).holds(stored(key))
    assert not InUse().holds(stored(key))
    others = [other for other in OURS if stored(other).kind is not stored(key).kind]
    assert used.training_jobs or not any(used.holds(stored(other)) for other in others)


def test_another_training_jobs_objects_are_not_held() -> None:
    used = InUse(training_jobs=frozenset({"lid"}))
    assert not used.holds(stored(INPUT))
    # What the name cannot distinguish stays.
    assert used.holds(stored(COMPILED))


def test_an_object_overwritten_after_listing_stays(s3: Any) -> None:
    later(s3, days=31)
    listed = {each.key: each for each in stored_objects(s3, BUCKET, MONTH)}
    s3.put_object(Bucket=BUCKET, Key=INPUT, Body=b"new")
    s3.delete_object(Bucket=BUCKET, Key=LOG)
    assert [delete(s3, BUCKET, listed[key]) for key in (INPUT, LOG, PACKAGE)] == [False, False, True]
    assert INPUT in keys(s3)
    assert PACKAGE not in keys(s3)


def test_an_object_overwritten_with_the_same_content_stays(s3: Any) -> None:
    later(s3, days=31)
    [listed] = [each for each in stored_objects(s3, BUCKET, MONTH) if each.key == PACKAGE]
    assert not delete(s3, BUCKET, listed.model_copy(update={"modified": listed.modified - timedelta(seconds=1)}))
    assert PACKAGE in keys(s3)
    assert delete(s3, BUCKET, listed)


@pytest.fixture
def aws() -> Iterator[LocalAws]:
    with local_aws(server=False, compile_seconds=1000) as aws:
        yield aws


def test_components_and_compilations_report_what_they_use(aws: LocalAws) -> None:
    aws.client("s3").put_object(Bucket=aws.bucket, Key=PACKAGE, Body=b"zip")
    aws.client("s3").put_object(Bucket=aws.bucket, Key=INPUT, Body=b"tar")
    recipe = {
        "RecipeFormatVersion": "2020-01-25",
        "ComponentName": "theirs",
        "ComponentVersion": "1.0.0",
        "Manifests": [{"Platform": {"os": "linux"}, "Artifacts": [{"Uri": f"s3://{aws.bucket}/{PACKAGE}"}]}],
    }
    aws.client("greengrassv2").create_component_version(
        inlineRecipe=json.dumps(recipe).encode(), tags={"dda:compilation-job": "other-x86cpu-0123abcd-2"}
    )
    aws.client("sagemaker").create_compilation_job(
        CompilationJobName=JOB,
        RoleArn="arn:aws:iam::123456789012:role/DDASageMakerExecutionRole",
        InputConfig={
            "S3Uri": f"s3://{aws.bucket}/{INPUT}",
            "DataInputConfig": '{"input_shape": [1, 3, 8, 8]}',
            "Framework": "PYTORCH",
            "FrameworkVersion": "1.8",
        },
        OutputConfig={
            "S3OutputLocation": f"s3://{aws.bucket}/models/compilation/{JOB}/x86_64-cpu",
            "TargetPlatform": {"Os": "LINUX", "Arch": "X86_64"},
        },
        StoppingCondition={"MaxRuntimeInSeconds": 3600},
    )
    components = in_use_by_components(aws.client("greengrassv2"), Spacing(1000))
    compilations = in_use_by_compilations(aws.client("sagemaker"))
    assert components.holds(stored(PACKAGE))
    assert components.compilation_jobs == {"other-x86cpu-0123abcd-2"}
    assert compilations == InUse(compilation_jobs=frozenset({JOB}), inputs=frozenset({INPUT}))
    assert all(together([components, compilations]).holds(stored(key)) for key in OURS)


class Named:
    """AWS IoT Greengrass or SageMaker with the test's pages and descriptions."""

    def __init__(self, pages: dict[str, list[dict[str, Any]]], described: dict[str, Any]) -> None:
        self.pages = pages
        self.described = described
        self.asked: list[tuple[str, dict[str, Any]]] = []

    def get_paginator(self, operation: str) -> Any:
        named = self

        class Pages:
            def paginate(self, **request: Any) -> Iterator[dict[str, Any]]:
                named.asked.append((operation, request))
                yield from (
                    named.pages.get(operation, [])
                    if "StatusEquals" not in request
                    else [page for page in named.pages[operation] if page["status"] == request["StatusEquals"]]
                )

        return Pages()

    def describe(self, name: str) -> Any:
        answer = self.described[name]
        if isinstance(answer, Exception):
            raise answer
        return answer

    def get_component(self, arn: str) -> Any:
        return self.describe(arn)

    def describe_compilation_job(self, CompilationJobName: str) -> Any:
        return self.describe(CompilationJobName)


def refusal(code: str) -> ClientError:
    return ClientError({"Error": {"Code": code, "Message": "no"}}, "Call")


def test_stopping_jobs_are_in_use_and_a_deleted_one_holds_its_output() -> None:
    names = {"STARTING": "a", "INPROGRESS": "b", "STOPPING": "c", "COMPLETED": "d"}
    pages = [
        {"status": status, "CompilationJobSummaries": [{"CompilationJobName": name}]} for status, name in names.items()
    ]
    described = {name: {"InputConfig": {"S3Uri": f"s3://bucket/{name}.tar.gz"}} for name in "bcd"}
    sagemaker = Named({"list_compilation_jobs": pages}, described | {"a": refusal("ResourceNotFound")})
    assert in_use_by_compilations(sagemaker) == InUse(  # type: ignore[arg-type]
        compilation_jobs=frozenset("abc"), inputs=frozenset({"b.tar.gz", "c.tar.gz"})
    )
    sagemaker.described["a"] = refusal("InternalFailure")
    with pytest.raises(ClientError, match="InternalFailure"):
        in_use_by_compilations(sagemaker)  # type: ignore[arg-type]


class CountingSpacing(Spacing):
    """Counts the spaced calls."""

    taken = 0

    def wait(self) -> None:
        self.taken += 1


def test_a_version_deleted_after_listing_uses_nothing_and_calls_are_spaced() -> None:
    versions = [{"arn": f"v{number}"} for number in (1, 2, 3)]
    pages = {
        "list_components": [{"components": [{"arn": "c"}]}, {}],
        "list_component_versions": [{}, {"componentVersions": versions}],
    }
    described: dict[str, Any] = {
        "v1": {"recipe": b"one", "tags": {"dda:compilation-job": "job-1"}},
        "v2": refusal("ResourceNotFoundException"),
        "v3": {"recipe": b"\xff three"},
    }
    greengrass, spacing = Named(pages, described), CountingSpacing(1000)
    used = in_use_by_components(greengrass, spacing)  # type: ignore[arg-type]
    assert used == InUse(recipes=("one", "\ufffd three"), compilation_jobs=frozenset({"job-1"}))
    assert spacing.taken == 4
    assert greengrass.asked == [("list_components", {"scope": "PRIVATE"}), ("list_component_versions", {"arn": "c"})]
    greengrass.described["v2"] = refusal("InternalFailure")
    with pytest.raises(ClientError, match="InternalFailure"):
        in_use_by_components(greengrass, spacing)  # type: ignore[arg-type]


def test_an_object_of_exactly_the_given_age_is_offered_with_all_fields() -> None:
    written = datetime(2026, 5, 4, 12, tzinfo=UTC)

    def listing(age: timedelta) -> Any:
        headers = {"date": format_datetime(written + age, usegmt=True)}
        item = {"Key": INPUT, "Size": 7, "LastModified": written, "ETag": '"e"'}
        empty = {"ResponseMetadata": {"HTTPHeaders": headers}}
        return Named({"list_objects_v2": [empty, empty | {"Contents": [item]}]}, {})

    day = timedelta(days=1)
    [first, _] = stored_objects(listing(day), "b", day)
    assert first == StoredObject(kind=Kind.INPUT, key=INPUT, size=7, modified=written, etag='"e"', owner=INPUT)
    assert list(stored_objects(listing(day - timedelta(seconds=1)), "b", day)) == []
    s3 = listing(day)
    list(stored_objects(s3, "b", day))
    assert [request for _, request in s3.asked] == [
        {"Bucket": "b", "Prefix": "models/"},
        {"Bucket": "b", "Prefix": "model_artifacts/"},
    ]


def test_an_unreadable_object_is_an_error_and_a_deleted_one_is_not() -> None:
    class Bucket:
        def __init__(self, code: str) -> None:
            self.code = code

        def head_object(self, **request: Any) -> Any:
            assert request == {"Bucket": "b", "Key": INPUT}
            raise refusal(self.code)

    for code in ("404", "NoSuchKey", "NotFound"):
        assert not delete(Bucket(code), "b", stored(INPUT))  # type: ignore[arg-type]
    with pytest.raises(ClientError, match="403"):
        delete(Bucket("403"), "b", stored(INPUT))  # type: ignore[arg-type]


def test_the_union_holds_all_parts() -> None:
    one = InUse(recipes=("a",), compilation_jobs=frozenset("b"), inputs=frozenset("c"), training_jobs=frozenset("d"))
    two = InUse(recipes=("e",), compilation_jobs=frozenset("f"), inputs=frozenset("g"), packaging=True)
    assert together(iter([one, two])) == InUse(
        recipes=("a", "e"),
        compilation_jobs=frozenset("bf"),
        inputs=frozenset("cg"),
        training_jobs=frozenset("d"),
        packaging=True,
    )
    assert together([]) == InUse()
    assert not together([one, one]).packaging
