"""What a device refuses, as findings: the cloud accepts all of it, and the device then crash-loops.

The lists that grow with the device's software are in ``device_rules.yaml``.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from functools import cache
from pathlib import Path
from typing import Any

import yaml
from pydantic import BaseModel, ConfigDict, ValidationError

from dda_core.exceptions import DeviceWouldRefuse, InvalidCatalogue
from dda_core.manifest import MANIFEST_NAME

RULES = Path(__file__).with_name("device_rules.yaml")
_EXPORT = "export the model again"


class DeviceRules(BaseModel):
    """The lists of ``device_rules.yaml``.

    Attributes:
        model_graph_types: the number of stages under each known ``model_graph_type``.
        stage_types: the known ``type`` of a stage.
        multi_head_types: stage types that must say which heads are on.
        heads: the key that switches a head on, and the key that this head then needs.
        file_kinds: file suffixes of which a stage folder may hold one, each with names that do not count.
    """

    model_config = ConfigDict(frozen=True, extra="forbid", protected_namespaces=())

    model_graph_types: dict[str, int]
    stage_types: tuple[str, ...]
    multi_head_types: tuple[str, ...]
    heads: dict[str, str]
    file_kinds: dict[str, tuple[str, ...]]


@cache
def device_rules() -> DeviceRules:
    """The rules that ship with this version.

    Raises:
        InvalidCatalogue: ``device_rules.yaml`` is not valid.
    """
    try:
        return DeviceRules.model_validate(yaml.safe_load(RULES.read_text()))
    except (OSError, yaml.YAMLError, ValidationError) as error:
        raise InvalidCatalogue(f"{RULES}: {error}") from error


def manifest_findings(manifest: object) -> list[str]:
    """Every reason why a device would refuse a package of one compiled model with this manifest."""
    findings = _graph_findings(manifest)
    graph = manifest.get("model_graph") if isinstance(manifest, dict) else None
    if isinstance(graph, dict):
        stages = graph.get("stages")
        count = len(stages) if isinstance(stages, list) else 0
        kind = graph.get("model_graph_type")
        needed = max(count, device_rules().model_graph_types.get(kind, 0) if isinstance(kind, str) else 0)
        if needed > 1:
            findings.append(
                f"model_graph is a graph of {needed} stages ({kind}), which needs {needed} compiled models, and this "
                "pipeline compiles one; export a single-stage model"
            )
    return findings


def package_findings(names: Iterable[str], manifest: object) -> list[str]:
    """Every reason why a device would refuse a package.

    Args:
        names: the ZIP's members; those that end in ``/`` are folders.
        manifest: the value of its ``manifest.json``, of any type; None when it has none.
    """
    files = [name for name in names if not name.endswith("/")]
    findings = _root_findings(files)
    if manifest is not None or MANIFEST_NAME in files:
        findings += _graph_findings(manifest)
    stage_types = list(dict.fromkeys(kind for stage in _stages(manifest) if isinstance(kind := stage.get("type"), str)))
    for kind in stage_types:
        if kind and not any(name.startswith(f"{kind}/") for name in files):
            findings.append(f"no file in the folder {kind}/ of that stage; put its compiled model there")
    for folder in stage_types:
        findings += _folder_findings(folder, files)
    return findings


def check_manifest(manifest: object, where: str) -> None:
    """Raise ``DeviceWouldRefuse`` with every finding on the manifest; ``where`` names its archive."""
    if findings := manifest_findings(manifest):
        raise DeviceWouldRefuse(where, findings)


def check_package(names: Iterable[str], manifest: object, where: str) -> None:
    """Raise ``DeviceWouldRefuse`` with every finding on the package; ``where`` names what it is made from."""
    if findings := package_findings(names, manifest):
        raise DeviceWouldRefuse(where, findings)


def _root_findings(files: Sequence[str]) -> list[str]:
    findings = []
    if MANIFEST_NAME not in files:
        wrapped = [name for name in files if name.endswith(f"/{MANIFEST_NAME}") and name.count("/") == 1]
        tops = {name.partition("/")[0] for name in files}
        if wrapped and len(tops) == 1:
            findings.append(
                f"no {MANIFEST_NAME} at the root: everything is inside the wrapper folder {tops.pop()}/; "
                "put its content at the root"
            )
        else:
            findings.append(f"no {MANIFEST_NAME} at the root; put the DDA manifest there")
    if "model.py" in files:
        findings.append("a model.py at the root; remove it")
    return findings


def _graph_findings(manifest: object) -> list[str]:
    """What is wrong with the manifest itself, however many compiled models come with it."""
    rules = device_rules()
    if not isinstance(manifest, dict):
        return [f"{MANIFEST_NAME} is no JSON object; {_EXPORT}"]
    findings = []
    if not isinstance(manifest.get("dataset"), dict):
        findings.append("no dataset in the manifest; add dataset with image_width and image_height")
    graph = manifest.get("model_graph")
    if not isinstance(graph, dict):
        findings.append(f"no model_graph in the manifest; {_EXPORT}")
        return findings
    if len(graph) < 2:
        findings.append(f"model_graph has {len(graph)} top-level keys, at least two are needed; {_EXPORT}")
    kind = graph.get("model_graph_type")
    if kind is None:
        findings.append(f"no model_graph_type in model_graph; set one of {', '.join(rules.model_graph_types)}")
    elif not isinstance(kind, str) or kind not in rules.model_graph_types:
        findings.append(f"unknown model_graph_type {_short(kind)}; known: {', '.join(rules.model_graph_types)}")
    if not _stages(manifest):
        findings.append(f"no stages[0] in model_graph; {_EXPORT}")
    elif isinstance(kind, str) and len(graph["stages"]) < rules.model_graph_types.get(kind, 0):
        findings.append(
            f"model_graph is a {kind} with {len(graph['stages'])} stage, {rules.model_graph_types[kind]} are needed; "
            f"{_EXPORT}"
        )
    for number, stage in enumerate(_stages(manifest)):
        findings += _stage_findings(f"stages[{number}]", stage, first=number == 0)
    return findings


def _stages(manifest: object) -> list[dict[str, Any]]:
    """The stages of a manifest of any type; one that is no object counts as empty."""
    graph = manifest.get("model_graph") if isinstance(manifest, dict) else None
    stages = graph.get("stages") if isinstance(graph, dict) else None
    if not isinstance(stages, list):
        return []
    return [stage if isinstance(stage, dict) else {} for stage in stages]


def _stage_findings(where: str, stage: dict[str, Any], first: bool) -> list[str]:
    rules = device_rules()
    findings = []
    if first:
        for key in ("threshold", "normalize", "image_range_scale"):
            if stage.get(key) is None:
                findings.append(f"no {key} in {where}; {_EXPORT}")
        normalize = stage.get("normalize")
        if normalize is not None and not isinstance(normalize, bool):
            findings.append(f"normalize in {where} is {_short(normalize)}; it must be true or false")
    kind = stage.get("type")
    if kind is None:
        findings.append(f"no type in {where}; set one of {', '.join(rules.stage_types)}")
    elif not isinstance(kind, str) or kind not in rules.stage_types:
        findings.append(f"unknown type {_short(kind)} in {where}; known: {', '.join(rules.stage_types)}")
    if isinstance(kind, str) and kind in rules.multi_head_types:
        for switch, needed in rules.heads.items():
            if stage.get(switch) is None:
                findings.append(f"no {switch} in {where}, which a {kind} needs; {_EXPORT}")
            elif stage[switch] and stage.get(needed) is None:
                findings.append(f"no {needed} in {where}, which {switch} needs; {_EXPORT}")
    return findings


def _folder_findings(folder: str, files: Sequence[str]) -> list[str]:
    inside = [name.removeprefix(f"{folder}/") for name in files if name.startswith(f"{folder}/")]
    findings = []
    for suffix, ignored in device_rules().file_kinds.items():
        found = sorted(name for name in inside if "/" not in name and name.endswith(suffix) and name not in ignored)
        if len(found) > 1:
            findings.append(
                f"{len(found)} {suffix} files in the folder {folder}/ ({', '.join(found[:5])}), at most one is "
                "allowed; remove the others from the compiled archive"
            )
    return findings


def _short(value: object) -> str:
    text = repr(value)
    return text if len(text) <= 60 else text[:57] + "..."
