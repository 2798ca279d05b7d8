"""The sample archive is accepted by the pipeline, and always the same."""

from __future__ import annotations

from pathlib import Path

from dda_core.archives.source import open_source
from dda_core.model.trained import read_trained_archive
from deployments.local.sample import HEIGHT, WIDTH, write_sample_archive


def test_the_archive_is_the_same_every_time(tmp_path: Path) -> None:
    one, two = write_sample_archive(tmp_path / "1.tar.gz"), write_sample_archive(tmp_path / "2.tar.gz")
    assert one.read_bytes() == two.read_bytes()
    other = write_sample_archive(tmp_path / "3.tar.gz", threshold=0.5)
    assert other.read_bytes() != one.read_bytes()


def test_the_pipeline_accepts_it(tmp_path: Path) -> None:
    model = read_trained_archive(open_source(str(write_sample_archive(tmp_path / "model.tar.gz"))))
    assert tuple(model.input_shape) == (1, 3, HEIGHT, WIDTH)
