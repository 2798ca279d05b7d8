"""Models and packages with one change each, and what a device does with them.

Every case of the table was run on the device's own code.

A case changes a base: ``BASE`` classifies images of 320 x 256, ``SEG`` also segments defects. ``VERDICTS`` are what the
device did: ``runs`` includes a warning if the results may be wrong, ``refuse`` is what runs there and we refuse.
"""

from __future__ import annotations

import copy
import json
from collections.abc import Callable
from dataclasses import dataclass, field
from enum import Enum
from typing import Any, Literal

from tests.fixtures.archives import compiled_files, compiled_meta, elf, torchscript, weights

WIDTH, HEIGHT = 320, 256
SHAPE = [1, 3, HEIGHT, WIDTH]
Verdict = Literal["runs", "warns", "refuse", "startup", "load", "frame"]


class Missing(Enum):
    """A change that removes the key. An enum member stays identical in a copy."""

    MISSING = "missing"


MISSING = Missing.MISSING

K = {"max_val_score": 0.9, "calibrator_scaling": -2.5, "calibrator_shift": 0.75}
BASE: dict[str, Any] = {
    "type": "mochi",
    "threshold": 0.5,
    "normalize": True,
    "image_range_scale": True,
    "image_width": WIDTH,
    "image_height": HEIGHT,
    "input_shape": SHAPE,
    "classification_head_enabled": True,
    "segmentation_head_enabled": False,
    "class_normal_ids": [1],
    "seg_normal_ids": [],
}
SEG: dict[str, Any] = {
    **BASE,
    "segmentation_head_enabled": True,
    "raw_image_shape": [HEIGHT, WIDTH],
    "seg_normal_ids": [0],
    "classification_logic": "cls_and_seg",
}
NAMES = ["background", "scratch"]
HEADS = ("classification_head_enabled", "segmentation_head_enabled", "class_normal_ids", "seg_normal_ids")


@dataclass(frozen=True)
class Case:
    """One row of the table.

    Attributes:
        name: what is changed.
        verdict: what the device does.
        stage: of the model graph.
        names: of the pixel classes.
        images: width and height as written in config.yaml; None for the network's.
        shape: of the network.
        change: changes the export's ``manifest.json``.
        package: changes the package's ``manifest.json`` only, not the trained archive.
        compiled: changes the files of the compiled archive.
        root: files at the package's root.
    """

    name: str
    verdict: Verdict
    stage: dict[str, Any] = field(default_factory=lambda: dict(BASE))
    names: list[Any] = field(default_factory=list)
    images: tuple[Any, Any] = (WIDTH, HEIGHT)
    shape: list[int] = field(default_factory=lambda: list(SHAPE))
    change: Callable[[dict[str, Any]], object] | None = None
    package: Callable[[dict[str, Any]], object] | None = None
    compiled: Callable[[dict[str, bytes]], object] | None = None
    root: tuple[str, ...] = ()

    def exported(self) -> dict[str, Any]:
        """``export_artifacts/manifest.json``."""
        graph = {
            "model_graph_type": "single_stage_model_graph",
            "stages": [copy.deepcopy(self.stage)],
            "image_level_classes": {"names": ["anomaly", "normal"], "normal_ids": [1]},
            "pixel_level_classes": {"names": list(self.names), "normal_ids": [0] if self.names else []},
        }
        manifest: dict[str, Any] = {"model_graph": graph, "input_shape": list(self.shape)}
        if self.change:
            self.change(manifest)
        return manifest

    def manifest(self) -> dict[str, Any]:
        """The package's ``manifest.json``, built without our code."""
        exported = self.exported()
        manifest = {
            "model_graph": exported["model_graph"],
            "compilable_models": [
                {"filename": "mochi.pt", "data_input_config": {"input": list(self.shape)}, "framework": "PYTORCH"}
            ],
            "dataset": {"image_width": self.images[0], "image_height": self.images[1]},
        }
        if self.package:
            self.package(manifest)
        return manifest

    def trained(self) -> dict[str, bytes]:
        """The files of the trained archive, if the case shows there."""
        width, height = (json.dumps(value) for value in self.images)
        model = torchscript(2000)
        return {
            "config.yaml": f"dataset:\n  image_width: {width}\n  image_height: {height}\n".encode(),
            "mochi.json": json.dumps({"stages": [{"type": "mochi", "input_shape": self.shape}]}).encode(),
            "export_artifacts/manifest.json": json.dumps(self.exported()).encode(),
            "mochi.pt": model,
        }

    def compiled_files(self) -> dict[str, bytes]:
        """The files of the compiled archive."""
        files = compiled_files(2000)
        files["compiled.meta"] = compiled_meta(shape=self.shape)
        if self.compiled:
            self.compiled(files)
        return files

    def folder(self) -> str:
        """The name of the stage folder."""
        kind = self.stage.get("type")
        return kind if isinstance(kind, str) and kind else "mochi"

    def package_files(self) -> dict[str, bytes]:
        """The members of the package."""
        inside = {f"{self.folder()}/{name}": content for name, content in self.compiled_files().items()}
        return {"manifest.json": json.dumps(self.manifest()).encode(), **dict.fromkeys(self.root, b""), **inside}


