import traceback

import pytest
import yaml

from dda_core.exceptions import FileMissing, InvalidCatalogue, InvalidUseCase, TargetUnavailable, UnknownTarget
from dda_core.fleets import find_fleet
from dda_core.sanitise import redact
from dda_core.sanitised_errors import masked
from dda_core.targets import find_target
from dda_core.use_case import UseCase, check_use_case, read_use_case
from tests.fixtures.own_target import ORIN

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
    assert use_case.fleet == "current"
    assert use_case.startup_wait_seconds == 600
    names = [target.name for target in use_case.default_targets()]
    assert names == ["jetson-xavier-jp5", "x86_64-cpu", "x86_64-cuda", "arm64-cpu"]
    assert use_case.localserver_for(find_target("jetson-xavier-jp5")) == "aws.edgeml.dda.LocalServer.arm64JP5"


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
        ({"s3_bucket": "dda..lids"}, "two dots in a row"),
        ({"s3_bucket": "192.168.5.4"}, "the form of an IP address"),
        ({"s3_bucket": "xn--dda"}, "S3 reserves names that begin with 'xn--'"),
        ({"s3_bucket": "dda-lids--x-s3"}, "S3 reserves names that end in '--x-s3'"),
        ({"usecase_id": "a b"}, "usecase_id"),
        ({"cross_account_role_arn": "Cross"}, "cross_account_role_arn"),
        ({"sagemaker_execution_role_arn": "arn:aws:iam::1:role/x"}, "sagemaker_execution_role_arn"),
        ({"targets": ["armv7"]}, "unknown target 'armv7'; expected one of jetson-xavier"),
        ({"localserver": {"armv7": "x"}}, "unknown target 'armv7'"),
        ({"bucket": "x"}, "bucket"),
        ({"tags": ["x"]}, "tags"),
        ({"tags": {"k" * 129: "x"}}, "tags"),
        ({"tags": {"team": "x" * 257}}, "tags.team"),
        ({"tags": {"aws:team": "x"}}, "must not begin with 'aws:'"),
        ({"tags": {"AWS:team": "x"}}, "must not begin with 'aws:'"),
        ({"tags": {"team": "x", "dda:flow-run": "x"}}, "must not begin with 'dda:'"),
        ({"tags": {"dda-portal:managed": "false"}}, "must not begin with 'dda-portal:'"),
        ({"targets": ["x86_64", "arm64-cpu", "x86_64-cpu"]}, "target x86_64-cpu is named twice"),
        ({"targets": ["arm64-cpu", "arm64-cpu"]}, "target arm64-cpu is named twice"),
        ({"localserver": {"x86_64": "a.amd64", "x86_64-cpu": "b.amd64"}}, "target x86_64-cpu is named twice"),
        ({"localserver": {"jetson": "arm64 JP4"}}, "localserver.jetson"),
        ({"fleet": "curent"}, "unknown fleet 'curent'; expected one of current, jetpack4-renamed, original"),
        ({"fleet": True}, "fleet"),
        ({"startup_wait_seconds": -1}, "startup_wait_seconds"),
        ({"startup_wait_seconds": True}, "startup_wait_seconds"),
        ({"startup_wait_seconds": "600"}, "startup_wait_seconds"),
        ({"startup_wait_seconds": 86_401}, "startup_wait_seconds"),
        ({"targets": ["jetson-xavier-jp7"]}, "trained archives do not contain an ONNX file yet"),
        ({"targets": ["jetson"], "fleet": "current"}, "in fleet current: JetPack 4 is retired"),
        ({"own_targets": [{"name": "orin"}]}, "own_targets.0.suffix"),
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


def test_a_key_that_is_there_twice_is_refused_with_its_place(tmp_path):
    path = tmp_path / "lids.yaml"
    path.write_text(yaml.safe_dump(FIELDS) + "tags:\n  team: vision\nregion: us-east-1\n")
    with pytest.raises(InvalidUseCase, match=r"line 7, column 1: duplicate key 'region'"):
        read_use_case(path)


def test_a_file_of_targets_is_read_as_carefully(tmp_path):
    rows = tmp_path / "rows.yaml"
    for text, what in (
        ("- name: a\n  name: b\n", "line 2, column 3: duplicate key 'name'"),
        ("- &a [1, 2]\n" + "- [" + "*a, " * 30_000 + "]\n", "more than 20000 values"),
        ("[" * 5000, "nested deeper than 100 levels"),
    ):
        rows.write_text(text)
        path = write(tmp_path / "lids.yaml", {**FIELDS, "targets_file": "rows.yaml"})
        with pytest.raises(InvalidCatalogue) as refused:
            read_use_case(path)
        assert str(refused.value).startswith(f"{rows}: cannot be read as YAML: ")
        assert what in str(refused.value)


