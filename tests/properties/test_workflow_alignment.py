"""The correctness properties of the feature ``greengrass-component-workflow-alignment``.

Each compares the code with the two earlier implementations, which are reimplemented here, deliberately without the
code's own tables, templates and rules.
"""

from __future__ import annotations

import asyncio
import contextlib
import copy
import inspect
import io
import json
import string
import tarfile
import tempfile
import zipfile
from pathlib import Path
from types import SimpleNamespace
from typing import Any
from unittest import mock

import pytest
import yaml
from botocore.exceptions import ClientError
from hypothesis import given, settings
from hypothesis import strategies as st

from dda_core import exceptions
from dda_core.archives.source import FileSource
from dda_core.compilation.job import CompilationWork, CompiledModel
from dda_core.components.component import ComponentNames, ComponentPlan
from dda_core.components.recipe import RecipeValues, check_recipe, component_recipe, recipe_bytes
from dda_core.components.recipe_comparison import same_recipe
from dda_core.device.findings import errors
from dda_core.device.folder import StageFiles
from dda_core.device.manifest import manifest_findings
from dda_core.device.package import package_findings
from dda_core.exceptions import (
    CompilationFailed,
    CompilationStopped,
    DdaError,
    DeviceWouldRefuse,
    PublishFailed,
    StepTimedOut,
)
from dda_core.failures import catalogue, explain, guidance_for
from dda_core.model.manifest import dda_manifest, manifest_bytes
from dda_core.model.package import package_to_file
from dda_core.model.trained import read_trained_archive
from dda_core.model.verify import verify_package
from dda_core.runs.ledger import Failure, Ledger
from dda_core.runs.status import run_message, run_status
from dda_core.targets import find_target
from dda_core.training.job import TrainingJob
from dda_core.use_case import UseCase
from deployments.cli.errors import report
from flows import compile_training_job as flow_module
from tests.fixtures import simulated_device
from tests.fixtures.archives import (
    STAGE_KEYS,
    compiled_files,
    dda_manifest_of,
    elf,
    model_graph,
    trained_files,
    write_tar_gz,
)

EXAMPLES = 100

# --- What the generators are made of ----------------------------------------------------------------------------------

words = st.text(string.ascii_lowercase + string.digits, min_size=1, max_size=8)
pixels = st.integers(1, 4096)
leaves = (
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(max_size=8)
)
json_values = st.recursive(
    leaves,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=6), inner, max_size=3),
    max_leaves=6,
)

STAGE_TYPES = list(STAGE_KEYS)
MULTI_HEAD = ["mochi", "supervised_multi_head_model"]


@st.composite
def stages(draw: st.DrawFn, shape: list[int]) -> dict[str, Any]:
    """A stage that devices accept, with other keys of any kind besides the ones they read."""
    stage: dict[str, Any] = {
        f"x_{key}": value for key, value in draw(st.dictionaries(words, json_values, max_size=3)).items()
    }
    kind = draw(st.sampled_from(STAGE_TYPES))
    stage |= {
        "threshold": draw(st.floats(0, 1)),
        "normalize": draw(st.booleans() | st.none() | st.integers(0, 2)),
        "image_range_scale": draw(st.booleans()),
        "image_width": shape[3],
        "image_height": shape[2],
        "input_shape": shape,
        "type": kind,
        **STAGE_KEYS[kind],
    }
    if "dango" in kind or "bbox" in kind:
        stage |= {"classification_head_enabled": True, "bbox_head_enabled": draw(st.booleans())}
    if kind in MULTI_HEAD:
        heads = draw(st.sampled_from([(True, False), (True, True)]))
        stage |= {"classification_head_enabled": heads[0], "segmentation_head_enabled": heads[1]}
        stage |= {"class_normal_ids": draw(st.lists(st.integers(0, 9), min_size=1, max_size=3))}
        stage |= {"raw_image_shape": draw(st.lists(pixels, min_size=2, max_size=2))}
    return {key: stage[key] for key in draw(st.permutations(list(stage)))}


