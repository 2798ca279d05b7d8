"""The DDA manifest: the ``manifest.json`` at the root of a model package, as the device reads it."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from dda_core.model.trained import TrainedModel

MANIFEST_NAME = "manifest.json"


def dda_manifest(model: TrainedModel) -> dict[str, Any]:
    """The manifest of a trained model; the order of its keys is part of the format."""
    return {
        "model_graph": model.model_graph,
        "compilable_models": [
            {
                "filename": model.model_file,
                "data_input_config": {"input": list(model.input_shape)},
                "framework": "PYTORCH",
            }
        ],
        "dataset": {"image_width": model.image_width, "image_height": model.image_height},
    }


def manifest_bytes(manifest: dict[str, Any]) -> bytes:
    """The manifest as it stands in the package: JSON in ASCII, the same bytes on every run.

    NaN and Infinity stand as these words, which a device reads as Python does.
    """
    return json.dumps(manifest).encode()
