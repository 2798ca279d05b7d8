"""The emulated IAM: moto's, with SimulatePrincipalPolicy, which moto has not; and what a role may do."""

from __future__ import annotations

import json
import re
from typing import Any, Literal

from moto.core import DEFAULT_ACCOUNT_ID
from moto.core.responses import ActionResult
from moto.iam.models import iam_backends
from moto.iam.responses import IamResponse

from deployments.local.aws.dispatch import error_status
from deployments.local.aws.environment import partition
from deployments.local.aws.errors import AwsError
from deployments.local.aws.shapes import request_violations, summary
from deployments.policies import policy

Decision = Literal["allowed", "explicitDeny", "implicitDeny"]


CALLER = "local"
"""The user whom calls with any other access key than one of IAM or STS are taken to be of."""
ROLE_NAME = "DDASageMakerExecutionRole"
_FROM_THE_START = "dda-from-the-start"
_PARTITIONS = ("aws", "aws-cn", "aws-us-gov")


def seed(region: str) -> None:
    """The user :data:`CALLER`, who may what the pipeline's role may, and the SageMaker role; both in any bucket.

    They are in every partition, and the user may so in every Region, because whatever is asked of the local AWS may
    name another. The role may read and write whatever is there, because anything may be compiled here.
    """
    for name in sorted({*_PARTITIONS, partition(region)}):
        _seed(name)


def _seed(partition_name: str) -> None:
    iam = iam_backends[DEFAULT_ACCOUNT_ID][partition_name]
    placeholders = {
        "Account": DEFAULT_ACCOUNT_ID,
        "Region": "*",
        "Bucket": "*",
        "SageMakerRole": ROLE_NAME,
        "PipelineRole": "*",
    }
    # moto takes a partition's name where it asks for a Region.
    iam.create_user(partition_name, CALLER)
    allowed = json.dumps(policy("pipeline", **placeholders)).replace('"arn:aws:', f'"arn:{partition_name}:')
    iam.put_user_policy(CALLER, _FROM_THE_START, allowed)
    trust = json.dumps(policy("sagemaker-execution-trust"))
    iam.create_role(ROLE_NAME, trust, "/", None, "", [], "3600")
    statement = {"Effect": "Allow", "Action": ["s3:GetObject", "s3:ListBucket", "s3:PutObject"], "Resource": "*"}
    anything = json.dumps({"Version": "2012-10-17", "Statement": [statement]})
    iam.put_role_policy(ROLE_NAME, _FROM_THE_START, anything)


class Iam(IamResponse):  # type: ignore[misc]
    """moto's IAM and SimulatePrincipalPolicy."""

    def create_role(self) -> ActionResult:
        """CreateRole. The SageMaker role that is there from the start gives way to one of the caller's own."""
        name = self._get_param("RoleName")
        role = next((role for role in self.backend.get_roles() if role.name == name), None)
        if role and _FROM_THE_START in role.policies:
            del self.backend.roles[role.id]
        return super().create_role()

    def simulate_principal_policy(self) -> ActionResult:
        """SimulatePrincipalPolicy of a user or role: its own policies and those given."""
        request = {
            "PolicySourceArn": self._get_param("PolicySourceArn"),
            "ActionNames": self._listed("ActionNames"),
        }
        violations = request_violations("iam", "SimulatePrincipalPolicy", request)
        if violations:
            raise AwsError("InvalidInput", summary(violations))
        policies = principal_policies(request["PolicySourceArn"])
        if policies is None:
            kind = "user" if ":user/" in request["PolicySourceArn"] else "role"
            raise AwsError("NoSuchEntity", f"The {kind} with ARN {request['PolicySourceArn']} cannot be found.")
        try:
            policies += [json.loads(text) for text in self._listed("PolicyInputList")]
        except ValueError:
            raise AwsError("InvalidInput", "PolicyInputList holds a policy that is no JSON.") from None
        context = {
            str(entry["ContextKeyName"]).lower(): list(entry.get("ContextKeyValues") or [])
            for entry in self._listed("ContextEntries")
        }
        results = [
            {
                "EvalActionName": action,
                "EvalResourceName": resource,
                "EvalDecision": evaluate(policies, action, resource, context),
                "MatchedStatements": [],
                "MissingContextValues": missing_keys(policies, action, resource, context),
            }
            for action in request["ActionNames"]
            for resource in self._listed("ResourceArns") or ["*"]
        ]
        return ActionResult({"EvaluationResults": results, "IsTruncated": False})

    def _listed(self, name: str) -> list[Any]:
        value = self._get_param(name)
        return list(value or [])

    def serialized(self, action_result: ActionResult) -> Any:
        """As moto does it, with the status that IAM sends with an error of ours."""
        status, headers, body = super().serialized(action_result)
        if isinstance(action_result.result, AwsError):
            status = error_status("iam", self._get_action(), action_result.result.code)
        return status, headers, body


