"""Checks the compiled model in a package's stage folder against what the loader on the device reads.

The loader (DLR) looks only at the top level of the folder, and goes by file name endings. Besides names the rules need
little (the first bytes of libraries, the text of ``.meta``), so it is collected while the files are streamed.
"""

from __future__ import annotations

import json
import math
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from functools import partial
from typing import Any, NoReturn

from dda_core.device.facts import Shape, shape_of, short
from dda_core.device.findings import DeviceFinding, Failure, broken_rule
from dda_core.device.rules import device_rules
from dda_core.targets import CompilationTarget

HEAD = 20
"""Leading bytes of a library that identify it: ELF's ident, type and machine."""
MAX_META = 1 << 20
"""Maximum bytes of a ``.meta`` that are read; real ones have a few thousand."""

_ELF = b"\x7fELF\x02\x01"
"""The first six bytes of a 64-bit little-endian ELF file."""
_AGAIN = "Compile the model again."
_finding = partial(broken_rule, failure=Failure.LOAD)


@dataclass(frozen=True)
class StageFile:
    """A file in a package, or in its stage folder.

    Attributes:
        name: its path in the package or folder.
        head: its first 20 bytes at most; of ``.meta`` files, up to ``MAX_META`` + 1 bytes.
    """

    name: str
    head: bytes


class StageFiles:
    """Collects the files of a package while they are streamed, starting with ``files``."""

    def __init__(self, files: Iterable[StageFile] = ()) -> None:
        self.files = list(files)

    def watch(self, name: str, content: Iterable[Any]) -> Iterator[Any]:
        """Yield the content unchanged, and record what the rules check."""
        wanted = MAX_META + 1 if name.endswith(".meta") else HEAD
        head = bytearray()
        try:
            for piece in content:
                if len(head) < wanted:
                    head += memoryview(piece)[: wanted - len(head)]
                yield piece
        finally:
            # A file that cannot be read to its end still exists.
            self.files.append(StageFile(name, bytes(head)))


@dataclass(frozen=True)
class Expectation:
    """What a compiled model should be for; None where unknown.

    Attributes:
        architecture: of the device, as in recipes: ``amd64`` or ``aarch64``.
        gpu: whether the target compiles for an accelerator.
        network: the shape of the network's input.
    """

    architecture: str | None = None
    gpu: bool | None = None
    network: Shape | None = None

    @classmethod
    def of(cls, target: CompilationTarget) -> Expectation:
        """The expectation for a target."""
        return cls(architecture=target.platform, gpu=target.accelerator is not None)


NOTHING = Expectation()
"""No expectation: it is unknown what the model is for."""


def compiled_findings(files: Iterable[StageFile], folder: str, expected: Expectation) -> list[DeviceFinding]:
    """Everything in a stage folder that the loader cannot use.

    Args:
        files: all files below the folder.
        folder: its name, for messages.
        expected: what the model should be for.
    """
    files = list(files)
    top = [file for file in files if "/" not in file.name]
    found = [*_set_findings(files, top, folder)]
    libraries = [file for file in top if file.name.endswith(".so")]
    found += _machine_findings(libraries, folder, expected.architecture)
    metas = [file for file in top if file.name.endswith(".meta")]
    if len(metas) == 1:
        found += _meta_findings(metas[0], folder, expected, relay=any(file.name.endswith(".ro") for file in top))
    return found


def artifact_findings(files: Iterable[StageFile], folder: str, artifact: str) -> list[DeviceFinding]:
    """What is wrong with the folder of a model that needs no compilation: ``artifact`` must be in it."""
    if any(file.name == artifact for file in files):
        return []
    return [
        _finding(
            "runtime-artifact", f"{folder}/{artifact}", "is missing", "the file that the runtime opens", "Add the file."
        )
    ]


def _set_findings(files: list[StageFile], top: list[StageFile], folder: str) -> Iterator[DeviceFinding]:
    wrappers = {file.name.partition("/")[0] for file in files}
    if files and not top:
        inside = ", ".join(sorted(wrappers))
        yield _finding(
            "wrapper-folder",
            f"{folder}/",
            f"contains only the folder {inside}/",
            "the files of the compiled model without a wrapper folder",
            "Pack the compiled archive again without the folder.",
        )
        return
    for rule in device_rules().compiled:
        counted = sorted(file.name for file in top if rule.counts(file.name))
        if len(counted) > rule.at_most:
            found = f"contains {len(counted)} {rule.what}: {', '.join(counted[:5])}"
            most = f"at most {rule.at_most}" if rule.at_most else "none"
            yield _finding(rule.rule, f"{folder}/", found, most, rule.remedy, failure=rule.failure)
        elif len(counted) < rule.at_least:
            yield _finding(rule.rule, f"{folder}/", f"has no {rule.what}", "", rule.remedy, failure=rule.failure)
    complete = [
        backend.name
        for backend in device_rules().backends
        if all(any(_graph_file(file.name, end) for file in top) for end in backend.ends)
    ]
    if not complete:
        sets = " or ".join(" with ".join(backend.ends) for backend in device_rules().backends)
        taken = "without them the loader assumes a decision tree model"
        yield _finding("backend", f"{folder}/", "has no compiled network", f"files that end in {sets}; {taken}", _AGAIN)
    elif len(complete) > 1:
        yield _finding(
            "backend",
            f"{folder}/",
            f"contains the files of {' and '.join(complete)}",
            "those of one; the loader uses the one that its file system lists first",
            _AGAIN,
        ).as_warning


