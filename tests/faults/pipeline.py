"""The real flow on the session's Prefect server, run repeatedly against one embedded AWS."""

from __future__ import annotations

import asyncio
import itertools
import json
from collections import Counter
from collections.abc import AsyncIterator, Awaitable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any
from uuid import UUID

import pytest
from botocore.exceptions import ClientError
from botocore.retries.standard import ExponentialBackoff
from moto.s3 import models as moto_s3

from dda_core.archives import s3_sink
from dda_core.aws.clients import IMPATIENT
from dda_core.components.published import check_component
from dda_core.failures import catalogue
from dda_core.model.package import STAGING
from dda_core.runs.status import RunStatus, TargetStatus
from dda_core.runs.view import RunView
from dda_core.use_case import UseCase
from deployments.local.aws import LocalAws, local_aws
from deployments.local.aws.connection import ConnectionFault
from deployments.policies import policy
from tasks.store.history import LOST
from tasks.store.use_cases import UseCaseBlock
from tests.faults.cases import ATTEMPTS, Case, Storm
from tests.faults.documented import RECOVERED, Expected, Outcome, Reason, expected
from tests.fixtures.archives import trained_archive
from tests.flows.conftest import ACCOUNT, FAST, Pipeline

TARGET = "arm64-cpu"
REGION = "us-east-1"
ROLE = f"arn:aws:iam::{ACCOUNT}:role/dda-portal-access"
EXTERNAL_ID = "factory-seven"
TIGHT = {
    **FAST,
    "DDA_MAX_ATTEMPTS": str(ATTEMPTS),
    "DDA_CONNECT_TIMEOUT_SECONDS": "5",
    "DDA_POLL_ERRORS": "3",
    "DDA_QUOTA_TIMEOUT_SECONDS": "0.3",
    "DDA_SAGEMAKER_CALLS_PER_SECOND": "0",
    "DDA_GREENGRASS_CALLS_PER_SECOND": "0",
    "DDA_COMPILATION_JOBS_PER_SECOND": "0",
    "DDA_COMPONENT_VERSIONS_PER_SECOND": "0",
}
SOON, LATE = 1.0, 30.0
"""Read timeouts in seconds, for a response that is held back and otherwise; the latter allows for a busy machine."""
LIMIT_SECONDS = 60.0
"""Time limit for a run, whatever happens to its calls and however busy the machine is."""
_numbers = itertools.count(1)
ROWS = {row.cause: row for row in catalogue().rows}


