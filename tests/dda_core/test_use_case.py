import pytest
import yaml

from dda_core.exceptions import FileMissing, InvalidUseCase
from dda_core.targets import default_targets, find_target
from dda_core.use_case import UseCase, check_use_case, read_use_case

FIELDS = {"usecase_id": "lids", "account_id": "123456789012", "region": "eu-west-1", "s3_bucket": "dda-lids"}
FULL = {
    **FIELDS,
    "sagemaker_execution_role_arn": "arn:aws:iam::123456789012:role/Neo",
    "cross_account_role_arn": "arn:aws:iam::123456789012:role/Cross",
    "external_id": "factory-seven",
    "localserver": {"jetson": "aws.edgeml.dda.LocalServer.arm64JP4"},
    "targets": ["jetson", "x86_64-cuda"],
    "tags": {"team": "vision"},
}


def write(path, fields):
    path.write_text(yaml.safe_dump(fields))
    return path


def test_a_file_with_the_needed_fields_only(tmp_path):
    use_case = read_use_case(write(tmp_path / "lids.yaml", FIELDS))
    assert use_case.sagemaker_role == "arn:aws:iam::123456789012:role/DDASageMakerExecutionRole"
    assert use_case.default_targets() == default_targets()
    target = find_target("jetson-xavier-jp5")
    assert use_case.localserver_for(target) == target.localserver


def test_a_file_with_every_field(tmp_path):
    use_case = read_use_case(write(tmp_path / "lids.yaml", FULL))
    assert use_case.sagemaker_role == FULL["sagemaker_execution_role_arn"]
    assert use_case.targets == ("jetson-xavier", "x86_64-cuda")
    assert [target.name for target in use_case.default_targets()] == ["jetson-xavier", "x86_64-cuda"]
    assert use_case.localserver_for(find_target("jetson-xavier")) == "aws.edgeml.dda.LocalServer.arm64JP4"
    assert use_case.localserver_for(find_target("arm64-cpu")) == "aws.edgeml.dda.LocalServer.arm64"
    assert use_case.tags == {"team": "vision"}


def test_an_account_id_without_quotes_is_read_as_its_digits(tmp_path):
    path = tmp_path / "lids.yaml"
    path.write_text("usecase_id: lids\naccount_id: 123456789012\nregion: eu-west-1\ns3_bucket: dda-lids\n")
    assert read_use_case(path).account_id == "123456789012"


def test_the_external_id_is_never_shown():
    use_case = UseCase(**FULL)
    for shown in (repr(use_case), str(use_case), use_case.model_dump_json()):
        assert "factory-seven" not in shown
    assert use_case.external_id.get_secret_value() == "factory-seven"


@pytest.mark.parametrize("field", FIELDS)
def test_a_missing_field_is_named(tmp_path, field):
    path = write(tmp_path / "lids.yaml", {key: value for key, value in FIELDS.items() if key != field})
    with pytest.raises(InvalidUseCase) as refused:
        read_use_case(path)
    assert f"{path}: {field}: Field required" in str(refused.value)
    assert refused.value.exit_code == 3


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"account_id": "12345"}, "account_id"),
        ({"account_id": 12345678901}, "account_id"),
        ({"region": "Ireland"}, "'Ireland'"),
        ({"s3_bucket": "s3://dda-lids"}, "s3_bucket"),
        ({"s3_bucket": "DDA"}, "s3_bucket"),
        ({"usecase_id": "a b"}, "usecase_id"),
        ({"cross_account_role_arn": "Cross"}, "cross_account_role_arn"),
        ({"sagemaker_execution_role_arn": "arn:aws:iam::1:role/x"}, "sagemaker_execution_role_arn"),
        ({"targets": ["armv7"]}, "unknown target 'armv7'; known targets: jetson-xavier"),
        ({"localserver": {"armv7": "x"}}, "unknown target 'armv7'"),
        ({"bucket": "x"}, "bucket"),
        ({"tags": ["x"]}, "tags"),
        ({"tags": {"k" * 129: "x"}}, "tags"),
        ({"tags": {"team": "x" * 257}}, "tags.team"),
        ({"localserver": {"jetson": "arm64 JP4"}}, "localserver.jetson"),
    ],
    ids=str,
)
def test_a_wrong_field_is_named(change, said):
    with pytest.raises(InvalidUseCase) as refused:
        check_use_case({**FIELDS, **change}, where="lids.yaml")
    assert str(refused.value).startswith("lids.yaml: ")
    assert said in str(refused.value)


def test_a_wrong_secret_is_not_quoted():
    with pytest.raises(InvalidUseCase) as refused:
        check_use_case({**FIELDS, "external_id": ["factory-seven"]}, where="lids.yaml")
    assert "external_id" in str(refused.value)
    assert "factory-seven" not in str(refused.value)


def test_a_file_that_is_not_there(tmp_path):
    for path in (tmp_path / "none.yaml", tmp_path):
        with pytest.raises(FileMissing) as refused:
            read_use_case(path)
        assert str(path) in str(refused.value)


@pytest.mark.parametrize("content", [b"", b"- a", b"usecase_id: [", b"\xff\xfe", b"text"])
def test_a_file_that_is_no_use_case(tmp_path, content):
    path = tmp_path / "lids.yaml"
    path.write_bytes(content)
    with pytest.raises(InvalidUseCase) as refused:
        read_use_case(path)
    assert str(path) in str(refused.value)


@pytest.mark.parametrize(
    "broken", ["'factory-seven", "2024-13-45 # factory-seven", "[" * 5000, "!!python/name:os.system factory-seven"]
)
def test_a_file_that_is_no_yaml_is_said_to_be_so_in_one_line_without_its_secrets(tmp_path, broken):
    path = tmp_path / "lids.yaml"
    path.write_text(f"usecase_id: lids\nexternal_id: {broken}\n")
    with pytest.raises(InvalidUseCase) as refused:
        read_use_case(path)
    message = str(refused.value)
    assert message.startswith(f"{path}: cannot be read as YAML: ")
    assert "\n" not in message
    assert "factory-seven" not in message


def test_a_key_without_a_value_is_as_if_it_were_absent(tmp_path):
    path = write(tmp_path / "lids.yaml", {**FIELDS, "targets": None, "tags": None, "external_id": None})
    assert read_use_case(path) == UseCase(**FIELDS)


def test_a_use_case_is_frozen():
    with pytest.raises(ValueError, match="frozen"):
        UseCase(**FIELDS).region = "us-east-1"
