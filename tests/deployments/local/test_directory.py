from __future__ import annotations

from pathlib import Path

import pytest

from dda_core.exceptions import LocalStackError
from deployments.local.directory import StackDirectory


def test_what_is_written_is_read_and_removed(tmp_path: Path) -> None:
    stack = StackDirectory(tmp_path / "not" / "there" / "yet")
    assert stack.read_aws() is None
    assert stack.aws_endpoint_url() is None
    stack.write_local({"aws_endpoint_url": "http://one", "bucket": "b"})
    assert stack.aws_endpoint_url() == "http://one"
    stack.write_aws({"aws_endpoint_url": "http://two"})
    assert stack.aws_endpoint_url() == "http://two"
    assert stack.read_local() == {"aws_endpoint_url": "http://one", "bucket": "b"}
    assert sorted(path.name for path in stack.path.iterdir()) == ["aws.json", "local.json"]
    stack.remove_aws()
    stack.remove_aws()
    stack.remove_local()
    assert list(stack.path.iterdir()) == []


@pytest.mark.parametrize("content", ["", "{", "[]", "null"])
def test_the_error_names_the_broken_file(tmp_path: Path, content: str) -> None:
    (tmp_path / "aws.json").write_text(content)
    with pytest.raises(LocalStackError, match=r"aws\.json"):
        StackDirectory(tmp_path).read_aws()


def test_only_the_owner_can_read_the_files(tmp_path: Path) -> None:
    stack = StackDirectory(tmp_path / "stack")
    stack.write_local({"a": 1})
    assert stack.path.stat().st_mode & 0o777 == 0o700
    assert stack.local_file.stat().st_mode & 0o777 == 0o600
