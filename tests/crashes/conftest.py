"""A Prefect server, a use case and a trained archive for processes that are killed or that race."""

from __future__ import annotations

from pathlib import Path

import pytest

from dda_core.use_case import UseCase
from tasks.store.use_cases import UseCaseBlock
from tests.crashes.processes import BUCKET, REGION, USE_CASE, load_server
from tests.fixtures.archives import trained_archive


@pytest.fixture(scope="session")
async def place(prefect_server: None, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder for the processes' output, once everything they need is set up."""
    folder = tmp_path_factory.mktemp("crashes")
    use_case = UseCase(usecase_id=USE_CASE, account_id="123456789012", region=REGION, s3_bucket=BUCKET)
    await UseCaseBlock.of(use_case).asave(USE_CASE, overwrite=True)
    load_server(folder / "prefect")
    return folder


@pytest.fixture(scope="session")
def archive(place: Path) -> Path:
    """A trained archive whose packages are uploaded in several parts."""
    return trained_archive(place / "model.tar.gz", model_size=1_500_000)
