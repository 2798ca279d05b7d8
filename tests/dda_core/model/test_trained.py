from __future__ import annotations

import gzip
import hashlib
import itertools
import json
import tarfile
import threading
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import ValidationError

from dda_core.archives.s3_sink import MultipartUpload
from dda_core.archives.source import open_source
from dda_core.exceptions import (
    ArchiveBroken,
    ArchiveHostile,
    DeviceWouldRefuse,
    InputRefused,
    Interrupted,
    ModelDescriptionInvalid,
    ModelFileAmbiguous,
    ModelFileInvalid,
    ModelFileMissing,
    ShapeMismatch,
)
from dda_core.model.manifest import TrainedModel
from dda_core.model.trained import read_trained_archive
from tests.fixtures.archives import (
    GRAPH,
    model_graph,
    sha256,
    tar_bytes,
    tar_member,
    torchscript,
    trained_archive,
    trained_files,
    weights,
    write_tar_gz,
)
from tests.fixtures.s3 import BUCKET, keys, open_uploads, s3_in_process


class Sink(bytearray):
    """Records what was written, and whether it was completed or aborted."""

    def __init__(self) -> None:
        super().__init__()
        self.end = ""

    def write(self, data: Any) -> None:
        assert not self.end
        self.extend(data)

    def complete(self) -> None:
        assert not self.end
        self.end = "complete"

    def abort(self) -> None:
        self.end = self.end or "aborted"


class Sinks(list[Sink]):
    def __call__(self) -> Sink:
        assert all(sink.end for sink in self), "one upload at a time"
        self.append(Sink())
        return self[-1]

    @property
    def ends(self) -> list[str]:
        return [sink.end for sink in self]


def member_of(archive: bytes) -> tuple[tarfile.TarInfo, bytes]:
    """The only member of a repackaged archive."""
    import io

    with tarfile.open(fileobj=io.BytesIO(archive), mode="r:gz") as tar:
        (info,) = tar.getmembers()
        file = tar.extractfile(info)
        assert file is not None
        return info, file.read()


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "model.tar.gz"


def read(path: Path, files: dict[str, bytes], sinks: Sinks | None = None, **options: Any) -> TrainedModel:
    return read_trained_archive(open_source(write_tar_gz(path, files, **options)), sinks)


def refused(path: Path, kind: type[InputRefused], files: dict[str, bytes], **options: Any) -> str:
    """The error's message; no sink may be complete afterwards."""
    sinks = Sinks()
    with pytest.raises(kind) as caught:
        read(path, files, sinks, **options)
    assert "complete" not in sinks.ends
    assert "" not in sinks.ends
    assert str(path) in str(caught.value)
    return str(caught.value)


@pytest.mark.parametrize("kind", ["marketplace", "bring-your-own"])
@pytest.mark.parametrize("prefix", ["", "./"])
@pytest.mark.parametrize("manifest_shape", [True, False])
def test_both_kinds_of_archive_are_read(path: Path, kind: Any, prefix: str, manifest_shape: bool):
    trained_archive(path, kind, prefix=prefix, manifest_shape=manifest_shape)
    model = read_trained_archive(open_source(path))
    assert model == TrainedModel(
        uri=str(path),
        etag=None,
        model_file="mochi.pt",
        model_file_size=20_000,
        model_file_sha256=sha256(torchscript(20_000)),
        input_shape=(1, 3, 768, 576),
        image_width=576,
        image_height=768,
        model_graph=GRAPH,
    )
    assert json.dumps(model.model_graph) == json.dumps(GRAPH), "the order of the keys is kept"


def test_the_model_is_frozen(path: Path):
    model = read(path, trained_files())
    with pytest.raises(ValidationError):
        model.model_file = "other.pt"  # type: ignore[misc]


ROOT = torchscript(100, seed=7)
ORDERS = list(itertools.permutations(trained_files("marketplace")))


@settings(max_examples=100, deadline=None)
@given(st.sampled_from(ORDERS))
def test_the_root_file_is_compiled_in_any_order_of_members(tmp_path_factory: Any, order: tuple[str, ...]):
    files = trained_files("marketplace") | {"mochi.pt": ROOT}
    sinks = Sinks()
    model = read(tmp_path_factory.mktemp("t") / "model.tar.gz", files, sinks, order=order)
    assert model.model_file_sha256 == sha256(ROOT)
    assert sinks.ends[-1] == "complete"
    assert set(sinks.ends[:-1]) <= {"aborted"}
    assert member_of(sinks[-1])[1] == ROOT


