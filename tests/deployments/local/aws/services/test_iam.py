from __future__ import annotations

import json
from typing import Any

import pytest

from deployments.local.aws.services.iam import evaluate
from tests.deployments.local.aws.conftest import Aws, compile_request, error_of, put_input

TRUST = json.dumps({"Statement": [{"Effect": "Allow", "Principal": "*", "Action": "sts:AssumeRole"}]})
OBJECTS = "arn:aws:s3:::dda-local-artifacts/*"


def policy(*statements: dict[str, Any]) -> dict[str, Any]:
    return {"Version": "2012-10-17", "Statement": list(statements)}


def allow(action: Any = "s3:GetObject", resource: Any = OBJECTS, **more: Any) -> dict[str, Any]:
    return {"Effect": "Allow", "Action": action, "Resource": resource} | more


@pytest.mark.parametrize(
    ("statements", "decision"),
    [
        ([], "implicitDeny"),
        ([allow()], "allowed"),
        ([allow("s3:Get*")], "allowed"),
        ([allow("S3:getobject")], "allowed"),
        ([allow("*", "*")], "allowed"),
        ([allow(["s3:PutObject", "s3:GetObject"], ["arn:aws:s3:::other/*", OBJECTS])], "allowed"),
        ([allow("s3:PutObject")], "implicitDeny"),
        ([allow(resource="arn:aws:s3:::dda-local-artifacts")], "implicitDeny"),
        ([allow(resource="arn:aws:s3:::dda-local-artifacts/[a-z]")], "implicitDeny"),
        ([allow(resource="arn:aws:s3:::dda-local-artifacts/?")], "allowed"),
        ([allow(), allow(Effect="Deny")], "explicitDeny"),
        ([allow(Condition={"Bool": {"aws:SecureTransport": "true"}})], "implicitDeny"),
        ([{"Effect": "Allow", "NotAction": "s3:PutObject", "Resource": "*"}], "allowed"),
        ([{"Effect": "Allow", "NotAction": "s3:Get*", "Resource": "*"}], "implicitDeny"),
    ],
)
def test_policy_decisions(statements: list[dict[str, Any]], decision: str) -> None:
    assert evaluate([policy(*statements)], "s3:GetObject", "arn:aws:s3:::dda-local-artifacts/k") == decision


def make_role(aws: Aws, *statements: dict[str, Any]) -> str:
    iam = aws.client("iam")
    arn: str = iam.create_role(RoleName="DDASageMakerExecutionRole", AssumeRolePolicyDocument=TRUST)["Role"]["Arn"]
    iam.put_role_policy(
        RoleName="DDASageMakerExecutionRole", PolicyName="p", PolicyDocument=json.dumps(policy(*statements))
    )
    return arn


def test_simulate_principal_policy(aws: Aws) -> None:
    iam = aws.client("iam")
    role = make_role(aws, allow())
    attached = iam.create_policy(PolicyName="q", PolicyDocument=json.dumps(policy(allow("s3:ListBucket", "*"))))
    iam.attach_role_policy(RoleName="DDASageMakerExecutionRole", PolicyArn=attached["Policy"]["Arn"])
    answer = iam.simulate_principal_policy(
        PolicySourceArn=role,
        ActionNames=["s3:GetObject", "s3:PutObject", "s3:ListBucket"],
        ResourceArns=["arn:aws:s3:::dda-local-artifacts/k", "arn:aws:s3:::other/k"],
    )
    decisions = {
        (r["EvalActionName"], r["EvalResourceName"][13:16]): r["EvalDecision"] for r in answer["EvaluationResults"]
    }
    assert decisions == {
        ("s3:GetObject", "dda"): "allowed",
        ("s3:GetObject", "oth"): "implicitDeny",
        ("s3:PutObject", "dda"): "implicitDeny",
        ("s3:PutObject", "oth"): "implicitDeny",
        ("s3:ListBucket", "dda"): "allowed",
        ("s3:ListBucket", "oth"): "allowed",
    }
    missing = error_of(iam.simulate_principal_policy, PolicySourceArn=role + "x", ActionNames=["s3:GetObject"])
    assert (missing["Code"], missing["Status"]) == ("NoSuchEntity", 404)


