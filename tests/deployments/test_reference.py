from __future__ import annotations

from dda_core.failures import catalogue
from dda_core.settings import Settings
from dda_core.targets import target_names
from deployments.reference import REFERENCE, reference


def test_the_reference_in_docs_is_up_to_date() -> None:
    written = REFERENCE.read_text(encoding="utf-8")
    assert written == reference(), "run: python -m deployments.reference"


def test_the_reference_is_complete() -> None:
    page = reference()
    for name in target_names():
        assert f"`{name}`" in page
    for name in Settings.model_fields:
        assert f"`DDA_{name.upper()}`" in page
    for verb in ("compile TRAINING_JOB", "package build MODEL_TAR COMPILED_TAR", "config show", "use-case save FILE"):
        assert f"### `dda {verb}`" in page
    for verb in ("up", "env", "down", "aws", "train NAME", "fault call OPERATION", "fault list"):
        assert f"### `dda local {verb}`" in page
    for row in catalogue().rows:
        assert " ".join(row.cause.split()) in page


def test_every_row_of_a_table_has_as_many_cells_as_its_head() -> None:
    cells = 0
    for line in reference().splitlines():
        columns = line.replace("\\|", "").count("|") if line.startswith("|") else 0
        assert not (cells and columns) or columns == cells, line
        cells = columns
