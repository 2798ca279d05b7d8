"""A sample of the grid for the regular tests: past failures, and effects that must never happen twice."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.faults.cases import Case
from tests.faults.pipeline import many_runs

SAMPLE = [
    Case("sagemaker:CreateCompilationJob", "read-timeout", after_effect=True),
    Case("sagemaker:CreateCompilationJob", "ResourceLimitExceeded", endless=True),
    Case("sagemaker:DescribeCompilationJob", "InvalidSignatureException", nth=2, endless=True),
    Case("greengrassv2:CreateComponentVersion", "connection-reset", after_effect=True, lasting=True),
    Case("s3:GetObject", "cut-body", nth=2),
    Case("s3:CompleteMultipartUpload", "cut-body", after_effect=True, endless=True),
    Case("s3:CopyObject", "SlowDown", lasting=True),
    Case("sts:AssumeRole", "ExpiredTokenException"),
]


LONG = {"s3:CompleteMultipartUpload", "s3:CopyObject"}
"""Operations whose cases last longest; the long suites have them, with the rest of the grid."""


@pytest.mark.parametrize(
    ("number", "case"),
    [
        pytest.param(number, case, id=str(case), marks=[pytest.mark.slow] if case.operation in LONG else [])
        for number, case in enumerate(SAMPLE)
    ],
)
async def test_the_run_ends_as_documented(
    number: int, case: Case, prefect_server: None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with many_runs(tmp_path, monkeypatch) as runs:
        await runs.check(case, retried=number % 2 == 0)
