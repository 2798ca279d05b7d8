"""The three descriptions in a trained archive: ``config.yaml``, ``mochi.json``, ``export_artifacts/manifest.json``.

``mochi.json`` and the manifest give the network's input shape, and must agree. ``config.yaml`` gives the size of the
camera's images, which every device resizes to the network's.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any, NoReturn

import yaml
from pydantic import BaseModel, ConfigDict

from dda_core.encoding import foreign_encoding
from dda_core.exceptions import ModelDescriptionInvalid, ShapeMismatch, YamlRefused
from dda_core.safe_yaml import MAX_NUMBER, MERGE, compose_yaml

CONFIG = "config.yaml"
MOCHI = "mochi.json"
MANIFEST = "export_artifacts/manifest.json"
DESCRIPTIONS = frozenset({CONFIG, MOCHI, MANIFEST})

Shape = tuple[int, int, int, int]
Pixels = int | float | str
"""A size as ``config.yaml`` writes it. Devices read it only where the model has pixel classes, then as an integer."""


class Description(BaseModel):
    """The combined content of the three files.

    Attributes:
        input_shape: NCHW; batch 1, channels 3.
        image_width: of the camera's images in pixels, as written: ``320``, ``320.0`` or ``"320"``.
        image_height: likewise.
        model_graph: verbatim.
    """

    model_config = ConfigDict(frozen=True, protected_namespaces=())

    input_shape: Shape
    image_width: Pixels
    image_height: Pixels
    model_graph: dict[str, Any]


def read_description(texts: Mapping[str, bytes], where: str) -> Description:
    """Read the three files and check that they agree.

    Args:
        texts: the files' bytes by their names in the archive.
        where: the archive's URI, for messages.

    Raises:
        ModelDescriptionInvalid: a file cannot be read or lacks a key.
        ShapeMismatch: they disagree, or the pipeline does not compile that shape.
    """
    width, height = (_config_size(texts[CONFIG], key, where) for key in ("image_width", "image_height"))
    mochi = _shape(
        _first_stage(_json(texts[MOCHI], MOCHI, where), MOCHI, where), f"stages[0].input_shape of {MOCHI}", where
    )
    manifest = _json(texts[MANIFEST], MANIFEST, where)
    graph = manifest.get("model_graph")
    if not isinstance(graph, dict):
        _invalid(MANIFEST, where, "has no model_graph object")
    if manifest.get("input_shape") not in (None, []):
        exported = _shape(manifest, f"input_shape of {MANIFEST}", where)
    else:
        stage = _first_stage(graph, f"model_graph of {MANIFEST}", where)
        exported = _shape(stage, f"model_graph.stages[0].input_shape of {MANIFEST}", where)
    _agree(mochi, exported, f"{width}x{height}", where)
    return Description(input_shape=mochi, image_width=width, image_height=height, model_graph=graph)


def _agree(mochi: Shape, exported: Shape, images: str, where: str) -> None:
    says = (
        f"{MOCHI} in {where} says input_shape {list(mochi)}, {MANIFEST} says input_shape {list(exported)}, "
        f"{CONFIG} says images of {images} (width x height)"
    )
    if mochi != exported:
        raise ShapeMismatch(f"{says}: the two shapes differ", archive=where, remedy="Export the model again.")
    if mochi[:2] != (1, 3):
        raise ShapeMismatch(
            f"{says}: batch {mochi[0]} and {mochi[1]} channels, but only batch 1 and 3 channels can be compiled",
            archive=where,
            remedy=f"Export the model with input_shape [1, 3, {mochi[2]}, {mochi[3]}].",
        )


def _json(text: bytes, name: str, where: str) -> dict[str, Any]:
    if encoding := foreign_encoding(text):
        _invalid(name, where, f"is in {encoding}, not in UTF-8")
    try:
        # NaN and Infinity are allowed, as on the device: the device rules check every value that is used.
        value = json.loads(text)
    except (ValueError, RecursionError) as error:
        _invalid(name, where, f"is not JSON ({error})")
    if not isinstance(value, dict):
        _invalid(name, where, "is not a JSON object")
    return value


def _first_stage(value: dict[str, Any], name: str, where: str) -> dict[str, Any]:
    stages = value.get("stages")
    if not isinstance(stages, list) or not stages or not isinstance(stages[0], dict):
        _invalid(name, where, "has no stages[0]")
    stage: dict[str, Any] = stages[0]
    return stage


def _shape(value: dict[str, Any], name: str, where: str) -> Shape:
    shape = value.get("input_shape")
    if not isinstance(shape, list) or len(shape) != 4 or not all(_is_size(number) for number in shape):
        found = "is missing" if shape is None else f"is {json.dumps(shape)[:80]}"
        _invalid(name, where, found, expected="a list of four positive integers [batch, channels, height, width]")
    return shape[0], shape[1], shape[2], shape[3]


def _is_size(value: object) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and 0 < value < 1 << 31


def _config_size(text: bytes, key: str, where: str) -> Pixels:
    """``dataset.<key>`` of ``config.yaml``, as written.

    Only the path to the key is evaluated: elsewhere training configurations contain tags of Python classes, and a
    small file of aliases could expand to gigabytes.
    """
    try:
        value = _child(_child(compose_yaml(text, count_aliases=False), "dataset"), key)
        size = _pixels(value) if isinstance(value, yaml.ScalarNode) else None
    except (YamlRefused, ValueError) as error:
        _invalid(CONFIG, where, f"cannot be read: {error}")
    if size is None:
        said = repr(value.value[:80]) if isinstance(value, yaml.ScalarNode) else "a list or mapping"
        found = "has no" if value is None else f"says {said} for"
        _invalid(CONFIG, where, f"{found} dataset.{key}", expected="a positive number of pixels")
    return size


def _pixels(scalar: Any) -> Pixels | None:
    """The scalar's YAML value if it is a positive whole number, or a string of one; else None."""
    if len(scalar.value) > MAX_NUMBER:
        return None
    construct = yaml.constructor.SafeConstructor()
    kind = scalar.tag.rpartition(":")[2]
    size: Pixels
    if kind == "int":
        size = construct.construct_yaml_int(scalar)
    elif kind == "float":
        size = construct.construct_yaml_float(scalar)
    elif kind == "str":
        size = scalar.value
    else:
        return None
    try:
        number = float(size)
    except ValueError:
        return None
    return size if number.is_integer() and _is_size(int(number)) else None


def _child(node: Any, key: str) -> Any:
    """The value of a mapping's key, including keys from merged mappings (``<<``)."""
    visited: set[int] = set()
    waiting = [node]
    while waiting:
        mapping = waiting.pop(0)
        if not isinstance(mapping, yaml.MappingNode) or id(mapping) in visited:
            continue
        visited.add(id(mapping))
        found = [value for name, value in mapping.value if name.value == key]
        if found:
            return found[-1]
        merged = [value for name, value in mapping.value if name.tag == MERGE]
        waiting = [
            base for each in merged for base in (each.value if isinstance(each, yaml.SequenceNode) else [each])
        ] + waiting
    return None


def _invalid(name: str, where: str, what: str, *, expected: str = "") -> NoReturn:
    raise ModelDescriptionInvalid(
        f"{name} in {where} {what}",
        archive=where,
        expected=expected,
        remedy="Export the model again, or correct the file.",
    )
