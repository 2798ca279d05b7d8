import re
import string

import botocore.session
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dda_core import naming
from dda_core.compilation.job import CompilationWork
from dda_core.exceptions import InvalidName
from dda_core.targets import all_targets, find_target, target_names

SHAPES = botocore.session.get_session().get_service_model("sagemaker")
JOB_PATTERN = re.compile(SHAPES.shape_for("EntityName").metadata["pattern"])

letters = st.sampled_from(string.ascii_letters + string.digits)
job_names = st.from_regex(r"[a-zA-Z0-9](-*[a-zA-Z0-9]){0,62}", fullmatch=True).filter(lambda name: len(name) <= 63)
ugly_names = st.text(min_size=1, max_size=100).filter(lambda name: re.search("[a-zA-Z0-9]", name[:40]))
targets = st.sampled_from(target_names()).map(find_target)
sizes = st.integers(1, 4096)


def work(**changes):
    given = {
        "training_job": "cookie",
        "training_job_arn": "arn:aws:sagemaker:eu-west-1:123456789012:training-job/cookie",
        "model_artifact": "s3://b/models/training/cookie/output/model.tar.gz",
        "input_uri": "s3://b/models/training/cookie/output/model_for_compilation.tar.gz",
        "input_shape": (1, 3, 768, 576),
        "target": find_target("x86_64-cpu"),
        "bucket": "b",
        "role_arn": "arn:aws:iam::123456789012:role/r",
        "usecase_id": "factory",
    }
    return CompilationWork(**{**given, **changes})


@settings(max_examples=300)
@given(job_names | ugly_names, targets, st.integers(1, 999))
def test_every_job_name_is_one_that_sagemaker_allows(training_job, target, attempt):
    stem = work(training_job=training_job, target=target).stem
    name = naming.job_name(stem, attempt)
    assert JOB_PATTERN.fullmatch(name)
    assert len(name) <= 63
    assert naming.attempt_of(name) == attempt


@settings(max_examples=200)
@given(job_names, targets, sizes, sizes)
def test_the_same_work_has_the_same_name(training_job, target, height, width):
    given = {"training_job": training_job, "target": target, "input_shape": (1, 3, height, width)}
    assert work(**given).stem == work(**given).stem
    # Neither who compiles nor where to decides the result.
    assert work(**given).stem == work(**given, role_arn="arn:aws:iam::123456789012:role/s", bucket="c").stem


@settings(max_examples=200)
@given(job_names, targets, targets, sizes, sizes, st.sampled_from(["a", "b"]), st.sampled_from(["s3://a", "s3://b"]))
def test_other_work_has_another_name(training_job, target, other, height, width, arn, artifact):
    one = work(training_job=training_job, target=target, training_job_arn="a", model_artifact="s3://a")
    two = work(
        training_job=training_job,
        target=other,
        input_shape=(1, 3, height, width),
        training_job_arn=arn,
        model_artifact=artifact,
    )
    decides = ("target", "input_shape", "training_job_arn", "model_artifact")
    same = all(getattr(one, key) == getattr(two, key) for key in decides)
    assert (one.stem == two.stem) == same


def test_a_job_name_says_what_it_compiles():
    name = naming.job_name(work(training_job="lid inspection/7").stem, 3)
    assert re.fullmatch(r"lid-inspection-7-x86cpu-[0-9a-f]{8}-3", name)


def test_the_training_jobs_name_is_sanitised_before_it_is_cut():
    assert naming.training_part("a" * 39 + "__b") == "a" * 39
    assert naming.training_part("___" + "a" * 50) == "a" * 40
    assert naming.training_part("-a.b-") == "a-b"


@pytest.mark.parametrize("name", ["", "___", "-", "äöü"])
def test_a_name_of_which_nothing_is_left_is_refused(name):
    with pytest.raises(InvalidName, match="no letter or digit"):
        naming.training_part(name)


@pytest.mark.parametrize("attempt", [0, -1, 10_000_000])
def test_an_attempt_that_is_none_is_refused(attempt):
    with pytest.raises(InvalidName):
        naming.job_name("a" * 40 + "-jetsonjp5-01234567", attempt)


@pytest.mark.parametrize("attempt", [1, 2, 10, 999])
def test_the_attempt_is_read_from_the_name_that_it_is_written_in(attempt):
    name = naming.job_name("lid-7-x86cpu-0123abcd", attempt)
    assert name == f"lid-7-x86cpu-0123abcd-{attempt}"
    assert naming.attempt_of(name) == attempt


def test_a_stem_is_made_of_the_training_job_the_target_and_what_is_compiled():
    assert naming.job_name_stem("lid 7", "x86cpu", "0123abcd") == "lid-7-x86cpu-0123abcd"
    # SHA-256 of {"a":[1],"b":2}
    assert naming.digest8({"b": 2, "a": [1]}) == naming.digest8({"a": [1], "b": 2}) == "ef251833"


def test_a_job_name_of_63_characters_is_the_longest():
    assert naming.job_name("a" * 59, 999) == "a" * 59 + "-999"
    for stem, attempt in (("a" * 60, 999), ("a-" * 31, 1)):
        with pytest.raises(InvalidName, match="cannot be a compilation job's name"):
            naming.job_name(stem, attempt)
    assert naming.check_training_job_name("a-" * 31 + "b") == "a-" * 31 + "b"
    with pytest.raises(InvalidName, match="at most 63 characters"):
        naming.check_training_job_name("a-" * 31 + "bc")


@pytest.mark.parametrize("name", ["cookie-jetson-0123456g-1", "cookie", "cookie-jetson-01234567", "c-j-01234567-01"])
def test_a_name_that_is_not_ours_has_no_attempt(name):
    assert naming.attempt_of(name) is None


