"""Spoiled compiled archives, which no device can load, for fault injection.

As with real ones, the job is COMPLETED, and only the content of the archive shows the problem.
"""

from __future__ import annotations

import json
from enum import StrEnum
from typing import Any


class Spoil(StrEnum):
    """What is wrong with a compiled archive."""

    NO_META = "no-meta"
    """``compiled.meta`` is missing."""
    META_DEVICE_TYPE = "meta-device-type"
    """The device type in ``compiled.meta`` is in capitals, which the loader does not accept."""
    WRONG_MACHINE = "wrong-machine"
    """``compiled.so`` is for the other architecture."""
    NO_LIBDLR = "no-libdlr"
    """The runtime, ``libdlr.so``, is missing."""
    WRAPPER_FOLDER = "wrapper-folder"
    """All files are in a subfolder."""
    TWO_GRAPHS = "two-graphs"
    """There is a second JSON file beside the graph."""
    README_ONLY = "readme-only"
    """There is only a README."""
    CUDA_ON_CPU = "cuda-on-cpu"
    """A CPU target gets an archive compiled for NVIDIA."""


_OTHER_MACHINE = {62: 183, 183: 62}


def request_to_compile(request: dict[str, Any], spoil: Spoil | None) -> dict[str, Any]:
    """The request as it is compiled: for ``cuda-on-cpu`` changed to an NVIDIA target, else unchanged."""
    if spoil is not Spoil.CUDA_ON_CPU:
        return request
    output = request["OutputConfig"]
    platform = output.get("TargetPlatform") or {"Os": "LINUX", "Arch": "X86_64"}
    return request | {"OutputConfig": output | {"TargetPlatform": platform | {"Accelerator": "NVIDIA"}}}


def spoiled(files: dict[str, bytes], spoil: Spoil | None) -> dict[str, bytes]:
    """The files of a compiled archive, name -> content, spoiled; unchanged without a spoil."""
    match spoil:
        case Spoil.NO_META:
            return {name: content for name, content in files.items() if name != "compiled.meta"}
        case Spoil.META_DEVICE_TYPE:
            meta = json.loads(files["compiled.meta"])
            requirements = meta["Requirements"]
            requirements["TargetDeviceType"] = requirements["TargetDeviceType"].upper()
            return files | {"compiled.meta": json.dumps(meta).encode()}
        case Spoil.WRONG_MACHINE:
            library = files["compiled.so"]
            other = _OTHER_MACHINE.get(library[18], 62)
            return files | {"compiled.so": library[:18] + other.to_bytes(2, "little") + library[20:]}
        case Spoil.NO_LIBDLR:
            return {name: content for name, content in files.items() if name != "libdlr.so"}
        case Spoil.WRAPPER_FOLDER:
            return {f"compiled/{name}": content for name, content in files.items()}
        case Spoil.TWO_GRAPHS:
            return files | {"version.json": b'{"version": 1}'}
        case Spoil.README_ONLY:
            return {"README.md": b"The compiled model is in another archive.\n"}
        case _:
            return files
