"""The permissions to tag compilation jobs and to list the tags of jobs."""

from __future__ import annotations

import json
from typing import Any

import boto3
import pytest
from botocore.exceptions import ClientError

from tests.deployments.local.aws.conftest import Aws, compile_request, error_of

TAGS = [{"Key": "dda:flow-run", "Value": "1"}]
TRUST = json.dumps({"Statement": [{"Effect": "Allow", "Action": "sts:AssumeRole", "Principal": {"AWS": "*"}}]})


def statement(effect: str, *actions: str) -> str:
    body = {"Effect": effect, "Action": list(actions), "Resource": "*"}
    return json.dumps({"Version": "2012-10-17", "Statement": [body]})


def as_role(aws: Aws, name: str, policy: str | None) -> Any:
    """A SageMaker client of a new role with this policy."""
    iam, sts = aws.client("iam"), aws.client("sts")
    arn = iam.create_role(RoleName=name, AssumeRolePolicyDocument=TRUST)["Role"]["Arn"]
    if policy:
        iam.put_role_policy(RoleName=name, PolicyName="p", PolicyDocument=policy)
    given = sts.assume_role(RoleArn=arn, RoleSessionName="session")["Credentials"]
    return boto3.client(
        "sagemaker",
        region_name=aws.local.settings.region,
        endpoint_url=aws.local.endpoint_url,
        aws_access_key_id=given["AccessKeyId"],
        aws_secret_access_key=given["SecretAccessKey"],
        aws_session_token=given["SessionToken"],
    )


@pytest.mark.parametrize("region", ["us-east-1", "eu-west-1", "cn-north-1"])
def test_the_default_caller_may_do_both_in_every_region(aws: Aws, region: str) -> None:
    sagemaker = aws.client("sagemaker", region)
    arn = sagemaker.create_compilation_job(**compile_request(aws, Tags=TAGS))["CompilationJobArn"]
    assert sagemaker.list_tags(ResourceArn=arn)["Tags"] == TAGS


def test_a_caller_without_the_permission_can_only_create_jobs_without_tags(aws: Aws) -> None:
    sagemaker = aws.client("sagemaker")
    denial = statement("Deny", "sagemaker:AddTags", "sagemaker:ListTags")
    aws.client("iam").put_user_policy(UserName="local", PolicyName="no-tags", PolicyDocument=denial)
    request = compile_request(aws)
    arn = f"arn:aws:sagemaker:us-east-1:123456789012:compilation-job/{request['CompilationJobName']}"
    refused = error_of(sagemaker.create_compilation_job, **request, Tags=TAGS)
    assert refused["Code"] == "AccessDeniedException"
    assert refused["Message"].startswith(
        f"User: arn:aws:iam::123456789012:user/local is not authorized to perform: sagemaker:AddTags on resource: {arn}"
    )
    assert sagemaker.list_compilation_jobs()["CompilationJobSummaries"] == []
    assert sagemaker.create_compilation_job(**request)["CompilationJobArn"] == arn
    assert error_of(sagemaker.list_tags, ResourceArn=arn)["Code"] == "AccessDeniedException"
    taken = error_of(sagemaker.create_compilation_job, **request, Tags=TAGS)
    assert taken["Code"] == "AccessDeniedException", "a caller without the permission must not learn which jobs exist"


@pytest.mark.parametrize(
    ("policy", "may"),
    [(None, False), (statement("Allow", "sagemaker:CreateCompilationJob"), False), (statement("Allow", "*"), True)],
)
def test_a_role_may_do_what_its_policies_allow(aws: Aws, policy: str | None, may: bool) -> None:
    sagemaker = as_role(aws, "portal", policy)
    if may:
        sagemaker.create_compilation_job(**compile_request(aws, Tags=TAGS))
        return
    with pytest.raises(ClientError, match=r"assumed-role/portal/session is not authorized .* sagemaker:AddTags"):
        sagemaker.create_compilation_job(**compile_request(aws, Tags=TAGS))
    sagemaker.create_compilation_job(**compile_request(aws))
