"""Sample archives: a small trained archive like the marketplace algorithm's, and what Neo compiles from it.

The content is always the same, so that compilation jobs have the same names.
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
from dda_core.compilation.job import FRAMEWORK, FRAMEWORK_VERSION
from dda_core.targets import find_target
from deployments.local.aws.compiled_archive import compiled_files, pack

WIDTH, HEIGHT = 576, 768
THRESHOLD = 0.7021560668945312
MODEL_BYTES = 4 * 1024 * 1024
_TIME = 1_700_000_000


def write_sample_archive(path: Path, *, threshold: float = THRESHOLD) -> Path:
    """Write a trained ``model.tar.gz`` for images of 576x768 pixels, replacing an existing file.

    Args:
        path: the file to write.
        threshold: the score above which an image is an anomaly; another threshold makes another model.

    Raises:
        FileMissing: the folder cannot be written to.
    """
    shape = [1, 3, HEIGHT, WIDTH]
    model = _torchscript(threshold)
    files = {
        "config.yaml": f"dataset:\n  image_width: {WIDTH}\n  image_height: {HEIGHT}\n".encode(),
        "mochi.json": _json({"stages": [{"type": "mochi", "input_shape": shape}]}),
        "mochi.pt": model,
        "export_artifacts/manifest.json": _json({"model_graph": _model_graph(threshold), "input_shape": shape}),
        "export_artifacts/mochi.pt": model,
    }
    content = io.BytesIO()
    with (
        # An empty name: gzip would write the file's name into the header.
        gzip.GzipFile("", "wb", compresslevel=1, fileobj=content, mtime=_TIME) as zipped,
        tarfile.open(fileobj=zipped, mode="w") as tar,
    ):
        for name, data in files.items():
            member = tarfile.TarInfo(f"./{name}")
            member.size, member.mtime = len(data), _TIME
            tar.addfile(member, io.BytesIO(data))
    return _write(path, content.getvalue())


def write_sample_compiled_archive(path: Path, target: str) -> Path:
    """Write the archive that the emulated SageMaker Neo makes of the sample model, replacing an existing file.

    Args:
        path: the file to write.
        target: the name or an alias of a target.

    Raises:
        UnknownTarget, TargetUnavailable: nothing can be compiled for it.
        FileMissing: the folder cannot be written to.
    """
    row = find_target(target)
    output = {"TargetPlatform": row.neo_platform(), "CompilerOptions": row.compiler_options}
    request = {
        "InputConfig": {"Framework": FRAMEWORK, "FrameworkVersion": FRAMEWORK_VERSION},
        "OutputConfig": {key: value for key, value in output.items() if value},
    }
    files = compiled_files(_torchscript(THRESHOLD), request, {"input_shape": [1, 3, HEIGHT, WIDTH]})
    return _write(path, pack(files, _TIME))


def _write(path: Path, content: bytes) -> Path:
    with FileSink(path) as sink:
        sink.write(content)
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


def _torchscript(threshold: float) -> bytes:
    seed = f"lid inspection {threshold}".encode()
    # A TorchScript file is a ZIP of uncompressed members. The weights are noise: trained ones hardly compress either.
    weights = hashlib.shake_256(seed).digest(MODEL_BYTES)
    content = io.BytesIO()
    with zipfile.ZipFile(content, "w", zipfile.ZIP_STORED) as archive:
        for name, data in (("mochi/version", b"3\n"), ("mochi/data.pkl", b"\x80\x02."), ("mochi/data/0", weights)):
            archive.writestr(zipfile.ZipInfo(name), data)
    return content.getvalue()


def _json(value: Any) -> bytes:
    return json.dumps(value).encode()
