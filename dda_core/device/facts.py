"""A manifest as a device reads it: the parts that rules refer to, and the conditions that rules depend on."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any

from dda_core.device.rules import Place, StageType, device_rules

Shape = tuple[int, int, int, int]
Json = Mapping[str, Any]
STAGE = "stages[0]"

PREFIXES: dict[Place, str] = {
    "manifest": "",
    "dataset": "dataset.",
    "graph": "model_graph.",
    "pixel-classes": "model_graph.pixel_level_classes.",
    "stage": f"{STAGE}.",
}
"""Each place's prefix for its keys in messages."""


@dataclass(frozen=True)
class Facts:
    """A manifest with any content. Parts that are not objects count as absent; their own rules report them."""

    manifest: Json

    @cached_property
    def dataset(self) -> Json | None:
        """The size of the training images."""
        return _object(self.manifest.get("dataset"))

    @cached_property
    def graph(self) -> Json | None:
        """The model graph."""
        return _object(self.manifest.get("model_graph"))

    @cached_property
    def pixel_classes(self) -> Json | None:
        """The classes of masks; None if the graph has no such key."""
        return _object((self.graph or {}).get("pixel_level_classes"))

    @cached_property
    def stages(self) -> list[Any]:
        """The stages, with any content."""
        found = (self.graph or {}).get("stages")
        return found if isinstance(found, list) else []

    @cached_property
    def stage(self) -> Json | None:
        """The first stage; None without one."""
        return _object(self.stages[0]) if self.stages else None

    @cached_property
    def stage_type(self) -> StageType | None:
        """The row for the stage's type; None if devices do not know the type."""
        return device_rules().stage_type((self.stage or {}).get("type"))

    def place(self, place: Place) -> Json | None:
        """The object that contains the keys of that place; None if it is absent or not an object."""
        return {
            "manifest": self.manifest,
            "dataset": self.dataset,
            "graph": self.graph,
            "pixel-classes": self.pixel_classes,
            "stage": self.stage,
        }[place]

    def of_stage(self, key: str) -> Any:
        """A key's value in the stage; None if it is absent."""
        return (self.stage or {}).get(key)

    @cached_property
    def names(self) -> list[Any]:
        """The names of pixel classes; empty if they are absent or not a list."""
        found = (self.pixel_classes or {}).get("names")
        return found if isinstance(found, list) else []

    @cached_property
    def network(self) -> Shape | None:
        """The network's compiled input shape, from ``compilable_models``, else from the stage; None if unknown."""
        models = self.manifest.get("compilable_models")
        first = _object(models[0]) if isinstance(models, list) and models else None
        given = _object((first or {}).get("data_input_config"))
        return shape_of((given or {}).get("input")) or shape_of(self.of_stage("input_shape"))

    @cached_property
    def runtime(self) -> str:
        """The network's runtime: ``dlr`` unless the manifest says otherwise; in lower case, as on the device."""
        return str(self.manifest.get("runtime") or "dlr").lower()

    @cached_property
    def image_size(self) -> tuple[int, int] | None:
        """Width and height of the camera's images in pixels, from the dataset; None if it does not give them."""
        width, height = (_pixels((self.dataset or {}).get(key)) for key in ("image_width", "image_height"))
        return (width, height) if width and height else None

    def holds(self, condition: str) -> bool:
        """Whether a condition of ``device_rules.yaml``, optionally with ``not``, holds."""
        name = condition.removeprefix("not ")
        return CONDITIONS[name](self) is not condition.startswith("not ")

    @property
    def _mask(self) -> bool:
        source = self.stage_type.mask if self.stage_type else None
        if source == "segmentation":
            return self.holds("segmentation")
        return source == "pixel-normal-ids" and bool((self.pixel_classes or {}).get("normal_ids"))


CONDITIONS: dict[str, Callable[[Facts], bool]] = {
    "polar": lambda facts: facts.of_stage("transform_preprocessing") == "polar_transform",
    "pixel-classes": lambda facts: bool(facts.names),
    "pixel-level": lambda facts: facts.pixel_classes is not None,
    "mask": lambda facts: facts._mask,
    "classification": lambda facts: bool(facts.of_stage("classification_head_enabled")),
    "segmentation": lambda facts: bool(facts.of_stage("segmentation_head_enabled")),
    "boxes": lambda facts: bool(facts.of_stage("bbox_head_enabled")),
    "calibrated": lambda facts: bool(facts.of_stage("calibrated")),
    "recall-bias": lambda facts: facts.of_stage("seg_recall_bias") is not None,
    "logic": lambda facts: facts.of_stage("classification_logic") not in (None, "cls_head"),
    "label-by-logic": lambda facts: (
        facts._mask and facts.holds("logic") and facts.of_stage("seg_normal_ids") is not None
    ),
}
"""The predicate of each condition in ``device_rules.yaml``. Switches count by truthiness, as on the device."""


def shape_of(value: object) -> Shape | None:
    """The value as a shape if it is a list of four positive integers, else None."""
    if isinstance(value, list) and len(value) == 4 and all(is_size(number) for number in value):
        return value[0], value[1], value[2], value[3]
    return None


def is_size(value: object) -> bool:
    """Whether the value is a positive integer (``true`` is not)."""
    return isinstance(value, int) and not isinstance(value, bool) and value > 0


def is_number(value: object) -> bool:
    """Whether a device can calculate with the value: an integer, a float including NaN, ``true`` or ``false``."""
    return isinstance(value, int | float)


def short(value: object) -> str:
    """The value as JSON, shortened to fit into a message."""
    text = json.dumps(value, default=repr)
    return text if len(text) <= 60 else text[:57] + "..."


def _object(value: object) -> Json | None:
    return value if isinstance(value, dict) else None


def _pixels(value: object) -> int | None:
    """A size in pixels, which may be written as ``320``, ``320.0`` or ``"320"``."""
    try:
        number = float(value) if isinstance(value, int | float | str) else 0.0
        return int(number) if number.is_integer() and number > 0 else None
    except (ValueError, OverflowError):
        return None
