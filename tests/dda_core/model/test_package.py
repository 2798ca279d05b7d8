from __future__ import annotations

import gzip
import hashlib
import json
import os
import shutil
import subprocess
import sys
import tarfile
import threading
import zipfile
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dda_core.archives.s3_sink import MultipartUpload
from dda_core.archives.source import FileSource, open_source
from dda_core.archives.zip import MAX_UNPACKED
from dda_core.aws.s3 import Bucket
from dda_core.exceptions import (
    ArchiveBroken,
    ArchiveHostile,
    DdaError,
    DeviceWouldRefuse,
    Interrupted,
    ObjectChanged,
    UnpackedTooLarge,
)
from dda_core.model.manifest import manifest_bytes
from dda_core.model.package import (
    STAGING,
    ModelPackage,
    build_package,
    content_id,
    package_key,
    package_name,
    package_to_file,
    package_to_s3,
)
from dda_core.model.verify import verify_package
from tests.fixtures.archives import (
    compiled_archive,
    compiled_files,
    dda_manifest_of,
    elf,
    hostile_archive,
    model_graph,
    tar_bytes,
    tar_member,
    write_tar_gz,
)
from tests.fixtures.s3 import BUCKET, keys, open_uploads, s3_in_process

MANIFEST = dda_manifest_of(model_graph())
HEX = "[0-9a-f]{12}"


def files_of(package: Path) -> dict[str, bytes]:
    with zipfile.ZipFile(package) as opened:
        assert opened.testzip() is None
        return {info.filename: opened.read(info) for info in opened.infolist()}


def build(folder: Path, files: dict[str, bytes], **options: Any) -> tuple[Path, ModelPackage]:
    archive = write_tar_gz(folder / "compiled.tar.gz", files, **options)
    return package_to_file(open_source(archive), MANIFEST, folder / "out")


def refused(folder: Path, archive: Path, kind: type[DdaError], manifest: dict[str, Any] = MANIFEST) -> str:
    """The error's message; the folder for packages must be empty afterwards."""
    out = folder / "out"
    with pytest.raises(kind) as caught:
        package_to_file(open_source(archive), manifest, out)
    assert not out.exists() or list(out.iterdir()) == []
    return str(caught.value)


def test_a_compiled_archive_becomes_a_package(tmp_path: Path):
    files = compiled_files()
    path, package = build(tmp_path, files, prefix="./")
    assert list(files_of(path)) == ["manifest.json", *(f"mochi/{name}" for name in files)]
    assert files_of(path)["manifest.json"] == manifest_bytes(MANIFEST)
    assert {name: files_of(path)[f"mochi/{name}"] for name in files} == files
    assert path == tmp_path / "out" / f"{package.package_id}_greengrass_model_component.zip"
    assert [entry.name for entry in (tmp_path / "out").iterdir()] == [package.name]
    content = path.read_bytes()
    assert (package.size, package.sha256, package.members) == (len(content), hashlib.sha256(content).hexdigest(), 8)
    assert package.key == f"model_artifacts/model-{package.package_id}/{package.name}"
    assert verify_package(path) == []


def test_the_stage_type_names_the_folder(tmp_path: Path):
    manifest = dda_manifest_of(model_graph(type="supervised_multi_head_model"))
    archive = compiled_archive(tmp_path / "c.tar.gz")
    path, _ = package_to_file(open_source(archive), manifest, tmp_path / "out")
    assert {name.partition("/")[0] for name in files_of(path)} == {"manifest.json", "supervised_multi_head_model"}


def test_names_and_keys():
    assert package_name("0123456789ab") == "0123456789ab_greengrass_model_component.zip"
    assert package_key("000000000000") == (
        "model_artifacts/model-000000000000/000000000000_greengrass_model_component.zip"
    )


