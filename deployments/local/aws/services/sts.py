"""The emulated STS: AssumeRole checks the trust policy of roles that exist in the emulated IAM."""

from __future__ import annotations

import json
from fnmatch import fnmatchcase
from typing import Any

from moto.core.responses import ActionResult
from moto.iam.models import iam_backends
from moto.sts.models import sts_backends
from moto.sts.responses import TokenResponse

from deployments.local.aws.dispatch import error_status
from deployments.local.aws.environment import partition
from deployments.local.aws.errors import AwsError
from deployments.local.aws.services.iam import CALLER, find_role


class Sts(TokenResponse):  # type: ignore[misc]
    """moto's STS with a caller known to IAM, and with trust policies enforced in AssumeRole."""

    def get_caller_identity(self) -> ActionResult:
        """GetCallerIdentity."""
        user_id, arn, account = self._caller()
        return ActionResult({"UserId": user_id, "Arn": arn, "Account": account})

    def _caller(self) -> tuple[str, str, str]:
        """Id, ARN and account of the caller: :data:`CALLER` for access keys that neither IAM nor STS issued."""
        user_id, arn, account = self.backend.get_caller_identity(self.get_access_key(), self.region)
        if arn.endswith(":user/moto"):
            arn = f"arn:{partition(self.region)}:iam::{account}:user/{CALLER}"
        return user_id, arn, account

    def assume_role(self) -> ActionResult:
        """AssumeRole. Anyone may assume a role that is unknown to IAM, as in moto."""
        role_arn = str(self._get_param("RoleArn"))
        role = find_role(role_arn)
        _, caller, account = self._caller()
        external_id = self._get_param("ExternalId")
        trust = json.loads(role.assume_role_policy_document) if role else None
        if trust is not None and not trusts(trust, caller, account, external_id):
            raise AwsError(
                "AccessDenied", f"User: {caller} is not authorized to perform: sts:AssumeRole on resource: {role_arn}"
            )
        return super().assume_role()

    def serialized(self, action_result: ActionResult) -> Any:
        """moto's response, with STS's HTTP status for our errors: moto always sends 400."""
        status, headers, body = super().serialized(action_result)
        if isinstance(action_result.result, AwsError):
            status = error_status("sts", self._get_action(), action_result.result.code)
        return status, headers, body


def principal_of_key(access_key: str, account: str, region: str) -> tuple[str, str]:
    """The ARNs of an access key's caller in a Region: that of GetCallerIdentity, and that of its user or role."""
    for backend in sts_backends[account].values():
        if role := backend.get_assumed_role_from_access_key(access_key):
            return role.arn, role.role_arn
    where = partition(region)
    user = iam_backends[account][where].get_user_from_access_key_id(access_key)
    arn = user.arn if user else f"arn:{where}:iam::{account}:user/{CALLER}"
    return arn, arn


def trusts(policy: dict[str, Any], caller: str, account: str, external_id: str | None) -> bool:
    """Whether a trust policy lets ``caller`` of ``account`` assume its role with this external id.

    Supported are ``Principal.AWS``, the actions and the condition key ``sts:ExternalId`` (StringEquals, StringLike);
    any other condition counts as not met.
    """
    statements = [s for s in _listed(policy.get("Statement")) if _applies(s, caller, account, external_id)]
    return bool(statements) and all(s.get("Effect") == "Allow" for s in statements)


def _applies(statement: dict[str, Any], caller: str, account: str, external_id: str | None) -> bool:
    if not any(fnmatchcase("sts:AssumeRole", action) for action in _listed(statement.get("Action"))):
        return False
    principal = statement.get("Principal", {})
    named = _listed(principal if isinstance(principal, str) else principal.get("AWS"))
    root = f"arn:{caller.split(':')[1]}:iam::{account}:root"
    if not {"*", account, root, caller} & set(named):
        return False
    for operator, keys in statement.get("Condition", {}).items():
        for key, values in keys.items():
            if key.lower() != "sts:externalid" or external_id is None:
                return False
            exact = operator.removesuffix("IfExists") == "StringEquals"
            like = operator.removesuffix("IfExists") == "StringLike"
            if not any((exact and v == external_id) or (like and fnmatchcase(external_id, v)) for v in _listed(values)):
                return False
    return True


def _listed(value: Any) -> list[Any]:
    if value is None:
        return []
    return value if isinstance(value, list) else [value]
