from __future__ import annotations

import json

import boto3
import pytest

from deployments.local.aws import local_aws
from deployments.local.aws.environment import partition
from deployments.local.aws.services.sts import trusts
from tests.deployments.local.aws.conftest import Aws, archive, compile_request, put_input


@pytest.mark.parametrize("name", ["aws", "aws-cn", "aws-us-gov"])
def test_a_region_has_the_same_partition_as_in_botocore(name: str) -> None:
    regions = boto3.Session().get_available_regions("sagemaker", partition_name=name)
    assert regions
    assert {partition(region) for region in regions} == {name}


@pytest.mark.parametrize(("region", "name"), [("cn-north-1", "aws-cn"), ("us-gov-west-1", "aws-us-gov")])
def test_arns_of_a_region_have_its_partition(region: str, name: str) -> None:
    with local_aws(region=region) as local:
        aws = Aws(local)
        s3, sagemaker, iam, sts = (aws.client(service) for service in ("s3", "sagemaker", "iam", "sts"))
        caller = sts.get_caller_identity()["Arn"]
        assert caller == f"arn:{name}:iam::123456789012:user/local"
        role = iam.get_role(RoleName="DDASageMakerExecutionRole")["Role"]["Arn"]
        assert role == f"arn:{name}:iam::123456789012:role/DDASageMakerExecutionRole"
        assert s3.head_bucket(Bucket=aws.bucket)["BucketRegion"] == region
        allowed = iam.simulate_principal_policy(
            PolicySourceArn=caller,
            ActionNames=["sagemaker:CreateCompilationJob"],
            ResourceArns=[f"arn:{name}:sagemaker:{region}:123456789012:compilation-job/c"],
        )
        assert [each["EvalDecision"] for each in allowed["EvaluationResults"]] == ["allowed"]

        put_input(aws)
        request = compile_request(aws, RoleArn=role)
        arn = sagemaker.create_compilation_job(**request)["CompilationJobArn"]
        assert arn == f"arn:{name}:sagemaker:{region}:123456789012:compilation-job/{request['CompilationJobName']}"
        job = sagemaker.describe_compilation_job(CompilationJobName=request["CompilationJobName"])
        assert job["CompilationJobStatus"] == "COMPLETED", job["FailureReason"]
        sagemaker.add_tags(ResourceArn=arn, Tags=[{"Key": "a", "Value": "1"}])
        assert sagemaker.list_tags(ResourceArn=arn)["Tags"] == [{"Key": "a", "Value": "1"}]

        aws.train("cookie-1", b"an archive")
        trained = sagemaker.describe_training_job(TrainingJobName="cookie-1")
        assert trained["TrainingJobArn"] == f"arn:{name}:sagemaker:{region}:123456789012:training-job/cookie-1"
        assert trained["RoleArn"] == role
        assert trained["AlgorithmSpecification"]["AlgorithmName"].startswith(f"arn:{name}:sagemaker:{region}:")


@pytest.mark.parametrize("region", ["cn-north-1", "us-gov-west-1"])
def test_a_role_of_another_partition_is_looked_up_there(region: str, mocked: Aws) -> None:
    iam, sagemaker = mocked.client("iam", region), mocked.client("sagemaker", region)
    s3 = mocked.client("s3", region)
    s3.create_bucket(Bucket="far", CreateBucketConfiguration={"LocationConstraint": region})
    s3.put_object(Bucket="far", Key="m.tar.gz", Body=archive(mochi_pt=b"w"))
    denied = {"Version": "2012-10-17", "Statement": [{"Effect": "Deny", "Action": "s3:*", "Resource": "*"}]}
    role = iam.create_role(RoleName="Nothing", AssumeRolePolicyDocument=json.dumps(denied))["Role"]["Arn"]
    iam.put_role_policy(RoleName="Nothing", PolicyName="p", PolicyDocument=json.dumps(denied))
    request = compile_request(mocked, RoleArn=role)
    request["InputConfig"]["S3Uri"] = "s3://far/m.tar.gz"
    sagemaker.create_compilation_job(**request)
    job = sagemaker.describe_compilation_job(CompilationJobName=request["CompilationJobName"])
    assert f"resource: arn:{partition(region)}:s3:::far/m.tar.gz" in job["FailureReason"]


def test_a_trust_policy_names_the_account_in_the_callers_partition(mocked: Aws) -> None:
    for region, principal, assumed in (
        ("cn-north-1", "arn:aws-cn:iam::123456789012:root", True),
        ("cn-north-1", "arn:aws:iam::123456789012:root", False),
        ("us-east-1", "arn:aws:iam::123456789012:root", True),
    ):
        caller = mocked.client("sts", region).get_caller_identity()["Arn"]
        statement = {"Effect": "Allow", "Principal": {"AWS": principal}, "Action": "sts:AssumeRole"}
        assert trusts({"Statement": [statement]}, caller, "123456789012", None) is assumed


def test_an_unknown_region_is_in_the_commercial_partition() -> None:
    assert partition("mars-north-1") == "aws"
