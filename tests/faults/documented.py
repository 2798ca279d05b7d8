"""How a run ends that a fault has struck, written down apart from the code that decides it.

docs/operate.md says the same in "When AWS refuses, fails or does not answer". An error of AWS that stands nowhere in
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
    """What is said of an error: the class of its retry, and words of the cause that a person reads."""

    retry: str
    says: str


class Expected(NamedTuple):
    """How a run ends, and what its failure says."""

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
GONE = Reason("never", "the object does not exist")
NO_TRAINING_JOB = Reason("never", "no training job of that name")
ARCHIVED = Reason("never", "archive tier")
USED_UP = Reason("never", "used up a quota")
SLOTS = Reason("quota", "quota of concurrent compilation jobs")
NO_SLOT = Reason("quota", "no free slot")
TAKEN = Reason("reconcile", "exists already")
VERSION_TAKEN = Reason("reconcile", "has that version already")
MISSING = Reason("reconcile", "was deleted, was never made")
BUSY = Reason("backoff", "still in progress")
THROTTLED = Reason("backoff", "throttled requests")
AWS_FAILED = Reason("backoff", "by a fault of its own")
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
    GONE: ("NoSuchBucket", "NoSuchKey"),
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
HEAD_STATUS = {400: S3_REFUSES, 403: S3_REFUSES, 404: GONE}
"""An answer to HEAD has no body, so that its status alone tells what it means."""

OPTIONAL = (
    # What the access check cannot learn, it leaves to be seen.
    "iam:",
    "sts:GetCallerIdentity ",
    "s3:HeadBucket ",
    "s3:GetBucketEncryption ",
    # A target is delivered all the same without its log, its links to others, and tidiness in the bucket.
    "logs:",
    "s3:ListMultipartUploads ",
    "s3:ListObjectsV2 ",
    "s3:DeleteObject ",
    r"s3:PutObject PUT \S*\.log$",
    r"sagemaker:ListTags .*:compilation-job/",
)
"""Calls, by operation and request, without which a run goes on."""
ANSWERS = {
    "iam:GetRole NoSuchEntity": ACCESS_CHECK,
    "sts:GetCallerIdentity (Expired|Invalid|Unrecognized|Signature|AccessDenied)": ACCESS_CHECK,
    "sts:AssumeRole AccessDenied": ROLE,
    "sagemaker:DescribeTrainingJob ResourceNotFound": NO_TRAINING_JOB,
}
"""Errors that say for certain that no target can be made, by operation and error: the run is refused."""
DONE_WITHOUT = ("sagemaker:ListTags AccessDeniedException",)
"""Permissions, by operation and error, that a run can do without: tags that may not be read count as none."""
FOUND = (
    "sagemaker:DescribeCompilationJob ResourceNotFound",
    "sagemaker:CreateCompilationJob ResourceInUse",
    "sagemaker:CreateCompilationJob ResourceLimitExceeded",
    "greengrassv2:CreateComponentVersion (ConflictException|RequestAlreadyInProgressException)",
    "greengrassv2:.* ResourceNotFoundException",
)
"""Errors after which the run looks at what is there, waits for a slot, and goes on."""
FOUND_DONE = ("sagemaker:CreateCompilationJob", "greengrassv2:CreateComponentVersion")
"""What is found where it was done, also where no answer ever says so."""
PATIENT = ("sagemaker:", "greengrassv2:", "sts:AssumeRole", "s3:GetObject")
"""What is asked again when botocore has given up, because it changes nothing, or is found where it was done."""
ACCESS_CHECK_HEADS = 2
"""HeadObject calls of the access check, which come first."""


def expected(case: Case, requests: Sequence[str]) -> Expected:
    """How the run ends when the fault strikes these requests.

    ======================================================  ==========================================================
    an error that is an answer, such as "no such job"       failed, class ``never``
    a call or permission that is optional                   recovered
    an error of class ``never``                             failed, class ``never``
    one of another class that passes within the call        recovered by botocore's attempts, or by looking
    one that outlives them, where the pipeline asks again   recovered
    one that outlives them elsewhere, or never passes       failed, class ``backoff`` (``quota`` where it was that)
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
        # Whether packages can be read is asked of one that need not be there.
        missing = status == 404 and not all("/model_artifacts/" in request for request in requests)
        return _failed(ACCESS_CHECK) if status == 403 or missing else RECOVERED
    if status == 403 and case.nth <= ACCESS_CHECK_HEADS:
        return _failed(ACCESS_CHECK)
    if status in HEAD_STATUS:
        return _failed(HEAD_STATUS[status])
    return _failed(reason_of(case.error)) if case.endless or _outlived(case, requests) else RECOVERED


def _outlived(case: Case, requests: Sequence[str]) -> bool:
    """Whether all of botocore's attempts for one call were struck, not one each of several calls."""
    return case.lasting and len(requests) == ATTEMPTS and len(set(requests)) == 1


def _failed(reason: Reason) -> Expected:
    return Expected(Outcome.FAILED, reason)


def reason_of(error: str) -> Reason:
    """What is documented of an error."""
    for reason, errors in ERRORS.items():
        if error in errors:
            return reason
    raise AssertionError(f"nothing is documented of {error}: say in ERRORS how it ends")
