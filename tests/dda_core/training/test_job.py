from __future__ import annotations

import pytest

from dda_core.exceptions import UnknownTarget
from dda_core.training.job import TrainingJob
from dda_core.use_case import UseCase

USE_CASE = UseCase(
    usecase_id="lids",
    account_id="123456789012",
    region="eu-west-1",
    s3_bucket="dda-lids",
    targets=("arm64-cpu",),
)


def job(**tags: str) -> TrainingJob:
    arn = "arn:aws:sagemaker:eu-west-1:123456789012:training-job/lid-1"
    return TrainingJob(
        name="lid-1", arn=arn, status="Completed", model_artifact="s3://dda-lids/lid-1/model.tar.gz", tags=tags
    )


@pytest.mark.parametrize(
    ("given", "tag", "expected"),
    [
        (["x86_64", "x86_64-cpu"], "jetson", ["x86_64-cpu"]),
        ([], "jetson x86_64-cuda", ["jetson-xavier", "x86_64-cuda"]),
        ([], "jetson+aarch64:x86_64", ["jetson-xavier", "arm64-cpu", "x86_64-cpu"]),
        ([], " ", ["arm64-cpu"]),
        ([], None, ["arm64-cpu"]),
    ],
)
def test_targets_are_given_or_from_the_tag_or_the_use_case(given: list[str], tag: str | None, expected: list[str]):
    training_job = job() if tag is None else job(**{"dda:targets": tag})
    assert [target.name for target in training_job.targets(given, USE_CASE)] == expected


def test_an_unknown_target_in_the_tag_names_the_tag():
    with pytest.raises(
        UnknownTarget,
        match=r"^the tag dda:targets of training job 'lid-1': unknown target 'armv7'; expected one of jet",
    ):
        job(**{"dda:targets": "arm64-cpu armv7"}).targets([], USE_CASE)
    with pytest.raises(UnknownTarget, match=r"^unknown target 'armv7'; expected one of"):
        job().targets(["armv7"], USE_CASE)


def test_the_models_name_is_given_or_from_the_tag_or_the_job():
    assert job().model_name() == "lid-1"
    assert job(**{"dda:model-name": "Lid"}).model_name() == "Lid"
    assert job(**{"dda:model-name": "Lid"}).model_name("Cap") == "Cap"
