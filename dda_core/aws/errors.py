"""The meaning of AWS's error codes. Apart from the failure catalogue, this is the only place that spells them out.

Every function takes any exception; one that is not a botocore ``ClientError`` has no code and matches nothing.
botocore is not imported, so that modules that only read codes are quick to import.
"""

from __future__ import annotations

from typing import Any

_DENIED = frozenset({"403", "AccessDenied", "AccessDeniedException", "Forbidden", "UnauthorizedOperation"})
_CREDENTIALS = frozenset(
    {
        "AuthFailure",
        "ExpiredToken",
        "ExpiredTokenException",
        "IncompleteSignature",
        "InvalidAccessKeyId",
        "InvalidClientTokenId",
        "InvalidToken",
        "RequestExpired",
        "SignatureDoesNotMatch",
        "UnrecognizedClientException",
    }
)
# The response to HEAD has no body, so only its HTTP status is known.
_NO_OBJECT = frozenset({"404", "NoSuchKey", "NotFound"})
_NO_QUEUE = frozenset({"AWS.SimpleQueueService.NonExistentQueue", "QueueDoesNotExist"})


def error_code(error: BaseException) -> str:
    """The error code of a botocore ``ClientError``, else an empty string."""
    return str(_details(error).get("Code", ""))


def error_message(error: BaseException) -> str:
    """AWS's own message of an AWS error, else the error's text."""
    return str(_details(error).get("Message") or error)


def error_text(error: BaseException) -> str:
    """``<code>: <message>`` of an AWS error, else the error's text."""
    code = error_code(error)
    return f"{code}: {error_message(error)}" if code else str(error)


def http_status(error: BaseException) -> int:
    """The HTTP status of AWS's response; 0 if there was none."""
    return int(_metadata(error).get("HTTPStatusCode", 0))


def retried(error: BaseException) -> bool:
    """Whether botocore retried the request: the response may then reflect what the first one did."""
    return bool(_metadata(error).get("RetryAttempts"))


def is_denied(error: BaseException) -> bool:
    """The caller lacks the permission."""
    return error_code(error) in _DENIED


def is_credentials_refused(error: BaseException) -> bool:
    """The credentials are unknown, expired, or do not match the signature."""
    return error_code(error) in _CREDENTIALS


def is_not_found(error: BaseException) -> bool:
    """SageMaker, Greengrass or CloudWatch Logs has no such resource. SageMaker has two codes for it."""
    code = error_code(error)
    return code in ("ResourceNotFound", "ResourceNotFoundException") or (
        code == "ValidationException" and "not found" in error_message(error).lower()
    )


def is_object_missing(error: BaseException) -> bool:
    """S3 has no such object. HeadBucket's response for a missing bucket looks the same."""
    return error_code(error) in _NO_OBJECT


def is_bucket_missing(error: BaseException) -> bool:
    """S3 has no such bucket."""
    return error_code(error) == "NoSuchBucket"


def is_missing_in_s3(error: BaseException) -> bool:
    """S3 has no such object or bucket."""
    return is_object_missing(error) or is_bucket_missing(error)


def is_bucket_policy_missing(error: BaseException) -> bool:
    """The bucket has no policy."""
    return error_code(error) == "NoSuchBucketPolicy"


def is_encryption_unset(error: BaseException) -> bool:
    """The bucket has no default encryption."""
    return error_code(error) == "ServerSideEncryptionConfigurationNotFoundError"


def is_entity_missing(error: BaseException) -> bool:
    """IAM has no such role, user or policy."""
    return error_code(error) == "NoSuchEntity"


def is_input_invalid(error: BaseException) -> bool:
    """IAM cannot use the request, such as a simulation for a principal that is neither a user nor a role."""
    return error_code(error) == "InvalidInput"


def is_queue_missing(error: BaseException) -> bool:
    """SQS has no such queue, or the caller may not know of it."""
    return error_code(error) in _NO_QUEUE


def is_stack_missing(error: BaseException) -> bool:
    """CloudFormation has no such stack."""
    return error_code(error) == "ValidationError" and "does not exist" in error_message(error)


def is_stack_unchanged(error: BaseException) -> bool:
    """CloudFormation has nothing to update in the stack."""
    return "No updates are to be performed" in error_message(error)


def is_template_refused(error: BaseException) -> bool:
    """CloudFormation refuses the template or its parameters."""
    others = is_stack_missing(error) or is_stack_unchanged(error)
    return error_code(error) == "ValidationError" and not others


def is_quota_reached(error: BaseException) -> bool:
    """The account has no free slot for another job."""
    return error_code(error) == "ResourceLimitExceeded"


def is_name_taken(error: BaseException) -> bool:
    """SageMaker has a job of that name."""
    return error_code(error) == "ResourceInUse"


def is_conflict(error: BaseException) -> bool:
    """AWS IoT Greengrass has that component version, or is creating it."""
    return error_code(error) == "ConflictException"


def is_precondition_failed(error: BaseException) -> bool:
    """An ``If-Match`` or ``If-None-Match`` of the request to S3 does not hold."""
    return error_code(error) in ("412", "PreconditionFailed")


def is_write_race(error: BaseException) -> bool:
    """Two conditional writes to one S3 key collided; the same request may succeed now."""
    return error_code(error) in ("409", "ConditionalRequestConflict")


def _details(error: BaseException) -> dict[str, Any]:
    return _part(error, "Error")


def _metadata(error: BaseException) -> dict[str, Any]:
    return _part(error, "ResponseMetadata")


def _part(error: BaseException, key: str) -> dict[str, Any]:
    response = getattr(error, "response", None)
    part = response.get(key) if isinstance(response, dict) else None
    return part if isinstance(part, dict) else {}
