"""``dda targets``, ``dda explain`` and ``dda config``."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from prefect.settings import PREFECT_API_URL, temporary_settings

from dda_core.settings import Settings
from dda_core.targets import all_targets
from tests.deployments.cli.command import dda, dda_json, refusal


def test_targets_are_listed_in_the_tables_order() -> None:
    rows = dda("targets").stdout.splitlines()[1:]
    assert [row.split()[0] for row in rows[: rows.index("")]] == [target.name for target in all_targets()]


def test_targets_that_are_refused_say_why() -> None:
    _, _, notes = dda("targets").stdout.partition("\n\n")
    for name, why in (
        ("jetson-xavier needs a LocalServer named by the use case", "JetPack 4 is retired"),
        ("jetson-xavier-jp7 is refused", "SageMaker Neo supports CUDA only up to 11"),
        ("onnx-jetson-xavier-jp6 is refused", "trained archives do not contain one yet"),
    ):
        assert any(line.startswith(name) and why in line for line in notes.splitlines())


def test_targets_as_json_have_every_column_of_the_table() -> None:
    rows = dda_json("targets", "--json")
    assert [row["name"] for row in rows] == [target.name for target in all_targets()]
    assert {row["name"]: row["localserver"] for row in rows}["arm64-cpu"] == "aws.edgeml.dda.LocalServer.arm64"
    assert [row["name"] for row in rows if row["localserver"] is None] == ["jetson-xavier"]
    assert all(bool(row["unavailable"]) is (row["runtime"] == "onnx") for row in rows)
    cuda = next(row for row in rows if row["name"] == "x86_64-cuda")
    assert cuda["compiler_options"].startswith('{"cuda-ver": "10.2", "gpu-code": "sm_75"')
    default = {"jetson-xavier-jp5", "x86_64-cpu", "x86_64-cuda", "arm64-cpu"}
    assert {row["name"] for row in rows if row["default"]} == default


def test_explain_gives_cause_remedy_and_retry_class() -> None:
    text = "ClientError: InputConfiguration: No pth file found for PyTorch model. Please make sure it is there"
    answer = dda_json("explain", text, "--json")
    assert answer["text"] == text
    assert answer["retry"] == "never"
    shown = dda("explain", text).stdout
    assert answer["cause"] in shown
    assert answer["remedy"] in shown


@pytest.mark.parametrize("text", ["", "something nobody has seen", "\x00"])
def test_explain_always_answers(text: str) -> None:
    answer = dda_json("explain", text, "--json")
    assert answer["cause"]
    assert answer["remedy"]


def test_config_show_has_value_and_origin_of_every_setting(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DDA_POLL_SECONDS", "7")
    shown = dda_json("config", "show", "--json")
    assert {f"DDA_{name.upper()}" for name in Settings.model_fields} <= set(shown)
    assert shown["DDA_POLL_SECONDS"] | {"description": ""} == {
        "value": 7.0,
        "origin": "environment DDA_POLL_SECONDS",
        "description": "",
    }
    assert shown["DDA_POLL_ERRORS"]["origin"] == "default"
    line = next(line for line in dda("config", "show").stdout.splitlines() if line.startswith("DDA_POLL_SECONDS"))
    assert re.split(r" {2,}", line)[:3] == ["DDA_POLL_SECONDS", "7.0", "environment DDA_POLL_SECONDS"]


def test_config_show_has_the_settings_of_prefect_and_aws(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    config = tmp_path / "config"
    config.write_text("[profile factory]\nregion = eu-central-1\naws_secret_access_key = hush\n")
    monkeypatch.setenv("AWS_CONFIG_FILE", str(config))
    monkeypatch.setenv("AWS_PROFILE", "factory")
    monkeypatch.delenv("AWS_DEFAULT_REGION", raising=False)
    monkeypatch.setenv("AWS_ENDPOINT_URL", "http://user:hush@127.0.0.1:5000")
    result = dda("config", "show", "--json")
    assert "hush" not in result.stdout
    shown = dda_json("config", "show", "--json")
    assert (shown["AWS_PROFILE"]["value"], shown["AWS_PROFILE"]["origin"]) == ("factory", "environment AWS_PROFILE")
    assert shown["AWS_DEFAULT_REGION"]["value"] == "eu-central-1"
    assert str(config) in shown["AWS_DEFAULT_REGION"]["origin"]
    assert shown["AWS_ENDPOINT_URL"]["value"] == "http://127.0.0.1:5000"
    assert "PREFECT_API_URL" in shown


def test_a_setting_that_cannot_be_used_is_a_configuration_error() -> None:
    assert "DDA_POLL_SECONDS" in refusal("config", "show", code=3, DDA_POLL_SECONDS="soon")


def test_a_missing_aws_profile_is_a_configuration_error() -> None:
    assert "nobody" in refusal("config", "show", code=3, AWS_PROFILE="nobody")


def test_config_show_hides_passwords_and_tokens_in_urls(monkeypatch: pytest.MonkeyPatch) -> None:
    url = "https://user:hush@prefect.example.com/api?token=hush"
    monkeypatch.setenv("AWS_ENDPOINT_URL", "https://hush@aws.example.com/?X-Amz-Signature=hush#hush")
    for words in (["config", "show"], ["config", "show", "--json"]):
        with temporary_settings({PREFECT_API_URL: url}):
            result = dda(*words)
        assert result.exit_code == 0
        assert "hush" not in result.output
        assert "https://aws.example.com/" in result.stdout
        assert "prefect.example.com/api" in result.stdout


def test_the_refusal_of_a_setting_hides_the_token_in_a_url() -> None:
    url = "https://user:hush@example.com/?token=hush"
    assert "hush" not in refusal("config", "show", code=3, DDA_POLL_SECONDS=url)
