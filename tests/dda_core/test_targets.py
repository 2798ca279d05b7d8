from pathlib import Path

import pytest
import yaml

from dda_core import targets
from dda_core.exceptions import InvalidCatalogue, UnknownTarget
from dda_core.targets import TABLE, all_targets, default_targets, find_target, find_targets, read_table, target_names

ROWS = yaml.safe_load(TABLE.read_text())
ORIN = {
    "name": "jetson-orin",
    "suffix": "orin",
    "arch": "ARM64",
    "accelerator": "NVIDIA",
    "compiler_options": '{"cuda-ver": "11.4", "gpu-code": "sm_87"}',
    "platform": "aarch64",
    "localserver": "aws.edgeml.dda.LocalServer.arm64JP6",
    "aliases": ["orin"],
}


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
    ]
    assert default_targets() == all_targets()[:4]


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
        assert len(all_targets()) == 7
        assert find_target("orin").component_suffix == "jetson-orin"
        assert find_target("jetson-orin").neo_platform() == {"Os": "LINUX", "Arch": "ARM64", "Accelerator": "NVIDIA"}
        assert default_targets() == all_targets()[:4]
    finally:
        all_targets.cache_clear()


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"arch": "ARMV7"}, "arch"),
        ({"platform": "x86_64"}, "platform"),
        ({"accelerator": "AMD"}, "accelerator"),
        ({"name": "Jetson Orin"}, "name"),
        ({"suffix": "much-too-long"}, "suffix"),
        ({"localserver": ""}, "localserver"),
        ({"compiler_options": "{'cuda-ver': '11.4'}"}, "compiler_options"),
        ({"compiler_options": '{"cuda-ver": "12.2"}'}, "cuda-ver 12.2 is over SageMaker Neo's ceiling"),
        ({"colour": "blue"}, "colour"),
        ({"name": "x86_64-cpu"}, "x86_64-cpu stands in two rows"),
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


@pytest.mark.parametrize("text", ["[]", "name: x", "- [", ""])
def test_a_table_that_is_none_is_refused_with_the_file_named(tmp_path, text):
    path = tmp_path / "targets.yaml"
    path.write_text(text)
    with pytest.raises(InvalidCatalogue) as refused:
        read_table(path)
    assert str(path) in str(refused.value)
