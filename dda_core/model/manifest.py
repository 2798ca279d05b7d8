"""A trained model, and its DDA manifest: the ``manifest.json`` at the root of a package."""

from __future__ import annotations

import json
from typing import Any

from pydantic import BaseModel, ConfigDict

from dda_core.model.description import Pixels


class TrainedModel(BaseModel):
    """A trained archive's model.

    Attributes:
        uri: the archive's URI or path.
        etag: of the archive in S3; None for a local file.
        model_file: base name of the TorchScript file to compile, such as ``mochi.pt``.
        model_file_size: in bytes.
        model_file_sha256: hexadecimal.
        input_shape: NCHW; batch 1, channels 3.
        image_width: of the camera's images in pixels, as ``config.yaml`` writes it.
        image_height: likewise.
        model_graph: from ``export_artifacts/manifest.json``, verbatim, with the order of its keys.
    """

    # NaN must survive when Prefect stores a result: as null it would give a different manifest.
    model_config = ConfigDict(frozen=True, protected_namespaces=(), ser_json_inf_nan="constants")

    uri: str
    etag: str | None
    model_file: str
    model_file_size: int
    model_file_sha256: str
    input_shape: tuple[int, int, int, int]
    image_width: Pixels
    image_height: Pixels
    model_graph: dict[str, Any]


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
    """The manifest as written to the package: ASCII JSON, the same bytes on every run.

    NaN and Infinity are written as these words, which a device reads as Python does.
    """
    return json.dumps(manifest).encode()
