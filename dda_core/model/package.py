"""The package: the ZIP that a device unpacks, built by streaming the compiled archive.

``manifest.json`` comes first, then every file of the compiled archive in its order, in the stage's folder. The
package's id is derived from its content, so that the same inputs give the same key on every machine.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable
from contextlib import closing
from pathlib import Path
from threading import Event
from typing import TYPE_CHECKING, Any

from pydantic import BaseModel, ConfigDict

from dda_core.archives.codec import Writable
from dda_core.archives.file_sink import FileSink
from dda_core.archives.s3_sink import MultipartUpload, delete_staged, publish_staged
from dda_core.archives.source import Source
from dda_core.archives.tar import read_tar
from dda_core.archives.zip import Entry, ZipWriter
from dda_core.aws.s3 import Bucket
from dda_core.device.folder import NOTHING, Expectation, StageFile, StageFiles
from dda_core.device.manifest import MANIFEST_NAME, check_manifest
from dda_core.device.package import check_compiled, check_package
from dda_core.exceptions import AwsCallFailed
from dda_core.model.manifest import manifest_bytes

if TYPE_CHECKING:
    pass

SUFFIX = "_greengrass_model_component.zip"
"""The device recognises a package by this ending."""
STAGING = "model_artifacts/.staging/"


class ModelPackage(BaseModel):
    """A package that was built.

    ``size`` and ``sha256`` describe the bytes built here. An object that already existed under ``key`` has the same
    content, but another processor may have compressed it to slightly different bytes.

    Attributes:
        package_id: 12 hexadecimal digits derived from the content.
        name: of the ZIP.
        key: in the use case's bucket.
        size: of the ZIP in bytes.
        sha256: of the ZIP, hexadecimal.
        members: number of files, including the manifest.
        warnings: problems that may occur on a device and that cannot be checked here.
    """

    model_config = ConfigDict(frozen=True)

    package_id: str
    name: str
    key: str
    size: int
    sha256: str
    members: int
    warnings: tuple[str, ...] = ()


def package_name(package_id: str) -> str:
    """The name of a package's ZIP."""
    return f"{package_id}{SUFFIX}"


def package_key(package_id: str) -> str:
    """The S3 key of a package's ZIP in the use case's bucket."""
    return f"model_artifacts/model-{package_id}/{package_name(package_id)}"


def content_id(entries: Iterable[Entry]) -> str:
    """12 hexadecimal digits over the names, sizes and digests of all members, in any order."""
    lines = sorted([entry.name, entry.size, entry.sha256] for entry in entries)
    return hashlib.sha256(json.dumps(lines).encode()).hexdigest()[:12]


def build_package(
    compiled: Source,
    manifest: dict[str, Any],
    sink: Writable,
    stop: Event | None = None,
    *,
    expected: Expectation = NOTHING,
) -> ModelPackage:
    """Write the package of a compiled archive to a sink, which the caller completes.

    When this returns, the compiled archive has been verified and the package meets every device rule.

    Args:
        compiled: SageMaker Neo's output archive.
        manifest: from ``dda_manifest``.
        sink: receives the ZIP's bytes.
        stop: set it to stop with ``Interrupted``.
        expected: what the archive should be compiled for, if known.

    Raises:
        ArchiveBroken: the compiled archive is empty, damaged, truncated, or not a gzip tar.
        ArchiveHostile: a member is not a regular file or folder.
        CompiledModelUnusable: the loader on the device cannot load the archive's files.
        DeviceWouldRefuse: the manifest or the package breaks a device rule.
    """
    check_manifest(manifest, compiled.uri)
    folder = manifest["model_graph"]["stages"][0]["type"]
    text = manifest_bytes(manifest)
    package = ZipWriter(sink, compiled.uri)
    package.add(MANIFEST_NAME, len(text), [text])
    compiled_files = StageFiles()
    # The compiled archive is read only once: the loader's needs are checked during packaging, before the sink is
    # completed. A separate check right after the compilation would download every archive twice.
    with closing(read_tar(compiled, stop)) as members:
        for reader, member in members:
            if member.is_file:
                content = compiled_files.watch(member.name, reader.content())
                package.add(f"{folder}/{member.name}", member.size, content)
    check_compiled(compiled_files.files, manifest, compiled.uri, expected)
    files = [StageFile(f"{folder}/{file.name}", file.head) for file in compiled_files.files]
    warnings = check_package([StageFile(MANIFEST_NAME, b""), *files], manifest, compiled.uri, expected)
    digest = package.finish()
    package_id = content_id(package.entries)
    return ModelPackage(
        package_id=package_id,
        name=package_name(package_id),
        key=package_key(package_id),
        size=package.size,
        sha256=digest,
        members=len(package.entries),
        warnings=tuple(warning.message for warning in warnings),
    )


def package_to_file(
    compiled: Source,
    manifest: dict[str, Any],
    out_dir: Path,
    stop: Event | None = None,
    *,
    expected: Expectation = NOTHING,
) -> tuple[Path, ModelPackage]:
    """Build the package as a file in ``out_dir``, which is left unchanged on an error.

    Raises as ``build_package`` does.
    """
    with FileSink(out_dir / SUFFIX) as sink:
        package = build_package(compiled, manifest, sink, stop, expected=expected)
        sink.complete(package.name)
    return sink.path, package


def package_to_s3(
    compiled: Source,
    manifest: dict[str, Any],
    bucket: Bucket,
    stop: Event | None = None,
    run_id: str = "",
    *,
    expected: Expectation = NOTHING,
) -> ModelPackage:
    """Build the package as an S3 object; an existing object under its key is kept.

    The key is known only at the end, so the bytes go to a staging key first and are copied within S3.

    Args:
        compiled: SageMaker Neo's output archive.
        manifest: from ``dda_manifest``.
        bucket: the use case's bucket.
        stop: set it to stop with ``Interrupted``; the upload is then aborted.
        run_id: gives runs that package the same archive concurrently different staging keys.
        expected: as for ``build_package``.

    Raises:
        AwsCallFailed: S3 refused, or did not respond.
        Other errors as ``build_package`` does.
    """
    identity = json.dumps([compiled.uri, compiled.etag, run_id])
    staging_key = f"{STAGING}{hashlib.sha256(identity.encode()).hexdigest()[:32]}.zip"
    try:
        with MultipartUpload(bucket.s3, bucket.name, staging_key) as upload:
            package = build_package(compiled, manifest, upload, stop, expected=expected)
            upload.complete()
    except AwsCallFailed:
        # Perhaps only S3's response was lost, and the object exists.
        delete_staged(bucket.s3, bucket.name, staging_key)
        raise
    publish_staged(bucket.s3, bucket.name, staging_key, package.key, etag=upload.etag)
    return package
