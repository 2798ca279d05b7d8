"""Taking secrets out of log records, whichever logger writes them and whoever handles them."""

from __future__ import annotations

import logging
import traceback
from collections.abc import Callable
from typing import Any

from dda_core.sanitise import redact


def sanitise_logs() -> None:
    """Let no log record of this process hold a secret, from now on and for every logger; it may be called again.

    The records are cleaned where they are made. A filter of a logger does not see what is logged to those below it,
    and a handler that is added later, as Prefect's are, would have none.
    """
    made = logging.getLogRecordFactory()
    if not isinstance(made, _SanitisedRecords):
        logging.setLogRecordFactory(_SanitisedRecords(made))


class _SanitisedRecords:
    """Makes records as ``made`` does, with secrets masked in the message, its arguments and the traceback."""

    def __init__(self, made: Callable[..., logging.LogRecord]) -> None:
        self._made = made

    def __call__(self, *args: Any, **options: Any) -> logging.LogRecord:
        record = self._made(*args, **options)
        try:
            message = record.getMessage()
        except Exception:
            # Arguments that do not fit the message are printed by logging's own error handling.
            message = f"{record.msg} {record.args}" if record.args else str(record.msg)
        if (clean := redact(message)) != message:
            record.msg, record.args = clean, None
        if record.exc_info and record.exc_info[1] is not None:
            text = "".join(traceback.format_exception(record.exc_info[1])).rstrip("\n")
            if (clean := redact(text)) != text:
                # Formatters print this text and do not look for the exception any more.
                record.exc_text, record.exc_info = clean, None
        if record.stack_info:
            record.stack_info = redact(record.stack_info)
        return record
