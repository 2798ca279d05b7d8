from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from dda_core.access.findings import Finding, Level
from dda_core.access.preflight import inspect_access, refuse_errors
from dda_core.aws.clients import AwsClients
from dda_core.exceptions import AccessRefused
from dda_core.use_case import UseCase
from deployments.local.aws import LocalAws, local_aws
from deployments.policies import policy

ACCOUNT = "123456789012"
CALLER = f"arn:aws:iam::{ACCOUNT}:user/local"
ROLE = f"arn:aws:iam::{ACCOUNT}:role/DDASageMakerExecutionRole"
BUCKET = "dda-local-artifacts"
TRUST = json.dumps(policy("sagemaker-execution-trust"))
CHECKS = [
    "caller",
    "devices",
    "bucket",
    "region",
    "artifacts",
    "upload",
    "encryption",
    "sagemaker-role",
    "sagemaker-role-access",
    "pass-role",
    "tags",
]
Look = Callable[..., dict[str, Finding]]


@pytest.fixture
def aws(monkeypatch: pytest.MonkeyPatch) -> Iterator[LocalAws]:
    with local_aws(server=False) as local:
        for name, value in local.environ.items():
            monkeypatch.setenv(name, value)
        yield local


@pytest.fixture
def look(aws: LocalAws) -> Look:
    """The findings that are not ok, by check; each has a remedy, and the checks take seconds."""

    def inspect(training_job: str | None = None, model_artifact: str | None = None, **more: Any) -> dict[str, Finding]:
        fields = {
            "usecase_id": "lids",
            "account_id": ACCOUNT,
            "region": "us-east-1",
            "s3_bucket": BUCKET,
            "fleet": "current",
        } | more
        began = time.monotonic()
        clients = AwsClients(UseCase(**fields))
        findings = inspect_access(clients, training_job=training_job, model_artifact=model_artifact)
        assert time.monotonic() - began < 15
        wrong = {each.check: each for each in findings if each.level is not Level.OK}
        assert all(each.remedy.endswith(".") for each in wrong.values())
        return wrong

    return inspect


def give_role(aws: LocalAws, *statements: dict[str, Any], trust: str = TRUST) -> None:
    """Replace the initial SageMaker role with one that has these statements."""
    iam = aws.client("iam")
    iam.create_role(RoleName="DDASageMakerExecutionRole", AssumeRolePolicyDocument=trust)
    document = json.dumps({"Version": "2012-10-17", "Statement": list(statements)})
    if statements:
        iam.put_role_policy(RoleName="DDASageMakerExecutionRole", PolicyName="p", PolicyDocument=document)


def allow(action: Any, resource: Any = "*", **more: Any) -> dict[str, Any]:
    return {"Effect": "Allow", "Action": action, "Resource": resource} | more


def test_the_local_aws_passes_every_check(aws: LocalAws, look: Look):
    use_case = UseCase(usecase_id="lids", account_id=ACCOUNT, region="us-east-1", s3_bucket=BUCKET, fleet="current")
    findings = inspect_access(AwsClients(use_case))
    assert [each.check for each in findings] == CHECKS
    assert {each.level for each in findings} == {Level.OK}
    refuse_errors(use_case, findings)
    assert not [name for name in aws.calls if name.startswith(("s3:Put", "s3:Create", "s3:Delete", "sagemaker:"))]
    assert sum(aws.calls.values()) <= 15


def test_a_named_training_job_and_its_archive_are_checked(aws: LocalAws, look: Look):
    aws.train("lid-7", b"an archive")
    assert look("lid-7") == {}
    missing = look("lid-8")["training-job"]
    assert missing.level is Level.ERROR
    assert missing.found == f"training job 'lid-8' is not in account {ACCOUNT}, Region us-east-1"
    gone = look(model_artifact=f"s3://{BUCKET}/models/training/lid-9/output/model.tar.gz")["trained-archive"]
    assert (gone.level, gone.found) == (
        Level.ERROR,
        f"s3://{BUCKET}/models/training/lid-9/output/model.tar.gz does not exist",
    )


def test_the_role_may_have_to_read_an_archive_in_another_bucket(aws: LocalAws, look: Look):
    s3 = aws.client("s3")
    s3.create_bucket(Bucket="training")
    s3.put_object(Bucket="training", Key="lid-7/output/model.tar.gz", Body=b"an archive")
    assert look(model_artifact="s3://training/lid-7/output/model.tar.gz") == {}
    give_role(aws, allow("s3:*", [f"arn:aws:s3:::{BUCKET}", f"arn:aws:s3:::{BUCKET}/*"]))
    wrong = look(model_artifact="s3://training/lid-7/output/model.tar.gz")
    assert list(wrong) == ["sagemaker-role-access"]
    assert "arn:aws:s3:::training/lid-7/output/model_for_compilation.tar.gz" in wrong["sagemaker-role-access"].found
    assert "arn:aws:s3:::training/*" in wrong["sagemaker-role-access"].remedy


