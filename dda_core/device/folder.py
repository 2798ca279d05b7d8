"""The compiled model in a package's stage folder, held against what the loader on the device looks at.

The loader (DLR) sees the top level of the folder only, and goes by the ends of names. What the rules look at besides
names is little (the first bytes of libraries, the text of ``.meta``), so it is taken while the files go by.
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
"""Bytes of a library that tell what it is: ELF's ident, type and machine."""
MAX_META = 1 << 20
"""Bytes of a ``.meta`` that are read; real ones have a few thousand."""

_ELF = b"\x7fELF\x02\x01"
"""A 64-bit little-endian ELF file, of which the header says so in its first six bytes."""
_AGAIN = "Compile the model again."
_finding = partial(broken_rule, failure=Failure.LOAD)


@dataclass(frozen=True)
class StageFile:
    """A file of a package, or of its stage's folder.

    Attributes:
        name: its path there.
        head: its first 20 bytes, or fewer where it has fewer; of ``.meta`` files, all of it up to a limit.
    """

    name: str
    head: bytes


class StageFiles:
    """The files of a package as they go by, those before them being ``files``."""

    def __init__(self, files: Iterable[StageFile] = ()) -> None:
        self.files = list(files)

    def watch(self, name: str, content: Iterable[Any]) -> Iterator[Any]:
        """The same pieces of content, remembering of them what the rules look at."""
        wanted = MAX_META + 1 if name.endswith(".meta") else HEAD
        head = bytearray()
        try:
            for piece in content:
                if len(head) < wanted:
                    head += memoryview(piece)[: wanted - len(head)]
                yield piece
        finally:
            # Also a file that cannot be read to its end is there.
            self.files.append(StageFile(name, bytes(head)))


@dataclass(frozen=True)
class Expectation:
    """What a compiled model should be for; None where it is not known.

    Attributes:
        architecture: of the device, as recipes name it: ``amd64`` or ``aarch64``.
        gpu: whether the target compiles for an accelerator.
        network: the shape of the network's input.
    """

    architecture: str | None = None
    gpu: bool | None = None
    network: Shape | None = None

    @classmethod
    def of(cls, target: CompilationTarget) -> Expectation:
        """What is compiled for a target."""
        return cls(architecture=target.platform, gpu=target.accelerator is not None)


NOTHING = Expectation()
"""Where nothing is known of what a model is for."""


def compiled_findings(files: Iterable[StageFile], folder: str, expected: Expectation) -> list[DeviceFinding]:
    """Everything that the loader cannot work with in a stage's folder.

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
    """What is wrong with the folder of a model that needs no compilation: its one file must be there."""
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
            f"holds only the folder {inside}/",
            "the files of the compiled model, with no folder around them",
            "Pack the compiled archive again without the folder.",
        )
        return
    for rule in device_rules().compiled:
        counted = sorted(file.name for file in top if rule.counts(file.name))
        if len(counted) > rule.at_most:
            found = f"holds {len(counted)} {rule.what}: {', '.join(counted[:5])}"
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
        taken = "without them the loader takes it for a model of decision trees"
        yield _finding("backend", f"{folder}/", "has no compiled network", f"files that end in {sets}; {taken}", _AGAIN)
    elif len(complete) > 1:
        yield _finding(
            "backend",
            f"{folder}/",
            f"holds the files of {' and of '.join(complete)}",
            "those of one; the loader takes whichever its file system names first",
            _AGAIN,
        ).as_warning


def _graph_file(name: str, end: str) -> bool:
    """Whether the loader takes a file of that end for a part of the network."""
    others = {name for rule in device_rules().compiled if rule.ends == end for name in rule.besides}
    return name.endswith(end) and name not in others


def _machine_findings(libraries: list[StageFile], folder: str, architecture: str | None) -> Iterator[DeviceFinding]:
    machines = device_rules().machines
    first: tuple[str, int] | None = None
    for file in libraries:
        key = f"{folder}/{file.name}"
        if len(file.head) < HEAD or not file.head.startswith(_ELF):
            what = "a shared library that the device can load"
            yield _finding("library", key, "is no 64-bit little-endian ELF file", what, _AGAIN)
            continue
        machine = int.from_bytes(file.head[18:20], "little")
        name = next((name for name, number in machines.items() if number == machine), f"machine {machine}")
        first = first or (file.name, machine)
        if architecture in machines and machine != machines[architecture]:
            what = f"{architecture}, the architecture of the target"
            remedy = "Compile the model again for this target, or give the archive that belongs to it."
            yield _finding("library-machine", key, f"is made for {name}", what, remedy)
        elif name not in machines:
            yield _finding("library-machine", key, f"is made for {name}", f"one of {', '.join(machines)}", _AGAIN)
        elif architecture not in machines and machine != first[1]:
            yield _finding("library-machine", key, f"is made for {name}", f"the architecture of {first[0]}", _AGAIN)


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
            "code for an accelerator" if expected.gpu else "code for the processor alone, as the target has none else",
            "Compile the model again with the options of this target.",
        ).as_warning
    model = _inside(meta, "Model")
    if relay:
        for name in ("Inputs", "Outputs"):
            if not isinstance(_inside(model, name), list):
                yield _finding("meta-relay", f"{key}: Model.{name}", "is no list", "a list, as a .ro is there", _AGAIN)
    inputs = _inside(model, "Inputs")
    first = inputs[0] if isinstance(inputs, list) and len(inputs) == 1 else None
    shape = shape_of(_inside(first, "shape"))
    if shape and expected.network and shape != expected.network:
        yield _finding(
            "meta-input",
            f"{key}: Model.Inputs[0].shape",
            f"is {list(shape)}",
            f"{list(expected.network)}, as the manifest says",
            "Compile this very model, or give the archive that belongs to it.",
            failure=Failure.FRAME,
        ).as_warning


def _strict_json(content: bytes) -> Any:
    """JSON as the loader's parser takes it: UTF-8 with or without a byte order mark, and no numbers that are none."""
    if len(content) > MAX_META:
        raise ValueError(f"it has over {MAX_META} bytes")

    def refuse(word: str) -> NoReturn:
        raise ValueError(f"{word} is no JSON number")

    def finite(digits: str) -> float:
        value = float(digits)
        if math.isinf(value):
            raise ValueError(f"{digits} is too large a number")
        return value

    return json.loads(content.decode("utf-8-sig"), parse_constant=refuse, parse_float=finite)


def _inside(value: object, key: str) -> Any:
    return value.get(key) if isinstance(value, dict) else None
