"""The meaning of AWS's error codes."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from botocore.exceptions import ClientError, EndpointConnectionError
from hypothesis import given
from hypothesis import strategies as st

from dda_core.aws import errors
from dda_core.aws.errors import error_code, error_message, error_text, http_status, retried

MEANINGS: list[Callable[[BaseException], bool]] = [
    getattr(errors, name) for name in dir(errors) if name.startswith("is_")
]


def refused(code: str, message: str = "", **metadata: int) -> ClientError:
    answer: dict[str, object] = {"Error": {"Code": code, "Message": message}, "ResponseMetadata": metadata}
    return ClientError(answer, "Any")  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("error", "meanings"),
    [
        (refused("AccessDenied"), {"is_denied"}),
        (refused("AccessDeniedException"), {"is_denied"}),
        (refused("403"), {"is_denied"}),
        (refused("ExpiredToken"), {"is_credentials_refused"}),
        (refused("InvalidClientTokenId"), {"is_credentials_refused"}),
        (refused("ResourceNotFound"), {"is_not_found"}),
        (refused("ResourceNotFoundException"), {"is_not_found"}),
        (refused("ValidationException", "Requested resource not found."), {"is_not_found"}),
        (refused("ValidationException", "1 validation error detected"), set()),
        (refused("404"), {"is_object_missing", "is_missing_in_s3"}),
        (refused("NoSuchKey"), {"is_object_missing", "is_missing_in_s3"}),
        (refused("NoSuchBucket"), {"is_bucket_missing", "is_missing_in_s3"}),
        (refused("NoSuchBucketPolicy"), {"is_bucket_policy_missing"}),
        (refused("ServerSideEncryptionConfigurationNotFoundError"), {"is_encryption_unset"}),
        (refused("NoSuchEntity"), {"is_entity_missing"}),
        (refused("InvalidInput"), {"is_input_invalid"}),
        (refused("AWS.SimpleQueueService.NonExistentQueue"), {"is_queue_missing"}),
        (refused("ValidationError", "Stack with id x does not exist"), {"is_stack_missing"}),
        (refused("ValidationError", "No updates are to be performed."), {"is_stack_unchanged"}),
        (refused("ResourceLimitExceeded"), {"is_quota_reached"}),
        (refused("ResourceInUse"), {"is_name_taken"}),
        (refused("ConflictException"), {"is_conflict"}),
        (refused("PreconditionFailed"), {"is_precondition_failed"}),
        (refused("412"), {"is_precondition_failed"}),
        (refused("ConditionalRequestConflict"), {"is_write_race"}),
        (refused("ThrottlingException", "Rate exceeded"), set()),
    ],
    ids=lambda value: str(value)[:60] if isinstance(value, ClientError) else "",
)
def test_a_code_means_one_thing(error: ClientError, meanings: set[str]):
    assert {meaning.__name__ for meaning in MEANINGS if meaning(error)} == meanings


@pytest.mark.parametrize(
    "error", [ValueError("404"), EndpointConnectionError(endpoint_url="https://x"), KeyboardInterrupt()]
)
def test_an_error_that_is_not_from_aws_has_no_code(error: BaseException):
    assert error_code(error) == ""
    assert error_text(error) == str(error)
    assert http_status(error) == 0
    assert not retried(error)
    assert not any(meaning(error) for meaning in MEANINGS)


def test_an_error_has_code_and_message():
    error = refused("AccessDenied", "no", HTTPStatusCode=403, RetryAttempts=2)
    assert (error_code(error), error_message(error), error_text(error)) == ("AccessDenied", "no", "AccessDenied: no")
    assert (http_status(error), retried(error)) == (403, True)


@given(response=st.recursive(st.none() | st.text(), lambda inner: st.dictionaries(st.text(), inner) | st.lists(inner)))
def test_a_malformed_response_never_raises(response: object):
    """Reading the code of any ``response`` raises nothing."""
    error = ValueError("broken")
    error.response = response  # type: ignore[attr-defined]
    assert isinstance(error_text(error), str)
    assert http_status(error) >= 0
    assert not any(meaning(error) for meaning in MEANINGS if not isinstance(response, dict))
