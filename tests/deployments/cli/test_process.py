"""The command as a process: its streams, its signals and its environment."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from tests.deployments.cli.command import dda, refusal
from tests.fixtures.archives import trained_archive

DDA = [sys.executable, "-m", "deployments.cli.main"]
VERBS = [
    ("targets",),
    ("targets", "--json"),
    ("--version",),
    ("--help",),
    ("explain", "out of memory"),
    ("config", "show"),
    ("manifest", "build", "MODEL"),
]


def words(verb: tuple[str, ...], folder: Path) -> list[str]:
    return [str(trained_archive(folder / "model.tar.gz")) if word == "MODEL" else word for word in verb]


@pytest.mark.parametrize("verb", VERBS, ids=" ".join)
def test_a_full_disk_on_standard_output_is_an_error_of_one_line(verb: tuple[str, ...], tmp_path: Path) -> None:
    with Path("/dev/full").open("w") as full:
        done = subprocess.run(
            [*DDA, *words(verb, tmp_path)], stdout=full, stderr=subprocess.PIPE, text=True, timeout=120
        )
    sentence = "error: output cannot be written: No space left on device. Free some space, or write it elsewhere.\n"
    assert (done.returncode, done.stderr) == (4, sentence)


@pytest.mark.parametrize("verb", VERBS, ids=" ".join)
def test_closed_standard_output_is_an_error_of_one_line(verb: tuple[str, ...], tmp_path: Path) -> None:
    done = subprocess.run(
        [*DDA, *words(verb, tmp_path)], stderr=subprocess.PIPE, text=True, timeout=120, preexec_fn=lambda: os.close(1)
    )
    assert done.returncode == 4
    assert done.stderr == "error: standard output is closed. Redirect it to /dev/null if nobody reads it.\n"


def test_closed_standard_error_only_hides_errors() -> None:
    def run(*arguments: str) -> tuple[int, str]:
        done = subprocess.run(
            [*DDA, *arguments], stdout=subprocess.PIPE, text=True, timeout=120, preexec_fn=lambda: os.close(2)
        )
        return done.returncode, done.stdout

    assert run("targets")[1].startswith("target ")
    assert run("targets", "--nonsense") == (2, "")


INTERRUPTED_AT_AN_IMPORT = """
import importlib.abc, os, runpy, signal, sys

module, number = sys.argv[1], int(sys.argv[2])
del sys.argv[1:3]

class Interrupting(importlib.abc.MetaPathFinder):
    def find_spec(self, name, path, target=None):
        if name == module:
            os.kill(os.getpid(), number)