def test_tags_that_only_look_like_reserved_ones_are_the_users(tmp_path):
    tags = {"awsteam": "x", "dda": "y", "team:dda:": "z"}
    assert check_use_case({**FIELDS, "tags": tags}, where="f").tags == tags


def test_a_key_without_a_value_is_as_if_it_were_absent(tmp_path):
    path = write(tmp_path / "lids.yaml", {**FIELDS, "targets": None, "tags": None, "external_id": None})
    assert read_use_case(path) == UseCase(**FIELDS, fleet="current")


def test_a_use_case_is_frozen():
    with pytest.raises(ValueError, match="frozen"):
        UseCase(**FIELDS).region = "us-east-1"


CONTRACT = {
    "jetson-xavier": "arm64",
    "x86_64-cpu": "amd64",
    "x86_64-cuda": "amd64",
    "arm64-cpu": "arm64",
    "jetson-xavier-jp5": "arm64JP5",
    "jetson-xavier-jp6": "arm64JP6",
}


def test_a_use_case_saved_before_publishes_as_it_did():
    use_case = check_use_case(dict(FIELDS), where="block")
    assert (use_case.fleet, use_case.preset.name) == (None, "original")
    names = [target.name for target in use_case.default_targets()]
    assert names == ["jetson-xavier", "x86_64-cpu", "x86_64-cuda", "arm64-cpu"]
    for name, localserver in CONTRACT.items():
        assert use_case.localserver_for(find_target(name)) == f"aws.edgeml.dda.LocalServer.{localserver}"


def test_a_retired_target_is_refused_with_reason_and_remedy_unless_its_localserver_is_named():
    use_case = UseCase(**FIELDS, fleet="current")
    assert "jetson-xavier" not in use_case.target_names()
    with pytest.raises(TargetUnavailable) as refused:
        use_case.find_targets(["x86_64", "jetson"])
    assert "JetPack 4 is retired" in refused.value.reason
    assert "jetson-xavier: aws.edgeml.dda.LocalServer" in refused.value.remedy
    named = UseCase(**FIELDS, fleet="current", localserver={"jetson": "aws.edgeml.dda.LocalServer.arm64JP4"})
    (target,) = named.find_targets(["jetson"])
    assert named.localserver_for(target) == "aws.edgeml.dda.LocalServer.arm64JP4"
    assert "jetson-xavier" in named.target_names()


def test_names_of_a_preset_stand_for_each_other_only_where_the_use_case_names_none():
    jetson = find_target("jetson-xavier")
    assert UseCase(**FIELDS).preset_localservers(jetson) == (
        "aws.edgeml.dda.LocalServer.arm64JP4",
        "aws.edgeml.dda.LocalServer.arm64",
    )
    assert UseCase(**FULL).preset_localservers(jetson) == ()


def test_a_use_case_moves_to_another_fleet_and_keeps_all_else():
    use_case = UseCase(**FIELDS, external_id="factory-seven", startup_wait_seconds=7)
    moved = use_case.on_fleet("jetpack4-renamed")
    assert moved == UseCase(**FIELDS, external_id="factory-seven", startup_wait_seconds=7, fleet="jetpack4-renamed")
    assert moved.default_targets() == find_fleet("jetpack4-renamed").default_targets()
    with pytest.raises(InvalidUseCase, match="JetPack 4 is retired") as refused:
        UseCase(**FIELDS, external_id="factory-seven", targets=["jetson"]).on_fleet("current")
    assert "factory-seven" not in str(refused.value)


def test_a_secret_is_not_quoted_where_the_whole_use_case_is_wrong():
    with pytest.raises(InvalidUseCase) as refused:
        check_use_case({**FULL, "localserver": {}, "fleet": "current"}, where="lids.yaml")
    assert "JetPack 4 is retired" in str(refused.value)
    assert "factory-seven" not in str(refused.value)


def with_rows(folder, *rows, **fields):
    (folder / "rows").mkdir()
    (folder / "rows" / "own.yaml").write_text(yaml.safe_dump(list(rows)))
    return write(folder / "lids.yaml", {**FIELDS, "targets_file": "rows/own.yaml", **fields})


