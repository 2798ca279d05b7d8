"""The rules compared with a simulated device: what they refuse fails there, what they accept runs there."""

from __future__ import annotations

import copy
import json
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from dda_core.device.findings import Failure, errors
from dda_core.device.folder import Expectation, StageFiles
from dda_core.device.manifest import manifest_findings
from dda_core.device.package import package_findings
from dda_core.targets import find_target
from tests.dda_core.device.cases import (
    BASE,
    BOXES,
    CASES,
    HEIGHT,
    MISSING,
    NAMES,
    SEG,
    SHAPE,
    WIDTH,
    Case,
    K,
    of_type,
    stage_of,
)
from tests.fixtures.archives import compiled_meta, elf
from tests.fixtures.simulated_device import run

EXPECTED = Expectation.of(find_target("x86_64-cpu"))
NAN = float("nan")

STAGES: dict[str, dict[str, Any]] = {
    "mochi": BASE,
    "supervised_multi_head_model": SEG,
    "mooncake": of_type("mooncake", **K),
    "chocolatemousse": of_type("chocolatemousse", **K),
    "imagestats_model": of_type("imagestats_model", raw_image_shape=[HEIGHT, WIDTH], **K),
    "jalebi": of_type("jalebi", **K),
    "unsupervised_svdd": of_type("unsupervised_svdd", **K),
    "cheesecake": of_type("cheesecake", num_neighbors=3, T_0=0.2, **K),
    "tiramisu": of_type("tiramisu", num_neighbors=None, **K),
    "dango": of_type("dango", **BOXES),
    "torrone": of_type("torrone", **K),
}
NUMBERS = [0, 1, 0.5, -2.5, 3.75, True, None, "0.5", [], NAN, MISSING]
SWITCHES = [True, False, None, 0, 1, MISSING]
LISTS = [[], [0], [1], [0, 1], None, "01", 1, {}, MISSING]
PAIRS = [[HEIGHT, WIDTH], [WIDTH, HEIGHT], [7, 9], [HEIGHT], [1, 2, 3], [0, 5], ["a", "b"], None, 5, MISSING]
VALUES: dict[str, list[Any]] = {
    "type": [*STAGES, "Mochi", "taiyaki", 3, None, [], MISSING],
    "threshold": NUMBERS,
    "normalize": SWITCHES,
    "image_range_scale": SWITCHES,
    "image_width": [WIDTH, 300, "320", 320.0, None, MISSING],
    "image_height": [HEIGHT, 0, -1, [HEIGHT], MISSING],
    "interpolation": [0, 6, 7, -1, None, "1", 1.0, MISSING],
    "transform_preprocessing": ["polar_transform", None, "other", MISSING],
    "input_shape": [SHAPE, None, [], MISSING, [1, 3, 5, 5], "x"],
    "classification_head_enabled": SWITCHES,
    "segmentation_head_enabled": SWITCHES,
    "bbox_head_enabled": SWITCHES,
    "class_normal_ids": LISTS,
    "seg_normal_ids": LISTS,
    "raw_image_shape": PAIRS,
    "src_img_size": PAIRS,
    "calibrated": SWITCHES,
    "seg_recall_bias": NUMBERS,
    "classification_logic": ["cls_head", "seg_head", "cls_and_seg", "cls_or_seg", "both", None, 5, MISSING],
    "max_val_score": NUMBERS,
    "calibrator_scaling": NUMBERS,
    "calibrator_shift": NUMBERS,
    "num_neighbors": [0, 1, 5, -1, 3.0, "3", None, MISSING],
    "T_0": [0, 0.3, -1, "1", None, MISSING],
    "pp_score_thr": NUMBERS,
    "pp_iou_thr": NUMBERS,
    "down_ratio": NUMBERS,
    "pp_type": ["merge", None, MISSING],
}
PIXEL_CLASSES: list[Any] = [
    MISSING,
    None,
    {},
    {"names": None},
    {"names": []},
    {"names": [], "normal_ids": []},
    {"names": NAMES, "normal_ids": [0]},
    {"names": NAMES, "normal_ids": []},
    {"names": NAMES},
    {"names": ["one"], "normal_ids": [0]},
    {"names": NAMES, "normal_ids": 5},
]
IMAGES: list[Any] = [(WIDTH, HEIGHT), (640, 480), (1400, 500), (1000, 500), (320.0, 256), ("320", "256"), (None, 256)]
FILES: dict[str, bytes | None] = {
    "version.json": b"{}",
    "hyperparams.json": b"{}",
    "sub/second.so": b"x",
    "second.so": elf(b""),
    "second.params": b"",
    "second.meta": compiled_meta(),
    "._x.json": b"",
    "compiled.ro": b"",
    "compiled.meta": compiled_meta("gpu"),
    "compiled.so": elf(b"", "aarch64"),
    "libdlr.so": None,
    "compiled_model.json": None,
    "compiled.params": None,
    "model.tensorrt": b"",
}

