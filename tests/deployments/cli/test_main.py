from __future__ import annotations

import resource
import subprocess
import sys
from pathlib import Path

import pytest
from botocore.exceptions import (
    BotoCoreError,
    ClientError,
    ConfigParseError,
    EndpointConnectionError,
    InvalidRegionError,
    NoCredentialsError,
    NoRegionError,
    ProfileNotFound,
)

from dda_core.exceptions import AwsCallFailed, DdaError, InputRefused, Interrupted, MissingCredentials, UnknownTarget
from deployments.cli.app import COMMANDS
from deployments.cli.errors import EXIT_CODES, report
from deployments.cli.output import printable
from tests.deployments.cli.command import dda, refusal


def run(*arguments: str, **options: object) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "deployments.cli.main", *arguments],
        capture_output=True,
        text=True,
        timeout=60,
        **options,
    )


def test_help_lists_every_noun_and_the_exit_codes() -> None:
    result = dda("--help")
    assert result.exit_code == 0
    for noun in COMMANDS:
        assert f" {noun} " in result.stdout
    for code in EXIT_CODES:
        assert f"{code} " in result.stdout.partition("Exit codes")[2]


def test_version_is_that_of_the_distribution() -> None:
    from importlib.metadata import version

    assert dda("--version").stdout == f"dda {version('dda-pipeline')}\n"


@pytest.mark.parametrize("noun", COMMANDS)
def test_every_noun_has_help(noun: str) -> None:
    result = dda(noun, "--help")
    assert result.exit_code == 0
    assert f"Usage: dda {noun}" in result.stdout


def test_a_mistyped_noun_suggests_the_right_one() -> None:
    assert "Did you mean 'targets'" in refusal("target", code=2)


def test_an_unknown_option_is_a_usage_error_of_one_line() -> None:
    assert refusal("targets", "--jsn", code=2).endswith("Try: dda targets --help")


def test_a_missing_argument_is_a_usage_error() -> None:
    assert "MODEL_TAR" in refusal("manifest", "build", code=2)


def test_without_arguments_the_help_is_shown_with_the_usage_exit_code() -> None:
    result = dda()
    assert (result.exit_code, "error:" in result.output) == (2, False)
    assert "Usage: dda" in result.output


def client_error(code: str) -> ClientError:
    return ClientError({"Error": {"Code": code, "Message": "no"}}, "DescribeTrainingJob")


def caused(error: Exception, cause: Exception) -> Exception:
    error.__cause__ = cause
    return error


@pytest.mark.parametrize(
    ("error", "code"),
    [
        (DdaError("x"), 1),
        (InputRefused("x"), 1),
        (UnknownTarget("x", ["y"]), 2),
        (MissingCredentials("x"), 3),
        (AwsCallFailed("x"), 4),
        (caused(AwsCallFailed("x"), client_error("ExpiredToken")), 3),
        (caused(AwsCallFailed("x"), client_error("AccessDenied")), 4),
        (Interrupted(), 130),
        (client_error("ValidationException"), 4),
        (client_error("AccessDeniedException"), 4),
        (client_error("ExpiredToken"), 3),
        (client_error("ExpiredTokenException"), 3),
        (client_error("InvalidClientTokenId"), 3),
        (client_error("UnrecognizedClientException"), 3),
        (NoCredentialsError(), 3),
        (NoRegionError(), 3),
        (ProfileNotFound(profile="factory"), 3),
        (EndpointConnectionError(endpoint_url="http://127.0.0.1:9"), 4),
        (BotoCoreError(), 4),
        (PermissionError(13, "Permission denied", "/out"), 2),
        (OSError(28, "No space left on device"), 4),
        (OSError(122, "Disk quota exceeded", "/out"), 4),
        (OSError(111, "Connection refused"), 1),
        (ConfigParseError(path="/config"), 3),
        (InvalidRegionError(region_name="not a region"), 3),
        (ValueError("a defect"), 1),
    ],
)
def test_every_error_has_its_exit_code_and_one_line(
    error: Exception, code: int, capsys: pytest.CaptureFixture[str]
) -> None:
    assert report(error) == code
    out, err = capsys.readouterr()
    assert out == ""
    assert err.startswith("error: ")
    assert err.count("\n") == 1


def test_wrong_credentials_come_with_a_remedy(capsys: pytest.CaptureFixture[str]) -> None:
    report(client_error("ExpiredToken"))
    assert "aws sso login" in capsys.readouterr().err


def test_debug_shows_the_traceback() -> None:
    assert "Traceback" in dda("manifest", "build", "/nowhere", DDA_DEBUG="1").stderr
    assert "Traceback" not in dda("manifest", "build", "/nowhere").stderr


