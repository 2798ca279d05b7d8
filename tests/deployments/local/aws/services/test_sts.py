from __future__ import annotations

import json
from typing import Any

import pytest

from deployments.local.aws.services.sts import trusts
from tests.deployments.local.aws.conftest import Aws, error_of

ACCOUNT = "123456789012"
CALLER = f"arn:aws:iam::{ACCOUNT}:user/local"


def policy(
    *, effect: str = "Allow", principal: Any = None, condition: Any = None, action: Any = "sts:AssumeRole"
) -> Any:
    statement = {
        "Effect": effect,
        "Principal": principal or {"AWS": f"arn:aws:iam::{ACCOUNT}:root"},
        "Action": action,
    }
    return {"Version": "2012-10-17", "Statement": [statement | ({"Condition": condition} if condition else {})]}


EXTERNAL = {"StringEquals": {"sts:ExternalId": "secret"}}


@pytest.mark.parametrize(
    ("document", "external_id", "allowed"),
    [
        (policy(), None, True),
        (policy(), "anything", True),
        (policy(condition=EXTERNAL), "secret", True),
        (policy(condition=EXTERNAL), "wrong", False),
        (policy(condition=EXTERNAL), None, False),
        (policy(condition={"StringEquals": {"sts:ExternalId": ["a", "secret"]}}), "secret", True),
        (policy(condition={"StringLike": {"sts:ExternalId": "sec*"}}), "secret", True),
        (policy(condition={"StringEquals": {"sts:ExternalId": "sec*"}}), "secret", False),
        (policy(condition={"Bool": {"aws:MultiFactorAuthPresent": "true"}}), None, False),
        (policy(principal={"AWS": "arn:aws:iam::999999999999:root"}), None, False),
        (policy(principal="*"), None, True),
        (policy(principal={"Service": "sagemaker.amazonaws.com"}), None, False),
        (policy(action="sts:TagSession"), None, False),
        (policy(action=["sts:*"]), None, True),
        (policy(effect="Deny"), None, False),
        ({"Statement": []}, None, False),
    ],
)
def test_a_trust_policy(document: Any, external_id: str | None, allowed: bool) -> None:
    assert trusts(document, CALLER, ACCOUNT, external_id) is allowed


def test_a_deny_overrides_an_allow() -> None:
    document = policy()
    document["Statement"] += policy(effect="Deny")["Statement"]
    assert not trusts(document, CALLER, ACCOUNT, None)


def test_an_iam_role_is_assumed_only_with_its_external_id(aws: Aws) -> None:
    sts = aws.client("sts")
    made = aws.client("iam").create_role(
        RoleName="dda", AssumeRolePolicyDocument=json.dumps(policy(condition=EXTERNAL))
    )
    role = {"RoleArn": made["Role"]["Arn"], "RoleSessionName": "run"}
    assert sts.assume_role(**role, ExternalId="secret")["Credentials"]["SessionToken"]
    refused = error_of(sts.assume_role, **role, ExternalId="wrong")
    assert (refused["Code"], refused["Status"]) == ("AccessDenied", 403)
    assert role["RoleArn"] in refused["Message"]
    assert error_of(sts.assume_role, **role)["Code"] == "AccessDenied"


def test_a_role_unknown_to_iam_may_be_assumed(aws: Aws) -> None:
    role = "arn:aws:iam::999999999999:role/elsewhere"
    assumed = aws.client("sts").assume_role(RoleArn=role, RoleSessionName="run", ExternalId="secret")
    assert assumed["AssumedRoleUser"]["Arn"] == "arn:aws:sts::999999999999:assumed-role/elsewhere/run"