CONDITION = {"StringEquals": {"iam:PassedToService": "sagemaker.amazonaws.com"}}


@pytest.mark.parametrize(
    ("condition", "value", "effect", "decision"),
    [
        (CONDITION, "sagemaker.amazonaws.com", "Allow", "allowed"),
        (CONDITION, "lambda.amazonaws.com", "Allow", "implicitDeny"),
        (CONDITION, None, "Allow", "implicitDeny"),
        (
            {"StringLike": {"iam:passedtoservice": ["ec2.*", "sagemaker.*"]}},
            "sagemaker.amazonaws.com",
            "Allow",
            "allowed",
        ),
        ({"StringNotEquals": {"iam:PassedToService": "x"}}, "sagemaker.amazonaws.com", "Allow", "implicitDeny"),
        (CONDITION, "lambda.amazonaws.com", "Deny", "implicitDeny"),
        (CONDITION, "sagemaker.amazonaws.com", "Deny", "explicitDeny"),
        (CONDITION, None, "Deny", "explicitDeny"),
    ],
)
def test_conditions_with_context_values(
    aws: Aws, condition: dict[str, Any], value: str | None, effect: str, decision: str
) -> None:
    role = make_role(aws, allow("iam:PassRole", "*", Condition=condition, Effect=effect))
    entry = {"ContextKeyName": "iam:PassedToService", "ContextKeyValues": [value], "ContextKeyType": "string"}
    [result] = aws.client("iam").simulate_principal_policy(
        PolicySourceArn=role, ActionNames=["iam:PassRole"], ContextEntries=[entry] if value else []
    )["EvaluationResults"]
    assert result["EvalDecision"] == decision
    key = next(iter(next(iter(condition.values()))))
    assert result["MissingContextValues"] == ([] if value else [key])


def test_a_caller_and_the_sagemaker_role_exist_initially(aws: Aws) -> None:
    caller = aws.client("sts").get_caller_identity()
    assert (caller["Account"], caller["Arn"]) == ("123456789012", "arn:aws:iam::123456789012:user/local")
    iam = aws.client("iam")
    [passed] = iam.simulate_principal_policy(
        PolicySourceArn=caller["Arn"], ActionNames=["s3:PutObject"], ResourceArns=["arn:aws:s3:::b/model_artifacts/k"]
    )["EvaluationResults"]
    assert passed["EvalDecision"] == "allowed"
    seeded = iam.get_role(RoleName="DDASageMakerExecutionRole")["Role"]
    assert seeded["AssumeRolePolicyDocument"]["Statement"][0]["Principal"] == {"Service": "sagemaker.amazonaws.com"}
    make_role(aws, allow("s3:PutObject"))
    assert iam.list_role_policies(RoleName="DDASageMakerExecutionRole")["PolicyNames"] == ["p"]
    taken = error_of(iam.create_role, RoleName="DDASageMakerExecutionRole", AssumeRolePolicyDocument=TRUST)
    assert taken["Code"] == "EntityAlreadyExists"


def test_a_role_that_may_not_read_the_bucket_fails_the_compilation(aws: Aws) -> None:
    make_role(aws, allow("s3:PutObject"))
    put_input(aws)
    sagemaker = aws.client("sagemaker")
    sagemaker.create_compilation_job(**compile_request(aws))
    job = sagemaker.describe_compilation_job(CompilationJobName=compile_request(aws)["CompilationJobName"])
    assert job["CompilationJobStatus"] == "FAILED"
    for words in ("DDASageMakerExecutionRole", "s3:GetObject", "in/model_for_compilation.tar.gz"):
        assert words in job["FailureReason"]
