from __future__ import annotations

from typing import Any

import pytest

from dda_core.access.iam import SAGEMAKER, may_grant, trusts_service

ROLE = "arn:aws:iam::123456789012:role/DDA"


def statement(effect: str = "Allow", **more: Any) -> dict[str, Any]:
    return {"Effect": effect, "Principal": {"Service": SAGEMAKER}, "Action": "sts:AssumeRole"} | more


@pytest.mark.parametrize(
    ("statements", "trusted"),
    [
        ([statement()], True),
        (statement(), True),
        ([statement(Principal={"Service": ["ec2.amazonaws.com", SAGEMAKER]}, Action=["sts:*"])], True),
        ([statement(Principal="*")], True),
        ([statement(Condition={"StringEquals": {"aws:SourceAccount": "1"}})], True),
        ([], False),
        ([statement(Principal={"Service": "lambda.amazonaws.com"})], False),
        ([statement(Principal={"AWS": "*"})], False),
        ([statement(Action="sts:TagSession")], False),
        ([statement(), statement("Deny")], False),
        ([statement("Deny")], False),
    ],
)
def test_whether_a_trust_policy_names_a_service(statements: Any, trusted: bool):
    assert trusts_service({"Version": "2012-10-17", "Statement": statements}, SAGEMAKER) is trusted


@pytest.mark.parametrize(
    ("changes", "may"),
    [
        ({}, True),
        ({"Principal": "*"}, True),
        ({"Principal": {"AWS": ["arn:aws:iam::123456789012:root"]}}, True),
        ({"Principal": {"AWS": "123456789012"}}, True),
        ({"Action": ["s3:Get*"]}, True),
        ({"Action": "s3:getobject"}, True),
        ({"Principal": {"AWS": "arn:aws:iam::123456789012:role/Other"}}, False),
        ({"Principal": {"Service": SAGEMAKER}}, False),
        ({"Action": "s3:PutObject"}, False),
        ({"Effect": "Deny"}, False),
    ],
)
def test_whether_a_bucket_may_grant_by_itself(changes: dict[str, Any], may: bool):
    given = {"Effect": "Allow", "Principal": {"AWS": ROLE}, "Action": "s3:GetObject", "Resource": "*"} | changes
    assert may_grant({"Statement": [given]}, ROLE, "s3:GetObject") is may