def test_a_root_file_after_the_exported_one_replaces_its_upload(path: Path):
    files = trained_files("bring-your-own") | {"other.pt": ROOT}
    sinks = Sinks()
    assert read(path, files, sinks).model_file == "other.pt"
    assert sinks.ends == ["aborted", "complete"]


def test_an_exported_file_after_the_root_one_is_not_uploaded(path: Path):
    files = {"mochi.pt": ROOT, **trained_files("bring-your-own")}
    sinks = Sinks()
    assert read(path, files, sinks).model_file_sha256 == sha256(ROOT)
    assert sinks.ends == ["complete"]


def test_the_repackaged_archive_is_one_plain_member_without_time_or_owner(path: Path):
    sinks = Sinks()
    read(path, trained_files("bring-your-own", model_size=1_500_000), sinks, mtime=1)
    info, content = member_of(sinks[0])
    assert (info.name, info.mtime, info.mode, info.uid, info.gid, info.uname, info.isreg()) == (
        "mochi.pt", 0, 0o644, 0, 0, "", True,
    )  # fmt: skip
    assert content == torchscript(1_500_000)


def test_the_repackaged_bytes_depend_only_on_the_model_file(path: Path):
    first, second = Sinks(), Sinks()
    files = trained_files("bring-your-own", model_size=1_500_000)
    read(path, files, first, mtime=1, mode=0o600, level=1)
    read(path, dict(reversed(files.items())), second, mtime=2, mode=0o777, level=9, prefix="./")
    assert first == second


@pytest.mark.parametrize("name", ["größe.pt", "m" * 200 + ".pt"])
def test_any_name_of_a_model_file_is_kept(path: Path, name: str):
    sinks = Sinks()
    assert read(path, trained_files("bring-your-own", model_file=name), sinks).model_file == name
    assert member_of(sinks[0])[0].name == name


@pytest.mark.parametrize("name", ["config.yaml", "mochi.json", "export_artifacts/manifest.json"])
def test_a_missing_description_is_named(path: Path, name: str):
    files = trained_files()
    del files[name]
    assert f"holds no {name}" in refused(path, ModelFileMissing, files)


def test_a_description_at_another_place_does_not_count(path: Path):
    files = trained_files()
    files["export_artifacts/mochi.json"] = files.pop("mochi.json")
    assert "holds no mochi.json" in refused(path, ModelFileMissing, files)


@pytest.mark.parametrize("instead", ["code/mochi.pt", "mochi.pth", ".mochi.pt", "export_artifacts/deep/mochi.pt", None])
def test_a_missing_model_file_is_an_error(path: Path, instead: str | None):
    files = trained_files("bring-your-own")
    content = files.pop("export_artifacts/mochi.pt")
    if instead:
        files[instead] = content
    assert "holds no TorchScript file" in refused(path, ModelFileMissing, files)


def test_an_empty_model_file_is_refused(path: Path):
    assert "mochi.pt in" in refused(path, ModelFileMissing, trained_files("bring-your-own", model_size=0))


@pytest.mark.parametrize(
    ("content", "kind"),
    [
        (b"\n<!DOCTYPE html><html><body>Please log in</body></html>", "a web page (HTML)"),
        (b"\xef\xbb\xbf<HTML lang='en'>", "a web page (HTML)"),
        (b'<?xml version="1.0"?><Error><Code>AccessDenied</Code></Error>', "an XML document"),
        (b'{"message": "Not Found"}', "a JSON document"),
        (b"version https://git-lfs.github.com/spec/v1\n", "a Git LFS pointer in place of the file"),
        (b"\x1f\x8b\x08\x00 and so on", "a gzip file"),
        (b"\x80\x02\x8a\x0a", "a pickle, as torch.save of old PyTorch versions writes it"),
        (bytes(500), "a file of zeros"),
        (b"PK\x05\x06" + bytes(18), None),
        (b"PK\x03", None),
        (weights(500), None),
    ],
)
def test_a_model_file_that_is_not_torchscript_is_refused(path: Path, content: bytes, kind: str | None):
    files = trained_files("marketplace") | {"mochi.pt": content}
    message = refused(path, ModelFileInvalid, files)
    assert message.startswith(f"mochi.pt in {path} is not a TorchScript file")
    assert (f", but {kind};" in message) is (kind is not None)
    assert (", but " in message) is (kind is not None)


