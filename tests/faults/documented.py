"""The expected end of a run after a fault, independent of the code that decides it.

docs/operate.md describes the same in "When AWS refuses, fails or does not answer". An AWS error that is missing in
``ERRORS`` fails the grid.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from enum import StrEnum
from typing import NamedTuple

from deployments.local.aws.connection import ConnectionFault
from deployments.local.aws.dispatch import error_status
from tests.faults.cases import ATTEMPTS, Case


class Outcome(StrEnum):
    RECOVERED = "recovered"
    FAILED = "failed"


class Reason(NamedTuple):
    """The documentation of an error: its retry class, and words from its cause."""

    retry: str
    says: str


class Expected(NamedTuple):
    """How a run ends, and the text of its failure."""

    outcome: Outcome
    reason: Reason | None = None


RECOVERED = Expected(Outcome.RECOVERED)

PERMISSION = Reason("never", "lacks an IAM permission")
S3_REFUSES = Reason("never", "S3 denied access")
CREDENTIALS = Reason("never", "credentials are missing, expired or invalid")
CLOCK = Reason("never", "machine's clock is wrong")
ROLE = Reason("never", "trust policy does not let the caller")
SESSION = Reason("never", "cannot create a session for that role")
NOT_ENABLED = Reason("never", "is not enabled in the account")
ACCESS_CHECK = Reason("never", "lacks access that the run needs")
REQUEST = Reason("never", "rejected a value in the request")
S3_REQUEST = Reason("never", "S3 did not accept the request")
NO_OBJECT = Reason("never", "the object does not exist")
NO_TRAINING_JOB = Reason("never", "no training job of that name")
ARCHIVED = Reason("never", "archive tier")
USED_UP = Reason("never", "used up a quota")
SLOTS = Reason("quota", "quota of concurrent compilation jobs")
NO_SLOT = Reason("quota", "no free slot")
TAKEN = Reason("reconcile", "already exists")
VERSION_TAKEN = Reason("reconcile", "already has that version")
MISSING = Reason("reconcile", "was deleted, was never created")
BUSY = Reason("backoff", "still in progress")
THROTTLED = Reason("backoff", "throttled requests")
AWS_FAILED = Reason("backoff", "had an internal error or was overloaded")
NO_ANSWER = Reason("backoff", "did not answer, or the connection broke")

ERRORS: dict[Reason, tuple[str, ...]] = {
    PERMISSION: ("AccessDeniedException",),
    S3_REFUSES: ("AccessDenied",),
    CREDENTIALS: ("ExpiredToken", "ExpiredTokenException"),
    CLOCK: ("RequestTimeTooSkewed", "InvalidSignatureException", "SignatureDoesNotMatch"),
    SESSION: ("MalformedPolicyDocument", "PackedPolicyTooLarge"),
    NOT_ENABLED: ("RegionDisabledException",),
    ROLE: ("NoSuchEntity",),
    REQUEST: ("ValidationException", "InvalidParameterException", "InvalidInput", "PolicyEvaluation"),
    S3_REQUEST: ("InvalidRequest", "InvalidWriteOffset", "TooManyParts", "EncryptionTypeMismatch"),
    NO_OBJECT: ("NoSuchBucket", "NoSuchKey"),
    ARCHIVED: ("InvalidObjectState", "ObjectNotInActiveTierError"),
    USED_UP: ("ServiceQuotaExceededException",),
    SLOTS: ("ResourceLimitExceeded",),
    TAKEN: ("ResourceInUse",),
    VERSION_TAKEN: ("ConflictException",),
    MISSING: ("ResourceNotFound", "ResourceNotFoundException"),
    BUSY: ("RequestAlreadyInProgressException",),
    THROTTLED: ("ThrottlingException", "Throttling", "SlowDown", "429"),
    AWS_FAILED: (
        *("500", "503", "InternalError", "InternalFailure", "InternalServerException"),
        *("ServiceFailure", "ServiceUnavailableException"),
    ),
    NO_ANSWER: tuple(ConnectionFault),
}
HEAD_STATUS = {400: S3_REFUSES, 403: S3_REFUSES, 404: NO_OBJECT}
"""A response to HEAD has no body, so only its status identifies the error."""

OPTIONAL = (
    # The access check does not fail on what it cannot find out.
    "iam:",
    "sts:GetCallerIdentity ",
    "s3:HeadBucket ",
    "s3:GetBucketEncryption ",
    # A target is delivered even without its log, its tags, and cleanup in the bucket.
    "logs:",
    "s3:ListMultipartUploads ",
    "s3:ListObjectsV2 ",
    "s3:DeleteObject ",
    r"s3:PutObject PUT \S*\.log$",
    r"sagemaker:ListTags .*:compilation-job/",
)
"""Optional calls, by operation and request: a run continues without them."""
ANSWERS = {
    "iam:GetRole NoSuchEntity": ACCESS_CHECK,
    "sts:GetCallerIdentity (Expired|Invalid|Unrecognized|Signature|AccessDenied)": ACCESS_CHECK,
    "sts:AssumeRole AccessDenied": ROLE,
    "sagemaker:DescribeTrainingJob ResourceNotFound": NO_TRAINING_JOB,
}
"""Errors, by operation, that mean that no target can be delivered: the run is refused."""
DONE_WITHOUT = ("sagemaker:ListTags AccessDeniedException",)
"""Optional permissions, by operation and error: tags that may not be read count as none."""
FOUND = (
    "sagemaker:DescribeCompilationJob ResourceNotFound",
    "sagemaker:CreateCompilationJob ResourceInUse",
    "sagemaker:CreateCompilationJob ResourceLimitExceeded",
    "greengrassv2:CreateComponentVersion (ConflictException|RequestAlreadyInProgressException)",
    "greengrassv2:.* ResourceNotFoundException",
)
"""Errors after which the run checks what exists, waits for a slot, and continues."""
FOUND_DONE = ("sagemaker:CreateCompilationJob", "greengrassv2:CreateComponentVersion")
"""Operations whose effect is found afterwards, even if no response ever confirms it."""
PATIENT = ("sagemaker:", "greengrassv2:", "sts:AssumeRole", "s3:GetObject")
"""Operations that are retried after botocore has given up: they change nothing, or their effect is found."""
ACCESS_CHECK_HEADS = 2
"""The access check's HeadObject calls, which come first."""