changes = st.lists(
    st.sampled_from(list(VALUES)).flatmap(lambda key: st.tuples(st.just(key), st.sampled_from(VALUES[key]))), max_size=3
)


@st.composite
def packages(draw: st.DrawFn) -> tuple[dict[str, Any], dict[str, bytes]]:
    """A package's manifest, and its other files."""
    stage = copy.deepcopy(draw(st.sampled_from(list(STAGES.values()))))
    shape = draw(st.sampled_from([SHAPE, SHAPE, SHAPE, [1, 3, 288, 596]]))
    stage |= {"input_shape": list(shape), "image_width": shape[3], "image_height": shape[2]}
    stage = stage_of(stage, **copy.deepcopy(dict(draw(changes))))
    case = Case("drawn", "runs", stage, images=draw(st.sampled_from(IMAGES)), shape=list(shape))
    manifest = case.manifest()
    classes = draw(st.one_of(st.just(PIXEL_CLASSES[5]), st.sampled_from(PIXEL_CLASSES)))
    manifest["model_graph"] = stage_of(manifest["model_graph"], pixel_level_classes=copy.deepcopy(classes))
    files = {f"{case.folder()}/{name}": content for name, content in case.compiled_files().items()}
    for name, content in draw(st.one_of(st.just([]), st.lists(st.sampled_from(list(FILES.items())), max_size=2))):
        files.pop(f"{case.folder()}/{name}", None)
        if content is not None:
            files[f"{case.folder()}/{name}"] = content
    return manifest, files


def judged(manifest: dict[str, Any], files: dict[str, bytes]) -> list[Any]:
    seen = StageFiles()
    for name, content in {"manifest.json": b"", **files}.items():
        list(seen.watch(name, [content]))
    return errors(package_findings(seen.files, manifest, EXPECTED))


@settings(max_examples=300, deadline=None)
@given(packages())
def test_the_rules_accept_exactly_what_runs_on_the_device(package: tuple[dict[str, Any], dict[str, bytes]]):
    """**Feature: greengrass-component-workflow-alignment, Property 6: Component Validation Consistency**

    The rules refuse a package exactly if a device cannot run it, for any keys, types and files.
    """
    manifest, files = package
    refused = judged(manifest, files)
    found = run(json.dumps(manifest).encode(), files)
    assert bool(refused) == (found != "runs"), (found, [str(each) for each in refused])
    if refused:
        failures = {each.failure for each in refused}
        assert Failure.WRONG in failures or any(failure.value in ("startup", "load", "frame") for failure in failures)


def test_the_simulated_device_gives_the_verdicts_of_the_table():
    for case in CASES:
        found = run(
            json.dumps(case.manifest()).encode(),
            {k: v for k, v in case.package_files().items() if k != "manifest.json"},
        )
        expected = {"warns": "runs", "refuse": "runs"}.get(case.verdict, case.verdict)
        assert found == expected, case.name


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(st.sampled_from(list(VALUES)) | st.text(max_size=5), inner, max_size=4)
    ),
    max_leaves=12,
)


@settings(max_examples=300, deadline=None)
@given(
    JSON, st.sampled_from(["", "dataset", "model_graph", "stages", "stage", "pixel_level_classes", "compilable_models"])
)
def test_a_manifest_with_any_content_is_checked_without_crashing(value: Any, place: str):
    manifest: Any = Case("any", "runs").manifest()
    if place == "":
        manifest = value
    elif place == "stage":
        manifest["model_graph"]["stages"] = [value]
    elif place in ("stages", "pixel_level_classes"):
        manifest["model_graph"][place] = value
    else:
        manifest[place] = value
    for finding in manifest_findings(manifest):
        assert finding.message
        assert finding.remedy.endswith(".")
