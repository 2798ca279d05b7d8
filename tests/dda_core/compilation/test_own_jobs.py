"""The compilation jobs that a run creates: with or without tags, and recognised as its own."""

from __future__ import annotations

from typing import Any

import pytest
from botocore.exceptions import ClientError

from dda_core.aws.clients import AwsClients
from dda_core.aws.tags import Maker
from dda_core.compilation.job import CompilationWork, describe_job
from dda_core.compilation.own_jobs import create_job, creator_of, own_first_attempt, stop_jobs_of
from dda_core.exceptions import QuotaReached
from dda_core.targets import find_target
from dda_core.training.job import TrainingJob
from dda_core.use_case import UseCase
from deployments.local.aws import LocalAws, local_aws
from tests.fixtures.archives import trained_archive
from tests.fixtures.denials import allow_again, deny, deny_tags

USE_CASE = UseCase(usecase_id="lids", account_id="123456789012", region="us-east-1", s3_bucket="dda-local-artifacts")


def work(target: str = "arm64-cpu") -> CompilationWork:
    return CompilationWork.of(
        USE_CASE,
        find_target(target),
        TrainingJob(
            name="lid-7",
            arn="arn:aws:sagemaker:us-east-1:123456789012:training-job/lid-7",
            status="Completed",
            model_artifact="s3://dda-local-artifacts/models/training/lid-7/output/model.tar.gz",
        ),
        (1, 3, 224, 224),
    )


class Ledger:
    """A ledger in memory, with every entry in order."""

    def __init__(self) -> None:
        self.jobs: set[str] = set()
        self.entries: list[tuple[str, bool]] = []

    def claim(self, job: str, *, tagged: bool) -> bool:
        self.entries.append((job, tagged))
        new = job not in self.jobs
        self.jobs.add(job)
        return new

    def disclaim(self, job: str) -> None:
        self.jobs.remove(job)


@pytest.fixture
def aws() -> Any:
    with local_aws(server=False, compile_seconds=60) as running:
        yield running


def trained(aws: LocalAws, tmp_path: Any) -> CompilationWork:
    aws.train("lid-7", trained_archive(tmp_path / "model.tar.gz"))
    return work()


def test_without_permission_to_tag_a_job_is_claimed_and_created_without_tags(aws: LocalAws, tmp_path: Any) -> None:
    asked, ledger, sagemaker = trained(aws, tmp_path), Ledger(), aws.client("sagemaker")
    deny(aws, "sagemaker:AddTags")
    made = create_job(sagemaker, asked, 1, Maker("mine"), ledger=ledger)
    assert made is not None
    assert sagemaker.list_tags(ResourceArn=made.arn)["Tags"] == []
    assert ledger.entries == [(made.name, True), (made.name, False)]
    assert ledger.jobs == {made.name}
    described = sagemaker.describe_compilation_job(CompilationJobName=made.name)
    request = asked.request(1)
    for part in ("InputConfig", "OutputConfig", "RoleArn", "StoppingCondition"):
        assert described[part] == request[part], "all but the tags is as it would have been"


def test_any_other_denial_does_not_drop_the_tags(aws: LocalAws, tmp_path: Any) -> None:
    asked, ledger, sagemaker = trained(aws, tmp_path), Ledger(), aws.client("sagemaker")
    message = "User: x is not authorized to perform: iam:PassRole on resource: y"
    aws.faults.add("call", operation="CreateCompilationJob", error="AccessDeniedException", message=message)
    with pytest.raises(ClientError, match="iam:PassRole"):
        create_job(sagemaker, asked, 1, Maker("mine"), ledger=ledger)
    assert aws.calls["sagemaker:CreateCompilationJob"] == 1
    assert ledger.jobs == set()


@pytest.mark.parametrize("tags", [True, False])
def test_a_job_created_first_by_another_run_is_not_claimed(aws: LocalAws, tmp_path: Any, tags: bool) -> None:
    asked, ledger, sagemaker = trained(aws, tmp_path), Ledger(), aws.client("sagemaker")
    if not tags:
        deny_tags(aws)
    one, two = (
        create_job(sagemaker, asked, 1, Maker("other")),
        create_job(sagemaker, asked, 1, Maker("mine"), ledger=ledger),
    )
    assert one is not None
    assert two is not None
    assert one.arn == two.arn
    assert ledger.jobs == set()