def test_a_bucket_in_another_region(aws: LocalAws, look: Look):
    aws.client("s3", "eu-west-1").create_bucket(
        Bucket="dda-far", CreateBucketConfiguration={"LocationConstraint": "eu-west-1"}
    )
    wrong = look(s3_bucket="dda-far")
    assert list(wrong) == ["region"]
    assert wrong["region"].level is Level.ERROR
    assert "dda-far is in Region eu-west-1" in wrong["region"].found
    assert "us-east-1" in wrong["region"].found


def test_a_missing_bucket(aws: LocalAws, look: Look):
    wrong = look(s3_bucket="dda-nothing")
    assert wrong.keys() == {"bucket"}
    assert (wrong["bucket"].level, wrong["bucket"].found) == (Level.ERROR, "there is no bucket dda-nothing")


@pytest.mark.parametrize(
    ("operation", "check", "words"),
    [
        ("s3:HeadBucket", "bucket", ["s3:ListBucket", f"arn:aws:s3:::{BUCKET}"]),
        ("s3:HeadObject", "artifacts", ["s3:GetObject", f"arn:aws:s3:::{BUCKET}/model_artifacts/*", "Greengrass"]),
        ("sagemaker:DescribeTrainingJob", "training-job", ["sagemaker:DescribeTrainingJob", "lid-7"]),
    ],
)
def test_a_denied_caller_is_an_error_that_names_caller_action_and_resource(
    aws: LocalAws, look: Look, operation: str, check: str, words: list[str]
):
    code = "403" if operation.startswith("s3:Head") else "AccessDeniedException"
    aws.faults.add("call", operation=operation, error=code)
    refused = look("lid-7" if check == "training-job" else None)[check]
    assert refused.level is Level.ERROR
    for word in [CALLER, *words]:
        assert word in str(refused)


def test_a_role_without_access_to_the_bucket_is_named_with_bucket_and_action(aws: LocalAws, look: Look):
    give_role(aws, allow("s3:PutObject"))
    findings = inspect_access(
        AwsClients(UseCase(usecase_id="lids", account_id=ACCOUNT, region="us-east-1", s3_bucket=BUCKET))
    )
    refused = [each for each in findings if each.check == "sagemaker-role-access"]
    assert [each.level for each in refused] == [Level.ERROR, Level.ERROR]
    assert [each.found.partition(" on ")[0] for each in refused] == [
        f"{ROLE} may not s3:GetObject",
        f"{ROLE} may not s3:ListBucket",
    ]
    assert refused[1].remedy == (
        f"Allow {ROLE} s3:ListBucket on arn:aws:s3:::{BUCKET} (deployments/aws/policies/sagemaker-execution.json)."
    )
    with pytest.raises(AccessRefused) as error:
        refuse_errors(UseCase(usecase_id="lids", account_id=ACCOUNT, region="us-east-1", s3_bucket=BUCKET), findings)
    assert error.value.exit_code == 3
    for each in refused:
        assert each.found in str(error.value)
        assert each.remedy in str(error.value)


def test_the_remedy_for_a_denial_is_to_remove_it(aws: LocalAws, look: Look):
    give_role(aws, allow("s3:*"), allow("s3:GetObject", f"arn:aws:s3:::{BUCKET}/*", Effect="Deny"))
    refused = look()["sagemaker-role-access"]
    assert refused.level is Level.ERROR
    assert "a policy denies it" in refused.found
    assert refused.remedy.startswith("Remove the denial of s3:GetObject")


