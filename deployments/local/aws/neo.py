"""The compiler of the embedded AWS: it reads what SageMaker Neo reads, refuses what Neo refuses, in Neo's words,
and writes an archive with the file set of a Neo build.

The content is derived from the model's bytes and the target, so that the same compilation gives the same bytes.
"""

from __future__ import annotations

import hashlib
import io
import json
import tarfile
from pathlib import PurePosixPath
from typing import Any

from isal import igzip, isal_zlib

from dda_core.targets import NEO_CUDA_CEILING

MODEL_SUFFIXES = (".pt", ".pth")
_GZIP_BROKEN: Any = isal_zlib.IsalError  # its stub calls the class an instance
_SHARED_OBJECT_BYTES = 256 * 1024
_RUNTIME_BYTES = 512 * 1024
_ELF_MACHINE = {"X86_64": 0x3E, "X86": 0x03, "ARM64": 0xB7, "ARM_EABI": 0x28, "ARM_EABIHF": 0x28}


class NeoFailure(Exception):
    """The compilation job ends FAILED; the text is its FailureReason."""

    def __init__(self, text: str, *, kind: str = "ClientError: InputConfiguration") -> None:
        super().__init__(f"{kind}: {text}")


def output_name(input_uri: str, output_config: dict[str, Any]) -> str:
    """The file name Neo gives the compiled archive: ``<input stem>-<target>.tar.gz``."""
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
        NeoFailure: it is no JSON of shapes, or not of the NCHW kind.
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


def compiler_options(text: str | None) -> dict[str, Any]:
    """``CompilerOptions`` as a dictionary.

    Raises:
        NeoFailure: no JSON object, or a CUDA version that Neo does not compile for.
    """
    if not text:
        return {}
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
    return options


def read_model(archive: bytes) -> bytes:
    """The one model file of the input archive.

    Raises:
        NeoFailure: no gzip tar, or not exactly one model file in it.
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


def compile_model(archive: bytes, request: dict[str, Any]) -> bytes:
    """The compiled archive for a CreateCompilationJob request whose input object holds ``archive``.

    Raises:
        NeoFailure: what Neo would end the job with.
    """
    config, output = request["InputConfig"], request["OutputConfig"]
    options = compiler_options(output.get("CompilerOptions"))
    shapes = input_shapes(config.get("DataInputConfig"))
    model = read_model(archive)
    platform = output.get("TargetPlatform") or {"Device": output.get("TargetDevice")}
    recipe = {"platform": platform, "options": options, "shapes": shapes, "version": config.get("FrameworkVersion")}
    described = json.dumps(recipe, sort_keys=True).encode()
    seed = hashlib.sha256(hashlib.sha256(model).digest() + described).digest()
    # A one-to-one change of every byte: as large and as compressible as the weights, and quick.
    table = bytes(value ^ (seed[0] | 1) for value in range(256))
    files = {
        "compiled.meta": _text(_meta(request, shapes)),
        "compiled.params": model.translate(table),
        "compiled.so": _shared_object(platform.get("Arch"), seed, _SHARED_OBJECT_BYTES),
        "compiled_model.json": _text(_graph(shapes)),
        "dlr.h": b"/* DLR: the runtime interface of a compiled model. */\nint GetDLRVersion(const char** out);\n",
        "libdlr.so": _shared_object(platform.get("Arch"), b"libdlr", _RUNTIME_BYTES),
        "manifest": _text({"compiler": "neo", "files": {"params": "compiled.params", "lib": "compiled.so"}}),
    }
    if platform.get("Accelerator") == "NVIDIA":
        files["compiled.ro"] = hashlib.shake_256(b"ro" + seed).digest(64 * 1024)
    return _packed(files)


def _packed(files: dict[str, bytes]) -> bytes:
    packed = io.BytesIO()
    with (
        igzip.GzipFile(filename="", fileobj=packed, mode="wb", compresslevel=1, mtime=0) as compressed,
        tarfile.open(fileobj=compressed, mode="w", format=tarfile.PAX_FORMAT) as tar,
    ):
        for name in sorted(files):
            member = tarfile.TarInfo(name)
            member.size = len(files[name])
            member.mode = 0o644
            tar.addfile(member, io.BytesIO(files[name]))
    return packed.getvalue()


def _text(value: Any) -> bytes:
    return json.dumps(value, indent=2, sort_keys=True).encode()


def _shared_object(arch: str | None, seed: bytes, size: int) -> bytes:
    machine = _ELF_MACHINE.get(arch or "X86_64", 0x3E)
    header = b"\x7fELF\x02\x01\x01" + bytes(9) + b"\x03\x00" + machine.to_bytes(2, "little") + bytes(44)
    return header + hashlib.shake_256(seed).digest(size - len(header))


def _meta(request: dict[str, Any], shapes: dict[str, list[int]]) -> dict[str, Any]:
    output = request["OutputConfig"]
    return {
        "Model": {
            "Framework": request["InputConfig"]["Framework"],
            "Inputs": [{"name": name, "shape": shape, "dtype": "float32"} for name, shape in shapes.items()],
            "Outputs": [{"name": "output", "dtype": "float32"}],
        },
        "Requirements": {"TargetPlatform": output.get("TargetPlatform"), "TargetDevice": output.get("TargetDevice")},
        "CompilerOptions": output.get("CompilerOptions"),
    }


def _graph(shapes: dict[str, list[int]]) -> dict[str, Any]:
    nodes = [{"op": "null", "name": name, "inputs": []} for name in shapes]
    return {
        "nodes": [*nodes, {"op": "tvm_op", "name": "fused_model", "inputs": [[i, 0, 0] for i in range(len(nodes))]}],
        "arg_nodes": list(range(len(nodes))),
        "heads": [[len(nodes), 0, 0]],
        "attrs": {"shape": ["list_shape", list(shapes.values())]},
    }