def test_own_targets_are_read_beside_the_file_and_used_like_ours(tmp_path):
    use_case = read_use_case(
        with_rows(tmp_path, ORIN, targets=["orin", "x86_64"], localserver={"orin": "Our.LocalServer"})
    )
    orin, _ = use_case.default_targets()
    assert orin.neo_platform() == {"Os": "LINUX", "Arch": "ARM64", "Accelerator": "NVIDIA"}
    assert use_case.targets == ("jetson-orin", "x86_64-cpu")
    assert use_case.localserver_for(orin) == "Our.LocalServer"
    assert use_case.target_names()[-1] == "jetson-orin"
    assert check_use_case(use_case.model_dump(), where="block") == use_case
    with pytest.raises(UnknownTarget):
        UseCase(**FIELDS).find_target("jetson-orin")


def test_an_own_row_brings_its_localserver(tmp_path):
    use_case = read_use_case(with_rows(tmp_path, ORIN))
    assert use_case.localserver_for(use_case.find_target("orin")) == ORIN["localserver"]
    assert use_case.preset_localservers(use_case.find_target("orin")) == ()


def test_a_wrong_own_row_names_its_file(tmp_path):
    path = with_rows(tmp_path, {**ORIN, "suffix": "x86cpu"})
    with pytest.raises(InvalidCatalogue, match="the suffix x86cpu is in two rows") as refused:
        read_use_case(path)
    assert str(tmp_path / "rows" / "own.yaml") in str(refused.value)


def test_a_file_of_targets_that_is_not_there_is_said_so(tmp_path):
    with pytest.raises(FileMissing, match=r"none\.yaml: no such file; .*lids\.yaml names it"):
        read_use_case(write(tmp_path / "lids.yaml", {**FIELDS, "targets_file": "none.yaml"}))
    with pytest.raises(InvalidUseCase, match="targets_file"):
        read_use_case(write(tmp_path / "lids.yaml", {**FIELDS, "targets_file": ["own.yaml"]}))


@pytest.mark.parametrize(
    "text",
    [
        "externalid: hush-hush",
        "external-id: &secret hush-hush\nfleet: *secret",
        "external_id: &secret [hush-hush]\nregion: *secret",
        "external_id: &secret hush-hush\ntargets: [*secret]",
        "external_id: &secret hush/hush\nlocalserver: {jetson: *secret}",
        "external_id: &secret hush-hush\ntargets_file: [*secret]",
        "aws: {credentials: {secret: hush-hush}}",
        "region: {external_id: hush-hush}",
        "s3_bucket: [hush-hush]",
        "tags: {key: {inner: hush-hush}}",
        "external_id: *hush-hush",
        "external_id: !hush-hush x",
        "external_id: 'hush-hush",
        'external_id: "hush-hush\\q"',
        "external_id: {a: hush-hush",
        "own_targets: [{name: a, secret: hush-hush}]",
        "'hush-hush with blanks': 1",
        "s3_bucket: https://user:hush-hush@example.com/?token=hush-hush",
    ],
)
def test_no_error_quotes_what_may_be_a_secret(tmp_path, text):
    names = {line.split(":")[0].strip() for line in text.splitlines()}
    fields = "".join(f"{name}: '{value}'\n" for name, value in FIELDS.items() if name not in names)
    path = tmp_path / "lids.yaml"
    path.write_text(f"{fields}{text}\n")
    with pytest.raises(InvalidUseCase) as refused:
        read_use_case(path)
    assert "hush" not in "".join(traceback.format_exception(refused.value))
    assert str(refused.value).startswith(f"{path}: ")
    assert len(str(refused.value)) > len(f"{path}: ") + 10


def test_a_misspelt_field_is_named_and_its_value_is_not(tmp_path):
    path = write(tmp_path / "lids.yaml", {**FIELDS, "externalid": "factory-seven"})
    with pytest.raises(InvalidUseCase) as refused:
        read_use_case(path)
    assert masked(str(refused.value)) == f"{path}: unknown field externalid"


def test_a_harmless_value_is_still_quoted():
    with pytest.raises(InvalidUseCase, match=r"region: .* \(found 'nowhere'\)"):
        check_use_case({**FIELDS, "region": "nowhere"}, where="lids.yaml")


def test_a_row_of_own_targets_quotes_no_unknown_field(tmp_path):
    (tmp_path / "rows.yaml").write_text("- {name: &s hush-hush, secret: *s, suffix: a, arch: *s, platform: amd64}\n")
    path = write(tmp_path / "lids.yaml", {**FIELDS, "targets_file": "rows.yaml"})
    with pytest.raises(InvalidCatalogue) as refused:
        read_use_case(path)
    assert "secret" in str(refused.value)
    assert "hush" not in str(refused.value)


def test_a_use_case_makes_its_external_id_a_secret_of_the_process():
    assert redact("id factory-seven") == "id factory-seven"
    UseCase(**FIELDS, external_id="factory-seven")
    assert redact("id factory-seven") == "id ***"