def test_an_exported_file_is_ignored_if_there_is_one_at_the_root(path: Path):
    files = trained_files("bring-your-own") | {"export_artifacts/mochi.pt": b"<html>", "mochi.pt": ROOT}
    for order in (list(files), list(reversed(files))):
        assert read(path, files, Sinks(), order=order).model_file_sha256 == sha256(ROOT)


@pytest.mark.parametrize("encoding", ["utf-16", "utf-16-le", "utf-16-be", "utf-32", "utf-32-le", "utf-32-be"])
@pytest.mark.parametrize("name", ["mochi.json", "export_artifacts/manifest.json"])
def test_a_description_in_another_encoding_than_utf_8_is_refused_by_its_name(path: Path, name: str, encoding: str):
    files = trained_files()
    files[name] = files[name].decode().encode(encoding)
    message = refused(path, ModelDescriptionInvalid, files)
    assert f"{name} in {path} is in {encoding[:6].upper()}, not in UTF-8." in message


@pytest.mark.parametrize("name", ["mochi.json", "export_artifacts/manifest.json"])
def test_a_description_may_have_the_byte_order_mark_of_utf_8(path: Path, name: str):
    files = trained_files()
    plain = read(path, files)
    files[name] = files[name].decode().encode("utf-8-sig")
    assert read(path, files) == plain


@pytest.mark.parametrize("place", ["", "export_artifacts/"])
def test_two_candidates_at_the_same_place_are_listed(path: Path, place: str):
    files = trained_files("marketplace" if not place else "bring-your-own")
    files[f"{place}another.pt"] = files[f"{place}mochi.pt"]
    assert f"same place: {place}another.pt, {place}mochi.pt; expected exactly one." in refused(
        path, ModelFileAmbiguous, files
    )


@pytest.mark.parametrize("root_first", [True, False])
def test_two_exported_candidates_are_ignored_if_there_is_one_at_the_root(path: Path, root_first: bool):
    exported = trained_files("bring-your-own") | {"export_artifacts/another.pt": torchscript(50, seed=8)}
    files = {"mochi.pt": ROOT, **exported} if root_first else {**exported, "mochi.pt": ROOT}
    sinks = Sinks()
    assert read(path, files, sinks).model_file_sha256 == sha256(ROOT)
    assert sinks.ends.count("complete") == 1
    assert sinks.ends[-1] == "complete"


def test_images_of_another_size_than_the_networks_are_resized_on_the_device(path: Path):
    files = trained_files() | {"config.yaml": b"dataset: {image_width: 4000, image_height: 3000}"}
    model = read(path, files)
    assert (model.image_width, model.image_height) == (4000, 3000)
    assert model.input_shape == (1, 3, 768, 576)


@pytest.mark.parametrize("differs", ["mochi.json", "export_artifacts/manifest.json"])
@pytest.mark.parametrize("manifest_shape", [True, False])
def test_a_shape_that_differs_names_all_three(path: Path, differs: str, manifest_shape: bool):
    files = trained_files(manifest_shape=manifest_shape)
    files[differs] = trained_files(width=640, height=480, manifest_shape=manifest_shape)[differs]
    message = refused(path, ShapeMismatch, files)
    for value in ("config.yaml", "mochi.json", "export_artifacts/manifest.json"):
        assert value in message
    assert "[1, 3, 480, 640]" in message
    assert "576x768 (width x height)" in message


@pytest.mark.parametrize("shape", [[2, 3, 768, 576], [1, 1, 768, 576], [1, 4, 768, 576]])
def test_only_batch_one_and_three_channels_are_compiled(path: Path, shape: list[int]):
    files = trained_files(graph=model_graph(input_shape=shape), manifest_shape=False)
    files["mochi.json"] = json.dumps({"stages": [{"input_shape": shape}]}).encode()
    assert "only batch 1 and 3 channels" in refused(path, ShapeMismatch, files)


def test_the_manifest_shape_takes_precedence_over_its_stage_s(path: Path):
    files = trained_files(graph=model_graph(input_shape=[1, 3, 5, 5]), manifest_shape=True)
    assert read(path, files).input_shape == (1, 3, 768, 576)


