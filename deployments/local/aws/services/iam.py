"""The emulated IAM: moto's plus SimulatePrincipalPolicy, which moto lacks, and the evaluation of policies."""

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
"""The user of every call whose access key neither IAM nor STS issued."""
ROLE_NAME = "DDASageMakerExecutionRole"
_INITIAL = "dda-from-the-start"
_PARTITIONS = ("aws", "aws-cn", "aws-us-gov")


def seed(region: str) -> None:
    """Create the user :data:`CALLER`, with the permissions of the pipeline's role, and the SageMaker role.

    Both exist in every partition, because calls may come from any. The user's permissions cover every Region and
    bucket; the role may read and write every object, because anything may be compiled here.
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
    # moto accepts the name of a partition as the Region.
    iam.create_user(partition_name, CALLER)
    allowed = json.dumps(policy("pipeline", **placeholders)).replace('"arn:aws:', f'"arn:{partition_name}:')
    iam.put_user_policy(CALLER, _INITIAL, allowed)
    trust = json.dumps(policy("sagemaker-execution-trust"))
    iam.create_role(ROLE_NAME, trust, "/", None, "", [], "3600")
    statement = {"Effect": "Allow", "Action": ["s3:GetObject", "s3:ListBucket", "s3:PutObject"], "Resource": "*"}
    anything = json.dumps({"Version": "2012-10-17", "Statement": [statement]})
    iam.put_role_policy(ROLE_NAME, _INITIAL, anything)


class Iam(IamResponse):  # type: ignore[misc]
    """moto's IAM plus SimulatePrincipalPolicy."""

    def create_role(self) -> ActionResult:
        """CreateRole. The caller may replace the initial SageMaker role."""
        name = self._get_param("RoleName")
        role = next((role for role in self.backend.get_roles() if role.name == name), None)
        if role and _INITIAL in role.policies:
            del self.backend.roles[role.id]
        return super().create_role()

    def simulate_principal_policy(self) -> ActionResult:
        """SimulatePrincipalPolicy for a user or role, with its own policies and those given."""
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
            raise AwsError("InvalidInput", "PolicyInputList has a policy that is not JSON.") from None
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
        """moto's response, with IAM's HTTP status for our errors."""
        status, headers, body = super().serialized(action_result)
        if isinstance(action_result.result, AwsError):
            status = error_status("iam", self._get_action(), action_result.result.code)
        return status, headers, body


def find_role(role_arn: str) -> Any | None:
    """moto's role with that ARN; None when IAM has none."""
    backend = _backend_of(role_arn)
    roles = list(backend.roles.values()) if backend else []
    return next((role for role in roles if role.arn == role_arn), None)


def _backend_of(arn: str) -> Any | None:
    """moto's IAM for the account and partition of an ARN; None where there is none."""
    words = arn.split(":")
    if len(words) < 6 or words[4] not in iam_backends or words[1] not in iam_backends[words[4]]:
        return None
    return iam_backends[words[4]][words[1]]


def principal_policies(arn: str) -> list[dict[str, Any]] | None:
    """All policies of a role or user, inline and attached; None when IAM has no such principal."""
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
    """Whether a role or user may do something. A principal unknown to IAM may do everything."""
    policies = principal_policies(principal_arn)
    return policies is None or evaluate(policies, action, resource) == "allowed"


def evaluate(
    policies: list[dict[str, Any]], action: str, resource: str, context: dict[str, list[str]] | None = None
) -> Decision:
    """The decision of all policies together on an action and a resource.

    Of conditions, StringEquals, StringLike and Bool on keys of ``context`` are evaluated. Any other counts as not met
    in an Allow statement and as met in a Deny statement.
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
    """The condition keys in the policies for which ``context`` has no value."""
    conditions = [each.get("Condition") or {} for each in _statements(policies, action, resource)]
    keys = {key for condition in conditions for operands in condition.values() for key in operands}
    return sorted(key for key in keys if key.lower() not in context)


def _statements(policies: list[dict[str, Any]], action: str, resource: str) -> list[dict[str, Any]]:
    listed = [policy.get("Statement") or [] for policy in policies]
    statements = [each for given in listed for each in ([given] if isinstance(given, dict) else given)]
    return [statement for statement in statements if _concerns(statement, action, resource)]


def _met(condition: dict[str, Any], context: dict[str, list[str]]) -> bool | None:
    """Whether a condition is met; None where it is not supported or ``context`` has no value for it."""
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
    # IAM's wildcards are * and ?; brackets are literal, unlike in a shell.
    return re.compile(re.escape(pattern).replace(r"\*", ".*").replace(r"\?", "."), flags | re.DOTALL)