def test_what_a_bucket_policy_or_condition_may_allow_is_not_an_error(aws: LocalAws, look: Look):
    give_role(aws, allow(["s3:PutObject", "s3:ListBucket"]))
    statement = allow("s3:Get*", f"arn:aws:s3:::{BUCKET}/*", Principal={"AWS": ROLE})
    document = json.dumps({"Version": "2012-10-17", "Statement": [statement]})
    aws.client("s3").put_bucket_policy(Bucket=BUCKET, Policy=document)
    granted = look()["sagemaker-role-access"]
    assert granted.level is Level.NOT_CHECKED
    assert f"the policy of bucket {BUCKET} may allow it" in granted.found
    aws.client("s3").delete_bucket_policy(Bucket=BUCKET)
    assert look()["sagemaker-role-access"].level is Level.ERROR
    give_role_again = allow("s3:*", Condition={"StringEquals": {"aws:PrincipalTag/team": "lids"}})
    aws.client("iam").put_role_policy(
        RoleName="DDASageMakerExecutionRole",
        PolicyName="p",
        PolicyDocument=json.dumps({"Version": "2012-10-17", "Statement": [give_role_again]}),
    )
    unsure = look()["sagemaker-role-access"]
    assert unsure.level is Level.NOT_CHECKED
    assert "aws:PrincipalTag/team" in unsure.found


def test_a_role_that_is_missing_or_does_not_trust_sagemaker(aws: LocalAws, look: Look):
    trust = TRUST.replace("sagemaker.amazonaws.com", "lambda.amazonaws.com")
    give_role(aws, allow("s3:*"), trust=trust)
    distrusting = look()["sagemaker-role"]
    assert distrusting.level is Level.ERROR
    assert distrusting.found == f"the trust policy of role {ROLE} does not let sagemaker.amazonaws.com assume it"
    iam = aws.client("iam")
    iam.delete_role_policy(RoleName="DDASageMakerExecutionRole", PolicyName="p")
    iam.delete_role(RoleName="DDASageMakerExecutionRole")
    missing = look()
    assert missing["sagemaker-role"].level is Level.ERROR
    assert f"role {ROLE} does not exist in account {ACCOUNT}" in missing["sagemaker-role"].found
    assert missing["sagemaker-role-access"].level is Level.NOT_CHECKED
    foreign = look(sagemaker_execution_role_arn="arn:aws:iam::999999999999:role/R")["sagemaker-role"]
    assert foreign.level is Level.ERROR
    assert "is not in the use case's account" in foreign.found


def test_a_caller_that_may_not_pass_the_role_or_write_packages(aws: LocalAws, look: Look):
    iam = aws.client("iam")
    for name in iam.list_user_policies(UserName="local")["PolicyNames"]:
        iam.delete_user_policy(UserName="local", PolicyName=name)
    wrong = look()
    levels = {"upload": Level.ERROR, "pass-role": Level.ERROR, "tags": Level.WARNING}
    assert {check: each.level for check, each in wrong.items()} == levels
    assert f"{CALLER} may not iam:PassRole on {ROLE}" in wrong["pass-role"].found
    assert f"{CALLER} may not s3:PutObject on arn:aws:s3:::{BUCKET}/model_artifacts/" in wrong["upload"].found


@pytest.mark.parametrize(
    ("action", "kind", "consequence"),
    [
        ("AddTags", "compilation", "compilation jobs are created without tags"),
        ("ListTags", "compilation", "a run then knows its compilation jobs only from its own record"),
        ("ListTags", "training", "tags for model name, targets and use case then count as absent"),
    ],
)
def test_a_caller_without_tag_permissions_gets_warnings_only(
    aws: LocalAws, look: Look, action: str, kind: str, consequence: str
):
    jobs = f"arn:aws:sagemaker:us-east-1:{ACCOUNT}:{kind}-job/*"
    denied = {"Effect": "Deny", "Action": f"sagemaker:{action}", "Resource": jobs}
    document = json.dumps({"Version": "2012-10-17", "Statement": [denied]})
    aws.client("iam").put_user_policy(UserName="local", PolicyName="no-tags", PolicyDocument=document)
    wrong = look()
    assert wrong.keys() == {"tags"}
    assert wrong["tags"].level is Level.WARNING
    assert f"{CALLER} may not sagemaker:{action}" in wrong["tags"].found
    assert consequence in wrong["tags"].found
    assert jobs in wrong["tags"].remedy


def test_without_permission_to_simulate_the_check_is_reported_as_not_checked(aws: LocalAws, look: Look):
    for operation in ("iam:SimulatePrincipalPolicy", "iam:GetRole", "s3:GetBucketEncryption"):
        aws.faults.add("call", operation=operation, error="AccessDenied", times=9)
    wrong = look()
    assert {check: each.level for check, each in wrong.items()} == dict.fromkeys(
        ["upload", "encryption", "sagemaker-role", "sagemaker-role-access", "pass-role", "tags"], Level.NOT_CHECKED
    )
    assert f"{CALLER} may not iam:SimulatePrincipalPolicy on {ROLE}" in wrong["sagemaker-role-access"].found