@st.composite
def graphs(draw: st.DrawFn, width: int, height: int) -> dict[str, Any]:
    graph: dict[str, Any] = {
        "model_graph_type": "single_stage_model_graph",
        "stages": [draw(stages([1, 3, height, width]))],
        "image_level_classes": draw(json_values),
        **{f"x_{key}": value for key, value in draw(st.dictionaries(words, json_values, max_size=2)).items()},
    }
    return {key: graph[key] for key in draw(st.permutations(list(graph)))}


# --- 1 ----------------------------------------------------------------------------------------------------------------

STEPS = ["start", "compile", "package", "publish", "wait"]
STATUS_DURING = {
    "start": "compiling",
    "compile": "compiling",
    "package": "packaging",
    "publish": "publishing",
    "wait": "publishing",
}
ORDER = ["not-started", "compiling", "packaging", "publishing", "deployable"]
ENDINGS = {
    "compile": [CompilationFailed("failed", reason="ClientError: No model file found."), CompilationStopped("stopped")],
    "package": [DeviceWouldRefuse("archive", [])],
    "publish": [PublishFailed("failed", reason="ConflictException: already exists")],
    "wait": [PublishFailed("failed"), StepTimedOut("took longer than its limit of 1 s")],
}
ANYWHERE = [ClientError({"Error": {"Code": "ThrottlingException"}}, "X"), KeyError("a defect"), OSError("broken")]

accidents = st.none() | st.sampled_from(STEPS).flatmap(
    lambda step: st.tuples(st.just(step), st.sampled_from(ENDINGS.get(step, []) + ANYWHERE))
)


class History(Ledger):
    """A run's ledger that records every status of every target."""

    def __init__(self) -> None:
        super().__init__()
        self.seen: dict[str, list[str]] = {}
        self.watch(self.look)

    def look(self) -> None:
        for target, line in self.targets.items():
            history = self.seen.setdefault(target, ["not-started"])
            if history[-1] != line.status:
                history.append(str(line.status))


async def carried(plan: dict[str, Any], turns: dict[str, list[int]]) -> tuple[History, dict[str, list[str]]]:
    """Take each target of ``plan`` to its end; its failure happens in the step that it names."""
    record = History()
    record.expect(list(plan))
    run: Any = SimpleNamespace(ledger=record, use_case=SimpleNamespace(s3_bucket="b"), flow_run_id="r")
    done: dict[str, list[str]] = {target: [] for target in plan}

    def happens(step: str, target: str) -> None:
        assert record.targets[target].status == STATUS_DURING[step], (step, target)
        done[target].append(step)
        if plan[target] and plan[target][0] == step:
            raise plan[target][1]

    def step_of(step: str, answer: Any) -> Any:
        async def work(target: str, *_: object) -> Any:
            for _turn in range(turns[target][STEPS.index(step)]):
                await asyncio.sleep(0)
            happens(step, target)
            return answer

        return work

    steps = {
        "compile_model": step_of("compile", CompiledModel(compilation_job="j", attempt=1, artifact="s3://b/a")),
        "package_model": step_of("package", SimpleNamespace(key="k", size=1)),
        "publish_component": step_of("publish", SimpleNamespace(version="1.0.0", arn="arn")),
        "wait_until_deployable": step_of("wait", None),
    }

    async def carry(target):
        delivery = SimpleNamespace(
            target=target, work=None, component=SimpleNamespace(component="model-x", target=None)
        )
        job = SimpleNamespace(result=lambda: happens("start", target))
        await flow_module.publish(run, delivery, flow_module.make_package(run, delivery, job, 1, False, {}))

    with mock.patch.multiple(flow_module, **steps):
        await asyncio.gather(*map(carry, plan))
    return record, done


