"""Checks within seconds, before any job, that caller, SageMaker role and devices have the access that runs need.

Nothing is written. A definite result is ``ok`` or ``error``; anything else (no permission to ask, no response, a policy
that a simulation does not cover) is ``not-checked`` and stops no run.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor

from botocore.exceptions import BotoCoreError, ClientError

from dda_core.access.buckets import (
    check_artifacts,
    check_buckets,
    check_devices,
    check_encryption,
    check_trained_archive,
)
from dda_core.access.findings import Finding, Level, Subject, finding
from dda_core.access.roles import (
    check_pass_role,
    check_sagemaker_role,
    check_sagemaker_role_access,
    check_tags,
    check_upload,
)
from dda_core.aws.clients import AwsClients
from dda_core.aws.errors import error_code, error_message, is_denied
from dda_core.aws.principals import POLICIES
from dda_core.exceptions import AccessRefused, RoleNotAssumable, TrainingJobMissing
from dda_core.failures import guidance_for
from dda_core.fleets import new_fleet
from dda_core.training.job import describe_training_job
from dda_core.use_case import UseCase

MAX_THREADS = 8
Check = Callable[[Subject], Iterator[Finding]]


def inspect_access(
    aws: AwsClients, *, model_artifact: str | None = None, training_job: str | None = None
) -> list[Finding]:
    """The findings of all checks, in the order of the checks.

    If the caller is not in the use case's account, no further AWS calls are made: they would check someone else.

    Args:
        aws: the use case's clients; their credentials are used, with shorter timeouts.
        model_artifact: the ``s3://`` URI of a training job's archive, checked too if known.
        training_job: look up this job, and check its archive.
    """
    use_case, aws = aws.use_case, aws.impatient()
    # Created before the threads, because creating clients is not thread-safe.
    _ = aws.sts, aws.s3, aws.iam
    callers, caller = _check_caller(aws)
    findings = [*callers, check_devices(use_case), *check_fleet(use_case)]
    if caller is None:
        return findings
    if training_job:
        found, model_artifact = _check_training_job(aws, caller, training_job)
        findings.append(found)
    checks: dict[str, Check] = {
        "bucket": check_buckets,
        "artifacts": check_artifacts,
        **({"trained-archive": check_trained_archive} if model_artifact else {}),
        "upload": check_upload,
        "encryption": check_encryption,
        "sagemaker-role": check_sagemaker_role,
        "sagemaker-role-access": check_sagemaker_role_access,
        "pass-role": check_pass_role,
        "tags": check_tags,
    }
    subject = Subject(aws, caller, model_artifact)
    with ThreadPoolExecutor(MAX_THREADS, thread_name_prefix="dda-preflight") as pool:
        for each in pool.map(lambda named: _run_check(named[0], named[1], subject), checks.items()):
            findings += each
    return findings


def check_fleet(use_case: UseCase) -> Iterator[Finding]:
    """Warn if the use case names no fleet: it then publishes for the original preset."""
    if use_case.fleet is not None:
        return
    preset, new = use_case.preset, new_fleet()
    need = ", ".join(
        f"{name} {new.localserver.get(name) or f'none ({new.refused[name]})'}"
        for name, localserver in preset.localserver.items()
        if new.localserver.get(name) != localserver and name not in use_case.localserver
    )
    now = f" and default targets {', '.join(new.targets)}" if not use_case.targets else ""
    yield finding(
        "fleet",
        Level.WARNING,
        f"use case {use_case.usecase_id!r} names no fleet, so {preset.name} is used; "
        f"current fleets ({new.name}) have other LocalServer components ({need}){now}",
        f"See what a fleet changes with `dda plan MODEL_TAR --use-case {use_case.usecase_id} --model-name NAME "
        f"--diff`, then write `fleet: {new.name}` or `fleet: {preset.name}` into the use case's file and save it.",
    )


def refuse_errors(use_case: UseCase, findings: Iterable[Finding]) -> None:
    """Raise if any finding is an error.

    Raises:
        AccessRefused: with each error and its remedy.
    """
    errors = [each for each in findings if each.level is Level.ERROR]
    if errors:
        raise AccessRefused(use_case.usecase_id, errors)


def _run_check(name: str, check: Check, subject: Subject) -> list[Finding]:
    """The check's findings; a ``not-checked`` finding if it fails."""
    try:
        return list(check(subject))
    except Exception as error:
        # An unexpected error says nothing about access, so it must not stop a run.
        return [_not_checked(name, error)]


def _not_checked(check: str, error: Exception) -> Finding:
    why = f"{error_code(error) or type(error).__name__}: {error_message(error)}".rstrip(".")
    return finding(
        check, Level.NOT_CHECKED, f"not checked, because the AWS call failed ({why})", guidance_for(error).remedy
    )


def _check_caller(aws: AwsClients) -> tuple[list[Finding], str | None]:
    """Findings on the credentials, and the caller's ARN if it is in the use case's account."""
    use_case = aws.use_case
    try:
        identity = aws.sts.get_caller_identity()
    except RoleNotAssumable as refused:
        return [finding("caller", Level.ERROR, refused.found, refused.remedy)], None
    except (ClientError, BotoCoreError, OSError) as error:
        # No policy can deny this call, so a permanent refusal is about the credentials.
        if not isinstance(error, ClientError) or guidance_for(error).retry != "never":
            return [_not_checked("caller", error)], None
        what = f"AWS does not accept the credentials ({error_code(error)}: {error_message(error).rstrip('.')})"
        remedy = (
            "Run `aws configure` or `aws sso login`, or set AWS_PROFILE; `dda config show` shows what is in effect."
        )
        return [finding("caller", Level.ERROR, what, remedy)], None
    arn, account = identity["Arn"], identity["Account"]
    if account != use_case.account_id:
        return [
            finding(
                "caller",
                Level.ERROR,
                f"{arn} is in account {account}, but use case {use_case.usecase_id!r} is in {use_case.account_id}",
                f"Use credentials of account {use_case.account_id} (AWS_PROFILE), give the use case a "
                f"cross_account_role_arn of that account, or correct its account_id.",
            )
        ], None
    role, how = use_case.cross_account_role_arn, ""
    if role:
        how = f"; role {role} was assumed {'with' if use_case.external_id else 'without'} an external id"
    return [finding("caller", Level.OK, f"{arn} is in the use case's account{how}")], arn


def _check_training_job(aws: AwsClients, caller: str, name: str) -> tuple[Finding, str | None]:
    check, use_case = "training-job", aws.use_case
    try:
        job = describe_training_job(aws.sagemaker, name, use_case)
    except TrainingJobMissing as error:
        return finding(check, Level.ERROR, error.found, error.remedy), None
    except (ClientError, BotoCoreError, OSError) as error:
        if not isinstance(error, ClientError) or not is_denied(error):
            return _not_checked(check, error), None
        who = Subject(aws, caller).principal
        action = f"sagemaker:{error.operation_name}"
        remedy = f"Allow {who} {action} on training jobs ({POLICIES}/pipeline.json)."
        return finding(check, Level.ERROR, f"{who} may not {action} for {name} in {use_case.region}", remedy), None
    return finding(check, Level.OK, f"training job {name} is {job.status} in {use_case.region}"), job.model_artifact