def find_role(role_arn: str) -> Any | None:
    """moto's role of that ARN; None when IAM does not hold it."""
    backend = _backend_of(role_arn)
    roles = list(backend.roles.values()) if backend else []
    return next((role for role in roles if role.arn == role_arn), None)


def _backend_of(arn: str) -> Any | None:
    """moto's IAM of the account and the partition that an ARN names; None where there is none."""
    words = arn.split(":")
    if len(words) < 6 or words[4] not in iam_backends or words[1] not in iam_backends[words[4]]:
        return None
    return iam_backends[words[4]][words[1]]


def principal_policies(arn: str) -> list[dict[str, Any]] | None:
    """Every policy of a role or user, inline and attached; None when IAM does not hold it."""
    backend = _backend_of(arn)
    users = list(backend.users.values()) if backend else []
    principal = find_role(arn) or next((user for user in users if user.arn == arn), None)
    if principal is None:
        return None
    attached = [
        next(version.document for version in managed.versions if version.is_default)
        for managed in principal.managed_policies.values()
    ]
    return [json.loads(text) for text in [*principal.policies.values(), *attached]]


def may(principal_arn: str, action: str, resource: str) -> bool:
    """Whether a role or user may do something. One that IAM does not hold may do everything."""
    policies = principal_policies(principal_arn)
    return policies is None or evaluate(policies, action, resource) == "allowed"


def evaluate(
    policies: list[dict[str, Any]], action: str, resource: str, context: dict[str, list[str]] | None = None
) -> Decision:
    """What policies together say of an action on a resource.

    Of conditions, StringEquals, StringLike and Bool on keys of ``context`` are understood; any other is taken as not
    met by what allows, and as met by what denies.
    """
    decision: Decision = "implicitDeny"
    for statement in _statements(policies, action, resource):
        met = _met(statement.get("Condition") or {}, context or {})
        if statement.get("Effect") == "Deny":
            if met is not False:
                return "explicitDeny"
        elif met:
            decision = "allowed"
    return decision


def missing_keys(
    policies: list[dict[str, Any]], action: str, resource: str, context: dict[str, list[str]]
) -> list[str]:
    """The condition keys that the policies ask for and ``context`` has no value of."""
    conditions = [each.get("Condition") or {} for each in _statements(policies, action, resource)]
    keys = {key for condition in conditions for operands in condition.values() for key in operands}
    return sorted(key for key in keys if key.lower() not in context)


def _statements(policies: list[dict[str, Any]], action: str, resource: str) -> list[dict[str, Any]]:
    listed = [policy.get("Statement") or [] for policy in policies]
    statements = [each for given in listed for each in ([given] if isinstance(given, dict) else given)]
    return [statement for statement in statements if _concerns(statement, action, resource)]


def _met(condition: dict[str, Any], context: dict[str, list[str]]) -> bool | None:
    """Whether a condition is met; None where it is one that is not understood or has no value to go by."""
    for operator, operands in condition.items():
        for key, wanted in operands.items():
            values = context.get(key.lower())
            if values is None or operator not in ("StringEquals", "StringLike", "Bool"):
                return None
            patterns = [str(each) for each in (wanted if isinstance(wanted, list) else [wanted])]
            if operator == "StringLike":
                met = any(_glob(pattern, re.NOFLAG).fullmatch(value) for pattern in patterns for value in values)
            else:
                met = bool(set(patterns) & set(values))
            if not met:
                return False
    return True


def _concerns(statement: dict[str, Any], action: str, resource: str) -> bool:
    for member, value, flags in (("Action", action, re.IGNORECASE), ("Resource", resource, re.NOFLAG)):
        patterns = statement.get(member, statement.get(f"Not{member}"))
        listed = patterns if isinstance(patterns, list) else [patterns or ""]
        matches = any(_glob(pattern, flags).fullmatch(value) for pattern in listed)
        if matches != (member in statement):
            return False
    return True


def _glob(pattern: str, flags: re.RegexFlag) -> re.Pattern[str]:
    # IAM's wildcards are * and ?; a bracket stands for itself, unlike in a shell.
    return re.compile(re.escape(pattern).replace(r"\*", ".*").replace(r"\?", "."), flags | re.DOTALL)