def stage_of(base: dict[str, Any], **changes: Any) -> dict[str, Any]:
    """The stage with keys set or removed."""
    changed = {**base, **changes}
    return {key: value for key, value in changed.items() if value is not MISSING}


def of_type(kind: str, **changes: Any) -> dict[str, Any]:
    """A stage of another type, without heads."""
    return stage_of({key: value for key, value in BASE.items() if key not in HEADS}, type=kind, **changes)


def graph(**changes: Any) -> Callable[[dict[str, Any]], object]:
    """A change of keys of the model graph."""

    def change(manifest: dict[str, Any]) -> None:
        manifest["model_graph"] = stage_of(manifest["model_graph"], **changes)

    return change


def top(**changes: Any) -> Callable[[dict[str, Any]], object]:
    """A change of keys of the manifest."""

    def change(manifest: dict[str, Any]) -> None:
        for key, value in changes.items():
            if value is MISSING:
                manifest.pop(key, None)
            else:
                manifest[key] = value

    return change


def without(*away: str) -> Callable[[dict[str, bytes]], object]:
    """Files removed from the compiled archive."""

    def change(compiled: dict[str, bytes]) -> None:
        for name in away:
            del compiled[name]

    return change


def put(name: str, content: bytes = b"{}") -> Callable[[dict[str, bytes]], object]:
    """An additional file in the compiled archive."""
    return lambda compiled: compiled.update({name: content})


def only(**content: bytes) -> Callable[[dict[str, bytes]], object]:
    """Only these files."""

    def change(compiled: dict[str, bytes]) -> None:
        compiled.clear()
        compiled |= content

    return change


def in_a_folder(compiled: dict[str, bytes]) -> None:
    """Everything inside a folder of the archive."""
    moved = {f"model/{name}": content for name, content in compiled.items()}
    compiled.clear()
    compiled |= moved


def relay(compiled: dict[str, bytes]) -> None:
    """The other set of files that the loader recognises as a model."""
    del compiled["compiled.params"], compiled["compiled_model.json"]
    compiled["compiled.ro"] = b"relay"


def two_stages(manifest: dict[str, Any]) -> None:
    stages = manifest["model_graph"]["stages"]
    stages.append(copy.deepcopy(stages[0]))


def pixel_classes(value: Any) -> Callable[[dict[str, Any]], object]:
    return lambda manifest: manifest["model_graph"].update(pixel_level_classes=value)


NAN, INFINITY = float("nan"), float("inf")
TWO_NORMAL = {"names": ["normal", "anomaly"], "normal_ids": [0]}
NO_NORMAL = {"names": ["normal", "anomaly"]}
BOXES = {
    "pp_type": "merge",
    "pp_score_thr": 0.1,
    "pp_iou_thr": 0.15,
    "src_img_size": [WIDTH, HEIGHT],
    "down_ratio": 4,
    "classification_head_enabled": True,
    "bbox_head_enabled": True,
}