def expected(case: Case, requests: Sequence[str]) -> Expected:
    """How the run ends when these requests fail.

    ======================================================  ==========================================================
    an error that is a definite answer, as "no such job"    failed, class ``never``
    an optional call or permission                          recovered
    an error of class ``never``                             failed, class ``never``
    another class, transient within the call                recovered by botocore's attempts, or by checking the effect
    one that outlasts them, where the pipeline retries      recovered
    one that outlasts them elsewhere, or is permanent       failed, class ``backoff`` (or ``quota``)
    ======================================================  ==========================================================
    """
    if case.operation in ("s3:HeadBucket", "s3:HeadObject"):
        return _of_head(case, requests)
    for pattern, reason in ANSWERS.items():
        if re.match(pattern, f"{case.operation} {case.error}"):
            return _failed(reason)
    if f"{case.operation} {case.error}" in DONE_WITHOUT:
        return RECOVERED
    if any(re.match(each, f"{case.operation} {request}") for each in OPTIONAL for request in requests):
        return RECOVERED
    reason = reason_of(case.error)
    if reason.retry == "never":
        return _failed(reason)
    if case.endless:
        done = case.after_effect and case.operation in FOUND_DONE
        return RECOVERED if done else _failed(NO_SLOT if reason is SLOTS else reason)
    if any(re.fullmatch(each, f"{case.operation} {case.error}") for each in FOUND):
        return RECOVERED
    return _failed(reason) if _outlived(case, requests) and not case.operation.startswith(PATIENT) else RECOVERED


def _of_head(case: Case, requests: Sequence[str]) -> Expected:
    service, _, operation = case.operation.partition(":")
    status = None if case.error in set(ConnectionFault) else error_status(service, operation, case.error)
    if operation == "HeadBucket" or (case.nth <= ACCESS_CHECK_HEADS and not case.endless):
        # The check for reading packages asks for one that need not exist.
        missing = status == 404 and not all("/model_artifacts/" in request for request in requests)
        return _failed(ACCESS_CHECK) if status == 403 or missing else RECOVERED
    if status == 403 and case.nth <= ACCESS_CHECK_HEADS:
        return _failed(ACCESS_CHECK)
    if status in HEAD_STATUS:
        return _failed(HEAD_STATUS[status])
    return _failed(reason_of(case.error)) if case.endless or _outlived(case, requests) else RECOVERED


def _outlived(case: Case, requests: Sequence[str]) -> bool:
    """Whether all of botocore's attempts for one call failed, rather than one attempt of several calls."""
    return case.lasting and len(requests) == ATTEMPTS and len(set(requests)) == 1


def _failed(reason: Reason) -> Expected:
    return Expected(Outcome.FAILED, reason)


def reason_of(error: str) -> Reason:
    """The documentation of an error."""
    for reason, errors in ERRORS.items():
        if error in errors:
            return reason
    raise AssertionError(f"{error} is not documented: add to ERRORS how it ends")