@settings(max_examples=EXAMPLES, deadline=None)
@given(st.dictionaries(words, accidents, min_size=1, max_size=6), st.data())
def test_1_workflow_phase_consistency(plan, data):
    """**Feature: greengrass-component-workflow-alignment, Property 1: Workflow Phase Consistency**

    Every target goes through the notebook's phases in order, without skipping or repeating any, until it is deployable
    or its own failure ends it; another target's failure has no effect on it.
    """
    turns = {target: data.draw(st.lists(st.integers(0, 4), min_size=5, max_size=5)) for target in plan}
    record, done = asyncio.run(carried(plan, turns))
    for target, accident in plan.items():
        *phases, end = record.seen[target]
        assert phases == ORDER[: len(phases)]
        reached = STEPS if accident is None else STEPS[: STEPS.index(accident[0]) + 1]
        assert done[target] == reached
        if accident is None:
            assert (phases, end) == (ORDER[:-1], "deployable")
        else:
            assert phases[-1] == STATUS_DURING[accident[0]]
            assert end == ("stopped" if isinstance(accident[1], CompilationStopped) else "failed")
            final = record.targets[target]
            assert final.reason
            assert final.cause
            assert final.remedy
        record.compiling(target, component="a later poll")
        record.failed(target, Failure("a later poll"))
        assert record.targets[target].status == end
        assert record.targets[target].reason != "a later poll"
    good = sum(accident is None for accident in plan.values())
    expected = "completed" if good == len(plan) else "partial" if good else "failed"
    assert run_status(record.targets) == expected
    assert run_message(record.targets).startswith(f"{good}/{len(plan)} targets deployable")


# --- 2 ----------------------------------------------------------------------------------------------------------------


def notebooks_manifest(archive: Path) -> str:
    """The manifest's text as the notebook builds it: unpack, find the ``.pt``, copy the graph, add the sizes."""
    files = {}
    with tarfile.open(archive) as tar:
        for member in tar:
            if member.isfile():
                content = tar.extractfile(member)
                assert content is not None
                files[member.name.removeprefix("./")] = content.read()
    exported = json.loads(files["export_artifacts/manifest.json"])
    config = yaml.safe_load(files["config.yaml"])
    models = sorted((name.count("/"), name) for name in files if name.endswith(".pt"))
    shape = exported.get("input_shape") or exported["model_graph"]["stages"][0]["input_shape"]
    manifest: dict[str, Any] = {}
    manifest["model_graph"] = exported["model_graph"]
    manifest["compilable_models"] = [
        {"filename": models[0][1].split("/")[-1], "data_input_config": {"input": shape}, "framework": "PYTORCH"}
    ]
    manifest["dataset"] = {}
    manifest["dataset"]["image_width"] = config["dataset"]["image_width"]
    manifest["dataset"]["image_height"] = config["dataset"]["image_height"]
    return json.dumps(manifest)


@settings(max_examples=EXAMPLES, deadline=None)
@given(st.data(), pixels, pixels, st.sampled_from(["marketplace", "bring-your-own"]), words, st.booleans())
def test_2_manifest_generation_equivalence(data, width, height, kind, model, top_level_shape):
    """**Feature: greengrass-component-workflow-alignment, Property 2: Manifest Generation Equivalence**

    The manifest of any trained archive is byte for byte the one from the notebook's steps.
    """
    graph = data.draw(graphs(width, height))
    files = trained_files(
        kind,
        model_size=64,
        width=width,
        height=height,
        model_file=f"{model}.pt",
        graph=graph,
        manifest_shape=top_level_shape,
    )
    order = data.draw(st.permutations(list(files)))
    with tempfile.TemporaryDirectory() as folder:
        archive = write_tar_gz(
            Path(folder) / "model.tar.gz", files, prefix=data.draw(st.sampled_from(["", "./"])), order=order
        )
        manifest = dda_manifest(read_trained_archive(FileSource(archive)))
        assert manifest_bytes(manifest).decode() == notebooks_manifest(archive)
    assert list(manifest) == ["model_graph", "compilable_models", "dataset"]
    assert errors(manifest_findings(manifest)) == []


# --- 3 ----------------------------------------------------------------------------------------------------------------