PARTS = st.text(st.characters(categories=["L", "N"], include_characters=" -_+=@~"), min_size=1, max_size=12)
TREES = st.dictionaries(
    st.lists(PARTS, min_size=1, max_size=4).map("/".join), st.binary(max_size=3000), min_size=1, max_size=8
).filter(lambda tree: not any(f"{a}/" == b[: len(a) + 1] for a in tree for b in tree))
TREES = TREES.map(lambda tree: {f"more/{name}": content for name, content in tree.items()} | compiled_files(200))


@settings(max_examples=100, deadline=None)
@given(TREES, st.sampled_from(["", "./"]))
def test_directory_structure_preservation(tmp_path_factory: Any, tree: dict[str, bytes], prefix: str):
    """Property 3, Directory Structure Preservation: every file keeps its path below the stage folder."""
    path, _ = build(tmp_path_factory.mktemp("p"), tree, prefix=prefix)
    found = files_of(path)
    assert found.pop("manifest.json") == manifest_bytes(MANIFEST)
    assert found == {f"mochi/{name}": content for name, content in tree.items()}


@settings(max_examples=100, deadline=None)
@given(TREES, st.integers(0, 2**31), st.sampled_from([0o600, 0o644, 0o777]), st.integers(0, 9), st.integers(1, 5000))
def test_the_bytes_depend_only_on_the_content(
    tmp_path_factory: Any, tree: dict[str, bytes], mtime: int, mode: int, level: int, piece: int
):
    folder = tmp_path_factory.mktemp("p")
    path, package = build(folder, tree)
    first = path.read_bytes()
    archive = write_tar_gz(folder / "again.tar.gz", tree, mtime=mtime, mode=mode, level=level)

    class Cut(FileSource):
        def blocks(self, stop: threading.Event | None = None) -> Any:
            data = archive.read_bytes()
            yield from (data[start : start + piece] for start in range(0, len(data), piece))

    before = os.umask(0o077)
    try:
        path, again = package_to_file(Cut(archive), MANIFEST, folder / "again")
    finally:
        os.umask(before)
    assert again == package
    assert path.read_bytes() == first