def test_control_characters_in_untrusted_names_do_not_reach_the_terminal() -> None:
    assert printable("a\x1b[2Jb\x9bc\ud800\nä\t") == "a\\x1b[2Jb\\x9bc\\ud800\nä\t"


def test_a_keyboard_interrupt_ends_with_130(monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupted() -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("deployments.cli.targets.all_targets", interrupted)
    assert dda("targets").exit_code == 130


def test_a_verb_starts_without_prefect_moto_and_boto3() -> None:
    code = (
        "import sys, deployments.cli.app as m\n"
        "try: m.app(sys.argv[1:])\n"
        "except SystemExit: pass\n"
        "print(sorted({'prefect', 'moto', 'boto3', 'rich'} & set(sys.modules)), file=sys.stderr)"
    )
    for verb in (["targets"], ["--version"]):
        result = subprocess.run([sys.executable, "-c", code, *verb], capture_output=True, text=True, timeout=60)
        assert result.stderr == "[]\n"
    result = subprocess.run([sys.executable, "-c", code, "--help"], capture_output=True, text=True, timeout=60)
    assert result.stderr == "['rich']\n"


def test_a_verb_without_a_server_starts_fast() -> None:
    # 0.2 s of CPU time, however busy the machine; importing Prefect alone takes more than 1 s.
    def spent() -> float:
        used = resource.getrusage(resource.RUSAGE_CHILDREN)
        return used.ru_utime + used.ru_stime

    seconds = []
    for _ in range(3):
        before = spent()
        assert run("targets").returncode == 0
        seconds.append(spent() - before)
    assert min(seconds) < 1.0


def test_data_goes_to_stdout_and_the_rest_to_stderr() -> None:
    result = run("targets", "--nonsense")
    assert (result.returncode, result.stdout) == (2, "")
    assert result.stderr.startswith("error: No such option: --nonsense")
    result = run("targets")
    assert (result.returncode, result.stderr) == (0, "")


def test_columns_are_not_truncated_in_a_pipe(tmp_path: Path) -> None:
    import os

    result = run("targets", env={**os.environ, "COLUMNS": "30"})
    assert "aws.edgeml.dda.LocalServer.arm64JP6" in result.stdout
    assert "\x1b" not in result.stdout


def test_a_reader_that_leaves_early_gets_no_traceback() -> None:
    process = subprocess.Popen(
        [sys.executable, "-m", "deployments.cli.main", "targets"], stdout=subprocess.PIPE, stderr=subprocess.PIPE
    )
    assert process.stdout is not None
    process.stdout.close()
    assert process.stderr is not None
    assert process.stderr.read() == b""
    process.wait(60)


def test_names_of_targets_are_completed() -> None:
    import os

    def complete(line: str) -> list[str]:
        words = line.split(" ")
        environment = {
            **os.environ,
            "_DDA_COMPLETE": "complete_bash",
            "COMP_WORDS": line,
            "COMP_CWORD": str(len(words) - 1),
        }
        return run(env=environment).stdout.split()

    assert complete("dda ta") == ["targets"]
    assert complete("dda package build m c --target jetson-xavier-") == ["jetson-xavier-jp5", "jetson-xavier-jp6"]
    assert complete("dda plan m --targets x86_64-cpu,x86") == ["x86_64-cpu,x86_64-cuda"]


def on_a_terminal(*arguments: str, columns: int, **environment: str) -> str:
    """The output of a command on a terminal of that width."""
    import os
    import pty

    leader, follower = pty.openpty()
    given = {**os.environ, "COLUMNS": str(columns), **environment}
    process = subprocess.Popen(
        [sys.executable, "-m", "deployments.cli.main", *arguments], stdout=follower, stderr=follower, env=given
    )
    os.close(follower)
    shown = b""
    try:
        while block := os.read(leader, 65536):
            shown += block
    except OSError:
        pass  # Linux's error once the other side has closed
    os.close(leader)
    assert process.wait(60) == 0
    return shown.decode().replace("\r\n", "\n")


def test_on_a_terminal_a_table_wraps_between_words_only() -> None:
    lines = on_a_terminal("config", "show", columns=100, NO_COLOR="1").splitlines()
    assert max(map(len, lines)) <= 100
    assert any(line.startswith(" ") for line in lines)
    assert "aws.edgeml.dda.LocalServer.arm64JP6" in on_a_terminal("targets", columns=60)


def test_no_color_is_honoured() -> None:
    assert "\x1b" in on_a_terminal("targets", columns=120)
    assert "\x1b" not in on_a_terminal("targets", columns=120, NO_COLOR="1")
