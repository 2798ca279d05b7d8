"""Checks SageMaker's role, its access to the bucket and the caller's permissions, mostly by simulation."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from typing import NamedTuple

from botocore.exceptions import ClientError

from dda_core.access.findings import ARTIFACTS, Finding, Level, Subject, finding
from dda_core.access.iam import SAGEMAKER, Decision, may_grant, simulate, trusts_service
from dda_core.aws.errors import (
    error_code,
    is_bucket_missing,
    is_bucket_policy_missing,
    is_denied,
    is_entity_missing,
    is_input_invalid,
)
from dda_core.aws.principals import POLICIES, find_principal
from dda_core.naming import compilation_output, repackaged_uri, trained_archive_uri

EXAMPLE = "preflight"
"""A placeholder for a job's name in the simulated keys."""


class Wanted(NamedTuple):
    """A required action on a resource. ``otherwise``: how a run works without it; empty if it does not."""

    action: str
    resource: str
    otherwise: str = ""


def check_sagemaker_role(subject: Subject) -> Iterator[Finding]:
    """Whether the role exists, and SageMaker may assume it."""
    check, role, account = "sagemaker-role", subject.use_case.sagemaker_role, subject.use_case.account_id
    if role.split(":")[4] != account:
        yield finding(
            check,
            Level.ERROR,
            f"role {role} is not in the use case's account {account}, and a role can be passed only within its account",
            "Give the use case a sagemaker_execution_role_arn in its own account.",
        )
        return
    try:
        found = subject.aws.iam.get_role(RoleName=role.rpartition("/")[2])["Role"]
    except ClientError as error:
        if is_denied(error):
            yield _may_not_ask(check, subject, "iam:GetRole", role, error)
            return
        if not is_entity_missing(error):
            raise
        found = {"Arn": ""}
    if found["Arn"] != role:
        other = f"; the role of that name is {found['Arn']}" if found["Arn"] else ""
        yield finding(
            check,
            Level.ERROR,
            f"role {role} does not exist in account {account}{other}",
            f"Create it with the policies {POLICIES}/sagemaker-execution*.json, or give the use case another "
            f"sagemaker_execution_role_arn.",
        )
    elif not trusts_service(found["AssumeRolePolicyDocument"], SAGEMAKER):
        yield finding(
            check,
            Level.ERROR,
            f"the trust policy of role {role} does not let {SAGEMAKER} assume it",
            f'Let it allow sts:AssumeRole for {{"Service": "{SAGEMAKER}"}} '
            f"({POLICIES}/sagemaker-execution-trust.json).",
        )
    else:
        yield finding(check, Level.OK, f"role {role} exists, and {SAGEMAKER} may assume it")


def check_sagemaker_role_access(subject: Subject) -> Iterator[Finding]:
    """Whether the role may read Neo's input and write its output."""
    trained = subject.model_artifact or trained_archive_uri(subject.bucket, EXAMPLE)
    output = compilation_output(subject.bucket, EXAMPLE, EXAMPLE)

    def arn(uri: str) -> str:
        return subject.s3_arn(uri.removeprefix("s3://"))

    wanted = [
        Wanted("s3:GetObject", arn(repackaged_uri(trained))),
        Wanted("s3:PutObject", arn(f"{output}/model.tar.gz")),
        Wanted("s3:ListBucket", subject.s3_arn(subject.bucket)),
    ]
    role, policy = subject.use_case.sagemaker_role, "sagemaker-execution.json"
    yield from _simulated("sagemaker-role-access", subject, role, wanted, policy)


def check_upload(subject: Subject) -> Iterator[Finding]:
    """Whether the caller may write packages."""
    wanted = [Wanted("s3:PutObject", subject.s3_arn(f"{subject.bucket}/{ARTIFACTS}{EXAMPLE}"))]
    yield from _simulated("upload", subject, subject.principal, wanted, "pipeline.json")


def check_pass_role(subject: Subject) -> Iterator[Finding]:
    """Whether the caller may pass the role to SageMaker."""
    wanted = [Wanted("iam:PassRole", subject.use_case.sagemaker_role)]
    yield from _simulated("pass-role", subject, subject.principal, wanted, "pipeline.json")


def check_tags(subject: Subject) -> Iterator[Finding]:
    """Whether the caller may tag compilation jobs and read jobs' tags. A run works without both."""
    start = f"arn:{subject.caller.split(':')[1]}:sagemaker:{subject.use_case.region}:{subject.use_case.account_id}"
    compilation, training = f"{start}:compilation-job/{EXAMPLE}", f"{start}:training-job/{EXAMPLE}"
    recorded = "a run then knows its compilation jobs only from its own record"
    unknown = "a training job's tags for model name, targets and use case then count as absent"
    wanted = [
        Wanted("sagemaker:AddTags", compilation, f"compilation jobs are created without tags, and {recorded}"),
        Wanted("sagemaker:ListTags", compilation, recorded),
        Wanted("sagemaker:ListTags", training, unknown),
    ]
    yield from _simulated("tags", subject, subject.principal, wanted, "pipeline.json")


