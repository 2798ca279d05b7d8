"""Component versions: which one of a component is ours, and which to make next.

A version is ours when its recipe publishes the same (``recipe_comparison``). So two runs that publish the same package
meet at one version, whoever comes first, and a version that AWS already holds is used and not made again.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from botocore.exceptions import ClientError

from dda_core import naming
from dda_core.aws.errors import is_conflict, is_not_found
from dda_core.aws.tags import (
    Maker,
    Warn,
    silent,
)
from dda_core.components.component import ComponentPlan, ComponentVersion
from dda_core.components.owner import check_owner, may_share
from dda_core.components.recipe import check_recipe, component_version_for, parse_recipe, recipe_bytes
from dda_core.components.recipe_comparison import artifact_uri_of
from dda_core.components.status import ComponentState
from dda_core.exceptions import PublishFailed

if TYPE_CHECKING:
    from mypy_boto3_greengrassv2 import GreengrassV2Client

CONFLICTS = 20
"""Version numbers tried in a row before giving up against other publishers."""


def describe_version(greengrass: GreengrassV2Client, arn: str) -> ComponentVersion:
    """The version of that ARN. ``reason`` joins ``status.message``, ``status.errors`` and the vendor's guidance."""
    answer = greengrass.describe_component(arn=arn)
    status = answer["status"]
    guidance = status.get("vendorGuidance")
    discontinued = guidance in ("DISCONTINUED", "DELETED")
    parts = [status.get("message") or ""]
    parts += [f"{artifact}: {text}" for artifact, text in status.get("errors", {}).items()]
    if discontinued:
        parts.append(f"vendor guidance {guidance}: {status.get('vendorGuidanceMessage') or 'do not use this version'}")
    return ComponentVersion(
        component=answer["componentName"],
        version=answer["componentVersion"],
        arn=answer["arn"],
        state=ComponentState(status["componentState"]),
        reason="; ".join(part for part in parts if part) or None,
        discontinued=discontinued,
        tags=answer.get("tags", {}),
    )


def list_versions(greengrass: GreengrassV2Client, component_arn: str) -> list[str]:
    """Every existing version of the component, the highest first; none where there is no such component."""
    versions: list[str] = []
    try:
        for page in greengrass.get_paginator("list_component_versions").paginate(arn=component_arn):
            versions += [row["componentVersion"] for row in page.get("componentVersions", [])]
    except ClientError as error:
        if is_not_found(error):
            return []
        raise
    return sorted(versions, key=version_key, reverse=True)


def ensure_version(
    greengrass: GreengrassV2Client,
    plan: ComponentPlan,
    artifact_uri: str,
    *,
    compilation_job: str,
    maker: Maker | None = None,
    warn: Warn = silent,
) -> ComponentVersion:
    """The component version of that package: one that is there already, else a new one.

    A version that this run made and that ended FAILED is returned as it is: FAILED is final in its run. ``warn``
    is told where nobody can say whose the component is.

    Raises:
        ComponentTaken: the highest version, whatever its state, is another model's.
        PublishFailed: AWS IoT Greengrass refuses the version.
        RecipeInvalid: the recipe breaks a rule of the service.
    """
    taken: set[str] = set()
    for _ in range(CONFLICTS):
        versions = sorted({*list_versions(greengrass, plan.arn()), *taken}, key=version_key, reverse=True)
        for version in versions:
            found = describe_version(greengrass, plan.arn(version))
            if version == versions[0]:
                check_owner(plan, found, warn)
            usable = found.state.on_its_way or found.state is ComponentState.DEPLOYABLE
            failed_here = found.state is ComponentState.FAILED and found.maker == maker is not None
            if ((usable and not found.discontinued) or failed_here) and may_share(plan, found):
                recipe = read_recipe(greengrass, found.arn)
                if plan.is_published_by(recipe, version, artifact_uri):
                    return found
        new = plan.recipe(component_version_for(versions), artifact_uri)
        check_recipe(new)
        request = {"recipe": new, "tags": plan.tags(compilation_job, maker)}
        token = hashlib.sha256(json.dumps(request, sort_keys=True).encode()).hexdigest()
        try:
            answer = greengrass.create_component_version(
                inlineRecipe=recipe_bytes(new), tags=request["tags"], clientToken=token
            )
        except ClientError as error:
            if is_conflict(error):
                # Another run made that version a moment ago, maybe of the same package; the list may not have it yet.
                taken.add(new["ComponentVersion"])
                continue
            raise
        return describe_version(greengrass, answer["arn"])
    raise PublishFailed(
        f"{CONFLICTS} versions in a row were taken by somebody else",
        where=plan.component,
        name=plan.component,
        remedy="Publish again when it is quiet.",
    )


def find_deployable(
    greengrass: GreengrassV2Client, plan: ComponentPlan, job_stem: str, runs: Callable[[str], bool]
) -> tuple[ComponentVersion, str] | None:
    """The newest DEPLOYABLE version that was made of this compilation work, with its package's ``s3://`` URI.

    DEPLOYABLE is the cloud's word: ``runs`` says whether a device could run the package at a URI. None where there is
    no such version.

    Raises:
        ComponentTaken: there is no such version, and none can be made, because the highest is another model's.
    """
    highest: ComponentVersion | None = None
    for version in list_versions(greengrass, plan.arn()):
        found = describe_version(greengrass, plan.arn(version))
        highest = highest or found
        made_of = found.compilation_job or ""
        if found.state is not ComponentState.DEPLOYABLE or found.discontinued or not made_of.startswith(f"{job_stem}-"):
            continue
        recipe = read_recipe(greengrass, found.arn)
        uri = artifact_uri_of(recipe)
        if uri and plan.is_published_by(recipe, version, uri) and may_share(plan, found) and runs(uri):
            return found, uri
    if highest:
        check_owner(plan, highest)
    return None


def warn_of_portal_component(greengrass: GreengrassV2Client, plan: ComponentPlan, warn: Warn) -> None:
    """Tell ``warn`` where the earlier portal has made a component of that model under another name."""
    if plan.name_given:
        return
    base = naming.portal_component_base(plan.model_name)
    other = plan.model_copy(update={"component": f"{base}-{plan.target.component_suffix}"})
    if other.component == plan.component or len(other.component) > naming.COMPONENT_NAME_LIMIT:
        return
    if list_versions(greengrass, other.arn()):
        warn(
            f"Component {other.component} exists, which is what the earlier portal calls the component of model "
            f"{plan.model_name!r}; this one is {plan.component}, and devices take them for two. "
            f"To go on with the portal's, give component_name {base!r}."
        )


def check_deployable(version: ComponentVersion) -> bool:
    """Whether the version is DEPLOYABLE; False while it is on its way.

    Raises:
        PublishFailed: it will never be.
    """
    if version.state is ComponentState.DEPLOYABLE:
        return True
    if version.state.on_its_way:
        return False
    reason = version.reason or f"the component version is {version.state} and AWS gave no reason"
    raise PublishFailed(
        f"{version.component} {version.version} is {version.state}: {reason}", name=version.component, reason=reason
    )


def read_recipe(greengrass: GreengrassV2Client, arn: str) -> dict[str, Any]:
    """The recipe of the component version of that ARN, as AWS IoT Greengrass holds it.

    Raises:
        RecipeInvalid: what it holds is no recipe.
    """
    return parse_recipe(greengrass.get_component(arn=arn, recipeOutputFormat="JSON")["recipe"], arn)


def version_key(version: str) -> tuple[int, ...]:
    """What versions are sorted by."""
    return tuple(int(part) if part.isdigit() else 0 for part in version.split("+")[0].split("-")[0].split("."))