def _graph_file(name: str, end: str) -> bool:
    """Whether the loader uses a file with that ending as part of the network."""
    others = {name for rule in device_rules().compiled if rule.ends == end for name in rule.besides}
    return name.endswith(end) and name not in others


def _machine_findings(libraries: list[StageFile], folder: str, architecture: str | None) -> Iterator[DeviceFinding]:
    machines = device_rules().machines
    first: tuple[str, int] | None = None
    for file in libraries:
        key = f"{folder}/{file.name}"
        if len(file.head) < HEAD or not file.head.startswith(_ELF):
            what = "a shared library that the device can load"
            yield _finding("library", key, "is not a 64-bit little-endian ELF file", what, _AGAIN)
            continue
        machine = int.from_bytes(file.head[18:20], "little")
        name = next((name for name, number in machines.items() if number == machine), f"machine {machine}")
        first = first or (file.name, machine)
        if architecture in machines and machine != machines[architecture]:
            what = f"{architecture}, the architecture of the target"
            remedy = "Compile the model again for this target, or give this target's archive."
            yield _finding("library-machine", key, f"is built for {name}", what, remedy)
        elif name not in machines:
            yield _finding("library-machine", key, f"is built for {name}", f"one of {', '.join(machines)}", _AGAIN)
        elif architecture not in machines and machine != first[1]:
            yield _finding("library-machine", key, f"is built for {name}", f"the architecture of {first[0]}", _AGAIN)


def _meta_findings(file: StageFile, folder: str, expected: Expectation, *, relay: bool) -> Iterator[DeviceFinding]:
    key = f"{folder}/{file.name}"
    try:
        meta = _strict_json(file.head)
    except (ValueError, RecursionError) as error:
        yield _finding("meta", key, f"cannot be read ({error})", "strict JSON", _AGAIN)
        return
    device_types = ", ".join(device_rules().device_types)
    kind = _inside(_inside(meta, "Requirements"), "TargetDeviceType")
    if kind is None or kind not in device_rules().device_types:
        yield _finding(
            "meta-device-type",
            f"{key}: Requirements.TargetDeviceType",
            "is missing" if kind is None else f"is {short(kind)}",
            f"one of {device_types}",
            _AGAIN,
        )
    elif expected.gpu is not None and expected.gpu != (kind != "cpu"):
        yield _finding(
            "meta-device-type",
            f"{key}: Requirements.TargetDeviceType",
            f"is {kind}",
            "code for an accelerator" if expected.gpu else "code for the CPU only, as the target has no accelerator",
            "Compile the model again with the options of this target.",
        ).as_warning
    model = _inside(meta, "Model")
    if relay:
        for name in ("Inputs", "Outputs"):
            if not isinstance(_inside(model, name), list):
                yield _finding(
                    "meta-relay", f"{key}: Model.{name}", "is not a list", "a list, because there is a .ro", _AGAIN
                )
    inputs = _inside(model, "Inputs")
    first = inputs[0] if isinstance(inputs, list) and len(inputs) == 1 else None
    shape = shape_of(_inside(first, "shape"))
    if shape and expected.network and shape != expected.network:
        yield _finding(
            "meta-input",
            f"{key}: Model.Inputs[0].shape",
            f"is {list(shape)}",
            f"{list(expected.network)}, as the manifest says",
            "Compile this model, or give its archive.",
            failure=Failure.FRAME,
        ).as_warning


def _strict_json(content: bytes) -> Any:
    """JSON as the loader parses it: UTF-8 with or without a byte order mark, without NaN or Infinity."""
    if len(content) > MAX_META:
        raise ValueError(f"it has over {MAX_META} bytes")

    def refuse(word: str) -> NoReturn:
        raise ValueError(f"{word} is not a JSON number")

    def finite(digits: str) -> float:
        value = float(digits)
        if math.isinf(value):
            raise ValueError(f"{digits} is too large a number")
        return value

    return json.loads(content.decode("utf-8-sig"), parse_constant=refuse, parse_float=finite)


def _inside(value: object, key: str) -> Any:
    return value.get(key) if isinstance(value, dict) else None
