"""A sample training job's archive, made on the fly: what the marketplace algorithm leaves behind, in small.

The content is the same on every machine and every day, so that what is compiled from it has the same names.
"""

from __future__ import annotations

import gzip
import hashlib
import io
import json
import tarfile
import zipfile
from pathlib import Path
from typing import Any

from dda_core.archives.file_sink import FileSink

WIDTH, HEIGHT = 576, 768
MODEL_BYTES = 4 * 1024 * 1024
_TIME = 1_700_000_000


def write_sample_archive(path: Path, *, threshold: float = 0.7021560668945312) -> Path:
    """Write a trained ``model.tar.gz`` for images of 576x768 pixels.

    Args:
        path: the file to write.
        threshold: above which an image counts as an anomaly; another one makes another model.
    """
    shape = [1, 3, HEIGHT, WIDTH]
    model = _torchscript(f"lid inspection {threshold}".encode())
    files = {
        "config.yaml": f"dataset:\n  image_width: {WIDTH}\n  image_height: {HEIGHT}\n".encode(),
        "mochi.json": _json({"stages": [{"type": "mochi", "input_shape": shape}]}),
        "mochi.pt": model,
        "export_artifacts/manifest.json": _json({"model_graph": _model_graph(threshold), "input_shape": shape}),
        "export_artifacts/mochi.pt": model,
    }
    archive = io.BytesIO()
    with (
        # Without a name of its own: gzip would write the path's into the header.
        gzip.GzipFile("", "wb", compresslevel=1, fileobj=archive, mtime=_TIME) as zipped,
        tarfile.open(fileobj=zipped, mode="w") as tar,
    ):
        for name, content in files.items():
            member = tarfile.TarInfo(f"./{name}")
            member.size, member.mtime = len(content), _TIME
            tar.addfile(member, io.BytesIO(content))
    with FileSink(path) as sink:
        sink.write(archive.getbuffer())
        sink.complete()
    return path


def _model_graph(threshold: float) -> dict[str, Any]:
    return {
        "model_graph_type": "single_stage_model_graph",
        "stages": [
            {
                "class_normal_ids": [1],
                "seg_normal_ids": [],
                "classification_head_enabled": True,
                "segmentation_head_enabled": False,
                "threshold": threshold,
                "normalize": True,
                "image_range_scale": True,
                "image_width": WIDTH,
                "image_height": HEIGHT,
                "input_shape": [1, 3, HEIGHT, WIDTH],
                "type": "mochi",
            }
        ],
        "image_level_classes": {"names": ["anomaly", "normal"], "normal_ids": [1]},
        "pixel_level_classes": {"names": [], "normal_ids": []},
    }


def _torchscript(seed: bytes) -> bytes:
    # A TorchScript file is a ZIP of stored members; the weights are noise, as trained weights are to a compressor.
    weights = hashlib.shake_256(seed).digest(MODEL_BYTES)
    content = io.BytesIO()
    with zipfile.ZipFile(content, "w", zipfile.ZIP_STORED) as archive:
        for name, data in (("mochi/version", b"3\n"), ("mochi/data.pkl", b"\x80\x02."), ("mochi/data/0", weights)):
            archive.writestr(zipfile.ZipInfo(name), data)
    return content.getvalue()


def _json(value: Any) -> bytes:
    return json.dumps(value).encode()
