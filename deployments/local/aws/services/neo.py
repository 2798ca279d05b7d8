"""The emulated SageMaker Neo: reads the input that Neo reads, rejects what Neo rejects, with Neo's own texts, and
writes an archive with the same files.
"""

from __future__ import annotations

import io
import json
import tarfile
from pathlib import PurePosixPath
from typing import Any

from isal import igzip, isal_zlib

from dda_core.targets import NEO_CUDA_CEILING
from deployments.local.aws.compiled_archive import compiled_files, pack
from deployments.local.aws.spoiling import Spoil, request_to_compile, spoiled

MODEL_SUFFIXES = (".pt", ".pth")
_GZIP_BROKEN: Any = isal_zlib.IsalError  # its stub declares the class as an instance


class NeoFailure(Exception):
    """The compilation job ends FAILED, with this text as its FailureReason."""

    def __init__(self, text: str, *, kind: str = "ClientError: InputConfiguration") -> None:
        super().__init__(f"{kind}: {text}")


def output_name(input_uri: str, output_config: dict[str, Any]) -> str:
    """Neo's file name for the compiled archive: ``<input stem>-<target>.tar.gz``."""
    name = PurePosixPath(input_uri).name
    stem = name.removesuffix(".gz").removesuffix(".tar")
    platform = output_config.get("TargetPlatform")
    if platform is None:
        return f"{stem}-{output_config['TargetDevice']}.tar.gz"
    words = [platform["Os"], platform["Arch"], platform.get("Accelerator")]
    return f"{stem}-{'_'.join(word for word in words if word)}.tar.gz"


def input_shapes(text: str | None) -> dict[str, list[int]]:
    """``DataInputConfig`` as input name -> shape.

    Raises:
        NeoFailure: it is not JSON, or its shapes are not NCHW.
    """
    if text is None:
        raise NeoFailure("We are unable to extract DataInputConfig from the model. Please provide it in the request.")
    try:
        config = json.loads(text)
    except ValueError:
        raise NeoFailure(
            'Cannot load DataInputConfig. Incorrect json format. Please provide it as {"input_name": [1, 3, 224, 224]}.'
        ) from None
    if not isinstance(config, dict | list):
        raise NeoFailure("DataInputConfig is not dictionary or list.")
    shapes = config if isinstance(config, dict) else {f"input{i}": shape for i, shape in enumerate(config)}
    for name, shape in shapes.items():
        numbers = isinstance(shape, list) and all(
            isinstance(n, int) and not isinstance(n, bool) and n > 0 for n in shape
        )
        if not numbers or len(shape) != 4 or shape[1] not in (1, 3):
            raise NeoFailure(
                f"Input {name} has wrong shape in Input Shape dictionary: {shape}. The expected layout is NCHW."
            )
    if not shapes:
        raise NeoFailure("DataInputConfig is not dictionary or list.")
    return shapes


def check_compiler_options(text: str | None) -> None:
    """Validate ``CompilerOptions``.

    Raises:
        NeoFailure: it is not a JSON object, or names a CUDA version that Neo does not support.
    """
    if not text:
        return
    try:
        options = json.loads(text)
    except ValueError:
        options = None
    if not isinstance(options, dict):
        raise NeoFailure("CompilerOptions is not a valid json dictionary.", kind="ClientError: OutputConfiguration")
    cuda = str(options.get("cuda-ver", "0"))
    major = cuda.partition(".")[0]
    if not major.isdigit() or int(major) > NEO_CUDA_CEILING:
        raise NeoFailure(
            f"Unable to compile model for cuda-ver {cuda}: CUDA versions up to {NEO_CUDA_CEILING}.x are supported.",
            kind="ClientError: CompilationError",
        )


def read_model(archive: bytes) -> bytes:
    """The one model file of the input archive.

    Raises:
        NeoFailure: it is not a gzip tar with exactly one model file.
    """
    try:
        with tarfile.open(fileobj=io.BytesIO(igzip.decompress(archive))) as tar:
            members = [m for m in tar if m.isfile() and not PurePosixPath(m.name).name.startswith(".")]
            models = [m for m in members if m.name.endswith(MODEL_SUFFIXES)]
            if len(models) == 1:
                content = tar.extractfile(models[0])
                assert content is not None  # a regular file always has one
                return content.read()
    except (_GZIP_BROKEN, tarfile.TarError, EOFError, OSError):
        raise NeoFailure("Unable to untar input model. Please confirm the model is a tar.gz file") from None
    if not members:
        raise NeoFailure("No model file found.")
    if not models:
        raise NeoFailure("No pth file found for PyTorch model. Please make sure the framework you select is correct.")
    raise NeoFailure("Exactly one .pth file is allowed for PyTorch models.")


def compile_model(archive: bytes, request: dict[str, Any], *, created: float, spoil: Spoil | None = None) -> bytes:
    """The compiled archive for a CreateCompilationJob request whose input object holds ``archive``.

    Args:
        archive: the input object.
        request: the CreateCompilationJob request.
        created: when the job was created, in seconds since the epoch; the modification time of the archive's files.
        spoil: how to spoil the archive.

    Raises:
        NeoFailure: Neo would fail the job.
    """
    check_compiler_options(request["OutputConfig"].get("CompilerOptions"))
    shapes = input_shapes(request["InputConfig"].get("DataInputConfig"))
    files = compiled_files(read_model(archive), request_to_compile(request, spoil), shapes)
    return pack(spoiled(files, spoil), created)