folder_names = st.text("abcXYZ019_-", min_size=1, max_size=6)
file_names = st.builds(
    lambda stem, end: stem + end, folder_names, st.sampled_from(["", ".h", ".txt", ".bin", ".ttf", " copy", "-é"])
)
paths = st.builds(lambda folders, name: "/".join([*folders, name]), st.lists(folder_names, max_size=3), file_names)


@st.composite
def trees(draw: st.DrawFn) -> dict[str, bytes]:
    """The files of a compiled archive, at any depth; no file has another file's folder as its path."""
    files = draw(st.dictionaries(paths, st.binary(max_size=300), min_size=1, max_size=8))
    folders = {"/".join(name.split("/")[:depth]) for name in files for depth in range(1, name.count("/") + 1)}
    kept = {name: content for name, content in files.items() if name not in folders}
    return kept | compiled_files(100)


@settings(max_examples=EXAMPLES, deadline=None)
@given(trees(), st.sampled_from(STAGE_TYPES), st.sampled_from(["", "./"]), st.data())
def test_3_directory_structure_preservation(files, kind, prefix, data):
    """**Feature: greengrass-component-workflow-alignment, Property 3: Directory Structure Preservation**

    The package is the manifest at its root and, in the folder of the stage's type, every file of the compiled archive
    with its path and bytes unchanged; nothing else, and no wrapper folder.
    """
    manifest = dda_manifest_of(model_graph(type=kind, raw_image_shape=[768, 576]))
    order = data.draw(st.permutations(list(files)))
    with tempfile.TemporaryDirectory() as folder:
        archive = write_tar_gz(Path(folder) / "compiled.tar.gz", files, prefix=prefix, order=order)
        path, package = package_to_file(FileSource(archive), manifest, Path(folder) / "out")
        assert verify_package(path) == []
        with zipfile.ZipFile(path) as zipped:
            assert zipped.testzip() is None
            assert zipped.namelist() == ["manifest.json", *(f"{kind}/{name}" for name in order)]
            assert json.loads(zipped.read("manifest.json")) == manifest
            assert {name: zipped.read(f"{kind}/{name}") for name in files} == files
        assert path.name == package.name == f"{package.package_id}_greengrass_model_component.zip"


# --- 4 ----------------------------------------------------------------------------------------------------------------

TEMPLATE = """{
  "RecipeFormatVersion": "2020-01-25",
  "ComponentName": %(name)s,
  "ComponentVersion": "%(version)s",
  "ComponentType": "aws.greengrass.generic",
  "ComponentPublisher": "Amazon Lookout for Vision",
  "ComponentConfiguration": {
    "DefaultConfiguration": {
      "Autostart": false,
      "PYTHONPATH": "/usr/bin/python3.9",
      "ModelName": %(friendly)s
    }
  },
  "ComponentDependencies": {
    "%(localserver)s": {
      "VersionRequirement": "^1.0.0",
      "DependencyType": "HARD"
    }
  },
  "Manifests": [
    {
      "Platform": {
        "os": "linux",
        "architecture": "%(platform)s"
      },
      "Lifecycle": {
        "Startup": {
          "Script": "python3 /aws_dda/model_convertor.py --unarchived_model_path {artifacts:decompressedPath}/%(id)s_greengrass_model_component/ --model_version %(version)s --model_name %(bare)s",
          "Timeout": 900,
          "requiresPrivilege": true,
          "runWith": {
            "posixUser": "root"
          }
        },
        "Shutdown": {
          "Script": "python3 /aws_dda/convert_model_cleanup.py --model_name %(bare)s",
          "Timeout": 900,
          "requiresPrivilege": true,
          "runWith": {
            "posixUser": "root"
          }
        }
      },
      "Artifacts": [
        {
          "Uri": "s3://%(bucket)s/model_artifacts/model-%(id)s/%(id)s_greengrass_model_component.zip",
          "Digest": "",
          "Algorithm": "SHA-256",
          "Unarchive": "ZIP",
          "Permission": {
            "Read": "ALL",
            "Execute": "ALL"
          }
        }
      ]
    }
  ],
  "Lifecycle": {}
}"""  # noqa: E501 - the portal's own lines

