"""The commands in the documents, as a newcomer types them.

Those that need no server are run literally, in a folder with the files that the documents show. Every other ``dda``
command is parsed by the command line, which finds unknown verbs and options.
"""

from __future__ import annotations

import os
import re
import shlex
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import pytest
from typer.core import TyperGroup
from typer.main import get_command

from deployments.cli.app import app

ROOT = Path(__file__).parents[1]
DOCUMENTS = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *sorted((ROOT / "docs").glob("*.md"))]
PARTS = ("dda_core", "tasks", "flows", "deployments", "tests", "docs")
SHOWN = {"lids.yaml", "our-targets.yaml", "CHANGELOG.md", "README.md"}
"""Files from the examples, and in the root."""
OFFLINE = (
    "dda local sample",
    "dda manifest",
    "dda package",
    "dda plan",
    "dda explain",
    "dda targets",
    "dda config",
    "export ",
    "aws iam put-role-policy",
    "mkdir",
    "printf",
    "openssl",
    "chmod",
)
"""Prefixes of commands that need no server; a program that checks its arguments replaces ``aws``."""


class Command(NamedTuple):
    """A command after a ``$`` in a ``console`` block, with its continuation lines joined."""

    document: str
    text: str


def commands(document: Path) -> Iterator[Command]:
    for block in re.findall(r"^```console\n(.*?)^```", document.read_text(), re.MULTILINE | re.DOTALL):
        for line in re.sub(r"\\\n *", "", block).splitlines():
            if line.startswith("$ "):
                yield Command(document.name, line.removeprefix("$ "))


ALL = [command for document in DOCUMENTS for command in commands(document)]
AWS = """\
#!/bin/sh
# Stands for the AWS CLI: the last argument is a policy, and has to be one without placeholders.
for last; do :; done
echo "$last" | {python} -c 'import json, sys; text = sys.stdin.read(); json.loads(text); assert "${{" not in text'
"""


@pytest.fixture
def newcomer(tmp_path: Path) -> dict[str, str]:
    """The environment of a person in the project's folder, with ``.venv/bin`` on the PATH and the files shown."""
    programs = tmp_path / ".venv" / "bin"
    programs.mkdir(parents=True)
    (programs / "dda").write_text(f'#!/bin/sh\nexec {sys.executable} -m deployments.cli.main "$@"\n')
    (programs / "aws").write_text(AWS.format(python=sys.executable))
    for program in programs.iterdir():
        program.chmod(0o755)
    for document in DOCUMENTS:
        for name, content in re.findall(
            r"^```yaml\n# (\S+)\n(.*?)^```", document.read_text(), re.MULTILINE | re.DOTALL
        ):
            (tmp_path / name).write_text(content)
    (tmp_path / "deployments" / "server").mkdir(parents=True)
    for folder in ("aws", "server/compose.yaml"):
        (tmp_path / "deployments" / folder).symlink_to(ROOT / "deployments" / folder)
    # The shell uses this folder's `deployments`; Python uses the project's.
    return {**os.environ, "PATH": f"{programs}:{os.environ['PATH']}", "PYTHONPATH": str(ROOT), "PYTHONSAFEPATH": "1"}


def is_offline(text: str) -> bool:
    return text.startswith(OFFLINE) and "--use-case " not in text and "make " not in text


@pytest.mark.parametrize("document", ["README.md", "operate.md"])
def test_commands_without_a_server_succeed(document: str, newcomer: dict[str, str], tmp_path: Path) -> None:
    offline = [text for name, text in ALL if name == document and is_offline(text)]
    assert len(offline) >= 8, offline
    # One shell, so that exports apply to later commands; it ends if a command fails.
    script = "set -euo pipefail\n" + "\n".join(offline)
    done = subprocess.run(
        ["bash", "-c", script], cwd=tmp_path, env=newcomer, capture_output=True, text=True, timeout=150
    )
    assert done.returncode == 0, done.stderr


def calls() -> list[str]:
    """Every ``dda`` call in the documents, without comments and following commands."""
    texts = {re.sub(r"\s#\s.*", "", text) for _, text in ALL}
    return sorted({call for text in texts for call in re.findall(r"(?:^|&& |; |\$\()(dda [^;&)]+)", text)})


@pytest.mark.parametrize("call", calls())
def test_every_verb_and_option_in_the_documents_exists(call: str) -> None:
    [_, *words] = shlex.split(call)
    command: Any = get_command(app)
    context = command.make_context("dda", list(words), resilient_parsing=True)
    while isinstance(command, TyperGroup):
        name, command, words = command.resolve_command(context, words)
        assert command is not None, name
        # For a verb, unknown options and invalid values are errors; a noun only needs to exist.
        group = isinstance(command, TyperGroup)
        context = command.make_context(name, list(words), parent=context, resilient_parsing=group)


def test_many_calls_are_found() -> None:
    assert len(calls()) > 30


@pytest.mark.parametrize("command", ALL, ids=lambda command: command.text[:60])
def test_files_named_in_commands_exist(command: Command) -> None:
    made = ("deployments/server/secrets", "deployments/server/tls")
    for word in re.findall(r"(?:deployments|tests|docs|tasks|flows|dda_core)/[\w./-]+", command.text):
        if not word.startswith(made):
            assert (ROOT / word).exists(), f"{command.document}: {word}"


def test_files_named_in_the_text_exist() -> None:
    there = {path.name for part in PARTS for path in (ROOT / part).rglob("*.*")}
    for document in DOCUMENTS:
        for name in re.findall(r"`((?:[\w.-]+/)*[\w-]+\.(?:py|yaml|md))`", document.read_text()):
            known = (ROOT / name).exists() if name.startswith(PARTS) else name.rpartition("/")[2] in there | SHOWN
            assert known, f"{document.name}: {name}"


def test_links_between_the_documents_are_valid() -> None:
    for document in (*DOCUMENTS, ROOT / "CHANGELOG.md"):
        prose = re.sub(r"^```.*?^```|`[^`\n]*`", "", document.read_text(), flags=re.MULTILINE | re.DOTALL)
        for target in re.findall(r"\]\(((?!https?:|mailto:)[^)]*)\)", prose):
            path, _, heading = target.partition("#")
            file = document.parent / path if path else document
            assert file.exists(), f"{document.name}: {target}"
            if heading and file.suffix == ".md":
                headings = re.findall(r"^#+ (.*)$", file.read_text(), re.MULTILINE)
                slugs = {re.sub(r"[^\w -]", "", each.lower()).replace(" ", "-") for each in headings}
                assert heading in slugs, f"{document.name}: {target}"


@pytest.mark.slow
@pytest.mark.timeout(400)
def test_the_readmes_commands_work_on_a_local_stack(newcomer: dict[str, str], tmp_path: Path) -> None:
    readme = [text for name, text in ALL if name == "README.md"]
    lines = readme[readme.index('export PATH="$PWD/.venv/bin:$PATH"') :]
    begin = next(number for number, text in enumerate(lines) if text.startswith("dda local up"))
    end = next(number for number, text in enumerate(lines) if text.startswith("dda local down"))
    script = "set -euo pipefail\n" + "\n".join(lines[begin : end + 1])
    try:
        done = subprocess.run(
            ["bash", "-c", script], cwd=tmp_path, env=newcomer, capture_output=True, text=True, timeout=360
        )
    finally:
        subprocess.run(["dda", "local", "down", "--dir", ".dda"], cwd=tmp_path, env=newcomer, capture_output=True)
    assert done.returncode == 0, done.stderr
    assert "lids-1: completed" in done.stdout
