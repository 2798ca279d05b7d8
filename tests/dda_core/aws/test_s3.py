from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dda_core.aws.s3 import parse_s3_uri
from dda_core.exceptions import FileMissing


def test_s3_uris():
    assert parse_s3_uri("s3://b/a/c d.tar.gz") == ("b", "a/c d.tar.gz")
    for wrong in ("s3://", "s3://b", "s3://b/", "s3:///k", "https://b/k", "s3://b/k/"):
        with pytest.raises(FileMissing, match="not the URI of an S3 object"):
            parse_s3_uri(wrong)


@given(bucket=st.from_regex(r"[a-z0-9.-]+", fullmatch=True), key=st.text(min_size=1).filter(lambda key: key[-1] != "/"))
def test_parsing_a_uri_returns_its_parts(bucket: str, key: str):
    """For every ``bucket`` and ``key``, ``parse_s3_uri(f"s3://{bucket}/{key}") == (bucket, key)``."""
    assert parse_s3_uri(f"s3://{bucket}/{key}") == (bucket, key)
