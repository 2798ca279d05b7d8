"""Failures of ``dda local up --background``. Its success is tested in test_wheel.py."""

from __future__ import annotations

from pathlib import Path

import pytest

from dda_core.exceptions import LocalStackError
from deployments.local.aws.settings import AwsSettings
from deployments.local.background import start_in_background
from deployments.local.directory import StackDirectory
from deployments.local.stack import take_lock


def test_a_stack_that_fails_to_start_is_an_error_with_the_end_of_its_log(tmp_path: Path) -> None:
    stack = StackDirectory(tmp_path)
    stack.aws_file.write_text("this is not JSON")
    with pytest.raises(LocalStackError, match=r"did not come up \(exit code 3\)") as error:
        start_in_background(stack, AwsSettings())
    assert f"{stack.aws_file} cannot be read" in str(error.value)
    assert f"{stack.aws_file} cannot be read" in (tmp_path / "logs" / "up.log").read_text()


def test_a_second_stack_in_a_directory_is_refused_before_anything_is_started(tmp_path: Path) -> None:
    stack = StackDirectory(tmp_path)
    with take_lock(stack), pytest.raises(LocalStackError, match="is already running"):
        start_in_background(stack, AwsSettings())
    assert not (tmp_path / "logs").exists()


def test_a_background_stack_gets_the_settings_of_the_command_line() -> None:
    import inspect

    from deployments.local.cli import up

    settings = AwsSettings(compile_seconds=7, concurrent_compilation_jobs=9)
    words = settings.options()
    given = dict(zip(words[::2], words[1::2], strict=True))
    assert (given["--compile-seconds"], given["--concurrent-compilation-jobs"]) == ("7.0", "9")
    # Every option of the command is passed on.
    offered = {f"--{name.replace('_', '-')}" for name in inspect.signature(up).parameters}
    assert offered - {"--directory", "--background"} == given.keys()
