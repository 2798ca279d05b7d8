"""The user or role that policies name, behind the ARN of a session."""

from __future__ import annotations

import re
from typing import Any

from botocore.exceptions import ClientError

POLICIES = "deployments/aws/policies"
"""The project's folder with the policies that each role needs."""

_ASSUMED = re.compile(r"arn:(aws[a-z-]*):sts::(\d{12}):assumed-role/([^/]+)/.+")


def principal_of(caller_arn: str, role_arn: str | None = None) -> str:
    """The ARN of the user or role that policies name, for an ARN from GetCallerIdentity.

    A session's ARN omits the role's path; ``role_arn`` provides it if the role's name is the same.
    """
    match = _ASSUMED.fullmatch(caller_arn)
    if match is None:
        return caller_arn
    partition, account, name = match.groups()
    if role_arn and role_arn.rpartition("/")[2] == name:
        return role_arn
    return f"arn:{partition}:iam::{account}:role/{name}"


def find_principal(iam: Any, principal: str) -> str:
    """The role's full ARN, including its path, from IAM; ``principal`` itself if IAM does not give it."""
    if ":role/" not in principal:
        return principal
    try:
        return str(iam.get_role(RoleName=principal.rpartition("/")[2])["Role"]["Arn"])
    except ClientError:
        return principal