sys.meta_path.insert(0, Interrupting())
signal.signal(signal.SIGINT, signal.default_int_handler)
runpy.run_module("deployments.cli.main", run_name="__main__")
"""


@pytest.mark.parametrize(
    ("module", "verb", "number"),
    [
        ("typer", ("targets",), signal.SIGINT),
        ("typer", ("targets",), signal.SIGTERM),
        ("typer", ("targets",), signal.SIGHUP),
        ("deployments.cli.errors", ("targets",), signal.SIGINT),
        ("deployments.cli.targets", ("targets",), signal.SIGTERM),
        ("yaml", ("targets",), signal.SIGHUP),
        ("prefect", ("status", "lid-1"), signal.SIGINT),
        ("prefect", ("status", "lid-1"), signal.SIGTERM),
        ("prefect.client", ("status", "lid-1"), signal.SIGHUP),
    ],
)
def test_an_interrupt_while_modules_are_imported_ends_quietly_with_130(
    module: str, verb: tuple[str, ...], number: signal.Signals
) -> None:
    done = subprocess.run(
        [sys.executable, "-c", INTERRUPTED_AT_AN_IMPORT, module, str(int(number)), *verb],
        env={**os.environ, "PREFECT_API_URL": "http://127.0.0.1:9/api"},
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert (done.returncode, done.stdout, done.stderr) == (130, "", "")


def test_an_ignored_hangup_signal_stays_ignored() -> None:
    done = subprocess.run(
        [sys.executable, "-c", INTERRUPTED_AT_AN_IMPORT, "typer", str(int(signal.SIGHUP)), "--version"],
        capture_output=True,
        text=True,
        timeout=120,
        preexec_fn=lambda: signal.signal(signal.SIGHUP, signal.SIG_IGN),
    )
    assert (done.returncode, done.stdout[:4]) == (0, "dda ")


def test_a_misspelt_setting_is_reported_with_a_suggestion() -> None:
    result = dda("targets", "--json", DDA_POLL_SECOND="5")
    assert result.exit_code == 0
    assert result.stderr == (
        "warning: DDA_POLL_SECOND is not a setting of the DDA Pipeline and has no effect. "
        "Did you mean DDA_POLL_SECONDS?\n"
    )
    assert dda("targets", DDA_POLL_SECONDS="5", DDA_DEBUG="1").stderr == ""


@pytest.mark.parametrize(
    ("environment", "what"),
    [
        ({"PREFECT_CLIENT_MAX_RETRIES": "many"}, "ClientSettings.max_retries: Input should be a valid integer"),
        ({"PREFECT_LOGGING_LEVEL": "loud"}, "LoggingSettings.level: Input should be "),
        ({"PREFECT_API_URL": "http://[::1"}, "Invalid IPv6 URL"),
        ({"PREFECT_PROFILES_PATH": "active = ["}, "Prefect cannot read its profiles ("),
        ({"PREFECT_PROFILES_PATH": '[profiles.x]\nPREFECT_CLIENT_MAX_RETRIES = "many"'}, "max_retries"),
        ({"PREFECT_PROFILES_PATH": "profiles = 1"}, "profiles"),
    ],
    ids=str,
)
def test_settings_that_prefect_cannot_use_are_a_configuration_error(
    environment: dict[str, str], what: str, tmp_path: Path
) -> None:
    given = {**os.environ, "PREFECT_API_URL": "http://127.0.0.1:9/api", **environment}
    if text := environment.get("PREFECT_PROFILES_PATH"):
        profiles = tmp_path / "profiles.toml"
        profiles.write_text(text if "active" in text else f'active = "x"\n{text}\n')
        given["PREFECT_PROFILES_PATH"] = str(profiles)
    done = subprocess.run([*DDA, "status", "lid-1"], env=given, capture_output=True, text=True, timeout=120)
    assert done.returncode == 3, done.stderr
    error = done.stderr.splitlines()[-1]  # Prefect has its own say before
    assert error.startswith("error: Prefect cannot ")
    assert what in error
    assert "many" not in error
    assert "Correct" in error
    assert "Traceback" not in done.stderr


@pytest.mark.parametrize("endpoint", ["localhost:4566", "http://", "127.0.0.1", "user:hush@aws"])
def test_an_endpoint_that_is_not_a_url_is_a_configuration_error(endpoint: str) -> None:
    message = refusal("manifest", "build", "s3://bucket/model.tar.gz", code=3, AWS_ENDPOINT_URL=endpoint)
    assert message.startswith("AWS_ENDPOINT_URL, or endpoint_url in the AWS profile, is not a URL")
    assert "hush" not in message


@pytest.mark.parametrize("verb", [("manifest", "build", "s3://bucket/model.tar.gz"), ("config", "show")])
def test_a_malformed_aws_config_file_is_a_configuration_error(verb: tuple[str, ...], tmp_path: Path) -> None:
    config = tmp_path / "config"
    config.write_text("[default\nregion")
    message = refusal(*verb, code=3, AWS_CONFIG_FILE=str(config))
    assert str(config) in message
    assert "Correct the file" in message


def test_an_invalid_region_is_a_configuration_error() -> None:
    message = refusal("manifest", "build", "s3://bucket/model.tar.gz", code=3, AWS_DEFAULT_REGION="not a region")
    assert "'not a region'" in message


@pytest.mark.parametrize(
    ("arguments", "code"),
    [
        (("preflight", "--use-case", "x" * 5000), 3),
        (("package", "build", "m", "c", "--out", "o", "--target", "y" * 5000), 2),
        (("n" * 5000,), 2),
        (("targets", "--" + "o" * 5000), 2),
        (("manifest", "build", "/nowhere/" + "p" * 5000), 2),
        (("compile", "a b " * 2000, "--use-case", "x"), 2),
    ],
    ids=lambda value: "" if isinstance(value, int) else value[0][:10],
)
def test_a_name_of_thousands_of_characters_is_truncated(arguments: tuple[Any, ...], code: int) -> None:
    message = refusal(*arguments, code=code, PREFECT_API_URL="http://127.0.0.1:9/api")
    assert len(message) < 1000
