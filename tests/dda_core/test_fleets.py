from pathlib import Path

import pytest
import yaml

from dda_core.exceptions import InvalidCatalogue, UnknownFleet
from dda_core.fleets import (
    PRESETS,
    SAVED_BEFORE,
    all_fleets,
    find_fleet,
    fleet_names,
    localservers_of,
    new_fleet,
    read_fleets,
)
from dda_core.targets import find_target

ROWS = yaml.safe_load(PRESETS.read_text())
OLD_FOUR = ["jetson-xavier", "x86_64-cpu", "x86_64-cuda", "arm64-cpu"]


def names(fleet, *targets):
    return [
        find_fleet(fleet).localserver.get(target, "-").removeprefix("aws.edgeml.dda.LocalServer.") for target in targets
    ]


def test_the_presets_have_the_devices_names_and_default_targets():
    assert fleet_names() == ("current", "jetpack4-renamed", "original")
    assert new_fleet().name == "current"
    arm = ("jetson-xavier", "arm64-cpu", "jetson-xavier-jp5", "jetson-xavier-jp6", "jetson-xavier-jp7")
    assert names("current", *arm) == ["-", "arm64", "arm64JP5", "arm64JP6", "arm64JP7"]
    assert names("jetpack4-renamed", *arm) == ["arm64JP4", "arm64JP4", "arm64JP5", "arm64JP6", "arm64JP7"]
    assert names("original", *arm) == ["arm64", "arm64", "arm64JP5", "arm64JP6", "-"]
    assert {name for fleet in all_fleets() for name in names(fleet.name, "x86_64-cpu", "x86_64-cuda")} == {"amd64"}
    onnx = [f"onnx-jetson-xavier-jp{number}" for number in (5, 6, 7)]
    assert names("current", *onnx) == ["arm64JP5", "arm64JP6", "arm64JP7"]
    assert list(find_fleet("current").targets) == ["jetson-xavier-jp5", *OLD_FOUR[1:]]
    assert list(find_fleet(SAVED_BEFORE).targets) == OLD_FOUR
    assert "JetPack 4 is retired" in find_fleet("current").refused["jetson-xavier"]
    assert all(fleet.purpose and fleet.source for fleet in all_fleets())


def test_the_names_of_all_presets_for_a_target():
    assert localservers_of(find_target("arm64-cpu")) == (
        "aws.edgeml.dda.LocalServer.arm64",
        "aws.edgeml.dda.LocalServer.arm64JP4",
    )


def test_an_unknown_fleet_lists_the_known():
    with pytest.raises(UnknownFleet, match="current, jetpack4-renamed, original") as refused:
        find_fleet("newest")
    assert refused.value.exit_code == 2


def write(folder: Path, **change: object) -> Path:
    path = folder / "fleets.yaml"
    path.write_text(yaml.safe_dump([ROWS[0], {**ROWS[2], **change}]))
    return path


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"name": "current"}, "each name once"),
        ({"name": "A b"}, "name"),
        ({"purpose": ""}, "purpose"),
        ({"targets": ["armv7"]}, "armv7 is not the name of a row"),
        ({"targets": ["jetson"]}, "jetson is not the name of a row"),
        ({"targets": []}, "targets"),
        ({"localserver": {}}, "jetson-xavier must be in either localserver or refused"),
        ({"refused": {"arm64-cpu": "gone"}}, "arm64-cpu must be in either localserver or refused"),
        ({"targets": ["jetson-xavier-jp7"]}, "jetson-xavier-jp7 is a default target but has no LocalServer"),
        ({"colour": "blue"}, "colour"),
    ],
)
def test_a_bad_preset_is_refused_with_the_file_named(tmp_path, change, said):
    path = write(tmp_path, **change)
    with pytest.raises(InvalidCatalogue) as refused:
        read_fleets(path)
    assert str(path) in str(refused.value)
    assert said in str(refused.value)


@pytest.mark.parametrize("text", ["[]", "name: x", "- [", ""])
def test_a_file_that_holds_no_presets_is_refused_with_the_file_named(tmp_path, text):
    path = tmp_path / "fleets.yaml"
    path.write_text(text)
    with pytest.raises(InvalidCatalogue) as refused:
        read_fleets(path)
    assert str(path) in str(refused.value)
