"""The compiled archive of the emulated Neo: the files of a real one, with placeholders for machine code.

The files are those known from real archives: ``model-shapes.json`` for CPUs, ``manifest`` for NVIDIA, the runtime and
its header for both. The layout is that of TVM: ``.so``, ``.params`` and ``.json``. RelayVM's, with ``.ro``, is not
emulated.

The content depends only on the model's bytes and the request, so that the same compilation has the same content.
"""

from __future__ import annotations

import hashlib
import io
import json
import struct
import tarfile
from typing import Any

from isal import igzip

_SHARED_OBJECT_BYTES = 256 * 1024
_RUNTIME_BYTES = 512 * 1024
_ELF_32, _ELF_64 = 1, 2
_ELF = {
    "X86_64": (_ELF_64, 62),
    "ARM64": (_ELF_64, 183),
    "X86": (_ELF_32, 3),
    "ARM_EABI": (_ELF_32, 40),
    "ARM_EABIHF": (_ELF_32, 40),
}
"""TargetPlatform's Arch -> class and machine of the ELF file."""
_ELF_ENTRY_SIZES = {_ELF_32: (52, 32, 40), _ELF_64: (64, 56, 64)}
"""ELF class -> sizes of the file header and of an entry in each of the two header tables."""
_SHARED = 3
_ARM_DEVICES = ("jetson_", "rasp", "imx8", "rk33", "aisage", "qcs", "amba", "jacinto", "ml_m6g", "ml_c6g")
_GPU_DEVICES = ("jetson_", "ml_p", "ml_g")


def arch(output_config: dict[str, Any]) -> str:
    """The architecture of a request's target, as TargetPlatform writes it."""
    platform = output_config.get("TargetPlatform")
    if platform:
        return str(platform["Arch"])
    return "ARM64" if str(output_config["TargetDevice"]).startswith(_ARM_DEVICES) else "X86_64"


def device_type(output_config: dict[str, Any]) -> str:
    """The device type that DLR uses for a request's target: ``cpu``, ``gpu`` or ``opencl``."""
    platform = output_config.get("TargetPlatform")
    if platform:
        return {"NVIDIA": "gpu", "MALI": "opencl"}.get(platform.get("Accelerator", ""), "cpu")
    return "gpu" if str(output_config["TargetDevice"]).startswith(_GPU_DEVICES) else "cpu"


def compiled_files(model: bytes, request: dict[str, Any], shapes: dict[str, list[int]]) -> dict[str, bytes]:
    """The files of the archive, name -> content.

    Args:
        model: the bytes of the trained model's file.
        request: the CreateCompilationJob request.
        shapes: input name -> NCHW shape.
    """
    config, output = request["InputConfig"], request["OutputConfig"]
    target = {key: output.get(key) for key in ("TargetPlatform", "TargetDevice", "CompilerOptions")}
    described = json.dumps([target, shapes, config.get("FrameworkVersion")], sort_keys=True).encode()
    seed = hashlib.sha256(hashlib.sha256(model).digest() + described).digest()
    # A fast substitution of every byte: as large and as compressible as the weights.
    table = bytes(value ^ (seed[0] | 1) for value in range(256))
    files = {
        "compiled.meta": _text(_meta(request, shapes)),
        "compiled.params": model.translate(table),
        "compiled.so": shared_object(arch(output), seed, _SHARED_OBJECT_BYTES),
        "compiled_model.json": _text(_graph(shapes)),
        "dlr.h": b"/* DLR: the runtime interface of a compiled model. */\nint GetDLRVersion(const char** out);\n",
        "libdlr.so": shared_object(arch(output), b"libdlr", _RUNTIME_BYTES),
    }
    if device_type(output) == "gpu":
        files["manifest"] = _text({"compiler": "neo", "files": {"params": "compiled.params", "lib": "compiled.so"}})
    else:
        files["model-shapes.json"] = _text([{"name": name, "shape": shape} for name, shape in shapes.items()])
    return files


def pack(files: dict[str, bytes], made: float) -> bytes:
    """A gzip tar of the files.

    Args:
        files: name -> content.
        made: the modification time of every member, in seconds since the epoch.
    """
    packed = io.BytesIO()
    with (
        igzip.GzipFile(filename="", fileobj=packed, mode="wb", compresslevel=1, mtime=int(made)) as compressed,
        tarfile.open(fileobj=compressed, mode="w", format=tarfile.PAX_FORMAT) as tar,
    ):
        for name in sorted(files):
            member = tarfile.TarInfo(name)
            member.size, member.mode, member.mtime = len(files[name]), 0o644, int(made)
            tar.addfile(member, io.BytesIO(files[name]))
    return packed.getvalue()


def shared_object(arch: str, seed: bytes, size: int) -> bytes:
    """``size`` bytes: the ELF header of a shared object for ``arch``, then noise."""
    bits, machine = _ELF[arch]
    sizes = _ELF_ENTRY_SIZES[bits]
    ident = b"\x7fELF" + bytes([bits, 1, 1])
    addresses = "QQQ" if bits == _ELF_64 else "III"
    # Type, machine, version; no entry point, no header tables; flags; sizes and counts; no section name index.
    header = struct.pack(
        f"<16sHHI{addresses}I6H", ident, _SHARED, machine, 1, 0, 0, 0, 0, *sizes[:2], 0, sizes[2], 0, 0
    )
    return header + hashlib.shake_256(seed).digest(size - len(header))


def _text(value: Any) -> bytes:
    return json.dumps(value, indent=2, sort_keys=True).encode()


def _meta(request: dict[str, Any], shapes: dict[str, list[int]]) -> dict[str, Any]:
    config, output = request["InputConfig"], request["OutputConfig"]
    platform = output.get("TargetPlatform")
    target = "_".join(platform.values()) if platform else output["TargetDevice"]
    return {
        "Compilation": {
            "Compiler": "neo",
            "CompilerOptions": output.get("CompilerOptions"),
            "Framework": config["Framework"],
            "FrameworkVersion": config.get("FrameworkVersion"),
        },
        "Model": {
            "Framework": config["Framework"],
            "Inputs": [{"name": name, "shape": shape, "dtype": "float32"} for name, shape in shapes.items()],
            "Outputs": [{"name": "output", "dtype": "float32"}],
        },
        "Requirements": {"TargetDevice": str(target).upper(), "TargetDeviceType": device_type(output)},
        "Runtime": {"Library": "libdlr.so", "Layout": "tvm"},
    }


def _graph(shapes: dict[str, list[int]]) -> dict[str, Any]:
    nodes = [{"op": "null", "name": name, "inputs": []} for name in shapes]
    return {
        "nodes": [*nodes, {"op": "tvm_op", "name": "fused_model", "inputs": [[i, 0, 0] for i in range(len(nodes))]}],
        "arg_nodes": list(range(len(nodes))),
        "heads": [[len(nodes), 0, 0]],
        "attrs": {"shape": ["list_shape", list(shapes.values())]},
    }
