"""Who calls AWS: the user or role that policies name, behind the ARN of a session, and where those policies are."""

from __future__ import annotations

import re
from typing import Any

from botocore.exceptions import ClientError

POLICIES = "deployments/aws/policies"
"""Where the project keeps the policies that every role needs, as files."""

_ASSUMED = re.compile(r"arn:(aws[a-z-]*):sts::(\d{12}):assumed-role/([^/]+)/.+")


def principal_of(caller_arn: str, role_arn: str | None = None) -> str:
    """The user or role that policies name, behind the ARN that GetCallerIdentity tells.

    The ARN of a role's session leaves out the role's path: ``role_arn`` is believed where its name is the same.
    """
    match = _ASSUMED.fullmatch(caller_arn)
    if match is None:
        return caller_arn
    partition, account, name = match.groups()
    if role_arn and role_arn.rpartition("/")[2] == name:
        return role_arn
    return f"arn:{partition}:iam::{account}:role/{name}"


def find_principal(iam: Any, principal: str) -> str:
    """The role's whole ARN, its path included, where IAM tells; else ``principal`` itself."""
    if ":role/" not in principal:
        return principal
    try:
        return str(iam.get_role(RoleName=principal.rpartition("/")[2])["Role"]["Arn"])
    except ClientError:
        return principal
