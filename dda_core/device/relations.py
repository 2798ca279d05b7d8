"""Rules for several keys of a manifest. Each function yields its breaches: a key, and what was found there.

``device_rules.yaml`` has the conditions under which a function is called, the failure and the remedy.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator

from dda_core.device.facts import STAGE, Facts, is_number, is_size, shape_of, short
from dda_core.device.rules import device_rules

Breach = tuple[str, str]

COLOURS = 104
"""Colours in a device's palette for the classes of a mask."""
BAND = (1000, 1288)
"""The columns cut out of the polar image; PADDING is the rows added to it. Both are fixed on the device."""
PADDING = 96
LOGICS = ("cls_head", "seg_head", "cls_and_seg", "cls_or_seg")
CALIBRATION = ("max_val_score", "calibrator_scaling", "calibrator_shift")


def graph_keys(facts: Facts) -> Iterator[Breach]:
    """The device refuses a graph with only one key, whatever the key."""
    if facts.graph is not None and len(facts.graph) < 2:
        yield "model_graph", f"has {len(facts.graph)} top-level keys"


def one_stage(facts: Facts) -> Iterator[Breach]:
    """One stage per compiled model."""
    if facts.graph is None:
        return
    if "stages" not in facts.graph:
        yield "model_graph.stages", "is missing"
    elif not isinstance(facts.graph["stages"], list):
        yield "model_graph.stages", f"is {short(facts.graph['stages'])}"
    elif len(facts.stages) != 1:
        yield "model_graph.stages", f"has {len(facts.stages)} stages"
    elif facts.stage is None:
        yield STAGE, f"is {short(facts.stages[0])}"


def known_type(facts: Facts) -> Iterator[Breach]:
    """Types are looked up by name, case-sensitive; detectors need their own runtime."""
    if facts.stage is None:
        return
    row, name = facts.stage_type, facts.of_stage("type")
    if "type" not in facts.stage:
        yield f"{STAGE}.type", "is missing"
    elif row is None:
        known = ", ".join(name for row in device_rules().stage_types for name in row.names)
        yield f"{STAGE}.type", f"is {short(name)}, but devices know only {known}"
    elif row.runtime != "dlr" and facts.runtime != row.runtime:
        yield f"{STAGE}.type", f"is {name}, which runs only with the runtime {row.runtime}, not with {facts.runtime}"


def network_size(facts: Facts) -> Iterator[Breach]:
    """Frames are resized to the stage's size and passed to the network."""
    if facts.stage is None:
        return
    for key, place in (("image_width", 3), ("image_height", 2)):
        value = facts.stage.get(key)
        if key not in facts.stage:
            yield f"{STAGE}.{key}", "is missing"
        elif not is_size(value) or (facts.network and value != facts.network[place]):
            size = f", but the network takes {facts.network[place]}" if facts.network else ""
            yield f"{STAGE}.{key}", f"is {short(value)}{size}"


def stage_input_shape(facts: Facts) -> Iterator[Breach]:
    """Only the types with boxes read it, but where given it must match the compiled model."""
    value = facts.of_stage("input_shape")
    if value not in (None, []) and facts.network and shape_of(value) != facts.network:
        yield f"{STAGE}.input_shape", f"is {short(value)}, but the network takes {list(facts.network)}"


def interpolation_range(facts: Facts) -> Iterator[Breach]:
    """OpenCV reads the flag only when it resizes, as it does here for images of the dataset's size."""
    if _resizes(facts):
        yield from _unknown_flag(facts)


def interpolation_of_other_sizes(facts: Facts) -> Iterator[Breach]:
    """Images of the dataset's size are not resized here, but a camera may deliver others."""
    if not _resizes(facts) and not facts.names:
        yield from _unknown_flag(facts)


def _resizes(facts: Facts) -> bool:
    size, network = facts.image_size, facts.network
    return size is not None and network is not None and size != (network[3], network[2])