PLATFORMS = {
    "jetson-xavier": "aarch64",
    "x86_64-cpu": "amd64",
    "x86_64-cuda": "amd64",
    "arm64-cpu": "aarch64",
    "jetson-xavier-jp5": "aarch64",
    "jetson-xavier-jp6": "aarch64",
}


@settings(max_examples=EXAMPLES)
@given(
    base=st.text(string.ascii_letters + string.digits + "._-", min_size=1, max_size=90),
    major=st.integers(1, 999_999),
    friendly=st.text(max_size=40),
    target=st.sampled_from(sorted(PLATFORMS)),
    localserver=words.map("aws.edgeml.dda.LocalServer.{}".format),
    package=st.text("0123456789abcdef", min_size=12, max_size=12),
    bucket=words.map("dda-{}-b".format),
)
def test_4_component_recipe_identity(base, major, friendly, target, localserver, package, bucket):
    """**Feature: greengrass-component-workflow-alignment, Property 4: Component Recipe Identity**

    The recipe has the same keys in the same order as the one that the notebook and the portal send.
    """
    name = f"model-{base}-{target.replace('_', '-')}"
    recipe = component_recipe(
        RecipeValues(
            component=name,
            version=f"{major}.0.0",
            friendly_name=f"{friendly} ({target})",
            target=find_target(target),
            localserver=localserver,
            artifact_uri=f"s3://{bucket}/model_artifacts/model-{package}/{package}_greengrass_model_component.zip",
        )
    )
    theirs = TEMPLATE % {
        "name": json.dumps(name),
        "bare": name,
        "version": f"{major}.0.0",
        "friendly": json.dumps(f"{friendly} ({target})"),
        "localserver": localserver,
        "platform": PLATFORMS[target],
        "id": package,
        "bucket": bucket,
    }
    assert json.dumps(recipe, indent=2) == theirs
    assert json.loads(recipe_bytes(recipe)) == json.loads(theirs)
    check_recipe(recipe)
    assert same_recipe(json.loads(theirs), recipe)


# --- 5 ----------------------------------------------------------------------------------------------------------------

XAVIER_JP4 = (
    '{"cuda-ver": "10.2", "gpu-code": "sm_72", "trt-ver": "8.2.1", "max-workspace-size": "2147483648", '
    '"precision-mode": "fp16", "jetson-platform": "xavier"}'
)
CUDA = (
    '{"cuda-ver": "10.2", "gpu-code": "sm_75", "trt-ver": "8.2.1", "max-workspace-size": "2147483648", '
    '"precision-mode": "fp16"}'
)
XAVIER_JP5 = (
    '{"cuda-ver": "11.4", "gpu-code": "sm_72", "trt-ver": "8.5.2", "max-workspace-size": "2147483648", '
    '"precision-mode": "fp16", "jetson-platform": "xavier"}'
)
ARM = {"Os": "LINUX", "Arch": "ARM64"}
X86 = {"Os": "LINUX", "Arch": "X86_64"}
NVIDIA = {"Accelerator": "NVIDIA"}
# as typed: (target, suffix, TargetPlatform, CompilerOptions, platform, LocalServer)
MAPPING = {
    "jetson-xavier": ("jetson-xavier", "jetson", ARM | NVIDIA, XAVIER_JP4, "aarch64", "arm64"),
    "x86_64-cpu": ("x86_64-cpu", "x86cpu", X86, None, "amd64", "amd64"),
    "x86_64-cuda": ("x86_64-cuda", "x86cuda", X86 | NVIDIA, CUDA, "amd64", "amd64"),
    "arm64-cpu": ("arm64-cpu", "arm64cpu", ARM, None, "aarch64", "arm64"),
    "jetson-xavier-jp5": ("jetson-xavier-jp5", "jetsonjp5", ARM | NVIDIA, XAVIER_JP5, "aarch64", "arm64JP5"),
    "jetson-xavier-jp6": ("jetson-xavier-jp6", "jetsonjp6", ARM | NVIDIA, XAVIER_JP5, "aarch64", "arm64JP6"),
}
MAPPING |= {"x86_64": MAPPING["x86_64-cpu"], "aarch64": MAPPING["arm64-cpu"], "jetson": MAPPING["jetson-xavier"]}


