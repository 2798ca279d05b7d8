"""Credentials that no request can carry, and what botocore logs when others cannot be refreshed."""

from __future__ import annotations

import logging

from botocore.credentials import Credentials

from dda_core.exceptions import ConfigurationError

_TYPED = ("env", "shared-credentials-file", "config-file")
"""Where botocore says that credentials come from which a person typed or pasted."""


def check_credentials(credentials: Credentials | None) -> None:
    """Refuse credentials with a line break or blank in them, which botocore would try to send again and again.

    Those that a provider hands out are not looked at: looking would refresh them.

    Raises:
        ConfigurationError: names the part and where it comes from, and does not quote it.
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
                f"the {name} of the {where} holds a blank, a line break or another character that no AWS credentials "
                f"have. Set it again, without what surrounds it."
            )


def log_no_traceback() -> None:
    """Let botocore log in one line that credentials could not be refreshed; it may be called again.

    Where the old ones have run out, the error reaches the caller, so there it logs nothing.
    """
    logging.getLogger("botocore.credentials").addFilter(_without_traceback)


def _without_traceback(record: logging.LogRecord) -> bool:
    if record.exc_info:
        error = record.exc_info[1]
        what = f"{type(error).__name__}: {error}"
    elif record.exc_text:  # the traceback as text, where secrets were taken out of it
        what = record.exc_text.splitlines()[-1]
    else:
        return True
    reaches_the_caller = record.args == ("mandatory",)
    record.msg, record.args = " ".join(f"{record.getMessage()} {what}".split()), ()
    record.exc_info = record.exc_text = None
    return not reaches_the_caller
