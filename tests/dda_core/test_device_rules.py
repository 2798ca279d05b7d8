"""What a device refuses: one rule per test, each broken alone, so that exactly one finding comes out."""

from __future__ import annotations

import copy
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dda_core import device_rules as module
from dda_core.device_rules import (
    check_manifest,
    check_package,
    device_rules,
    manifest_findings,
    package_findings,
)
from dda_core.exceptions import DeviceWouldRefuse, InvalidCatalogue
from tests.fixtures.archives import compiled_files, dda_manifest_of, model_graph

NAMES = ["manifest.json", *(f"mochi/{name}" for name in compiled_files(100))]


def only(findings: list[str]) -> str:
    (finding,) = findings
    return finding


def stage(**changes: Any) -> dict[str, Any]:
    return dda_manifest_of(model_graph(**changes))


def two_stages(kind: str = "two_stage_model_graph", second: str = "dango") -> dict[str, Any]:
    graph = model_graph()
    graph["model_graph_type"] = kind
    graph["stages"].append(dict(graph["stages"][0], type=second))
    return dda_manifest_of(graph)


def test_a_good_package_has_no_findings():
    assert manifest_findings(stage()) == []
    assert package_findings(NAMES, stage()) == []
    check_manifest(stage(), "model.tar.gz")
    check_package(NAMES, stage(), "model.tar.gz")


def test_all_eighteen_stage_types_are_known():
    assert len(device_rules().stage_types) == 18
    for kind in device_rules().stage_types:
        assert manifest_findings(stage(type=kind)) == []


def test_no_dataset():
    manifest = stage()
    del manifest["dataset"]
    assert "no dataset" in only(manifest_findings(manifest))


def test_a_graph_with_fewer_than_two_keys():
    manifest = stage()
    manifest["model_graph"] = {"model_graph_type": "single_stage_model_graph"}
    assert any("1 top-level keys, at least two" in finding for finding in manifest_findings(manifest))


def test_no_model_graph():
    assert "no model_graph in the manifest" in only(manifest_findings({"dataset": {}}))


def test_no_model_graph_type():
    manifest = stage()
    del manifest["model_graph"]["model_graph_type"]
    assert "no model_graph_type" in only(manifest_findings(manifest))


def test_an_unknown_model_graph_type():
    manifest = stage()
    manifest["model_graph"]["model_graph_type"] = "three_stage_model_graph"
    assert "unknown model_graph_type 'three_stage_model_graph'" in only(manifest_findings(manifest))


@pytest.mark.parametrize("key", ["threshold", "normalize", "image_range_scale"])
def test_stage_zero_without_a_key(key: str):
    assert f"no {key} in stages[0]" in only(manifest_findings(stage(**{key: None})))


@pytest.mark.parametrize("value", ["true", 1, 0, [], {}])
def test_normalize_that_is_no_boolean(value: Any):
    assert "it must be true or false" in only(manifest_findings(stage(normalize=value)))


def test_false_and_zero_are_values():
    assert manifest_findings(stage(normalize=False, threshold=0, image_range_scale=False)) == []


@pytest.mark.parametrize("kind", ["matcha", "", "Mochi", "../mochi", 5, ["mochi"], {"a": 1}])
def test_an_unknown_stage_type(kind: Any):
    assert "unknown type" in only(manifest_findings(stage(type=kind)))


def test_no_stage_type():
    assert "no type in stages[0]" in only(manifest_findings(stage(type=None)))


@pytest.mark.parametrize("kind", ["mochi", "supervised_multi_head_model"])
@pytest.mark.parametrize("key", ["classification_head_enabled", "segmentation_head_enabled"])
def test_a_multi_head_type_without_a_head_switch(kind: str, key: str):
    assert f"no {key} in stages[0]" in only(manifest_findings(stage(**{"type": kind, key: None})))


def test_classification_without_class_normal_ids():
    assert "no class_normal_ids" in only(manifest_findings(stage(class_normal_ids=None)))


def test_segmentation_without_raw_image_shape():
    assert "no raw_image_shape" in only(manifest_findings(stage(segmentation_head_enabled=True)))
    assert manifest_findings(stage(segmentation_head_enabled=True, raw_image_shape=[3, 768, 576])) == []


