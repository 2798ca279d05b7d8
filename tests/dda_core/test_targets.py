from pathlib import Path

import pytest
import yaml

from dda_core import targets
from dda_core.exceptions import InvalidCatalogue, TargetUnavailable, UnknownTarget
from dda_core.targets import (
    TABLE,
    all_targets,
    find_target,
    find_targets,
    look_up,
    read_own_targets,
    read_table,
    target_names,
)
from tests.fixtures.own_target import ORIN

ROWS = yaml.safe_load(TABLE.read_text())


def table(path: Path, *rows) -> Path:
    path.write_text(yaml.safe_dump(list(rows)))
    return path


def test_the_table_has_the_contracts_rows_in_order():
    assert target_names() == (
        "jetson-xavier",
        "x86_64-cpu",
        "x86_64-cuda",
        "arm64-cpu",
        "jetson-xavier-jp5",
        "jetson-xavier-jp6",
    )
    assert [target.suffix for target in all_targets()] == [
        "jetson",
        "x86cpu",
        "x86cuda",
        "arm64cpu",
        "jetsonjp5",
        "jetsonjp6",
        "jetsonjp7",
        "onnxjp5",
        "onnxjp6",
        "onnxjp7",
    ]


@pytest.mark.parametrize(
    "name", ["jetson-xavier-jp7", "onnx-jetson-xavier-jp5", "onnx-jetson-xavier-jp6", "onnx-jetson-xavier-jp7"]
)
def test_a_target_that_needs_an_onnx_file_is_known_and_refused_with_the_reason(name):
    row = look_up(name)
    assert (row.runtime, row.platform) == ("onnx", "aarch64")
    assert row.manifest_keys == ("model_graph", "dataset", "runtime", "runtime_artifact")
    assert name not in target_names()
    with pytest.raises(TargetUnavailable, match="trained archives do not contain") as refused:
        find_target(name)
    assert (refused.value.target, refused.value.reason) == (name, row.unavailable)
    assert "jetson-xavier-jp6" in refused.value.remedy
    assert refused.value.exit_code == 2


@pytest.mark.parametrize(
    ("alias", "name"), [("x86_64", "x86_64-cpu"), ("aarch64", "arm64-cpu"), ("jetson", "jetson-xavier")]
)
def test_aliases(alias, name):
    assert find_target(alias).name == name


@pytest.mark.parametrize("name", ["", "X86_64-cpu", "x86-64-cpu", "jetson-xavier ", "armv7", "amd64"])
def test_an_unknown_target_fails_closed_and_lists_the_known(name):
    with pytest.raises(UnknownTarget) as refused:
        find_target(name)
    assert repr(name) in str(refused.value)
    for known in target_names():
        assert known in str(refused.value)
    assert refused.value.exit_code == 2


def test_targets_by_several_names_come_once_each_in_the_order_given():
    found = find_targets(["arm64-cpu", "jetson", "aarch64", "jetson-xavier"])
    assert [target.name for target in found] == ["arm64-cpu", "jetson-xavier"]


def test_a_row_without_accelerator_sends_none():
    assert find_target("x86_64-cpu").neo_platform() == {"Os": "LINUX", "Arch": "X86_64"}


def test_rows_are_frozen():
    with pytest.raises(ValueError, match="frozen"):
        find_target("x86_64-cpu").platform = "aarch64"


