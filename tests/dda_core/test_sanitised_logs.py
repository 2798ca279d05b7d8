from __future__ import annotations

import io
import json
import logging
from collections.abc import Iterator

import pytest
from prefect.logging.formatters import JsonFormatter

from dda_core.sanitise import remember_secret
from dda_core.sanitised_logs import sanitise_logs

KEY = "AKIA" + "ABCDEFGH12345678"


@pytest.fixture
def written() -> Iterator[io.StringIO]:
    """What a handler writes that another library's logger got only after the installation."""
    before = logging.getLogRecordFactory()
    logging.setLogRecordFactory(logging.LogRecord)
    sanitise_logs()
    stream = io.StringIO()
    handler = logging.StreamHandler(stream)
    logger = logging.getLogger("another.library")
    logger.addHandler(handler)
    logger.setLevel(logging.DEBUG)
    yield stream
    logger.removeHandler(handler)
    logging.setLogRecordFactory(before)


def test_message_and_arguments_are_without_secrets(written: io.StringIO) -> None:
    log = logging.getLogger("another.library").getChild("below")
    log.warning("key %s of %s", KEY, {"Authorization": "Basic hush", "a": 1})
    log.info(f"{KEY} alone")
    assert written.getvalue().splitlines()[0].startswith("key *** of {'Authorization': ")
    assert written.getvalue().splitlines()[1] == "*** alone"
    assert "hush" not in written.getvalue()


def test_a_secret_that_only_message_and_argument_together_tell_is_masked(written: io.StringIO) -> None:
    logging.getLogger("another.library").error("external_id=%s", "hush")
    assert written.getvalue() == "external_id=***\n"


def test_a_traceback_is_without_secrets_and_still_there(written: io.StringIO) -> None:
    remember_secret("factory-seven")
    try:
        try:
            raise KeyError(KEY)
        except KeyError as error:
            raise RuntimeError("factory-seven") from error
    except RuntimeError:
        logging.getLogger("another.library").exception("it failed")
    assert "it failed\nTraceback" in written.getvalue()
    assert "RuntimeError: ***" in written.getvalue()
    assert "KeyError: '***'" in written.getvalue()
    assert KEY not in written.getvalue()


def test_a_formatter_that_looks_for_the_exception_itself_finds_no_secret(written: io.StringIO) -> None:
    logging.getLogger("another.library").handlers[0].setFormatter(JsonFormatter("default", "", "%"))
    try:
        raise KeyError(KEY)
    except KeyError:
        logging.getLogger("another.library").exception("it failed")
    assert KEY not in written.getvalue()
    assert json.loads(written.getvalue())["msg"] == "it failed"


def test_arguments_that_do_not_fit_are_masked_too(written: io.StringIO) -> None:
    logging.getLogger("another.library").error("one %s and %s", KEY)
    assert written.getvalue().startswith("one %s and %s (")
    assert KEY not in written.getvalue()


def test_a_record_without_secrets_keeps_its_arguments_and_its_exception() -> None:
    before = logging.getLogRecordFactory()
    sanitise_logs()
    installed = logging.getLogRecordFactory()
    sanitise_logs()
    assert logging.getLogRecordFactory() is installed
    error = KeyError("a")
    record = installed("n", 20, "f", 1, "a %s", ("b",), (KeyError, error, None))
    logging.setLogRecordFactory(before)
    assert (record.msg, record.args) == ("a %s", ("b",))
    assert record.exc_info[1] is error
