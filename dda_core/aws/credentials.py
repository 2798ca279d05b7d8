"""Refuses malformed credentials, and shortens what botocore logs when credentials cannot be refreshed."""

from __future__ import annotations

import logging

from botocore.credentials import Credentials

from dda_core.exceptions import ConfigurationError

_TYPED = ("env", "shared-credentials-file", "config-file")
"""botocore's names for sources of credentials that a person typed or pasted."""


def check_credentials(credentials: Credentials | None) -> None:
    """Refuse credentials that contain a space or line break, which botocore would try to send again and again.

    Credentials from a provider are not checked, because reading them would refresh them.

    Raises:
        ConfigurationError: it names the part and its source, without quoting it.
    """
    if credentials is None or credentials.method not in _TYPED:
        return
    parts = {
        "access key id": credentials.access_key,
        "secret access key": credentials.secret_key,
        "session token": credentials.token,
    }
    for name, value in parts.items():
        if value and not (value.isascii() and value.isprintable() and " " not in value):
            where = "environment" if credentials.method == "env" else credentials.method.replace("-", " ")
            raise ConfigurationError(
                f"the {name} of the {where} contains a space, a line break or another character that AWS credentials "
                f"never contain",
                remedy="Set it again without it.",
            )


def log_no_traceback() -> None:
    """Make botocore log failed refreshes of credentials in one line; safe to call repeatedly.

    If the old credentials have expired, the error reaches the caller, so nothing is logged.
    """
    logging.getLogger("botocore.credentials").addFilter(_without_traceback)


def _without_traceback(record: logging.LogRecord) -> bool:
    if record.exc_info:
        error = record.exc_info[1]
        what = f"{type(error).__name__}: {error}"
    elif record.exc_text:  # the traceback as text, after redaction
        what = record.exc_text.splitlines()[-1]
    else:
        return True
    reaches_the_caller = record.args == ("mandatory",)
    record.msg, record.args = " ".join(f"{record.getMessage()} {what}".split()), ()
    record.exc_info = record.exc_text = None
    return not reaches_the_caller
