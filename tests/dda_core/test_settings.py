import traceback

import pytest

from dda_core.exceptions import InvalidSettings
from dda_core.settings import NO_SETTINGS, Settings, load_settings, settings_with_origin, unknown_variables


def test_the_defaults():
    settings = load_settings()
    assert settings.poll_seconds == 30
    assert settings.extra_attempts == 2
    assert settings.backoff_seconds == 30
    assert settings.retry_mode in ("standard", "adaptive")


def test_the_environment_wins(monkeypatch):
    monkeypatch.setenv("DDA_POLL_SECONDS", "1")
    monkeypatch.setenv("DDA_RETRY_MODE", "standard")
    assert load_settings().poll_seconds == 1
    assert load_settings().retry_mode == "standard"


def test_variables_of_others_do_not_matter(monkeypatch):
    monkeypatch.setenv("POLL_SECONDS", "5")
    monkeypatch.setenv("DDA_SOMETHING_ELSE", "5")
    assert load_settings().poll_seconds == 30


@pytest.mark.parametrize(
    ("name", "nearest"),
    [
        ("DDA_POLL_SECOND", "DDA_POLL_SECONDS"),
        ("dda_pol_seconds", "DDA_POLL_SECONDS"),
        ("DDA_COMPILE_TIMEOUT", "DDA_COMPILE_TIMEOUT_SECONDS"),
        ("DDA_MAXATTEMPTS", "DDA_MAX_ATTEMPTS"),
        ("DDA_XYZ", None),
    ],
)
def test_a_misspelt_setting_is_told_with_the_nearest(monkeypatch, name, nearest):
    monkeypatch.setenv(name, "5")
    assert unknown_variables() == [(name, nearest)]
    told = str(unknown_variables()[0])
    assert told.startswith(f"{name} is not a setting")
    assert (nearest or "dda config show") in told


def test_settings_and_other_variables_of_the_project_are_known(monkeypatch):
    for name in Settings.model_fields:
        monkeypatch.setenv(f"DDA_{name.upper()}", "1")
    for name in (*NO_SETTINGS, "dda_jitter", "MY_DDA_THING", "DDAX"):
        monkeypatch.setenv(name, "1")
    assert unknown_variables() == []


@pytest.mark.parametrize("value", ["inf", "-inf", "nan", "Infinity", "1e999"])
def test_a_number_that_is_none_is_refused_for_every_setting(monkeypatch, value):
    numbers = [name for name, field in Settings.model_fields.items() if field.annotation in (int, float)]
    assert len(numbers) > 20
    for name in numbers:
        with monkeypatch.context() as patch:
            patch.setenv(f"DDA_{name.upper()}", value)
            with pytest.raises(InvalidSettings, match=f"DDA_{name.upper()}="):
                load_settings()


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("DDA_POLL_SECONDS", "0"),
        ("DDA_POLL_SECONDS", "soon"),
        ("DDA_JITTER", "1"),
        ("DDA_EXTRA_ATTEMPTS", "-1"),
        ("DDA_RETRY_MODE", "legacy"),
        ("DDA_MAX_ATTEMPTS", "1.5"),
    ],
)
def test_a_value_that_cannot_be_used_is_named(monkeypatch, name, value):
    monkeypatch.setenv(name, value)
    with pytest.raises(InvalidSettings) as refused:
        load_settings()
    assert f"{name}={value!r}" in str(refused.value)
    assert refused.value.exit_code == 3


def test_where_each_value_came_from(monkeypatch):
    monkeypatch.setenv("DDA_POLL_SECONDS", "7")
    rows = {name: (value, origin) for name, value, origin, _ in settings_with_origin()}
    assert set(rows) == set(Settings.model_fields)
    assert rows.pop("poll_seconds") == (7, "environment DDA_POLL_SECONDS")
    assert {origin for _, origin in rows.values()} == {"default"}


def test_every_setting_says_what_it_means():
    for name, _, _, meaning in settings_with_origin():
        assert len(meaning.split()) >= 3, name


def test_settings_are_frozen():
    with pytest.raises(ValueError, match="frozen"):
        load_settings().poll_seconds = 1


@pytest.mark.parametrize(
    "value", ["https://user:hush@example.com/?token=hush", "hush " * 10, "A" * 21, "wJalrXUtnFEMI/hush", "hush:hush"]
)
def test_a_value_that_does_not_look_like_a_settings_is_not_quoted(monkeypatch, value):
    monkeypatch.setenv("DDA_POLL_SECONDS", value)
    with pytest.raises(InvalidSettings, match="DDA_POLL_SECONDS") as refused:
        load_settings()
    shown = "".join(traceback.format_exception(refused.value))
    assert value.strip() not in shown
    assert "hush" not in shown
