"""Packaging a compiled archive of 100 MB, as a whole process with local files, compared with the reference.

Pairs are interleaved and the median ratio counts, so that other load affects both. To print a report::

    python -m pytest -m slow -s tests/benchmarks/test_package_speed.py
"""

from __future__ import annotations

import json
import statistics
import subprocess
import sys
import time
from pathlib import Path

import pytest

from tests.fixtures.archives import compiled_archive, dda_manifest_of, model_graph

pytestmark = [pytest.mark.slow, pytest.mark.timeout(600)]

ROOT = Path(__file__).parents[2]
PAIRS = 3


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    made = tmp_path_factory.mktemp("speed")
    compiled_archive(made / "100.tar.gz", size=100_000_000)
    compiled_archive(made / "400.tar.gz", size=400_000_000)
    (made / "manifest.json").write_text(json.dumps(dda_manifest_of(model_graph())))
    return made


def run(way: str, folder: Path, size: int) -> tuple[float, int, int]:
    """Seconds of the whole process, its peak memory in KiB, and the ZIP's size in bytes."""
    out = folder / f"{way}-{time.monotonic_ns()}"
    out.mkdir()
    arguments = [folder / f"{size}.tar.gz", folder / "manifest.json", out]
    command = [sys.executable, "-m", "tests.benchmarks.package_reference", way, *map(str, arguments)]
    start = time.perf_counter()
    done = subprocess.run(command, cwd=ROOT, check=True, capture_output=True, text=True)
    seconds = time.perf_counter() - start
    (package,) = out.glob("*.zip")
    return seconds, int(done.stdout), package.stat().st_size


def test_a_package_of_100_mb_is_built_at_least_four_times_as_fast(folder: Path):
    pairs = [(run("reference", folder, 100), run("ours", folder, 100)) for _ in range(PAIRS)]
    ratio = statistics.median(reference[0] / ours[0] for reference, ours in pairs)
    size = pairs[0][1][2] / pairs[0][0][2]
    print(
        f"\nreference {statistics.median(r[0] for r, _ in pairs):.2f} s, ours "
        f"{statistics.median(o[0] for _, o in pairs):.2f} s: {ratio:.1f} times as fast; ZIP {size:.3f} of the size"
    )
    assert ratio >= 4
    assert size <= 1.02


@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="peak memory is read from /proc")
def test_memory_does_not_grow_with_the_archive(folder: Path):
    (_, small, _), (_, large, _) = run("ours", folder, 100), run("ours", folder, 400)
    print(f"\npeak memory {small / 1024:.0f} MiB for 100 MB, {large / 1024:.0f} MiB for 400 MB")
    assert large < 1.1 * small
    assert large < 100 * 1024
