"""Permissions as IAM evaluates them: simulated decisions, trust policies and bucket policies.

A simulation covers the policies of the principal, its permissions boundary and those of the organisation. It does not
cover bucket policies, key policies and session policies, so this module detects where a bucket policy could decide.
"""

from __future__ import annotations

from collections.abc import Mapping
from fnmatch import fnmatchcase
from typing import Any

from pydantic import BaseModel, ConfigDict

SAGEMAKER = "sagemaker.amazonaws.com"


class Decision(BaseModel):
    """A simulation's result. ``denied``: a policy denies it explicitly; neither field: no policy allows it.

    ``depends_on``: condition keys in the policies for which the simulation had no value.
    """

    model_config = ConfigDict(frozen=True)

    action: str
    resource: str
    allowed: bool
    denied: bool
    depends_on: tuple[str, ...] = ()


def simulate(
    iam: Any, principal: str, action: str, resource: str, context: Mapping[str, str] | None = None
) -> Decision:
    """Simulate the action on the resource for the principal (SimulatePrincipalPolicy).

    Args:
        iam: the client.
        principal: the ARN of a user or role.
        action: such as ``s3:GetObject``.
        resource: an ARN.
        context: values of condition keys, such as ``iam:PassedToService``.
    """
    entries = [(key, value, "string") for key, value in (context or {}).items()]
    # Policies often require TLS, and all our calls use it.
    entries.append(("aws:SecureTransport", "true", "boolean"))
    response = iam.simulate_principal_policy(
        PolicySourceArn=principal,
        ActionNames=[action],
        ResourceArns=[resource],
        ContextEntries=[
            {"ContextKeyName": key, "ContextKeyValues": [value], "ContextKeyType": kind} for key, value, kind in entries
        ],
    )
    [result] = response["EvaluationResults"]
    return Decision(
        action=action,
        resource=resource,
        allowed=result["EvalDecision"] == "allowed",
        denied=result["EvalDecision"] == "explicitDeny",
        depends_on=tuple(result.get("MissingContextValues", [])),
    )


def trusts_service(trust: Mapping[str, Any], service: str) -> bool:
    """Whether a trust policy lets the AWS service assume its role. Conditions of allowing statements count as met."""
    allowed = False
    for statement in _listed(trust.get("Statement")):
        if not any(fnmatchcase("sts:AssumeRole", action) for action in _listed(statement.get("Action"))):
            continue
        principal = statement.get("Principal", {})
        named = [principal] if isinstance(principal, str) else _listed(principal.get("Service"))
        if service in named or "*" in named:
            if statement.get("Effect") == "Deny" and not statement.get("Condition"):
                return False
            allowed = allowed or statement.get("Effect") == "Allow"
    return allowed


def may_grant(policy: Mapping[str, Any], principal: str, action: str) -> bool:
    """Whether a bucket policy by itself could allow the principal the action."""
    partition, account = principal.split(":")[1], principal.split(":")[4]
    names = {"*", principal, account, f"arn:{partition}:iam::{account}:root"}
    for statement in _listed(policy.get("Statement")):
        given = statement.get("Principal", {})
        named = [given] if isinstance(given, str) else _listed(given.get("AWS"))
        patterns = [each.lower() for each in _listed(statement.get("Action"))]
        granted = any(fnmatchcase(action.lower(), pattern) for pattern in patterns)
        if statement.get("Effect") == "Allow" and names & set(named) and granted:
            return True
    return False


def _listed(value: Any) -> list[Any]:
    if value is None:
        return []
    return value if isinstance(value, list) else [value]