def _simulated(
    check: str, subject: Subject, principal: str, wanted: Sequence[Wanted], policy: str
) -> Iterator[Finding]:
    """One finding if every action is allowed, else one for each action that is not."""
    if principal.endswith(":root"):
        yield finding(check, Level.OK, f"{principal} may do everything in its account")
        return
    try:
        decisions = _decisions(subject, principal, wanted)
    except ClientError as error:
        if is_denied(error):
            yield _may_not_ask(check, subject, "iam:SimulatePrincipalPolicy", principal, error)
            return
        if not (is_entity_missing(error) or is_input_invalid(error)):
            raise
        yield finding(
            check,
            Level.NOT_CHECKED,
            f"IAM cannot simulate policies for {principal}",
            "Correct the role's name in the use case, or check what that identity may do by hand.",
        )
        return
    refused = [(each, need.otherwise) for each, need in zip(decisions, wanted, strict=True) if not each.allowed]
    for each, otherwise in refused:
        found = _refusal(check, subject, principal, each, policy)
        if otherwise and found.level is Level.ERROR:
            found = finding(check, Level.WARNING, f"{found.found}; {otherwise}", found.remedy)
        yield found
    if not refused:
        actions = ", ".join(dict.fromkeys(each.action for each in decisions))
        yield finding(check, Level.OK, f"{principal} may {actions} (simulated, without bucket and key policies)")


def _decisions(subject: Subject, principal: str, wanted: Sequence[Wanted]) -> list[Decision]:
    iam = subject.aws.iam

    def ask(who: str) -> list[Decision]:
        return [simulate(iam, who, each.action, each.resource, _context(each.action)) for each in wanted]

    try:
        return ask(principal)
    except ClientError as error:
        full_arn = find_principal(iam, principal) if is_entity_missing(error) else principal
        if full_arn == principal:
            raise
        return ask(full_arn)


def _context(action: str) -> dict[str, str]:
    return {"iam:PassedToService": SAGEMAKER} if action == "iam:PassRole" else {}


def _refusal(check: str, subject: Subject, principal: str, decision: Decision, policy: str) -> Finding:
    action, resource = decision.action, decision.resource
    # The simulated key or job is an example, so the remedy is about the whole bucket, or all jobs.
    where = (
        f"{resource.partition('/')[0]}/*" if action.startswith(("s3:", "sagemaker:")) and "/" in resource else resource
    )
    found = f"{principal} may not {action} on {resource}"
    remedy = f"Allow {principal} {action} on {where} ({POLICIES}/{policy})."
    if decision.denied:
        remedy = f"Remove the denial of {action} on {where} from the policies of {principal} or of its organisation."
        return finding(check, Level.ERROR, f"{found}: a policy denies it", remedy)
    unsure = ""
    if decision.depends_on:
        unsure = f"that depends on {', '.join(decision.depends_on)}"
    elif action.startswith("s3:"):
        unsure = _bucket_policy_may_allow(subject, principal, action, resource)
    if unsure:
        return finding(check, Level.NOT_CHECKED, f"{found} by its own policies, but {unsure}", remedy)
    return finding(check, Level.ERROR, f"{found}: no policy allows it", remedy)


def _bucket_policy_may_allow(subject: Subject, principal: str, action: str, resource: str) -> str:
    """Why the bucket policy may allow what the principal's policies do not; empty if it does not."""
    bucket = resource.partition(":::")[2].partition("/")[0]
    try:
        policy = json.loads(subject.aws.s3.get_bucket_policy(Bucket=bucket)["Policy"])
    except ClientError as error:
        if is_bucket_policy_missing(error) or is_bucket_missing(error):
            return ""
        return f"the policy of bucket {bucket} may allow it and cannot be read ({error_code(error)})"
    return f"the policy of bucket {bucket} may allow it" if may_grant(policy, principal, action) else ""


def _may_not_ask(check: str, subject: Subject, action: str, resource: str, error: ClientError) -> Finding:
    return finding(
        check,
        Level.NOT_CHECKED,
        f"not checked, because {subject.principal} may not {action} on {resource} ({error_code(error)})",
        f"Allow {subject.principal} {action} on {resource} ({POLICIES}/pipeline.json), or check it by hand.",
    )
