"""The emulated IAM: moto's, with SimulatePrincipalPolicy, which moto has not; and what a role may do."""

from __future__ import annotations

import json
import re
from typing import Any, Literal

from moto.core.responses import ActionResult
from moto.iam.models import iam_backends
from moto.iam.responses import IamResponse

from deployments.local.aws.calls import error_status
from deployments.local.aws.errors import AwsError
from deployments.local.aws.shapes import request_violations, summary

Decision = Literal["allowed", "explicitDeny", "implicitDeny"]


class Iam(IamResponse):  # type: ignore[misc]
    """moto's IAM and SimulatePrincipalPolicy."""

    def simulate_principal_policy(self) -> ActionResult:
        """SimulatePrincipalPolicy of a role: its own policies and those given. Conditions count as not met."""
        request = {
            "PolicySourceArn": self._get_param("PolicySourceArn"),
            "ActionNames": self._listed("ActionNames"),
        }
        violations = request_violations("iam", "SimulatePrincipalPolicy", request)
        if violations:
            raise AwsError("InvalidInput", summary(violations))
        policies = role_policies(request["PolicySourceArn"])
        if policies is None:
            raise AwsError("NoSuchEntity", f"The role with ARN {request['PolicySourceArn']} cannot be found.")
        try:
            policies += [json.loads(text) for text in self._listed("PolicyInputList")]
        except ValueError:
            raise AwsError("InvalidInput", "PolicyInputList holds a policy that is no JSON.") from None
        results = [
            {
                "EvalActionName": action,
                "EvalResourceName": resource,
                "EvalDecision": decide(policies, action, resource),
                "MatchedStatements": [],
                "MissingContextValues": [],
            }
            for action in request["ActionNames"]
            for resource in self._listed("ResourceArns") or ["*"]
        ]
        return ActionResult({"EvaluationResults": results, "IsTruncated": False})

    def _listed(self, name: str) -> list[str]:
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
    account = role_arn.split(":")[4] if role_arn.count(":") >= 5 else ""
    roles = list(iam_backends[account]["aws"].roles.values()) if account in iam_backends else []
    return next((role for role in roles if role.arn == role_arn), None)


def role_policies(role_arn: str) -> list[dict[str, Any]] | None:
    """Every policy of a role, inline and attached; None when IAM does not hold the role."""
    role = find_role(role_arn)
    if role is None:
        return None
    attached = [
        next(version.document for version in policy.versions if version.is_default)
        for policy in role.managed_policies.values()
    ]
    return [json.loads(text) for text in [*role.policies.values(), *attached]]


def may(role_arn: str, action: str, resource: str) -> bool:
    """Whether a role may do something. One that IAM does not hold may do everything."""
    policies = role_policies(role_arn)
    return policies is None or decide(policies, action, resource) == "allowed"


def decide(policies: list[dict[str, Any]], action: str, resource: str) -> Decision:
    """What policies together say of an action on a resource. A statement with a condition allows nothing."""
    decision: Decision = "implicitDeny"
    for policy in policies:
        statements = policy.get("Statement") or []
        for statement in [statements] if isinstance(statements, dict) else statements:
            if not _concerns(statement, action, resource):
                continue
            if statement.get("Effect") == "Deny":
                return "explicitDeny"
            if not statement.get("Condition"):
                decision = "allowed"
    return decision


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
