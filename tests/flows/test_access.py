"""The flow's access check, and the credentials of a use case's role during a run."""

from __future__ import annotations

import asyncio
import json
import time
from datetime import UTC, datetime, timedelta
from functools import partial
from typing import Any

import botocore.credentials
import pytest
from botocore.credentials import DeferredRefreshableCredentials
from prefect.client.schemas.objects import StateType

import dda_core.aws.clients
from dda_core.runs.status import RunStatus
from dda_core.use_case import UseCase
from deployments.policies import policy
from tasks.store.use_cases import UseCaseBlock
from tests.flows.conftest import ACCOUNT, Pipeline

ROLE = f"arn:aws:iam::{ACCOUNT}:role/DDASageMakerExecutionRole"


def take_from_role(pipeline: Pipeline) -> None:
    """Remove the SageMaker role's permissions on the bucket."""
    iam = pipeline.aws.client("iam")
    trust = json.dumps(policy("sagemaker-execution-trust"))
    iam.create_role(RoleName="DDASageMakerExecutionRole", AssumeRolePolicyDocument=trust)


async def test_a_role_without_bucket_access_fails_the_run_before_any_job(pipeline: Pipeline) -> None:
    pipeline.train()
    take_from_role(pipeline)
    began = time.monotonic()
    view = await pipeline.run(targets=["x86_64-cpu", "arm64-cpu"])
    assert time.monotonic() - began < 20
    state = await pipeline.state(view)
    assert state.type is StateType.FAILED
    for target in view.targets.values():
        assert target.status == "failed"
        for words in (ROLE, "s3:GetObject", "s3:ListBucket", pipeline.aws.bucket, "sagemaker-execution.json"):
            assert words in str(target.reason)
        assert "dda preflight" in str(target.remedy)
    assert list(view.targets) == ["x86_64-cpu", "arm64-cpu"]
    assert ACCOUNT not in str(state.message)
    assert "access check of use case 'local'" in str(state.message)
    assert pipeline.jobs() == []
    assert pipeline.aws.calls["s3:CreateMultipartUpload"] + pipeline.aws.calls["s3:PutObject"] == 1  # its archive


async def test_a_retry_after_the_remedy_succeeds(pipeline: Pipeline) -> None:
    pipeline.train()
    take_from_role(pipeline)
    failed = await pipeline.run(targets=["x86_64-cpu"])
    values = {"Account": ACCOUNT, "Region": "us-east-1", "Bucket": pipeline.aws.bucket}
    pipeline.aws.client("iam").put_role_policy(
        RoleName="DDASageMakerExecutionRole",
        PolicyName="p",
        PolicyDocument=json.dumps(policy("sagemaker-execution", **values)),
    )
    run = await pipeline.flow_run(failed)
    assert (await pipeline.go_on(run.id, retry=True)).status is RunStatus.COMPLETED


async def test_an_unknown_training_job_is_reported_before_access_is_checked(pipeline: Pipeline) -> None:
    take_from_role(pipeline)
    state = await pipeline.state(await pipeline.run("nobody"))
    assert "training job 'nobody' is not in account" in str(state.message)
    assert pipeline.aws.calls["iam:SimulatePrincipalPolicy"] == 0


@pytest.mark.slow
@pytest.mark.parametrize("error", ["AccessDenied", "Throttling", "500"])
async def test_what_could_not_be_checked_fails_no_run(
    pipeline: Pipeline, error: str, caplog: pytest.LogCaptureFixture
) -> None:
    pipeline.train()
    for operation in ("iam:SimulatePrincipalPolicy", "iam:GetRole", "s3:GetBucketEncryption"):
        pipeline.aws.faults.add("call", operation=operation, error=error, times=20)
    if error != "AccessDenied":
        for operation in ("sts:GetCallerIdentity", "s3:HeadBucket"):
            pipeline.aws.faults.add("call", operation=operation, error=error, times=20)
    view = await pipeline.run(targets=["x86_64-cpu"])
    assert view.status is RunStatus.COMPLETED
    checks = {"AccessDenied": "sagemaker-role-access: not checked"}.get(error, "caller: not checked")
    assert any(checks in record.message for record in caplog.records if record.levelname == "WARNING")


@pytest.mark.slow
@pytest.mark.parametrize("aws_options", [{"compile_seconds": 1}])
async def test_a_session_that_expires_mid_run_is_renewed(pipeline: Pipeline, monkeypatch: pytest.MonkeyPatch) -> None:
    pipeline.train()
    iam = pipeline.aws.client("iam")
    # The caller of the embedded AWS is a user, so the policy's role becomes that user.
    trust = json.dumps(policy("pipeline-trust", WorkerAccount=ACCOUNT, WorkerRole="worker", ExternalId="seven"))
    trust = trust.replace("role/worker", "user/local")
    iam.create_role(RoleName="DDAPipeline", AssumeRolePolicyDocument=trust)
    values = {
        "Account": ACCOUNT,
        "Region": "us-east-1",
        "Bucket": pipeline.aws.bucket,
        "SageMakerRole": "DDASageMakerExecutionRole",
        "PipelineRole": "DDAPipeline",
    }
    document = json.dumps(policy("pipeline", **values))
    iam.put_role_policy(RoleName="DDAPipeline", PolicyName="p", PolicyDocument=document)
    fields: dict[str, Any] = {"usecase_id": "local", "account_id": ACCOUNT, "region": "us-east-1"}
    role = f"arn:aws:iam::{ACCOUNT}:role/DDAPipeline"
    use_case = UseCase(
        **fields,
        s3_bucket=pipeline.aws.bucket,
        cross_account_role_arn=role,
        external_id="seven",  # type: ignore[arg-type]
    )
    await UseCaseBlock.of(use_case).asave("local", overwrite=True)
    ahead = [timedelta()]

    def clock() -> datetime:
        return datetime.now(UTC) + ahead[0]

    monkeypatch.setattr(botocore.credentials, "_local_now", clock)
    monkeypatch.setattr(
        dda_core.aws.clients,
        "DeferredRefreshableCredentials",
        partial(DeferredRefreshableCredentials, time_fetcher=clock),
    )
    running = asyncio.ensure_future(pipeline.run(targets=["x86_64-cpu"]))
    await pipeline.until(lambda: pipeline.aws.calls["sagemaker:CreateCompilationJob"])
    assert pipeline.aws.calls["sts:AssumeRole"] == 1
    ahead[0] = timedelta(minutes=50)
    assert (await running).status is RunStatus.COMPLETED
    # The emulated STS uses its own clock, so each of the new sessions is about to expire too.
    assert pipeline.aws.calls["sts:AssumeRole"] > 1