def _unknown_flag(facts: Facts) -> Iterator[Breach]:
    value = facts.of_stage("interpolation")
    if isinstance(value, int) and not isinstance(value, bool) and not 0 <= value <= 6:
        yield f"{STAGE}.interpolation", f"is {value}"


def polar_size(facts: Facts) -> Iterator[Breach]:
    """A fixed band of columns is cut out of the polar image, so the image size determines the network's."""
    if facts.image_size is None:
        yield "dataset", f"is {short(facts.manifest.get('dataset'))}, which has no size in pixels"
        return
    width, height = facts.image_size
    if width <= BAND[0] or height < PADDING:
        yield "dataset", f"is {width} x {height} (width x height)"
        return
    made = (1, 3, min(width, BAND[1]) - BAND[0], height + PADDING)
    if facts.network and facts.network != made:
        taken = list(facts.network)
        yield (
            f"{STAGE}.input_shape",
            f"is {taken}, but images of {width} x {height} (width x height) give {list(made)}",
        )


def mask_size(facts: Facts) -> Iterator[Breach]:
    """The inference server's configuration fixes the mask to the dataset's size."""
    segmentation = facts.stage_type is not None and facts.stage_type.mask == "segmentation"
    # Undoing the polar transform restores the frame's size, whatever raw_image_shape says.
    if facts.image_size is None or (segmentation and facts.holds("polar")):
        return
    width, height = facts.image_size
    if "raw_image_shape" in (facts.stage or {}):
        value = facts.of_stage("raw_image_shape")
        if is_pair(value) and value != [height, width]:
            yield (
                f"{STAGE}.raw_image_shape",
                f"is {short(value)}, but dataset is {width} x {height} (width x height)",
            )
    elif not segmentation and facts.network and facts.network[2:] != (height, width):
        # Without raw_image_shape the mask keeps the network's size.
        yield (
            "dataset",
            f"is {width} x {height} (width x height), and without {STAGE}.raw_image_shape the mask has the "
            f"network's size {facts.network[3]} x {facts.network[2]}",
        )


def mask_names(facts: Facts) -> Iterator[Breach]:
    """Every class of a mask is looked up by its number."""
    if len(facts.names) < 2:
        yield "model_graph.pixel_level_classes.names", f"is {short(facts.names)}"


def mask_colours(facts: Facts) -> Iterator[Breach]:
    """A class beyond the palette fails when it occurs in a mask."""
    if len(facts.names) > COLOURS:
        yield "model_graph.pixel_level_classes.names", f"has {len(facts.names)} names"


def classification_logic(facts: Facts) -> Iterator[Breach]:
    """How the mask's label overrides the score's."""
    value = facts.of_stage("classification_logic")
    if value not in LOGICS:
        yield f"{STAGE}.classification_logic", f"is {short(value)}"


def seg_normal_ids(facts: Facts) -> Iterator[Breach]:
    """Read only where the mask decides the label, or where a recall bias is set."""
    value = facts.of_stage("seg_normal_ids")
    segmentation = facts.stage_type is not None and facts.stage_type.mask == "segmentation"
    if not facts.holds("label-by-logic") and not (segmentation and facts.holds("recall-bias")):
        return
    if not isinstance(value, list) or any(isinstance(item, list | dict) for item in value):
        yield f"{STAGE}.seg_normal_ids", f"is {short(value)}" if value is not None else "is missing or null"


def threshold_value(facts: Facts) -> Iterator[Breach]:
    """NaN and the infinities can be compared, but give the same result for every image."""
    value = facts.of_stage("threshold")
    if isinstance(value, bool) or (isinstance(value, float) and not math.isfinite(value)):
        yield f"{STAGE}.threshold", f"is {short(value)}"


def frame_size(facts: Facts) -> Iterator[Breach]:
    """With pixel classes the inference server takes frames of one size only."""
    if facts.image_size:
        width, height = facts.image_size
        yield "dataset", f"is {width} x {height} (width x height)"