class ManyRuns:
    """One embedded AWS, the flow, and a new training job with its own model for each case."""

    def __init__(self, aws: LocalAws, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        self.aws = aws
        self._pipeline = Pipeline(aws, folder)
        self._monkeypatch = monkeypatch
        self._gone_on: set[tuple[str, Reason | None]] = set()
        self._wait_for_answers(LATE)

    def train(self) -> str:
        number = next(_numbers)
        # The session's Prefect server also has the runs of other tests, which like the name lid.
        name = f"faulted-{number}"
        archive = trained_archive(self._pipeline.folder / f"{name}.tar.gz", seed=number)
        self.aws.train(name, archive)
        archive.unlink()
        return name

    async def run(self, training_job: str) -> RunView:
        async with asyncio.timeout(LIMIT_SECONDS):
            return await self._pipeline.run(training_job, targets=[TARGET])

    async def retry(self, view: RunView) -> RunView:
        async with asyncio.timeout(LIMIT_SECONDS):
            return await self._pipeline.go_on(UUID(view.flow_run_id), retry=True)

    async def undisturbed(self) -> tuple[Counter[str], Counter[str]]:
        """The calls of a run that does everything, and those of one that finds everything done."""
        training_job = self.train()
        return await self._calls(self.run(training_job)), await self._calls(self.run(training_job))

    async def _calls(self, run: Awaitable[RunView]) -> Counter[str]:
        before = self.aws.calls
        assert (await run).status is RunStatus.COMPLETED
        return self.aws.calls - before

    async def check(self, case: Case, *, retried: bool) -> None:
        """Run the flow with the fault; if it fails, again without: the same run if ``retried``, otherwise a new one.

        A failure that the operation had in an earlier case is not followed up again.
        """
        training_job = self.train()
        if case.again:
            await self.run(training_job)
        view, faults = await self._run_with(training_job, case)
        assert faults[0]["struck"], "the fault hit no call"
        struck = faults[0]["requests"]
        ends = expected(case, struck)
        try:
            await self._check_end(view, ends)
        except AssertionError as error:
            error.add_note(f"struck: {struck}")
            raise
        assert len(self.jobs(training_job)) <= 1
        assert len(self.versions(training_job)) <= 1
        self._check_bucket(case)

        if ends.outcome is Outcome.FAILED:
            if (case.operation, ends.reason) in self._gone_on:
                return
            self._gone_on.add((case.operation, ends.reason))
            view = await (self.retry(view) if retried else self.run(training_job))
        self._check_delivered(view, training_job)
        self._check_bucket()

    async def survive(self, storm: Storm) -> int:
        """Run the flow while each operation fails once, which it must survive; returns how many failed."""
        training_job = self.train()
        view, faults = await self._run_with(training_job, *storm.cases)
        await self._check_end(view, RECOVERED)
        self._check_delivered(view, training_job)
        self._check_bucket(*storm.cases)
        calm = [fault["operation"] for fault in faults if not fault["struck"]]
        assert not calm, f"hit no call: {calm}"
        return len(faults)

    async def _run_with(self, training_job: str, *cases: Case) -> tuple[RunView, list[dict[str, Any]]]:
        """The run, and how often each fault hit which requests."""
        if any(case.error == ConnectionFault.READ_TIMEOUT for case in cases):
            self._wait_for_answers(SOON)
        for case in cases:
            self._put(case)
        try:
            return await self.run(training_job), self.aws.faults.listed()
        finally:
            self.aws.faults.clear()
            self._wait_for_answers(LATE)

    def _wait_for_answers(self, seconds: float) -> None:
        self._monkeypatch.setenv("DDA_READ_TIMEOUT_SECONDS", str(seconds))
        self._monkeypatch.setitem(IMPATIENT, "read_timeout_seconds", seconds)

    def _put(self, case: Case) -> None:
        says = {} if case.error in set(ConnectionFault) else {"message": case.message}
        self.aws.faults.add(
            "call",
            operation=case.operation,
            error=case.error,
            nth=case.nth,
            times=case.times,
            after_effect=case.after_effect,
            **says,
        )

    async def _check_end(self, view: RunView, ends: Expected) -> None:
        message = str((await self._pipeline.state(view)).message)
        target = view.targets[TARGET]
        if ends.reason is None:
            assert view.status is RunStatus.COMPLETED, f"{message}; {target.reason}"
            assert target.reason is None
            return
        assert view.status is RunStatus.FAILED, message
        assert view.state == "Failed"
        assert "encountered an exception" not in message
        assert target.reason
        assert target.reason != LOST
        assert target.remedy
        row = ROWS[str(target.cause)]
        assert not row.fallback, f"not classified: {target.reason}"
        assert ends.reason.says in row.cause, target.reason
        assert row.retry == ends.reason.retry, f"{target.reason}: {target.cause}"

    def _check_delivered(self, view: RunView, training_job: str) -> None:
        assert view.status is RunStatus.COMPLETED, view
        assert view.targets[TARGET].status in (TargetStatus.DEPLOYABLE, TargetStatus.SKIPPED)
        assert len(self.jobs(training_job)) == 1
        assert self.versions(training_job) == ["1.0.0"]
        [line] = [each for each in view.targets.values() if each.arn]
        check = check_component(self.aws.client("greengrassv2"), self.aws.client("s3"), str(line.arn))
        assert check.ok, [str(finding) for finding in check.findings]

    def jobs(self, training_job: str) -> list[str]:
        found = self.aws.client("sagemaker").list_compilation_jobs(NameContains=f"{training_job}-", MaxResults=100)
        return [each["CompilationJobName"] for each in found["CompilationJobSummaries"]]

    def versions(self, training_job: str) -> list[str]:
        arn = f"arn:aws:greengrass:{REGION}:{ACCOUNT}:components:model-{training_job}-{TARGET}"
        try:
            found = self.aws.client("greengrassv2").list_component_versions(arn=arn)
        except ClientError:
            return []
        return [row["componentVersion"] for row in found["componentVersions"]]

    def _check_bucket(self, *cases: Case) -> None:
        """No upload is open and nothing staged, unless the failed call should have removed it or returned its name."""
        s3, bucket = self.aws.client("s3"), self.aws.bucket
        uploads = s3.list_multipart_uploads(Bucket=bucket).get("Uploads", [])
        staged = s3.list_objects_v2(Bucket=bucket, Prefix=STAGING).get("Contents", [])
        for each in uploads:
            s3.abort_multipart_upload(Bucket=bucket, Key=each["Key"], UploadId=each["UploadId"])
        for each in staged:
            s3.delete_object(Bucket=bucket, Key=each["Key"])
        struck = {case.operation for case in cases}
        assert not uploads or "s3:CreateMultipartUpload" in struck, uploads
        assert not staged or "s3:DeleteObject" in struck, staged


@asynccontextmanager
async def many_runs(folder: Path, monkeypatch: pytest.MonkeyPatch, **options: Any) -> AsyncIterator[ManyRuns]:
    """The flow against its own embedded AWS, in a use case with a role to assume.

    ``options`` are those of ``local_aws``.
    """
    monkeypatch.delenv("AWS_ENDPOINT_URL", raising=False)
    with local_aws(**options) as aws:
        for name, value in {**TIGHT, **aws.environ}.items():
            monkeypatch.setenv(name, value)
        _add_role(aws)
        use_case = UseCase(
            usecase_id="local",
            account_id=ACCOUNT,
            region=REGION,
            s3_bucket=aws.bucket,
            cross_account_role_arn=ROLE,
            external_id=EXTERNAL_ID,
        )
        await UseCaseBlock.of(use_case).asave("local", overwrite=True)
        yield ManyRuns(aws, folder, monkeypatch)


def _add_role(aws: LocalAws) -> None:
    statement: dict[str, Any] = {"Effect": "Allow", "Action": "sts:AssumeRole", "Principal": {"AWS": ACCOUNT}}
    statement["Condition"] = {"StringEquals": {"sts:ExternalId": EXTERNAL_ID}}
    values = {"Account": ACCOUNT, "Region": REGION, "Bucket": aws.bucket, "PipelineRole": "*"}
    may = policy("pipeline", SageMakerRole="DDASageMakerExecutionRole", **values)
    iam, name = aws.client("iam"), ROLE.rpartition("/")[2]
    trust = {"Version": "2012-10-17", "Statement": [statement]}
    iam.create_role(RoleName=name, AssumeRolePolicyDocument=json.dumps(trust))
    iam.put_role_policy(RoleName=name, PolicyName="pipeline", PolicyDocument=json.dumps(may))


def make_runs_short(monkeypatch: pytest.MonkeyPatch) -> None:
    """Shorter waits, and multipart uploads although the model is small."""
    monkeypatch.setattr(ExponentialBackoff, "delay_amount", lambda *_: 0.01)
    monkeypatch.setattr(s3_sink, "PART", 256 << 10)
    monkeypatch.setattr(moto_s3, "S3_UPLOAD_PART_MIN_SIZE", 1)