CASES = (
    Case("base", "runs"),
    Case("seg", "warns", SEG, NAMES),
    Case("base, config.yaml 4000 x 3000", "runs", images=(4000, 3000)),
    Case(
        "seg, config.yaml 1280 x 960, raw_image_shape alike",
        "warns",
        stage_of(SEG, raw_image_shape=[960, 1280]),
        NAMES,
        (1280, 960),
    ),
    Case("seg, config.yaml 640 x 480 only", "frame", SEG, NAMES, (640, 480)),
    Case("seg without raw_image_shape", "frame", stage_of(SEG, raw_image_shape=MISSING), NAMES),
    Case("seg, raw_image_shape of three", "frame", stage_of(SEG, raw_image_shape=[256, 320, 3]), NAMES),
    Case("seg, names [], raw_image_shape [7, 9]", "runs", stage_of(SEG, raw_image_shape=[7, 9])),
    Case("pixel_level_classes null", "load", change=pixel_classes(None)),
    Case("names null", "startup", change=pixel_classes({"names": None})),
    Case("stages []", "load", change=graph(stages=[])),
    Case("two stages", "load", change=two_stages),
    Case("graph of one key", "load", change=lambda manifest: manifest.update(model_graph={"stages": [dict(BASE)]})),
    Case("package: dataset absent", "startup", package=top(dataset=MISSING)),
    Case("package: dataset null", "load", package=top(dataset=None)),
    Case("threshold missing", "load", stage_of(BASE, threshold=MISSING)),
    Case("threshold null", "frame", stage_of(BASE, threshold=None)),
    Case("normalize null", "runs", stage_of(BASE, normalize=None)),
    Case("image_range_scale 0", "runs", stage_of(BASE, image_range_scale=0)),
    Case("image_level_classes null", "runs", change=graph(image_level_classes=None)),
    Case("threshold NaN", "warns", stage_of(BASE, threshold=NAN)),
    Case("normalize 'false'", "refuse", stage_of(BASE, normalize="false")),
    Case("image_range_scale missing", "frame", stage_of(BASE, image_range_scale=MISSING)),
    Case("image_width '320'", "frame", stage_of(BASE, image_width="320")),
    Case("image_width 320.0", "frame", stage_of(BASE, image_width=320.0)),
    Case("image_width 300", "frame", stage_of(BASE, image_width=300)),
    Case("interpolation 7 with 640 x 480", "frame", stage_of(BASE, interpolation=7), images=(640, 480)),
    Case("interpolation null", "runs", stage_of(BASE, interpolation=None), images=(640, 480)),
    Case("transform_preprocessing null", "load", stage_of(BASE, transform_preprocessing=None)),
    Case("no segmentation_head_enabled", "frame", stage_of(BASE, segmentation_head_enabled=MISSING)),
    Case("class_normal_ids 1", "frame", stage_of(BASE, class_normal_ids=1)),
    Case("calibrated, K without shift", "load", stage_of(BASE, calibrated=True, **(K | {"calibrator_shift": MISSING}))),
    Case("calibrated, scaling null", "frame", stage_of(BASE, calibrated=True, **(K | {"calibrator_scaling": None}))),
    Case("calibrated", "runs", stage_of(BASE, calibrated=True, **K)),
    Case("classification_logic 'both': base", "runs", stage_of(BASE, classification_logic="both")),
    Case("classification_logic 'both': seg", "frame", stage_of(SEG, classification_logic="both"), NAMES),
    Case("seg, seg_recall_bias '0.1'", "frame", stage_of(SEG, seg_recall_bias="0.1"), NAMES),
    Case("tiramisu without K", "load", of_type("tiramisu", num_neighbors=3)),
    Case("tiramisu without T_0", "runs", of_type("tiramisu", num_neighbors=3, **K)),
    Case(
        "cheesecake, max_val_score 3.75",
        "frame",
        of_type("cheesecake", num_neighbors=3, T_0=0.1, **(K | {"max_val_score": 3.75})),
    ),
    Case("cheesecake, num_neighbors 3.0", "frame", of_type("cheesecake", num_neighbors=3.0, T_0=0.1, **K)),
    Case("cheesecake, num_neighbors 0", "frame", of_type("cheesecake", num_neighbors=0, T_0=0.1, **K)),
    Case("jalebi, max_val_score 3.75", "runs", of_type("jalebi", **(K | {"max_val_score": 3.75}))),
    Case("mooncake with two names", "frame", of_type("mooncake", **K), change=pixel_classes(TWO_NORMAL)),
    Case(
        "chocolatemousse, two names, no normal_ids",
        "frame",
        of_type("chocolatemousse", **K),
        change=pixel_classes(NO_NORMAL),
    ),
    Case("dango without down_ratio", "frame", of_type("dango", **(BOXES | {"down_ratio": MISSING}))),
    Case("dango, only boxes", "frame", of_type("dango", **(BOXES | {"classification_head_enabled": False}))),
    Case("dango", "runs", of_type("dango", **BOXES)),
    Case("torrone alone", "frame", of_type("torrone", **K)),
    Case(
        "polar, config.yaml 1400 x 500, no image_width",
        "runs",
        stage_of(
            BASE,
            transform_preprocessing="polar_transform",
            input_shape=[1, 3, 288, 596],
            image_width=MISSING,
            image_height=MISSING,
        ),
        images=(1400, 500),
        shape=[1, 3, 288, 596],
    ),
    Case(
        "polar, config.yaml 1000 x 500",
        "frame",
        stage_of(BASE, transform_preprocessing="polar_transform"),
        images=(1000, 500),
    ),
    Case("type taiyaki, no runtime", "load", of_type("taiyaki", **K)),
    Case("NaN under metrics", "runs", change=top(metrics={"auc": NAN, "loss": -INFINITY})),
    Case("manifest input_shape []", "runs", change=top(input_shape=[])),
    Case("compiled: version.json", "load", compiled=put("version.json")),
    Case("compiled: ._a.json", "load", compiled=put("._a.json")),
    Case("compiled: two .params", "load", compiled=put("second.params")),
    Case("compiled: sub/a.json", "runs", compiled=put("sub/a.json")),
    Case("compiled: hyperparams.json", "runs", compiled=put("hyperparams.json")),
    Case("compiled: .ro for .params and .json", "runs", compiled=relay),
    Case("compiled: no .meta", "load", compiled=without("compiled.meta")),
    Case("compiled: .meta 'GPU'", "load", compiled=put("compiled.meta", compiled_meta("GPU", SHAPE))),
    Case(
        "compiled: NaN in .meta",
        "load",
        compiled=put("compiled.meta", b'{"Requirements": {"TargetDeviceType": "cpu"}, "x": NaN}'),
    ),
    Case("compiled: no libdlr.so", "load", compiled=without("libdlr.so")),
    Case("compiled: all in a folder", "load", compiled=in_a_folder),
    Case("compiled: README only", "load", compiled=only(README=b"nothing here")),
    Case(
        "compiled: compiled.so for aarch64, x86_64-cpu",
        "load",
        compiled=put("compiled.so", elf(weights(200), "aarch64")),
    ),
    Case("root: model.py", "startup", root=("model.py",)),
)
"""The table, with a few valid cases between; files that are not packages are in the tests themselves."""