def calibration_values(facts: Facts) -> Iterator[Breach]:
    """Scores go through a decreasing sigmoid; NaN or infinite values make every score NaN."""
    for key in CALIBRATION:
        value = facts.of_stage(key)
        if isinstance(value, float) and not math.isfinite(value):
            yield f"{STAGE}.{key}", f"is {short(value)}"
    scaling = facts.of_stage("calibrator_scaling")
    if is_number(scaling) and scaling > 0 and math.isfinite(scaling):
        yield f"{STAGE}.calibrator_scaling", f"is {short(scaling)}"


def score_up_to_one(facts: Facts) -> Iterator[Breach]:
    """These types give their scores as a list, which cannot be divided; scores are divided if the maximum is over 1."""
    value = facts.of_stage("max_val_score")
    if is_number(value) and value > 1:
        yield f"{STAGE}.max_val_score", f"is {short(value)}"


def some_head(facts: Facts) -> Iterator[Breach]:
    """Without a head there is no result."""
    if not facts.holds("classification") and not facts.holds("segmentation"):
        yield f"{STAGE}.classification_head_enabled", "is off, and so is segmentation_head_enabled"


def segmentation_label(facts: Facts) -> Iterator[Breach]:
    """Segmentation alone gives no score."""
    logic, ids = facts.of_stage("classification_logic"), facts.of_stage("seg_normal_ids")
    if logic != "seg_head" or ids is None:
        yield (
            f"{STAGE}.classification_logic",
            f"is {short(logic)} with seg_normal_ids {short(ids)}, and only the segmentation head is on",
        )


def class_normal_ids_values(facts: Facts) -> Iterator[Breach]:
    """The score is the sum over the classes that are not normal; the image classes give their number."""
    ids = facts.of_stage("class_normal_ids")
    if not isinstance(ids, list):
        return
    classes = (facts.graph or {}).get("image_level_classes")
    names = classes.get("names") if isinstance(classes, dict) else None
    numbers = {item for item in ids if is_number(item)}
    if not numbers or (isinstance(names, list) and names and set(range(len(names))) <= numbers):
        yield f"{STAGE}.class_normal_ids", f"is {short(ids)}"


def polar_background(facts: Facts) -> Iterator[Breach]:
    """The area outside the band is filled with the first normal class."""
    value = facts.of_stage("seg_normal_ids")
    if not isinstance(value, list) or not value or not is_number(value[0]):
        yield f"{STAGE}.seg_normal_ids", f"is {short(value)}"


def no_pixel_classes(facts: Facts) -> Iterator[Breach]:
    """This type gives no mask, so there are no classes to name."""
    if facts.names:
        yield "model_graph.pixel_level_classes.names", f"is {short(facts.names)}"


def some_neighbors(facts: Facts) -> Iterator[Breach]:
    """With 0 neighbours the mean distance is NaN."""
    value = facts.of_stage("num_neighbors")
    if value == 0 and not isinstance(value, bool):
        yield f"{STAGE}.num_neighbors", "is 0"


def classification_on(facts: Facts) -> Iterator[Breach]:
    """The device shows the result of the classification head; boxes are dropped."""
    if not facts.holds("classification"):
        yield f"{STAGE}.classification_head_enabled", f"is {short(facts.of_stage('classification_head_enabled'))}"


def is_pair(value: object) -> bool:
    """Whether the value is a list of two positive integers."""
    return isinstance(value, list) and len(value) == 2 and all(is_size(item) for item in value)


RELATIONS: dict[str, Callable[[Facts], Iterator[Breach]]] = {
    function.__name__: function
    for function in (
        graph_keys,
        one_stage,
        known_type,
        network_size,
        stage_input_shape,
        interpolation_range,
        interpolation_of_other_sizes,
        polar_size,
        mask_size,
        mask_names,
        mask_colours,
        classification_logic,
        seg_normal_ids,
        threshold_value,
        frame_size,
        calibration_values,
        score_up_to_one,
        some_head,
        segmentation_label,
        class_normal_ids_values,
        polar_background,
        no_pixel_classes,
        some_neighbors,
        classification_on,
    )
}
"""The functions by their names in ``device_rules.yaml``."""
