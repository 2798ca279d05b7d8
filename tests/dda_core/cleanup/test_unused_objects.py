from __future__ import annotations

import json
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime, parsedate_to_datetime
from typing import Any

import pytest
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
    """Let S3's clock be that much ahead of what it has stored."""

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


def test_only_keys_of_ours_are_looked_at(s3: Any) -> None:
    later(s3, days=31)
    assert sorted(each.key for each in stored_objects(s3, BUCKET, MONTH)) == sorted(OURS)
    assert {classify(key) for key in OTHERS} == {None}


def test_what_was_compiled_for_a_use_cases_own_target_is_ours_too(s3: Any) -> None:
    key = "models/compilation/lid-7-orin-0a1b2c3d-1/jetson-orin/model.tar.gz"
    s3.put_object(Bucket=BUCKET, Key=key, Body=b"x")
    later(s3, days=31)
    assert key not in [each.key for each in stored_objects(s3, BUCKET, MONTH)]
    assert key in [each.key for each in stored_objects(s3, BUCKET, MONTH, {"jetson-orin"})]


def test_what_is_younger_is_not_offered(s3: Any) -> None:
    later(s3, days=29)
    assert list(stored_objects(s3, BUCKET, MONTH)) == []
    with pytest.raises(ValueError, match="under 1 day"):
        next(stored_objects(s3, BUCKET, timedelta(hours=23)))


@given(st.text(max_size=40), st.sampled_from(["", "models/", "models/compilation/", "model_artifacts/", "x/"]))
def test_no_other_key_is_ever_ours(name: str, prefix: str) -> None:
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


def test_another_training_jobs_things_are_not_held() -> None:
    used = InUse(training_jobs=frozenset({"lid"}))
    assert not used.holds(stored(INPUT))
    # What the name cannot tell apart stays.
    assert used.holds(stored(COMPILED))


def test_what_was_written_again_since_it_was_listed_stays(s3: Any) -> None:
    later(s3, days=31)
    listed = {each.key: each for each in stored_objects(s3, BUCKET, MONTH)}
    s3.put_object(Bucket=BUCKET, Key=INPUT, Body=b"new")
    s3.delete_object(Bucket=BUCKET, Key=LOG)
    assert [delete(s3, BUCKET, listed[key]) for key in (INPUT, LOG, PACKAGE)] == [False, False, True]
    assert INPUT in keys(s3)
    assert PACKAGE not in keys(s3)


def test_what_was_written_again_with_the_same_content_stays(s3: Any) -> None:
    later(s3, days=31)
    [listed] = [each for each in stored_objects(s3, BUCKET, MONTH) if each.key == PACKAGE]
    assert not delete(s3, BUCKET, listed.model_copy(update={"modified": listed.modified - timedelta(seconds=1)}))
    assert PACKAGE in keys(s3)
    assert delete(s3, BUCKET, listed)


@pytest.fixture
def aws() -> Iterator[LocalAws]:
    with local_aws(server=False, compile_seconds=1000) as aws:
        yield aws


def test_components_and_compilations_say_what_they_use(aws: LocalAws) -> None:
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
