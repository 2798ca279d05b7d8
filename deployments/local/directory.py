"""The directory of a local stack, where ``dda local`` commands find it.

``aws.json`` exists while the embedded AWS runs, ``local.json`` while the whole stack does.
"""

from __future__ import annotations

import json
import os
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from dda_core.exceptions import LocalStackError

DEFAULT_DIRECTORY = Path(".dda")
"""The default of ``--dir``, relative to the current folder."""

CREDENTIALS = {"AWS_ACCESS_KEY_ID": "local", "AWS_SECRET_ACCESS_KEY": "local"}
"""Credentials for clients of the embedded AWS. It accepts any, but boto3 does not work without."""


class StackDirectory:
    """One local stack's directory."""

    def __init__(self, path: Path | str = DEFAULT_DIRECTORY) -> None:
        self.path = Path(path).expanduser().resolve()

    @property
    def aws_file(self) -> Path:
        """``aws.json``: the embedded AWS alone."""
        return self.path / "aws.json"

    @property
    def local_file(self) -> Path:
        """``local.json``: the whole stack."""
        return self.path / "local.json"

    def read_aws(self) -> dict[str, Any] | None:
        """The content of ``aws.json``; None when there is no such file.

        Raises:
            LocalStackError: it cannot be read.
        """
        return _read(self.aws_file)

    def read_local(self) -> dict[str, Any] | None:
        """The content of ``local.json``; None when there is no such file.

        Raises:
            LocalStackError: it cannot be read.
        """
        return _read(self.local_file)

    def write_aws(self, content: Mapping[str, Any]) -> None:
        """Write ``aws.json`` atomically."""
        _write(self.aws_file, content)

    def write_local(self, content: Mapping[str, Any]) -> None:
        """Write ``local.json`` atomically."""
        _write(self.local_file, content)

    def remove_aws(self) -> None:
        """Delete ``aws.json``."""
        self.aws_file.unlink(missing_ok=True)

    def remove_local(self) -> None:
        """Delete ``local.json``."""
        self.local_file.unlink(missing_ok=True)

    def aws_endpoint_url(self) -> str | None:
        """The URL of the embedded AWS, from either file; None when neither names one."""
        for content in (self.read_aws(), self.read_local()):
            if content and content.get("aws_endpoint_url"):
                return str(content["aws_endpoint_url"])
        return None


def find_aws_endpoint_url(directory: Path | None) -> str:
    """The URL of the embedded AWS that a command is to use.

    Args:
        directory: the value of ``--dir``. Without one, the environment variable ``AWS_ENDPOINT_URL`` is used, else
            the default directory.

    Raises:
        LocalStackError: none was found.
    """
    if directory is None and os.environ.get("AWS_ENDPOINT_URL"):
        return os.environ["AWS_ENDPOINT_URL"]
    stack = StackDirectory(directory or DEFAULT_DIRECTORY)
    url = stack.aws_endpoint_url()
    if url is None:
        raise LocalStackError(
            f"No local AWS was found: {stack.path} has neither aws.json nor local.json"
            + ("" if directory else ", and AWS_ENDPOINT_URL is not set"),
            remedy=f"Start one with: dda local up --dir {stack.path} (or dda local aws for the AWS alone), or give its "
            "directory with --dir.",
        )
    return url


def _read(path: Path) -> dict[str, Any] | None:
    try:
        content = json.loads(path.read_text())
    except FileNotFoundError:
        return None
    except (OSError, ValueError) as error:
        raise LocalStackError(
            f"{path} cannot be read: {error}", remedy="Delete it and start the stack again."
        ) from error
    if not isinstance(content, dict):
        raise LocalStackError(f"{path} is not a JSON object", remedy="Delete it and start the stack again.")
    return content


def _write(path: Path, content: Mapping[str, Any]) -> None:
    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    # The mode of the temporary file, readable by its owner only, is kept.
    with tempfile.NamedTemporaryFile("w", dir=path.parent, prefix=f".{path.name}.", delete=False) as written:
        json.dump(dict(content), written, indent=2)
        written.write("\n")
    os.replace(written.name, path)
