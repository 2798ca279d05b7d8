"""A real stack whose AWS returns secrets in error texts: no file contains one, and only the owner can read them."""

from __future__ import annotations

import os
import signal
from pathlib import Path

import boto3
import pytest
import yaml

from tests.deployments.local.conftest import QUICK, Up, dda, shell
from tests.fixtures.archives import trained_archive
from tests.fixtures.secrets import SECRETS, leaks, reason, role_that_asks

pytestmark = [pytest.mark.slow, pytest.mark.timeout(400)]


def test_no_file_of_a_stack_contains_a_secret_or_is_readable_by_others(tmp_path: Path) -> None:
    before = os.umask(0o022)
    try:
        up = Up(tmp_path / "stack", options=QUICK)
    finally:
        os.umask(before)
    try:
        content = up.ready()
        environment = shell(content, tmp_path)
        iam = boto3.client(
            "iam",
            endpoint_url=content["aws_endpoint_url"],
            region_name=content["region"],
            aws_access_key_id="local",
            aws_secret_access_key="local",
        )
        fields = {
            "usecase_id": "secretive",
            "account_id": content["account_id"],
            "region": content["region"],
            "s3_bucket": content["bucket"],
            "cross_account_role_arn": role_that_asks(iam, content["account_id"], content["bucket"]),
            "external_id": SECRETS["external id"],
        }
        (tmp_path / "secretive.yaml").write_text(yaml.safe_dump(fields))
        saved = dda(environment, "use-case", "save", str(tmp_path / "secretive.yaml"))
        assert saved.returncode == 0, saved.stderr
        archive = trained_archive(tmp_path / "secret-1.tar.gz")
        for words in (
            ("train", "secret-1", "--model-archive", str(archive), "--tag", "dda:use-case=secretive"),
            ("fault", "compile", "--target", "arm64-cpu", "--reason", reason("compile-marker")),
            ("fault", "publish", "--target", "x86_64-cpu", "--reason", reason("publish-marker")),
        ):
            made = dda(environment, "local", *words)
            assert made.returncode == 0, made.stderr
        targets = ("--targets", "arm64-cpu,x86_64-cpu")
        ended = dda(environment, "compile", "secret-1", "--use-case", "secretive", *targets, "--wait")
        assert ended.returncode == 1, ended.stderr
        assert "compile-marker" in ended.stdout + ended.stderr
        assert leaks(ended.stdout + ended.stderr) == []
    finally:
        up.signal(signal.SIGTERM)

    files = [path for path in up.directory.rglob("*") if path.is_file()]
    contents = {str(path.relative_to(up.directory)): path.read_bytes() for path in files}
    # The texts did get into the database and into the worker's log, which has the runs' logs.
    holding = {name for name, content in contents.items() if b"compile-marker" in content}
    assert any(name.startswith("prefect/") for name in holding)
    assert "logs/prefect-worker.log" in holding
    assert {name: found for name, content in contents.items() if (found := leaks(content))} == {}
    open_to_others = {str(path) for path in [up.directory, *up.directory.rglob("*")] if path.stat().st_mode & 0o077}
    assert {name for name in open_to_others if not name.endswith(".lock")} == set()