def test_the_id_does_not_depend_on_codec_and_order(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    import zlib

    from dda_core.archives import codec

    files = compiled_files(300_000)
    _, fast = build(tmp_path, files)
    monkeypatch.setattr(codec, "codec", zlib)
    path, slow = build(tmp_path, dict(reversed(files.items())))
    assert slow.package_id == fast.package_id
    assert slow.sha256 != fast.sha256
    assert verify_package(path) == []


@pytest.mark.parametrize("change", ["content", "name", "manifest", "more"])
def test_different_content_has_a_different_id(tmp_path: Path, change: str):
    files = compiled_files()
    _, package = build(tmp_path, files)
    manifest = MANIFEST
    if change == "content":
        files["compiled.params"] = files["compiled.params"][:-1] + b"?"
    elif change == "name":
        files["other.params"] = files.pop("compiled.params")
    elif change == "manifest":
        manifest = dda_manifest_of(model_graph(threshold=0.5))
    else:
        files["more"] = b""
    archive = write_tar_gz(tmp_path / "other.tar.gz", files)
    assert package_to_file(open_source(archive), manifest, tmp_path)[1].package_id != package.package_id


def test_the_id_cannot_be_confused_by_names(tmp_path: Path):
    from dda_core.archives.zip import Entry

    def entry(name: str, sha256: str) -> Entry:
        return Entry(name, 1, 1, 1, sha256, 0)

    assert content_id([entry("a", "x"), entry("b", "y")]) == content_id([entry("b", "y"), entry("a", "x")])
    assert content_id([entry("a", "x"), entry("b", "y")]) != content_id([entry("a", "y"), entry("b", "x")])
    assert len(content_id([])) == 12


@pytest.mark.parametrize("members", [[], [tar_member("folder", type=tarfile.DIRTYPE)]], ids=["nothing", "a-folder"])
def test_an_empty_compiled_archive_is_refused(tmp_path: Path, members: list[tarfile.TarInfo]):
    archive = tmp_path / "c.tar.gz"
    archive.write_bytes(gzip.compress(tar_bytes((member, b"") for member in members)))
    message = refused(tmp_path, archive, DeviceWouldRefuse if members else ArchiveBroken)
    assert ("has no members" if not members else "mochi/ has no libdlr.so") in message
    assert str(archive) in message


def test_an_empty_file_is_refused(tmp_path: Path):
    (tmp_path / "c.tar.gz").write_bytes(b"")
    assert "is empty" in refused(tmp_path, tmp_path / "c.tar.gz", ArchiveBroken)


def test_two_libraries_are_refused(tmp_path: Path):
    archive = write_tar_gz(tmp_path / "c.tar.gz", compiled_files() | {"second.so": elf(b"x")})
    assert "mochi/ contains 2 .so files besides libdlr.so" in refused(tmp_path, archive, DeviceWouldRefuse)


@pytest.mark.parametrize("stage", [{"type": "../../etc"}, {"type": "matcha"}, {"threshold": None}])
def test_a_manifest_that_a_device_refuses_is_refused_first(tmp_path: Path, stage: dict[str, Any]):
    archive = tmp_path / "never-read.tar.gz"
    archive.write_bytes(b"no archive")
    refused(tmp_path, archive, DeviceWouldRefuse, dda_manifest_of(model_graph(**stage)))


def test_a_hostile_member_at_the_end_leaves_no_package(tmp_path: Path):
    archive = hostile_archive(tmp_path / "c.tar.gz", tar_member("l", type=tarfile.SYMTYPE, linkname="/"))
    refused(tmp_path, archive, ArchiveHostile)


def test_an_archive_that_would_unpack_to_over_four_gigabytes_is_refused_before_it_is_read(tmp_path: Path):
    # Only the header, which gives the size: the missing content is never read.
    header = tar_member("compiled.params", size=MAX_UNPACKED)
    archive = tmp_path / "c.tar.gz"
    archive.write_bytes(gzip.compress(header.tobuf(tarfile.GNU_FORMAT), mtime=0))
    assert f"unpack to over {MAX_UNPACKED} bytes" in refused(tmp_path / "out", archive, UnpackedTooLarge)


def test_a_name_that_no_device_can_unpack_is_refused(tmp_path: Path):
    archive = hostile_archive(tmp_path / "c.tar.gz", tar_member("n" * 256))
    assert "a part of 256 bytes" in refused(tmp_path / "out", archive, ArchiveHostile)


def test_a_flipped_byte_in_the_weights_leaves_no_package(tmp_path: Path):
    archive = write_tar_gz(tmp_path / "c.tar.gz", compiled_files(3_000_000), level=0)
    packed = bytearray(archive.read_bytes())
    packed[1_000_000] ^= 1
    archive.write_bytes(packed)
    assert "damaged" in refused(tmp_path, archive, ArchiveBroken)


def test_a_truncated_archive_leaves_no_package(tmp_path: Path):
    archive = compiled_archive(tmp_path / "c.tar.gz", size=3_000_000)
    archive.write_bytes(archive.read_bytes()[:-9])
    assert "truncated" in refused(tmp_path, archive, ArchiveBroken)


def test_trailing_garbage_leaves_no_package(tmp_path: Path):
    archive = compiled_archive(tmp_path / "c.tar.gz")
    archive.write_bytes(archive.read_bytes() + b"garbage")
    assert "after its gzip stream" in refused(tmp_path, archive, ArchiveBroken)


def staged(s3: Any, archive: Path, **options: Any) -> ModelPackage:
    s3.upload_file(str(archive), BUCKET, "compiled/c-LINUX_ARM64.tar.gz")
    source = open_source(f"s3://{BUCKET}/compiled/c-LINUX_ARM64.tar.gz", s3)
    return package_to_s3(source, MANIFEST, Bucket(s3, BUCKET), **options)


def test_the_package_goes_to_its_key_and_staging_is_left_empty(tmp_path: Path):
    archive = compiled_archive(tmp_path / "c.tar.gz", size=20_000_000)
    path, local = package_to_file(open_source(archive), MANIFEST, tmp_path)
    with s3_in_process() as s3:
        package = staged(s3, archive)
        assert package == local
        assert keys(s3) == ["compiled/c-LINUX_ARM64.tar.gz", package.key]
        assert s3.get_object(Bucket=BUCKET, Key=package.key)["Body"].read() == path.read_bytes()
        assert open_uploads(s3) == []


def test_packaging_again_gives_the_same_package(tmp_path: Path):
    archive = compiled_archive(tmp_path / "c.tar.gz")
    with s3_in_process() as s3:
        first = staged(s3, archive)
        assert staged(s3, archive, run_id="another") == first
        assert keys(s3) == ["compiled/c-LINUX_ARM64.tar.gz", first.key]


def test_the_staging_key_is_derived(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    archive = compiled_archive(tmp_path / "c.tar.gz")
    used = []

    class Upload(MultipartUpload):
        def __init__(self, s3: Any, bucket: str, key: str, **options: Any) -> None:
            used.append(key)
            super().__init__(s3, bucket, key, **options)

    monkeypatch.setattr("dda_core.model.package.MultipartUpload", Upload)
    with s3_in_process() as s3:
        for run_id in ("a", "a", "b"):
            staged(s3, archive, run_id=run_id)
    assert used[0] == used[1] != used[2]
    assert all(key.startswith(STAGING) for key in used)


def test_a_refusal_at_the_end_of_the_archive_publishes_nothing(tmp_path: Path):
    archive = compiled_archive(tmp_path / "c.tar.gz", size=20_000_000)
    archive.write_bytes(archive.read_bytes()[:-1])
    with s3_in_process() as s3:
        with pytest.raises(ArchiveBroken):
            staged(s3, archive)
        assert keys(s3) == ["compiled/c-LINUX_ARM64.tar.gz"]
        assert open_uploads(s3) == []


def test_a_compiled_archive_replaced_in_mid_read_publishes_nothing(tmp_path: Path):
    archive = compiled_archive(tmp_path / "c.tar.gz", size=10_000_000)
    with s3_in_process() as s3:
        key = "compiled/c-LINUX_ARM64.tar.gz"
        s3.upload_file(str(archive), BUCKET, key)
        source = open_source(f"s3://{BUCKET}/{key}", s3)
        s3.put_object(Bucket=BUCKET, Key=key, Body=archive.read_bytes()[::-1])
        with pytest.raises(ObjectChanged):
            package_to_s3(source, MANIFEST, Bucket(s3, BUCKET))
        assert keys(s3) == [key]
        assert open_uploads(s3) == []


def test_stopping_in_the_middle_publishes_nothing(tmp_path: Path):
    archive = compiled_archive(tmp_path / "c.tar.gz", size=30_000_000)
    stop = threading.Event()
    with s3_in_process() as s3:
        s3.meta.events.register("before-call.s3.UploadPart", lambda **_: stop.set())
        with pytest.raises(Interrupted):
            staged(s3, archive, stop=stop)
        assert keys(s3) == ["compiled/c-LINUX_ARM64.tar.gz"]
        assert open_uploads(s3) == []


def test_the_sink_is_completed_by_the_caller(tmp_path: Path):
    archive = compiled_archive(tmp_path / "c.tar.gz")
    with (tmp_path / "p.zip").open("wb") as file:
        package = build_package(open_source(archive), MANIFEST, file)
    assert package.size == (tmp_path / "p.zip").stat().st_size


@pytest.mark.skipif(not shutil.which("unzip"), reason="no unzip on this machine")
def test_unzip_reads_the_package(tmp_path: Path):
    path, _ = build(tmp_path, compiled_files(2_000_000))
    subprocess.run(["unzip", "-tq", path], check=True)


def test_the_offline_path_imports_neither_boto3_nor_prefect():
    code = (
        "import sys, dda_core.model.package, dda_core.model.trained; "
        "print([name for name in ('boto3', 'botocore', 'prefect', 'moto') if name in sys.modules])"
    )
    found = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True)
    assert json.loads(found.stdout.replace("'", '"')) == []