@settings(max_examples=EXAMPLES)
@given(typed=st.sampled_from(sorted(MAPPING)), width=pixels, height=pixels, override=st.none() | words, job=words)
def test_5_platform_mapping_correctness(typed, width, height, override, job):
    """**Feature: greengrass-component-workflow-alignment, Property 5: Platform Mapping Correctness**

    Every target and alias is compiled for the platform, and depends on the LocalServer, of the earlier
    implementations.
    """
    name, suffix, neo, options, platform, localserver = MAPPING[typed]
    target = find_target(typed)
    use_case = UseCase(
        usecase_id="u",
        account_id="123456789012",
        region="eu-west-1",
        s3_bucket="dda-b",
        localserver={typed: override} if override else {},
    )
    work = CompilationWork.of(
        use_case,
        target,
        TrainingJob(
            name=job,
            arn=f"arn:aws:sagemaker:eu-west-1:123456789012:training-job/{job}",
            status="Completed",
            model_artifact=f"s3://dda-b/models/training/{job}/output/model.tar.gz",
        ),
        (1, 3, height, width),
    )
    request = work.request(1)
    output = {
        "TargetPlatform": neo,
        "S3OutputLocation": f"s3://dda-b/models/compilation/{request['CompilationJobName']}/{name}",
    }
    assert request["OutputConfig"] == output | ({"CompilerOptions": options} if options else {})
    assert request["CompilationJobName"].startswith(f"{job}-{suffix}-")
    assert request["InputConfig"]["DataInputConfig"] == f'{{"input_shape": [1, 3, {height}, {width}]}}'
    plan = ComponentPlan.of(use_case, target, training_job=job, names=ComponentNames(job))
    recipe = plan.recipe("1.0.0", "s3://dda-b/k.zip")
    assert recipe["ComponentName"] == f"model-{job}-{name.replace('_', '-')}"
    assert recipe["ComponentConfiguration"]["DefaultConfiguration"]["ModelName"] == f"model-{job} ({name})"
    assert recipe["Manifests"][0]["Platform"] == {"os": "linux", "architecture": platform}
    assert list(recipe["ComponentDependencies"]) == [override or f"aws.edgeml.dda.LocalServer.{localserver}"]


# --- 6 ----------------------------------------------------------------------------------------------------------------

MISSING = object()

MUTATIONS = [
    (("dataset",), [MISSING, 7]),
    (("model_graph",), [MISSING, [], {"stages": []}, {"model_graph_type": "single_stage_model_graph"}]),
    (("model_graph", "model_graph_type"), [MISSING, "three_stage_model_graph", 1, "two_stage_model_graph"]),
    (("model_graph", "stages"), [MISSING, [], {}]),
    (("model_graph", "image_level_classes"), [MISSING, {}]),
    (("model_graph", "stages", 0, "threshold"), [MISSING, 0, 0.5]),
    (("model_graph", "stages", 0, "normalize"), [MISSING, 1, True, False]),
    (("model_graph", "stages", 0, "image_range_scale"), [MISSING, False]),
    (("model_graph", "stages", 0, "type"), [MISSING, "Mochi", "brownie", 3, *STAGE_TYPES]),
    (("model_graph", "stages", 0, "classification_head_enabled"), [MISSING, True, False]),
    (("model_graph", "stages", 0, "segmentation_head_enabled"), [MISSING, True, False]),
    (("model_graph", "stages", 0, "class_normal_ids"), [MISSING, []]),
    (("model_graph", "stages", 0, "raw_image_shape"), [MISSING, [768, 576], [1, 3, 768, 576]]),
    (("model_graph", "pixel_level_classes"), [MISSING, None, {"names": ["a", "b"], "normal_ids": [0]}]),
]
EXTRA_FILES = [
    "model.py",
    "{kind}/second.json",
    "{kind}/version.json",
    "{kind}/second.so",
    "{kind}/second.params",
    "{kind}/a.ro",
    "{kind}/b.ro",
    "{kind}/notes.txt",
    "{kind}/model.py",
    "dango/compiled.so",
    "other/deep/manifest.json",
]