@given(job_names)
def test_a_training_jobs_name_is_accepted(name):
    assert naming.check_training_job_name(name) == name


@pytest.mark.parametrize("name", ["", "a_b", "-a", "a-", "a" * 64, "a b", "a\n", "arn:aws:x"])
def test_what_no_training_job_is_called_is_refused(name):
    with pytest.raises(InvalidName, match="cannot be the name of a training job"):
        naming.check_training_job_name(name)


@pytest.mark.parametrize(
    ("model", "base"),
    [
        ("cookie", "model-cookie"),
        ("Lid Inspection", "model-lid-inspection"),
        ("Lid__Inspection 2.0", "model-lid-inspection-2-0"),
        ("model-cookie", "model-model-cookie"),
        ("Käse", "model-k-se"),
    ],
)
def test_the_base_is_made_from_the_models_name(model, base):
    assert naming.component_base(model) == base


@given(st.text(max_size=60))
def test_every_base_is_one_that_devices_accept(model):
    if not re.search("[a-z0-9]", model.lower()):
        with pytest.raises(InvalidName, match="no letter or digit for a component's name"):
            naming.component_base(model)
    else:
        assert re.fullmatch(r"model-[a-z0-9-]+", naming.component_base(model))
        assert "--" not in naming.component_base(model).removeprefix("model-")


@pytest.mark.parametrize("name", ["model-Lid.Inspection_2", "model-x"])
def test_a_given_base_is_kept(name):
    assert naming.component_base("whatever", name) == name


@pytest.mark.parametrize("name", ["cookie", "model-", "Model-x", "model-a b", "model-a/b", "model-x\n", "model-ä"])
def test_a_given_base_that_devices_refuse_is_refused(name):
    with pytest.raises(InvalidName, match="devices accept only names that start with 'model-'"):
        naming.component_base("whatever", name)


def test_component_names():
    names = [naming.component_name("model-cookie", target.component_suffix) for target in all_targets()]
    assert "model-cookie-x86-64-cuda" in names
    assert len(set(names)) == len(names)
    assert len(naming.component_name("model-" + "a" * 111, "x86-64-cpu")) == 128
    with pytest.raises(InvalidName, match="allows 128"):
        naming.component_name("model-" + "a" * 112, "x86-64-cpu")


def test_uris_and_arns():
    assert naming.repackaged_uri("s3://b/a/model.tar.gz") == "s3://b/a/model_for_compilation.tar.gz"
    assert naming.compilation_output("b", "job", "arm64-cpu") == "s3://b/models/compilation/job/arm64-cpu"
    arn = "arn:aws:greengrass:eu-west-1:123456789012:components:model-x"
    assert naming.component_arn("eu-west-1", "123456789012", "model-x") == arn
    assert naming.component_arn("eu-west-1", "123456789012", "model-x", "1.0.0") == f"{arn}:versions:1.0.0"
    arn = "arn:aws-cn:sagemaker:cn-north-1:123456789012:training-job/lid-7"
    assert naming.training_job_arn("cn-north-1", "123456789012", "lid-7") == arn
    uri = "s3://b/models/training/lid-7/output/model.tar.gz"
    assert naming.trained_archive_uri("b", "lid-7") == uri


@pytest.mark.parametrize("name", ["abc", "a.b", "dda-lids-7", "0" * 63, "1.2.3.4a", "a.xn--b"])
def test_a_name_that_s3_allows_has_no_problem(name):
    assert naming.bucket_name_problem(name) is None


@pytest.mark.parametrize(
    ("name", "problem"),
    [
        ("ab", "3 to 63 lower-case letters"),
        ("a" * 64, "3 to 63 lower-case letters"),
        ("Lids", "lower-case letters"),
        ("-lids", "starting and ending with a letter or digit"),
        ("lids.", "starting and ending with a letter or digit"),
        ("lids\n", "starting and ending with a letter or digit"),
        ("a..b", "two dots in a row"),
        ("10.0.0.255", "the form of an IP address"),
        ("xn--lids", "begin with 'xn--'"),
        ("sthree-lids", "begin with 'sthree-'"),
        ("amzn-s3-demo-lids", "begin with 'amzn-s3-demo-'"),
        ("lids-s3alias", "end in '-s3alias'"),
        ("lids--x-s3", "end in '--x-s3'"),
    ],
)
def test_a_name_that_s3_refuses_for_buckets_is_told_why(name, problem):
    assert problem in naming.bucket_name_problem(name)


@pytest.mark.parametrize(
    ("model", "portals", "ours"),
    [
        ("a__b", "model-a--b", "model-a-b"),
        ("Lid A", "model-lid-a", "model-lid-a"),
        ("Lid (new)", "model-lid--new-", "model-lid-new-"),
        ("lid--7", "model-lid--7", "model-lid-7"),
    ],
)
def test_the_portal_makes_every_odd_character_a_hyphen_and_we_every_run(model: str, portals: str, ours: str) -> None:
    assert naming.portal_component_base(model) == portals
    assert naming.component_base(model) == ours


def test_the_partition_of_every_region_is_botocores():
    session = botocore.session.get_session()
    regions = [(name, region) for name in session.get_available_partitions() for region in _regions(session, name)]
    assert {name for name, _ in regions} >= {"aws", "aws-cn", "aws-us-gov"}
    for name, region in regions:
        assert naming.partition(region) == name, region
    arn = naming.component_arn("cn-north-1", "123456789012", "model-a", "1.0.0")
    assert arn == "arn:aws-cn:greengrass:cn-north-1:123456789012:components:model-a:versions:1.0.0"


def _regions(session, partition):
    return session.get_available_regions("sts", partition_name=partition) + session.get_available_regions(
        "s3", partition_name=partition
    )
