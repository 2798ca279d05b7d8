from __future__ import annotations

from typing import Any

import pytest

from dda_core.runs.earlier_records import crash_kind, refused_class, resumption, target_line
from dda_core.runs.retry_class import RetryClass

OPERATORS = "ClientError: OperatorNotImplemented:('The following operators are not implemented: [aten::nms]',)"


def kind_of(status: str, reason: str | None, **facts: Any) -> RetryClass | None:
    return target_line({"target": "arm64-cpu", "status": status, "reason": reason, "facts": facts}).facts.retry_class


@pytest.mark.parametrize(
    ("status", "reason", "kind"),
    [
        ("failed", OPERATORS, "never"),
        ("failed", "ServerError: There was an internal server error during the compilation job", "backoff"),
        ("failed", "ResourceLimitExceeded: no slot", "quota"),
        ("failed", "ResourceNotFound: no such job", "reconcile"),
        ("failed", "packaging took longer than its limit of 3600 s. Raise the DDA_*_TIMEOUT_SECONDS", "timed-out"),
        ("failed", "job-1 was still INPROGRESS after 5400 s. Raise DDA_COMPILE_TIMEOUT_SECONDS", "timed-out"),
        ("failed", "nobody ever saw this", "never"),
        ("failed", None, "never"),
        ("stopped", "STOPPED: stopped by a person, or its time limit was reached", "stopped"),
        ("stopped", "the run was cancelled", "stopped"),
        ("stopped", "publishing was rejected by Jo", "stopped"),
        ("stopped", None, "stopped"),
        ("stopped", "STOPPED: MaxRuntimeInSeconds (3600) was reached", "timed-out"),
        ("deployable", OPERATORS, None),
        ("compiling", None, None),
    ],
)
def test_the_reason_determines_the_class(status: str, reason: str | None, kind: str | None) -> None:
    assert kind_of(status, reason) == kind


@pytest.mark.parametrize(
    ("sentence", "kind"),
    [
        ("No. The same input fails again.", "never"),
        ("It may: the cause can pass by itself.", "backoff"),
        ("Yes, once other compilation jobs have ended.", "quota"),
        ("Look first at what is there; then it may.", "reconcile"),
    ],
)
def test_the_sentence_about_a_retry_takes_precedence_over_the_reason(sentence: str, kind: str) -> None:
    assert kind_of("failed", "nobody ever saw this", will_retry_help=sentence) == kind


def test_a_class_that_was_recorded_stands_whatever_the_texts_say() -> None:
    sentence = "No. The same input fails again."
    assert kind_of("failed", OPERATORS, will_retry_help=sentence, retry_class="quota") is RetryClass.QUOTA


def test_a_run_that_was_refused_has_the_class_of_its_message() -> None:
    assert refused_class("ServerError: There was an internal server error") is RetryClass.BACKOFF
    assert refused_class(None) is RetryClass.NEVER


def test_messages_identify_crashes_and_what_followed() -> None:
    assert crash_kind("Everything that ran for the stack was ended while it was running.") == "stack-ended"
    assert crash_kind("No heartbeat of the run came for 90 s.") == "silent"
    assert crash_kind("Flow run process exited with status code: -9") == crash_kind(None) == "own"
    assert resumption("Goes on where it was: scheduled again by reconcile.") == "resumed"
    assert resumption("Retried by dda retry: all that failed") == resumption(None) == "retried"