def mutated(manifest: Any, mutations: list[tuple[tuple[Any, ...], Any]]) -> Any:
    changed = copy.deepcopy(manifest)
    for path, value in mutations:
        node = changed
        with contextlib.suppress(KeyError, IndexError, TypeError):
            for key in path[:-1]:
                node = node[key]
            if value is MISSING:
                del node[path[-1]]
            else:
                node[path[-1]] = copy.deepcopy(value)
    return changed


mutation = st.sampled_from(MUTATIONS).flatmap(lambda row: st.tuples(st.just(row[0]), st.sampled_from(row[1])))


@settings(max_examples=EXAMPLES)
@given(
    st.sampled_from(STAGE_TYPES),
    st.lists(mutation, max_size=3),
    st.lists(st.sampled_from(EXTRA_FILES), max_size=2, unique=True),
    st.sampled_from(["", "", "", "wrapper/", "no manifest", "no folder"]),
    st.booleans(),
)
def test_6_component_validation_consistency(kind, mutations, extra, defect, second_stage):
    """**Feature: greengrass-component-workflow-alignment, Property 6: Component Validation Consistency**

    Validation accepts exactly the packages that the device's software accepts, and has at least one finding for every
    other; a graph of two stages, which this pipeline does not support, is refused before anything is compiled.
    """
    manifest = mutated(dda_manifest_of(model_graph(type=kind, raw_image_shape=[768, 576])), mutations)
    if second_stage:
        with contextlib.suppress(KeyError, TypeError, AttributeError):
            manifest["model_graph"]["stages"].append({"type": "dango"})
    files = {f"{kind}/{name}": content for name, content in compiled_files(10).items()}
    files |= {name.format(kind=kind): elf(b"") if name.endswith(".so") else b"{}" for name in extra}
    if defect == "wrapper/":
        files = {f"wrapper/{name}": content for name, content in files.items()}
    elif defect == "no folder":
        files = {name: content for name, content in files.items() if not name.startswith(f"{kind}/")}
    inside = {} if defect in ("wrapper/", "no manifest") else {"manifest.json": b""}
    seen = StageFiles()
    for name, content in (inside | files).items():
        list(seen.watch(name, [content]))
    refused = errors(package_findings(seen.files, manifest if inside else None))
    runs = bool(inside) and simulated_device.run(json.dumps(manifest).encode(), files) == "runs"
    assert (not refused) == runs, list(map(str, refused))
    assert all(finding.message for finding in refused)
    whole = {f"{kind}/{name}": content for kind in STAGE_TYPES for name, content in compiled_files(10).items()}
    could_run = simulated_device.run(json.dumps(manifest).encode(), whole) == "runs"
    assert (not errors(manifest_findings(manifest))) == could_run


def stages_of(manifest: Any) -> list[Any]:
    try:
        return list(manifest["model_graph"]["stages"])
    except (KeyError, TypeError):
        return []