@pytest.mark.parametrize("tags", [True, False])
@pytest.mark.parametrize("botocore_repeats", [True, False])
def test_a_job_whose_name_is_in_use_after_a_retry_stays_claimed(
    aws: LocalAws, tmp_path: Any, monkeypatch: pytest.MonkeyPatch, tags: bool, botocore_repeats: bool
) -> None:
    asked, ledger, sagemaker = trained(aws, tmp_path), Ledger(), aws.client("sagemaker")
    if not tags:
        deny_tags(aws)
    # Without the permission the first request is denied because of its tags, and the second creates the job.
    nth = 1 if tags else 2
    aws.faults.add("call", operation="CreateCompilationJob", error="InternalFailure", nth=nth, after_effect=True)
    if botocore_repeats:
        for name, value in aws.environ.items():
            monkeypatch.setenv(name, value)
        sagemaker = AwsClients(USE_CASE).sagemaker
    else:
        with pytest.raises(ClientError, match="InternalFailure"):
            create_job(sagemaker, asked, 1, Maker("mine"), ledger=ledger)
    made = create_job(sagemaker, asked, 1, Maker("mine"), ledger=ledger)
    assert made is not None
    assert ledger.jobs == {made.name}


def test_a_job_without_a_slot_is_not_claimed(tmp_path: Any) -> None:
    with local_aws(server=False, compile_seconds=60, concurrent_compilation_jobs=1) as aws:
        asked, ledger, sagemaker = trained(aws, tmp_path), Ledger(), aws.client("sagemaker")
        deny_tags(aws)
        create_job(sagemaker, work("x86_64-cpu"), 1, Maker("other"))
        with pytest.raises(QuotaReached):
            create_job(sagemaker, asked, 1, Maker("mine"), ledger=ledger)
        assert ledger.jobs == set()


def test_unreadable_tags_count_as_none_and_give_a_warning(aws: LocalAws, tmp_path: Any) -> None:
    made = create_job(aws.client("sagemaker"), trained(aws, tmp_path), 1, Maker("mine"))
    assert made is not None
    sagemaker, warnings = aws.client("sagemaker"), list[str]()
    assert creator_of(sagemaker, made.arn, warnings.append) == "mine"
    assert warnings == []
    deny(aws, "sagemaker:ListTags")
    assert creator_of(sagemaker, made.arn, warnings.append) is None
    [warning] = warnings
    assert "Allow sagemaker:ListTags on compilation-job/*" in warning
    allow_again(aws)
    aws.faults.add("call", operation="ListTags", error="InternalFailure", times=9)
    with pytest.raises(ClientError, match="InternalFailure"):
        creator_of(sagemaker, made.arn)


def test_without_tags_the_record_gives_the_runs_first_attempt(aws: LocalAws, tmp_path: Any) -> None:
    asked, sagemaker = trained(aws, tmp_path), aws.client("sagemaker")
    deny_tags(aws)
    names = []
    for attempt in (1, 2, 3, 4):
        made = create_job(sagemaker, asked, attempt, Maker("any"))
        assert made is not None
        names.append(made.name)
    newest = describe_job(sagemaker, asked, 4)

    def first(own: dict[str, int], retry: int = 0) -> int | None:
        return own_first_attempt(sagemaker, asked, newest, Maker("mine", retry), own)

    assert first({}) is None
    assert first({names[3]: 0, names[2]: 0}) == 3
    assert first({names[3]: 1, names[2]: 0}) == 3
    assert first({names[3]: 1, names[2]: 0}, retry=1) == 4
    assert first({names[3]: 0, names[1]: 0}) == 4, "what another run made in between is the end of it"