def test_a_head_that_is_off_needs_nothing():
    assert manifest_findings(stage(classification_head_enabled=False, class_normal_ids=None)) == []


def test_other_types_need_no_heads():
    manifest = stage(type="dango", classification_head_enabled=None, segmentation_head_enabled=None)
    assert manifest_findings(manifest) == []


@pytest.mark.parametrize("kind", ["two_stage_model_graph", "two_stage_model_graph_bbox"])
def test_a_graph_of_two_stages_cannot_be_compiled_here(kind: str):
    assert "needs 2 compiled models" in only(manifest_findings(two_stages(kind)))


def test_a_second_stage_without_its_folder():
    assert "no file in the folder dango/" in only(package_findings(NAMES, two_stages()))


def test_a_two_stage_package_with_both_folders_is_accepted():
    both = NAMES + [name.replace("mochi/", "dango/") for name in NAMES[1:]]
    assert package_findings(both, two_stages()) == []


def test_no_manifest_at_the_root():
    assert "no manifest.json at the root" in only(package_findings(NAMES[1:], stage()))


def test_a_wrapper_folder():
    findings = package_findings([f"package/{name}" for name in NAMES], stage())
    assert any("inside the wrapper folder package/" in finding for finding in findings)


def test_a_model_py_at_the_root():
    assert "a model.py at the root" in only(package_findings([*NAMES, "model.py"], stage()))
    assert package_findings([*NAMES, "mochi/model.py"], stage()) == []


@pytest.mark.parametrize("names", [["manifest.json"], ["manifest.json", "mochi/"], ["manifest.json", "mochi2/a"]])
def test_a_stage_without_its_folder(names: list[str]):
    assert "no file in the folder mochi/" in only(package_findings(names, stage()))


@pytest.mark.parametrize("suffix", [".json", ".so", ".params", ".meta", ".ro"])
def test_two_files_of_a_kind(suffix: str):
    names = ["manifest.json", f"mochi/a{suffix}", f"mochi/b{suffix}"]
    assert f"2 {suffix} files in the folder mochi/ (a{suffix}, b{suffix})" in only(package_findings(names, stage()))


@pytest.mark.parametrize(
    "name", ["model-shapes.json", "hyperparams.json", "version.json", "libdlr.so", "notes.txt", "sub/other.json"]
)
def test_files_that_do_not_count(name: str):
    assert package_findings([*NAMES, f"mochi/{name}"], stage()) == []


def test_every_finding_is_listed_and_the_error_names_the_archive():
    manifest = stage(threshold=None, normalize="yes", type="matcha")
    del manifest["dataset"]
    with pytest.raises(DeviceWouldRefuse, match=r"^s3://b/model.tar.gz: a device would refuse it: ") as caught:
        check_manifest(manifest, "s3://b/model.tar.gz")
    assert len(caught.value.findings) == 4


KEYS = st.sampled_from(
    ["model_graph", "model_graph_type", "stages", "type", "dataset", "threshold", "normalize", "mochi"]
)
ANY = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.sampled_from(["mochi", "two_stage_model_graph", "x"]),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(KEYS, inner, max_size=5),
    max_leaves=25,
)


@settings(max_examples=300)
@given(ANY, st.lists(st.text(max_size=10)))
def test_any_json_gives_findings_and_never_an_error(manifest: Any, names: list[str]):
    assert manifest_findings(manifest)
    assert package_findings(names, manifest)


@settings(max_examples=200)
@given(st.data())
def test_any_replaced_value_never_gives_an_error(data: st.DataObject):
    manifest = stage()
    place: Any = manifest
    for key in data.draw(
        st.sampled_from([["model_graph"], ["model_graph", "stages"], ["model_graph", "stages", 0], ["dataset"]])
    ):
        parent, place = place, place[key]
    parent[key] = data.draw(ANY)
    for finding in manifest_findings(copy.deepcopy(manifest)) + package_findings(NAMES, manifest):
        assert ";" in finding or ":" in finding, "each says what to do"


def test_rules_that_are_not_valid_are_said_to_be_so(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    broken = tmp_path / "device_rules.yaml"
    broken.write_text("stage_types: mochi")
    monkeypatch.setattr(module, "RULES", broken)
    device_rules.cache_clear()
    with pytest.raises(InvalidCatalogue, match="model_graph_types"):
        device_rules()
    device_rules.cache_clear()