@settings(max_examples=EXAMPLES, deadline=None)
@given(
    st.lists(mutation, max_size=2), st.lists(st.sampled_from([".json", ".so", ".params", ".meta", ".ro"]), max_size=2)
)
def test_6_a_refused_package_is_never_written_and_a_written_one_passes(mutations, more):
    """**Feature: greengrass-component-workflow-alignment, Property 6: Component Validation Consistency**

    Building and verifying a package give the same verdict, and a refusal leaves no file.
    """
    manifest = mutated(dda_manifest_of(model_graph()), mutations)
    files = compiled_files(100) | {
        f"extra{number}{suffix}": elf(b"x") if suffix == ".so" else b"x" for number, suffix in enumerate(more)
    }
    with tempfile.TemporaryDirectory() as folder:
        archive = write_tar_gz(Path(folder) / "compiled.tar.gz", files)
        out = Path(folder) / "out"
        kind = stages_of(manifest)[0].get("type") if stages_of(manifest) else None
        members = {f"{kind}/{name}": content for name, content in files.items()}
        if simulated_device.run(json.dumps(manifest).encode(), members) == "runs":
            path, _ = package_to_file(FileSource(archive), manifest, out)
            assert errors(verify_package(path)) == []
        else:
            with pytest.raises(DeviceWouldRefuse) as refused:
                package_to_file(FileSource(archive), manifest, out)
            assert refused.value.findings
            assert not out.exists() or not list(out.iterdir())


# --- 7 ----------------------------------------------------------------------------------------------------------------

RETRIES = {"never", "backoff", "quota", "reconcile"}
CATALOGUED = [(row, fragments) for row in catalogue().rows if not row.fallback for fragments in row.match]
EXIT_CODES = {"UsageError": 2, "ConfigurationError": 3, "AwsCallFailed": 4, "Interrupted": 130}
ERRORS = [each for each in vars(exceptions).values() if inspect.isclass(each) and issubclass(each, DdaError)]
# Only digits and punctuation, so that no catalogued text can occur.
noise = st.text("0123456789 .,;:-_/\n\t", max_size=40)


@settings(max_examples=EXAMPLES)
@given(st.text(max_size=300), st.sampled_from([None, "neo", "greengrass"]))
def test_7_every_text_gets_one_answer(text, service):
    """**Feature: greengrass-component-workflow-alignment, Property 7: Error Handling Equivalence**

    Any error text has a cause, a remedy and a retry class, and the same text always has the same ones.
    """
    found = explain(text, service=service)
    assert found.cause
    assert found.remedy
    assert found.source
    assert found.retry in RETRIES
    assert explain(text, service=service) == found
    wrapped = CompilationFailed("compilation job j failed", reason=text)
    assert guidance_for(wrapped).retry in RETRIES
    assert guidance_for(wrapped) == guidance_for(CompilationFailed("another job", reason=text))


@settings(max_examples=EXAMPLES)
@given(st.sampled_from(CATALOGUED), noise, noise, st.booleans())
def test_7_a_known_failure_is_recognised_in_any_surroundings(row_and_fragments, before, after, prefixed):
    """**Feature: greengrass-component-workflow-alignment, Property 7: Error Handling Equivalence**

    A failure has the same cause, remedy and retry class whatever job, bucket or prefix surrounds its text.
    """
    row, fragments = row_and_fragments
    head = "ClientError: InputConfiguration: " if prefixed else ""
    found = explain(f"{head}{before} {' ... '.join(fragments)} {after}", service=row.service)
    assert (found.cause, found.remedy, found.retry) == (row.cause, row.remedy, row.retry)
    assert not found.fallback


@settings(max_examples=EXAMPLES)
@given(st.sampled_from(ERRORS), st.text(string.printable, min_size=1, max_size=80))
def test_7_the_exit_code_depends_on_the_errors_class(kind, message):
    """**Feature: greengrass-component-workflow-alignment, Property 7: Error Handling Equivalence**

    The exit code is 2 for usage, 3 for configuration, 4 for AWS, 130 for an interruption, and 1 for every other error,
    whatever the message says.
    """
    error = kind.__new__(kind)
    DdaError.__init__(error, message)
    error.reason = message
    expected = next((EXIT_CODES[base.__name__] for base in kind.__mro__ if base.__name__ in EXIT_CODES), 1)
    assert error.exit_code == expected
    with contextlib.redirect_stderr(io.StringIO()) as said:
        assert report(error) == expected
    assert said.getvalue().startswith("error: ")
    assert guidance_for(error).retry in RETRIES