@pytest.mark.parametrize(
    ("name", "content", "what"),
    [
        ("mochi.json", b"{", "mochi.json in"),
        ("mochi.json", b"[]", "not a JSON object"),
        ("mochi.json", b'{"stages": []}', "has no stages[0]"),
        ("mochi.json", b'{"stages": [{}]}', "is missing"),
        ("mochi.json", b'{"stages": [{"input_shape": [1, 3, 768]}]}', "is [1, 3, 768]"),
        ("mochi.json", b'{"stages": [{"input_shape": [1, 3, 768, true]}]}', "four positive integers"),
        ("mochi.json", b'{"stages": [{"input_shape": [1, 3, 768, -576]}]}', "four positive integers"),
        ("mochi.json", b'{"stages": [{"input_shape": [1, 3, 768, 576.0]}]}', "four positive integers"),
        ("mochi.json", b"\xff\xfa\xfe", "not JSON"),
        ("mochi.json", b"[" * 100_000, "not JSON"),
        ("export_artifacts/manifest.json", b"{}", "no model_graph object"),
        ("export_artifacts/manifest.json", b'{"model_graph": {"stages": 1}}', "no stages[0]"),
        ("config.yaml", b"dataset: [", "cannot be read"),
        ("config.yaml", b"", "has no dataset.image_width"),
        ("config.yaml", b"dataset: {image_width: 576}", "has no dataset.image_height"),
        ("config.yaml", b"dataset: {image_width: wide, image_height: 768}", "says 'wide' for"),
        ("config.yaml", b"dataset: {image_width: '0x10', image_height: 768}", "says '0x10' for"),
        ("config.yaml", b"dataset: {image_width: true, image_height: 768}", "says 'true' for"),
        ("config.yaml", b"dataset: {image_width: .nan, image_height: 768}", "says '.nan' for"),
        ("config.yaml", b"dataset: {image_width: 0, image_height: 768}", "says '0' for"),
        ("config.yaml", b"dataset: {image_width: 5.5, image_height: 768}", "says '5.5' for"),
        ("config.yaml", b"dataset: {image_width: 1" + b":59" * 300_000 + b", image_height: 768}", "says '1:59"),
        ("config.yaml", b"dataset: {image_width: [1], image_height: 768}", "says a list or mapping for"),
        ("config.yaml", b"dataset: {image_width: &a [*a], image_height: 768}", "says a list or mapping for"),
        ("config.yaml", b"dataset: &a {<<: [*a, *a], image_width: 576}", "has no dataset.image_height"),
        ("config.yaml", b"{" * 100_000, "nested deeper than 100 levels"),
        ("config.yaml", b"- " * 100_000, "nested deeper than 100 levels"),
        ("config.yaml", b"a: " + b"x" * (1 << 20), "over 1048576"),
        ("config.yaml", b"\xff\xfe\xfa", "cannot be read"),
    ],
)  # fmt: skip
def test_an_unusable_description_is_named(path: Path, name: str, content: bytes, what: str):
    message = refused(path, ModelDescriptionInvalid, trained_files() | {name: content})
    assert what in message
    assert name in message


def test_a_configuration_with_python_classes_and_aliases_is_read(path: Path):
    text = b"""
model: !!python/object:anomalib.Config {depth: 3}
a: &a [x, x, x, x, x, x, x, x, x]
b: &b [*a, *a, *a, *a, *a, *a, *a, *a, *a]
dataset:
  root: !!python/object/apply:pathlib.PosixPath [/data]
  image_width: 576
  image_height: 768
"""
    assert read(path, trained_files() | {"config.yaml": text}).image_width == 576


@pytest.mark.parametrize(
    "dataset",
    [
        b"dataset: *base",
        b"dataset:\n  <<: *base\n  root: /data",
        b"dataset:\n  <<: [{image_width: 576}, *base]",
        b"dataset: {image_width: 0x240, image_height: 7_68}",
    ],
)
def test_a_configuration_is_read_by_yaml_s_rules(path: Path, dataset: bytes):
    text = b"base: &base {image_width: 576, image_height: 768}\n" + dataset
    model = read(path, trained_files() | {"config.yaml": text})
    assert (model.image_width, model.image_height) == (576, 768)


JSON = st.recursive(
    st.none() | st.booleans() | st.integers(-5, 800) | st.text(max_size=5),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(st.sampled_from(["stages", "input_shape", "model_graph", "type", "dataset"]), inner)
    ),
    max_leaves=10,
)


