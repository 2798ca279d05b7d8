"""Removing secrets from log records, for every logger and handler."""

from __future__ import annotations

import logging
import traceback
from collections.abc import Callable
from typing import Any

from dda_core.sanitise import redact


def sanitise_logs() -> None:
    """Mask secrets in all log records of this process from now on; may be called repeatedly.

    Records are cleaned where they are created: a logger's filter does not see the records of its child loggers, and
    a handler added later, such as Prefect's, would have no filter.
    """
    made = logging.getLogRecordFactory()
    if not isinstance(made, _SanitisedRecords):
        logging.setLogRecordFactory(_SanitisedRecords(made))


class _SanitisedRecords:
    """Creates records like ``made``, with secrets masked in message, arguments and traceback."""

    def __init__(self, made: Callable[..., logging.LogRecord]) -> None:
        self._made = made

    def __call__(self, *args: Any, **options: Any) -> logging.LogRecord:
        record = self._made(*args, **options)
        try:
            message = record.getMessage()
        except Exception:
            # logging's own error handling prints arguments that do not fit the message.
            message = f"{record.msg} {record.args}" if record.args else str(record.msg)
        if (clean := redact(message)) != message:
            record.msg, record.args = clean, None
        if record.exc_info and record.exc_info[1] is not None:
            text = "".join(traceback.format_exception(record.exc_info[1])).rstrip("\n")
            if (clean := redact(text)) != text:
                # Formatters print this text instead of the exception.
                record.exc_text, record.exc_info = clean, None
        if record.stack_info:
            record.stack_info = redact(record.stack_info)
        return record
