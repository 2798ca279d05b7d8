"""Whether caller, SageMaker role and devices can reach what a use case's runs need; asked in seconds, before any job.

Nothing is written. What AWS answers for certain is ``ok`` or ``error``; what it does not tell (no permission to ask,
no answer, a rule that a simulation cannot see) is ``not-checked``, and stops nobody.
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

AT_ONCE = 8
Check = Callable[[Subject], Iterator[Finding]]


def inspect_access(
    aws: AwsClients, *, model_artifact: str | None = None, training_job: str | None = None
) -> list[Finding]:
    """What each check found, in the order of the checks.

    Where the caller is not who the use case needs, nothing further is asked of AWS: it would be said of somebody else.

    Args:
        aws: the use case's clients; their credentials are used, not their patience.
        model_artifact: the ``s3://`` URI of a training job's archive, looked at too where it is known.
        training_job: look this one up, and then its archive.
    """
    use_case, aws = aws.use_case, aws.impatient()
    # Made before the threads: making clients is not safe in several at once.
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
    with ThreadPoolExecutor(AT_ONCE, thread_name_prefix="dda-preflight") as pool:
        for each in pool.map(lambda named: _patient(named[0], named[1], subject), checks.items()):
            findings += each
    return findings


def check_fleet(use_case: UseCase) -> Iterator[Finding]:
    """Warn where nobody chose the use case's fleet: it publishes as before there was a choice."""
    if use_case.fleet is not None:
        return
    preset, new = use_case.preset, new_fleet()
    need = ", ".join(
        f"{name} {new.localserver.get(name) or f'none ({new.refused[name]})'}"
        for name, localserver in preset.localserver.items()
        if new.localserver.get(name) != localserver and name not in use_case.localserver
    )
    now = f", and of its own default targets {', '.join(new.targets)}" if not use_case.targets else ""
    yield finding(
        "fleet",
        Level.WARNING,
        f"use case {use_case.usecase_id!r} names no fleet, so {preset.name} is taken, as before there was a choice; "
        f"devices of today's fleets ({new.name}) have other LocalServer components ({need}){now}",
        f"See what a fleet changes with `dda plan MODEL_TAR --use-case {use_case.usecase_id} --model-name NAME "
        f"--diff`, then write `fleet: {new.name}` or `fleet: {preset.name}` into the use case's file and save it.",
    )


def refuse_errors(use_case: UseCase, findings: Iterable[Finding]) -> None:
    """Do nothing where no finding is an error.

    Raises:
        AccessRefused: some are; it has each, with its remedy.
    """
    errors = [each for each in findings if each.level is Level.ERROR]
    if errors:
        raise AccessRefused(use_case.usecase_id, errors)


def _patient(name: str, check: Check, subject: Subject) -> list[Finding]:
    """What the check found; that it found nothing, where AWS did not answer it."""
    try:
        return list(check(subject))
    except Exception as error:
        # Whatever it is: it says nothing about access, so it stops nobody.
        return [_untold(name, error)]


def _untold(check: str, error: Exception) -> Finding:
    why = f"{error_code(error) or type(error).__name__}: {error_message(error)}".rstrip(".")
    return finding(
        check, Level.NOT_CHECKED, f"not checked, because AWS did not tell ({why})", guidance_for(error).remedy
    )


def _check_caller(aws: AwsClients) -> tuple[list[Finding], str | None]:
    """Whose credentials these are; and the caller's ARN, unless it is nobody of use."""
    use_case = aws.use_case
    try:
        identity = aws.sts.get_caller_identity()
    except RoleNotAssumable as refused:
        return [finding("caller", Level.ERROR, refused.found, refused.remedy)], None
    except (ClientError, BotoCoreError, OSError) as error:
        # Nobody can be forbidden this call: what it refuses for good are the credentials.
        if not isinstance(error, ClientError) or guidance_for(error).retry != "never":
            return [_untold("caller", error)], None
        what = f"AWS does not accept the credentials ({error_code(error)}: {error_message(error).rstrip('.')})"
        remedy = "Run `aws configure` or `aws sso login`, or set AWS_PROFILE; `dda config show` tells what is in force."
        return [finding("caller", Level.ERROR, what, remedy)], None
    arn, account = identity["Arn"], identity["Account"]
    if account != use_case.account_id:
        return [
            finding(
                "caller",
                Level.ERROR,
                f"{arn} is of account {account}, and use case {use_case.usecase_id!r} of account {use_case.account_id}",
                f"Use credentials of account {use_case.account_id} (AWS_PROFILE), give the use case a "
                f"cross_account_role_arn of that account, or correct its account_id.",
            )
        ], None
    role, how = use_case.cross_account_role_arn, ""
    if role:
        how = f"; role {role} was assumed {'with' if use_case.external_id else 'without'} an external id"
    return [finding("caller", Level.OK, f"{arn} is of the use case's account{how}")], arn


def _check_training_job(aws: AwsClients, caller: str, name: str) -> tuple[Finding, str | None]:
    check, use_case = "training-job", aws.use_case
    try:
        job = describe_training_job(aws.sagemaker, name, use_case)
    except TrainingJobMissing as error:
        return finding(check, Level.ERROR, error.found, error.remedy), None
    except (ClientError, BotoCoreError, OSError) as error:
        if not isinstance(error, ClientError) or not is_denied(error):
            return _untold(check, error), None
        who = Subject(aws, caller).principal
        action = f"sagemaker:{error.operation_name}"
        remedy = f"Allow {who} {action} on training jobs ({POLICIES}/pipeline.json)."
        return finding(check, Level.ERROR, f"{who} may not {action} for {name} in {use_case.region}", remedy), None
    return finding(check, Level.OK, f"training job {name} is {job.status} in {use_case.region}"), job.model_artifact
