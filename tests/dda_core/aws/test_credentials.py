"""Malformed credentials, and the log of failed refreshes."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from botocore.credentials import Credentials

from dda_core.aws.clients import AwsClients, default_client
from dda_core.aws.credentials import check_credentials, log_no_traceback
from dda_core.exceptions import ConfigurationError
from dda_core.sanitise import remember_secret
from dda_core.sanitised_logs import sanitise_logs
from dda_core.use_case import UseCase


@pytest.mark.parametrize("value", ["AKIA\n", "AKIA ", "\tAKIA", "AK\x00IA", "ÄKIA"])
@pytest.mark.parametrize(
    ("name", "part"),
    [
        ("AWS_ACCESS_KEY_ID", "access key id"),
        ("AWS_SECRET_ACCESS_KEY", "secret access key"),
        ("AWS_SESSION_TOKEN", "session token"),
    ],
)
def test_a_malformed_credential_is_named_but_not_quoted(
    name: str, part: str, value: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    if "\x00" not in value:
        monkeypatch.setenv(name, value)
        for make in (lambda: default_client("s3"), lambda: AwsClients(lids())):
            with pytest.raises(ConfigurationError, match=f"the {part} of the environment") as refused:
                make()
            assert value.strip() not in str(refused.value)
    given = {"access_key": "AKIA", "secret_key": "s", "token": "t", FIELDS[name]: value}
    with pytest.raises(ConfigurationError, match=part):
        check_credentials(Credentials(**given, method="shared-credentials-file"))


FIELDS = {"AWS_ACCESS_KEY_ID": "access_key", "AWS_SECRET_ACCESS_KEY": "secret_key", "AWS_SESSION_TOKEN": "token"}


def lids() -> UseCase:
    return UseCase(usecase_id="lids", account_id="123456789012", region="us-east-1", s3_bucket="dda-lids")


def test_a_valid_credentials_file_is_accepted(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file = tmp_path / "credentials"
    file.write_text("[default]\naws_access_key_id = AKIA/+=\naws_secret_access_key = a/b+c=\n")
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
        monkeypatch.delenv(name)
    monkeypatch.setenv("AWS_SHARED_CREDENTIALS_FILE", str(file))
    assert AwsClients(lids()).s3.meta.region_name == "us-east-1"


class Refreshed(Credentials):
    """Credentials from a provider, which reading would refresh."""

    method = "assume-role"

    def __init__(self) -> None:
        pass

    def __getattr__(self, name: str) -> Any:
        raise AssertionError(f"{name} was looked at")


def test_credentials_from_a_provider_are_not_read() -> None:
    check_credentials(Refreshed())
    check_credentials(None)


@pytest.fixture
def records() -> Iterator[list[logging.LogRecord]]:
    found: list[logging.LogRecord] = []

    class Keep(logging.Handler):
        def emit(self, record: logging.LogRecord) -> None:
            found.append(record)

    logger, handler = logging.getLogger("botocore.credentials"), Keep()
    logger.addHandler(handler)
    yield found
    logger.removeHandler(handler)


@pytest.mark.parametrize("secret", ["", "factory-seven"], ids=["", "with a secret"])
@pytest.mark.parametrize(("period", "logged"), [("mandatory", 0), ("advisory", 1)])
def test_a_failed_refresh_is_logged_in_one_line_unless_the_caller_gets_its_error(
    period: str, logged: int, secret: str, records: list[logging.LogRecord]
) -> None:
    sanitise_logs()
    remember_secret("factory-seven")
    log_no_traceback()
    log_no_traceback()
    try:
        raise ValueError(f"100 % of {secret or 'it'} was refused")
    except ValueError:
        # As botocore's RefreshableCredentials does.
        logging.getLogger("botocore.credentials").warning("Failed during %s period.", period, exc_info=True)
    assert len(records) == logged
    for record in records:
        what = "***" if secret else "it"
        assert record.getMessage() == f"Failed during advisory period. ValueError: 100 % of {what} was refused"
        assert (record.exc_info, record.exc_text) == (None, None)