def test_a_failed_aws_call_is_not_checked_and_stops_no_run(aws: LocalAws, look: Look):
    operations = ("s3:HeadBucket", "s3:ListObjectsV2", "iam:GetRole", "iam:SimulatePrincipalPolicy")
    for operation in (*operations, "s3:GetBucketEncryption"):
        aws.faults.add("call", operation=operation, error="503", times=9)
    wrong = look()
    assert set(wrong) == set(CHECKS) - {"caller", "devices", "region"}
    assert {each.level for each in wrong.values()} == {Level.NOT_CHECKED}


def test_a_kms_key_is_reported_as_not_checked(aws: LocalAws, look: Look):
    rule = {"ApplyServerSideEncryptionByDefault": {"SSEAlgorithm": "aws:kms", "KMSMasterKeyID": "key-1"}}
    aws.client("s3").put_bucket_encryption(Bucket=BUCKET, ServerSideEncryptionConfiguration={"Rules": [rule]})
    encrypted = look()["encryption"]
    assert encrypted.level is Level.NOT_CHECKED
    for word in (BUCKET, "key-1", "kms:Decrypt", ROLE, CALLER):
        assert word in str(encrypted)


@pytest.mark.parametrize(
    ("bucket", "level"),
    [("dda-lids", None), ("factory-dda-7", None), ("lids", Level.WARNING), ("adda-lids", Level.WARNING)],
)
def test_devices_may_read_buckets_with_certain_names(aws: LocalAws, look: Look, bucket: str, level: Level | None):
    aws.client("s3").create_bucket(Bucket=bucket)
    found = look(s3_bucket=bucket)
    assert (found["devices"].level if found else None) == level


def test_no_further_calls_are_made_for_a_caller_in_another_account(aws: LocalAws, look: Look):
    other = look(account_id="999999999999")
    assert other["caller"].level is Level.ERROR
    assert f"{CALLER} is in account {ACCOUNT}, but use case 'lids' is in 999999999999" in other["caller"].found
    assert aws.calls.keys() == {"sts:GetCallerIdentity"}


def test_credentials_that_aws_rejects(aws: LocalAws, look: Look):
    aws.faults.add("call", operation="sts:GetCallerIdentity", error="ExpiredTokenException")
    refused = look()["caller"]
    assert refused.level is Level.ERROR
    assert "does not accept the credentials (ExpiredTokenException" in refused.found


def test_a_role_that_cannot_be_assumed_is_named_with_its_required_trust_policy(aws: LocalAws, look: Look):
    role = f"arn:aws:iam::{ACCOUNT}:role/dda"
    trust = policy("pipeline-trust", WorkerAccount=ACCOUNT, WorkerRole="worker", ExternalId="factory-seven")
    aws.client("iam").create_role(RoleName="dda", AssumeRolePolicyDocument=json.dumps(trust))
    refused = look(cross_account_role_arn=role, external_id="factory-seven")["caller"]
    assert refused.level is Level.ERROR
    for words in (f"role {role} cannot be assumed by {CALLER}", f'{{"AWS": "{CALLER}"}}', "sts:ExternalId"):
        assert words in str(refused)
    assert "factory-seven" not in str(refused)


def test_an_assumed_role_is_checked_by_its_own_arn(aws: LocalAws, look: Look):
    trust = {"Statement": [allow("sts:AssumeRole", Principal={"AWS": ACCOUNT})]}
    aws.client("iam").create_role(RoleName="dda", Path="/factory/", AssumeRolePolicyDocument=json.dumps(trust))
    wrong = look(cross_account_role_arn=f"arn:aws:iam::{ACCOUNT}:role/factory/dda")
    assert wrong.keys() == {"upload", "pass-role", "tags"}
    assert all(f"arn:aws:iam::{ACCOUNT}:role/factory/dda may not" in each.found for each in wrong.values())


def test_a_use_case_without_a_fleet_gets_a_warning_about_current_devices(aws: LocalAws, look: Look):
    assert "fleet" not in look(fleet="original")
    warned = look(fleet=None)["fleet"]
    assert warned.level is Level.WARNING
    assert "original is used" in warned.found
    assert "jetson-xavier none (JetPack 4 is retired" in warned.found
    assert "jetson-xavier-jp5, x86_64-cpu, x86_64-cuda, arm64-cpu" in warned.found
    assert "`dda plan MODEL_TAR --use-case lids --model-name NAME --diff`" in warned.remedy
    assert "`fleet: current`" in warned.remedy
