"""The grid itself: it is complete, and the rule for how runs end is the intended one."""

from __future__ import annotations

from collections import Counter

import pytest

from deployments.local.aws.connection import ConnectionFault
from tests.faults import documented
from tests.faults.cases import Case, grid, modelled, places, storms
from tests.faults.documented import ERRORS, RECOVERED, Expected, Outcome, Reason, expected, reason_of

RUN = Counter(
    {
        "s3:GetObject": 2,
        "s3:PutObject": 5,
        "sagemaker:CreateCompilationJob": 1,
        "greengrassv2:CreateComponentVersion": 1,
        "sts:AssumeRole": 1,
    }
)
AGAIN = Counter({"s3:GetObject": 1, "greengrassv2:GetComponent": 1})
CASES = grid(RUN, AGAIN)


def test_every_modelled_error_of_every_operation_is_in_the_grid() -> None:
    found = {(case.operation, case.error) for case in CASES}
    for operation in RUN | AGAIN:
        assert {(operation, error) for error in modelled(operation)} <= found
    assert modelled("greengrassv2:CreateComponentVersion")
    assert ("sts:AssumeRole", "PackedPolicyTooLarge") in found, "by the code that is sent, not by the shape's name"


def test_every_operation_is_denied_once() -> None:
    for operation in RUN | AGAIN:
        met = {reason_of(case.error) for case in CASES if case.operation == operation}
        assert {documented.PERMISSION, documented.S3_REFUSES} & met


def test_the_first_second_and_last_call_get_errors_that_a_person_fixes_and_that_outlast_botocore() -> None:
    assert places(5) == [1, 2, 5]
    cases = [case for case in CASES if case.operation == "s3:PutObject"]
    for reason in (documented.CREDENTIALS, documented.CLOCK):
        assert [case.nth for case in cases if reason_of(case.error) == reason] == [1, 2, 5]
    assert [case.nth for case in cases if case.lasting] == [1, 2, 5]


def test_every_response_to_a_changing_call_is_lost_in_every_way() -> None:
    lost = {
        (case.nth, case.error)
        for case in CASES
        if case.operation == "s3:PutObject" and case.after_effect and not case.endless
    }
    assert lost == {(nth, error) for nth in (1, 2, 5) for error in ("read-timeout", "cut-body", "connection-reset")}


def test_a_storm_of_each_transient_error_covers_all_three_calls() -> None:
    struck = Counter((storm.error, case.operation) for storm in storms(RUN) for case in storm.cases)
    assert {error for error, _ in struck} == {"throttled", "failure", "429", "500", "503", *ConnectionFault}
    assert {number for (_, operation), number in struck.items() if operation == "s3:PutObject"} == {3}
    assert {number for (_, operation), number in struck.items() if operation == "s3:GetObject"} == {2}
    assert {number for (_, operation), number in struck.items() if operation == "sts:AssumeRole"} == {1}


def test_a_call_that_only_the_second_run_makes_fails_in_the_second_run() -> None:
    assert {case.operation for case in CASES if case.again} == {"greengrassv2:GetComponent"}


def test_the_grid_has_no_duplicates() -> None:
    assert len(set(CASES)) == len(CASES)


def test_each_error_is_documented_once_and_unknown_ones_are_refused() -> None:
    errors = Counter(error for each in ERRORS.values() for error in each)
    assert set(errors.values()) == {1}
    with pytest.raises(AssertionError, match="BrandNewException is not documented"):
        reason_of("BrandNewException")


def failed(reason: Reason) -> Expected:
    return Expected(Outcome.FAILED, reason)


RULE = [
    (Case("s3:CopyObject", "AccessDenied"), ["PUT /b/k"], failed(documented.S3_REFUSES)),
    (Case("s3:CopyObject", "SlowDown"), ["PUT /b/k"], RECOVERED),
    (Case("s3:CopyObject", "SlowDown", lasting=True), ["PUT /b/k"] * 2, failed(documented.THROTTLED)),
    (Case("s3:UploadPart", "SlowDown", lasting=True), ["PUT /b/k?1", "PUT /b/k?2"], RECOVERED),
    (Case("s3:PutObject", "AccessDenied"), ["PUT /b/models/x.log"], RECOVERED),
    (Case("sagemaker:DescribeCompilationJob", "503", lasting=True), ["POST /"] * 2, RECOVERED),
    (Case("sagemaker:DescribeCompilationJob", "503", endless=True), ["POST /"], failed(documented.AWS_FAILED)),
    (Case("sagemaker:CreateCompilationJob", "ResourceLimitExceeded"), ["POST /"], RECOVERED),
    (
        Case("sagemaker:CreateCompilationJob", "ResourceLimitExceeded", endless=True),
        ["POST /"],
        failed(documented.NO_SLOT),
    ),
    (Case("iam:GetRole", "NoSuchEntity"), ["POST /"], failed(documented.ACCESS_CHECK)),
    (Case("iam:GetRole", "AccessDenied"), ["POST /"], RECOVERED),
    (Case("s3:HeadBucket", "ExpiredToken"), ["HEAD /b"], RECOVERED),
    (Case("s3:HeadObject", "ExpiredToken", nth=6, endless=True), ["HEAD /b/k"], failed(documented.S3_REFUSES)),
    (Case("s3:HeadObject", "ExpiredToken", endless=True), ["HEAD /b/k"], failed(documented.S3_REFUSES)),
    (Case("s3:HeadObject", "RequestTimeTooSkewed", endless=True), ["HEAD /b/k"], failed(documented.ACCESS_CHECK)),
    (
        Case("greengrassv2:CreateComponentVersion", "cut-body", after_effect=True, endless=True),
        ["POST /"],
        RECOVERED,
    ),
    (Case("s3:HeadObject", "NoSuchKey"), ["HEAD /b/model_artifacts/k"], RECOVERED),
]


@pytest.mark.parametrize(("case", "requests", "ends"), RULE, ids=[str(case) for case, _, _ in RULE])
def test_the_rule_for_how_a_run_ends(case: Case, requests: list[str], ends: Expected) -> None:
    assert expected(case, requests) == ends