@settings(max_examples=150, deadline=None)
@given(JSON, st.sampled_from(["mochi.json", "export_artifacts/manifest.json", "config.yaml"]))
def test_any_description_is_read_or_refused_but_never_crashes(tmp_path_factory: Any, value: Any, name: str):
    files = trained_files(model_size=10) | {name: json.dumps(value).encode()}
    with pytest.raises(InputRefused):
        read(tmp_path_factory.getbasetemp() / "any.tar.gz", files)


def test_a_two_stage_graph_is_refused_up_front(path: Path):
    graph = model_graph()
    graph["model_graph_type"] = "two_stage_model_graph"
    graph["stages"].append(dict(graph["stages"][0], type="dango"))
    message = refused(path, DeviceWouldRefuse, trained_files(graph=graph))
    assert 'model_graph.model_graph_type is "two_stage_model_graph"' in message
    assert "model_graph.stages has 2 stages (expected: one stage, because this pipeline compiles one model)" in message


def test_a_manifest_that_the_device_would_refuse_is_refused_up_front(path: Path):
    message = refused(path, DeviceWouldRefuse, trained_files(graph=model_graph(threshold=None, type="matcha")))
    assert "stages[0].threshold is missing" in message
    assert 'stages[0].type is "matcha", but devices know only mochi,' in message


def test_a_hostile_member_at_the_end_leaves_no_repackaged_archive(path: Path):
    files = trained_files()
    ordinary = [(tar_member(name, size=len(content)), content) for name, content in files.items()]
    evil = (tar_member("link", type=tarfile.SYMTYPE, linkname="/etc/passwd"), b"")
    path.write_bytes(gzip.compress(tar_bytes([*ordinary, evil])))
    sinks = Sinks()
    with pytest.raises(ArchiveHostile, match="symbolic link"):
        read_trained_archive(open_source(path), sinks)
    assert set(sinks.ends) == {"aborted"}


def test_a_flipped_byte_in_the_weights_leaves_no_repackaged_archive(path: Path):
    write_tar_gz(path, trained_files("bring-your-own", model_size=3_000_000), level=0)
    packed = bytearray(path.read_bytes())
    packed[len(packed) // 2] ^= 1
    path.write_bytes(packed)
    sinks = Sinks()
    with pytest.raises(ArchiveBroken, match="damaged"):
        read_trained_archive(open_source(path), sinks)
    assert sinks.ends == ["aborted"]


def test_a_truncated_archive_leaves_no_repackaged_archive(path: Path):
    trained_archive(path)
    path.write_bytes(path.read_bytes()[:-1])
    sinks = Sinks()
    with pytest.raises(ArchiveBroken, match="truncated"):
        read_trained_archive(open_source(path), sinks)
    assert set(sinks.ends) == {"aborted"}


def test_stopping_in_the_middle_leaves_no_upload(path: Path):
    trained_archive(path, "bring-your-own", model_size=30_000_000)
    stop = threading.Event()
    with s3_in_process() as s3:

        class Stopping(MultipartUpload):
            def write(self, data: Any) -> None:
                super().write(data)
                if open_uploads(s3):
                    stop.set()

        with pytest.raises(Interrupted):
            read_trained_archive(open_source(path), lambda: Stopping(s3, BUCKET, "k"), stop)
        assert stop.is_set()
        assert open_uploads(s3) == []
        assert keys(s3) == []


def test_from_s3_to_s3_in_one_pass(tmp_path: Path):
    local = trained_archive(tmp_path / "t.tar.gz", model_size=9_000_000)
    with s3_in_process() as s3:
        s3.upload_file(str(local), BUCKET, "job/model.tar.gz")
        gets = []
        s3.meta.events.register(
            "before-call.s3.GetObject", lambda params, **_: gets.append(params["headers"].get("Range"))
        )
        target = "job/model_for_compilation.tar.gz"
        source = open_source(f"s3://{BUCKET}/job/model.tar.gz", s3)
        model = read_trained_archive(source, lambda: MultipartUpload(s3, BUCKET, target))
        assert model.uri == f"s3://{BUCKET}/job/model.tar.gz"
        assert model.etag == s3.head_object(Bucket=BUCKET, Key="job/model.tar.gz")["ETag"]
        packed = s3.get_object(Bucket=BUCKET, Key=target)["Body"].read()
        assert open_uploads(s3) == []
    info, content = member_of(packed)
    assert (info.name, hashlib.sha256(content).hexdigest()) == ("mochi.pt", model.model_file_sha256)
    assert len(gets) == len(set(gets)), "no range is fetched twice"