def test_adding_a_target_is_adding_a_row(tmp_path, monkeypatch):
    monkeypatch.setattr(targets, "TABLE", table(tmp_path / "targets.yaml", *ROWS, ORIN))
    all_targets.cache_clear()
    try:
        assert len(all_targets()) == len(ROWS) + 1
        assert find_target("orin").component_suffix == "jetson-orin"
        assert find_target("jetson-orin").neo_platform() == {"Os": "LINUX", "Arch": "ARM64", "Accelerator": "NVIDIA"}
    finally:
        all_targets.cache_clear()


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"arch": "ARMV7"}, "arch"),
        ({"platform": "x86_64"}, "platform"),
        ({"platform": "amd64"}, "platform amd64 must be aarch64 for arch ARM64"),
        ({"runtime": "onnx"}, "runtime onnx needs `unavailable`"),
        ({"runtime": "pytorch"}, "runtime"),
        ({"unavailable": ""}, "unavailable"),
        ({"compiler_options": "[]"}, "Neo's options must be a JSON object"),
        ({"compiler_options": '{"cuda-ver": "new"}'}, "cuda-ver 'new' is not a version"),
        ({"accelerator": "AMD"}, "accelerator"),
        ({"name": "Jetson Orin"}, "name"),
        ({"suffix": "much-too-long"}, "suffix"),
        ({"localserver": ""}, "localserver"),
        ({"compiler_options": "{'cuda-ver': '11.4'}"}, "compiler_options"),
        ({"compiler_options": '{"cuda-ver": "12.2"}'}, "cuda-ver 12.2 is over SageMaker Neo's ceiling"),
        ({"colour": "blue"}, "colour"),
        ({"name": "x86_64-cpu"}, "x86_64-cpu is in two rows"),
        ({"name": "x86-64-cpu"}, "component name x86-64-cpu"),
        ({"suffix": "x86cpu"}, "suffix x86cpu"),
        ({"aliases": ["aarch64"]}, "aarch64"),
    ],
)
def test_a_bad_row_is_refused_with_the_file_named(tmp_path, change, said):
    path = table(tmp_path / "targets.yaml", *ROWS, {**ORIN, **change})
    with pytest.raises(InvalidCatalogue) as refused:
        read_table(path)
    assert str(path) in str(refused.value)
    assert said in str(refused.value)


def test_a_bad_row_is_named_with_its_field_and_value(tmp_path):
    path = table(tmp_path / "own.yaml", ORIN, {**ORIN, "name": "jetson-nano", "arch": "ARMV7"})
    with pytest.raises(InvalidCatalogue) as refused:
        read_own_targets(path)
    assert str(refused.value).startswith(f"{path}: row 2 (jetson-nano): arch: ")
    assert str(refused.value).endswith("(found 'ARMV7')")


def test_own_rows_stand_beside_the_table_and_are_found_by_name_and_alias(tmp_path):
    (row,) = own = read_own_targets(table(tmp_path / "own.yaml", ORIN))
    assert find_targets(["orin", "x86_64", "jetson-orin"], own) == (row, find_target("x86_64-cpu"))
    assert row not in all_targets()
    with pytest.raises(UnknownTarget, match=r"jetson-xavier-jp6, jetson-orin$"):
        find_target("jetson-nano", own)


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"name": "jetson"}, "the name or alias jetson is in two rows"),
        ({"name": "onnx-jetson-xavier-jp7"}, "onnx-jetson-xavier-jp7 is in two rows"),
        ({"aliases": ["arm64-cpu"]}, "the name or alias arm64-cpu"),
        ({"suffix": "jetsonjp7"}, "the suffix jetsonjp7"),
        ({"name": "x86-64-cuda"}, "the component name x86-64-cuda"),
        ({"localserver": None}, "row jetson-orin: localserver is missing"),
    ],
)
def test_an_own_row_shares_nothing_with_ours_and_names_its_localserver(tmp_path, change, said):
    with pytest.raises(InvalidCatalogue) as refused:
        read_own_targets(table(tmp_path / "own.yaml", {**ORIN, **change}))
    assert said in str(refused.value)


def test_every_word_in_two_rows_is_reported(tmp_path):
    path = table(tmp_path / "targets.yaml", *ROWS, {**ORIN, "name": "x86_64-cpu", "suffix": "x86cpu"})
    with pytest.raises(InvalidCatalogue) as refused:
        read_table(path)
    assert str(refused.value).split(": ", 1)[1].split("; the ") == [
        "the name or alias x86_64-cpu is in two rows; each must be unique",
        "suffix x86cpu is in two rows; each must be unique",
        "component name x86-64-cpu is in two rows; each must be unique",
    ]


@pytest.mark.parametrize("text", ["[]", "name: x", "- [", ""])
def test_a_table_that_is_none_is_refused_with_the_file_named(tmp_path, text):
    path = tmp_path / "targets.yaml"
    path.write_text(text)
    with pytest.raises(InvalidCatalogue) as refused:
        read_table(path)
    assert str(path) in str(refused.value)