def test_without_tags_the_recorded_jobs_are_stopped(aws: LocalAws, tmp_path: Any) -> None:
    trained(aws, tmp_path)
    sagemaker = aws.client("sagemaker")
    theirs = create_job(sagemaker, work("jetson-xavier"), 1, Maker("other"))
    deny_tags(aws)
    mine, joined = (create_job(sagemaker, work(target), 1, Maker("any")) for target in ("arm64-cpu", "x86_64-cpu"))
    assert mine is not None
    assert joined is not None
    assert theirs is not None
    assert stop_jobs_of(sagemaker, "lid-7", "mine", {mine.name}) == [mine.name]
    allow_again(aws)
    assert stop_jobs_of(sagemaker, "lid-7", "mine", {theirs.name}) == [], "what a tag says counts more"
    assert stop_jobs_of(sagemaker, "lid-7", "mine") == []


def test_the_runs_first_attempt_is_known_from_the_jobs_alone(aws: LocalAws, tmp_path: Any) -> None:
    asked = trained(aws, tmp_path)
    sagemaker = aws.client("sagemaker")
    assert own_first_attempt(sagemaker, asked, None, Maker("mine")) is None
    for attempt, run, retry in ((1, "mine", 0), (2, "other", 0), (3, "mine", 0), (4, "mine", 1), (5, "mine", 1)):
        create_job(sagemaker, asked, attempt, Maker(run, retry))

    def first(attempt: int, run: str, retry: int) -> int | None:
        return own_first_attempt(sagemaker, asked, describe_job(sagemaker, asked, attempt), Maker(run, retry))

    assert first(1, "mine", 0) == 1
    assert first(3, "mine", 0) == 3, "what another run made in between is the end of it"
    assert (first(5, "mine", 0), first(5, "mine", 1)) == (3, 4)
    assert first(3, "mine", 1) is None
    assert first(5, "other", 0) is None


def test_a_name_in_use_returns_the_existing_job(aws: LocalAws, tmp_path: Any) -> None:
    asked = trained(aws, tmp_path)
    sagemaker = aws.client("sagemaker")
    one, two = (create_job(sagemaker, asked, 1, Maker(run)) for run in ("run-a", "run-b"))
    assert one is not None
    assert two is not None
    assert one.arn == two.arn


def test_a_reached_quota_has_its_own_error(tmp_path: Any) -> None:
    with local_aws(server=False, compile_seconds=60, concurrent_compilation_jobs=1) as aws:
        asked = trained(aws, tmp_path)
        sagemaker = aws.client("sagemaker")
        create_job(sagemaker, asked, 1, None)
        with pytest.raises(QuotaReached, match="no free slot"):
            create_job(sagemaker, asked, 2, None)


def test_only_the_runs_own_jobs_are_stopped(aws: LocalAws, tmp_path: Any) -> None:
    trained(aws, tmp_path)
    sagemaker = aws.client("sagemaker")
    mine = create_job(sagemaker, work("arm64-cpu"), 1, Maker("mine"))
    create_job(sagemaker, work("x86_64-cpu"), 1, Maker("other"))
    assert mine is not None
    assert stop_jobs_of(sagemaker, "lid-7", "mine") == [mine.name]
    assert stop_jobs_of(sagemaker, "lid-7", "mine") == []
    other = describe_job(sagemaker, work("x86_64-cpu"), 1)
    assert other is not None
    assert other.status.active


def test_a_job_that_ended_before_it_could_be_stopped_is_not_counted(aws: LocalAws, tmp_path: Any) -> None:
    trained(aws, tmp_path)
    sagemaker = aws.client("sagemaker")
    made = create_job(sagemaker, work("arm64-cpu"), 1, Maker("mine"))
    assert made is not None
    status = {"CompilationJobStatus": "COMPLETED"}

    def refuse(**_: Any) -> None:
        raise ClientError({"Error": {"Code": "ValidationException", "Message": "it has ended"}}, "StopCompilationJob")

    def ended(parsed: dict[str, Any], **_: Any) -> None:
        parsed.update(status)

    sagemaker.meta.events.register("before-call.sagemaker.StopCompilationJob", refuse)
    sagemaker.meta.events.register("after-call.sagemaker.DescribeCompilationJob", ended)
    assert stop_jobs_of(sagemaker, "lid-7", "mine") == []
    status["CompilationJobStatus"] = "INPROGRESS"
    with pytest.raises(ClientError, match="it has ended"):
        stop_jobs_of(sagemaker, "lid-7", "mine")
