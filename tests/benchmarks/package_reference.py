"""The reference for the package benchmark: the notebook's and the portal's method, and ours.

Runs in its own process, so that start-up and peak memory are included::

    python -m tests.benchmarks.package_reference reference|ours COMPILED_TAR MANIFEST_JSON OUT_DIR

Prints the peak memory in KiB.
"""

from __future__ import annotations

import sys
from pathlib import Path


def reference(compiled: Path, manifest: Path, out: Path) -> None:
    """Unpack to disk, then ``zipfile`` with deflate at level 6."""
    import json
    import tarfile
    import tempfile
    import zipfile

    stage = json.loads(manifest.read_text())["model_graph"]["stages"][0]["type"]
    with tempfile.TemporaryDirectory(dir=out) as folder:
        with tarfile.open(compiled) as archive:
            # Python 3.11.3 and older have no extraction filters.
            archive.extractall(folder, **({"filter": "data"} if hasattr(tarfile, "data_filter") else {}))
        with zipfile.ZipFile(out / "reference.zip", "w", zipfile.ZIP_DEFLATED, compresslevel=6) as package:
            package.write(manifest, "manifest.json")
            for path in sorted(Path(folder).rglob("*")):
                if path.is_file():
                    package.write(path, f"{stage}/{path.relative_to(folder)}")


def ours(compiled: Path, manifest: Path, out: Path) -> None:
    """Streamed through ``dda_core``."""
    import json

    from dda_core.archives.source import open_source
    from dda_core.model.package import package_to_file

    package_to_file(open_source(compiled), json.loads(manifest.read_text()), out)


def peak_memory() -> int:
    """This process's peak in KiB; ``getrusage`` would include its parent's memory at the fork."""
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith("VmHWM:"))


if __name__ == "__main__":
    way, *paths = sys.argv[1:]
    {"reference": reference, "ours": ours}[way](*map(Path, paths))
    print(peak_memory())
