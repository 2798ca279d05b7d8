"""Every case of the table gets the device's own verdict, as a package and as a trained archive."""

from __future__ import annotations

import gzip
import zipfile
from pathlib import Path

import pytest

from dda_core.archives.source import open_source
from dda_core.components.recipe import check_recipe
from dda_core.device.findings import DeviceFinding, Failure, errors, warnings
from dda_core.device.folder import Expectation
from dda_core.exceptions import DeviceWouldRefuse, InputRefused
from dda_core.model.manifest import dda_manifest
from dda_core.model.package import SUFFIX, package_to_file
from dda_core.model.trained import read_trained_archive
from dda_core.model.verify import verify_package
from dda_core.targets import find_target
from tests.dda_core.components.test_recipe import recipe
from tests.dda_core.device.cases import CASES, Case
from tests.fixtures.archives import write_tar_gz

EXPECTED = Expectation.of(find_target("x86_64-cpu"))


def over(cases: list[Case]) -> pytest.MarkDecorator:
    return pytest.mark.parametrize("case", cases, ids=[case.name for case in cases])


SHOWN_BY_TRAINED = [case for case in CASES if not case.package and not case.compiled and not case.root]
POSSIBLE_HERE = [case for case in CASES if not case.package and not case.root]
"""Our own packages always have a dataset, and nothing at their root."""
EARLIEST = [Failure.STARTUP, Failure.LOAD, Failure.FRAME, Failure.WRONG]


def verdict(findings: list[DeviceFinding]) -> str:
    """The device's verdict by these findings: the first failure."""
    refused = errors(findings)
    if not refused:
        return "warns" if warnings(findings) else "runs"
    first = min((each.failure for each in refused), key=EARLIEST.index)
    return "refuse" if first is Failure.WRONG else first.value


def write_package(case: Case, folder: Path) -> Path:
    """The package built without our code, as by another publisher."""
    path = folder / f"0123456789ab{SUFFIX}"
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as package:
        for name, content in case.package_files().items():
            package.writestr(name, content)
    return path


@over(list(CASES))
def test_a_package_gets_the_verdict_of_the_device(case: Case, tmp_path: Path):
    assert verdict(verify_package(write_package(case, tmp_path), EXPECTED)) == case.verdict


@over(SHOWN_BY_TRAINED)
def test_what_a_trained_archive_reveals_is_refused_before_any_job(case: Case, tmp_path: Path):
    source = open_source(write_tar_gz(tmp_path / "model.tar.gz", case.trained()))
    if case.verdict in ("runs", "warns"):
        assert read_trained_archive(source).input_shape == tuple(case.shape)
    else:
        with pytest.raises(InputRefused):
            read_trained_archive(source)


@over(POSSIBLE_HERE)
def test_our_own_package_is_built_or_refused_with_that_verdict(case: Case, tmp_path: Path):
    compiled = open_source(write_tar_gz(tmp_path / "compiled.tar.gz", case.compiled_files()))
    out = tmp_path / "out"
    out.mkdir()
    if case.verdict in ("runs", "warns"):
        path, _ = package_to_file(compiled, case.manifest(), out, expected=EXPECTED)
        assert verdict(verify_package(path, EXPECTED)) == case.verdict
    else:
        with pytest.raises(DeviceWouldRefuse) as refused:
            package_to_file(compiled, case.manifest(), out, expected=EXPECTED)
        assert verdict(list(refused.value.findings)) == case.verdict
        assert not list(out.iterdir())


@pytest.mark.parametrize("zeros", [1, 511, 10_240, 3 << 20])
def test_zeros_after_the_last_gzip_member_are_padding(tmp_path: Path, zeros: int):
    path = write_tar_gz(tmp_path / "model.tar.gz", CASES[0].trained())
    path.write_bytes(path.read_bytes() + bytes(zeros))
    assert read_trained_archive(open_source(path)).model_file == "mochi.pt"


@pytest.mark.parametrize(
    "behind", [b"\0\1", b"\0" * 600 + b"x", b"\0" + gzip.compress(b"more", mtime=0)], ids=["byte", "text", "gzip"]
)
def test_other_bytes_after_it_are_refused(tmp_path: Path, behind: bytes):
    path = write_tar_gz(tmp_path / "model.tar.gz", CASES[0].trained())
    path.write_bytes(path.read_bytes() + behind)
    with pytest.raises(InputRefused, match="after its gzip stream"):
        read_trained_archive(open_source(path))


@pytest.mark.parametrize("version", ["0.0.0", "0.1.0", "1.2.0"])
def test_a_version_that_devices_cannot_read_is_refused(version: str):
    with pytest.raises(InputRefused, match="devices read nothing else"):
        check_recipe(recipe(version=version))


def test_nan_and_infinity_go_into_the_package_unchanged(tmp_path: Path):
    case = next(case for case in CASES if case.name == "threshold NaN")
    model = read_trained_archive(open_source(write_tar_gz(tmp_path / "model.tar.gz", case.trained())))
    compiled = open_source(write_tar_gz(tmp_path / "compiled.tar.gz", case.compiled_files()))
    path, package = package_to_file(compiled, dda_manifest(model), tmp_path, expected=EXPECTED)
    with zipfile.ZipFile(path) as written:
        assert b'"threshold": NaN' in written.read("manifest.json")
    assert "every image is an anomaly" in package.warnings[0]


@pytest.mark.parametrize(("written", "kept"), [("320.0", 320.0), ('"320"', "320"), ("320", 320)])
def test_the_image_size_is_copied_as_config_yaml_writes_it(tmp_path: Path, written: str, kept: object):
    files = CASES[0].trained() | {"config.yaml": f"dataset: {{image_width: {written}, image_height: 256}}\n".encode()}
    model = read_trained_archive(open_source(write_tar_gz(tmp_path / "model.tar.gz", files)))
    found = dda_manifest(model)["dataset"]["image_width"]
    assert found == kept
    assert type(found) is type(kept)


@pytest.mark.parametrize("written", ["320.0", '"320"'])
def test_with_pixel_classes_the_image_size_must_be_an_integer(tmp_path: Path, written: str):
    case = next(case for case in CASES if case.name == "seg")
    files = case.trained() | {"config.yaml": f"dataset: {{image_width: {written}, image_height: 256}}\n".encode()}
    with pytest.raises(DeviceWouldRefuse, match=r"dataset.image_width is .*a positive integer in pixels"):
        read_trained_archive(open_source(write_tar_gz(tmp_path / "model.tar.gz", files)))
