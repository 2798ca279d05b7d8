"""Component versions: finding the one that matches a package, or creating the next.

A version matches if its recipe publishes the same (``recipe_comparison``). So two runs that publish the same package
end up with one version, whichever is first, and an existing version is adopted instead of created again.
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
"""Version numbers to try in a row before giving up because other publishers take them."""


def describe_version(greengrass: GreengrassV2Client, arn: str) -> ComponentVersion:
    """Describe a version. ``reason`` joins ``status.message``, ``status.errors`` and the vendor guidance."""
    response = greengrass.describe_component(arn=arn)
    status = response["status"]
    guidance = status.get("vendorGuidance")
    discontinued = guidance in ("DISCONTINUED", "DELETED")
    parts = [status.get("message") or ""]
    parts += [f"{artifact}: {text}" for artifact, text in status.get("errors", {}).items()]
    if discontinued:
        parts.append(f"vendor guidance {guidance}: {status.get('vendorGuidanceMessage') or 'do not use this version'}")
    return ComponentVersion(
        component=response["componentName"],
        version=response["componentVersion"],
        arn=response["arn"],
        state=ComponentState(status["componentState"]),
        reason="; ".join(part for part in parts if part) or None,
        discontinued=discontinued,
        tags=response.get("tags", {}),
    )


def list_versions(greengrass: GreengrassV2Client, component_arn: str) -> list[str]:
    """Every existing version of the component, highest first; empty if there is no such component."""
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
    """The component version of that package: an existing one, else a new one.

    A FAILED version that this run created is returned too: FAILED is final within a run. ``warn`` is called if the
    component's owner is unknown.

    Raises:
        ComponentTaken: another model owns the highest version, whatever its state.
        PublishFailed: other publishers took every version number tried.
        RecipeInvalid: the recipe breaks a rule of the service.
    """
    taken: set[str] = set()
    for _ in range(CONFLICTS):
        versions = sorted({*list_versions(greengrass, plan.arn()), *taken}, key=version_key, reverse=True)
        for version in versions:
            found = describe_version(greengrass, plan.arn(version))
            if version == versions[0]:
                check_owner(plan, found, warn)
            usable = found.state.in_progress or found.state is ComponentState.DEPLOYABLE
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
            created = greengrass.create_component_version(
                inlineRecipe=recipe_bytes(new), tags=request["tags"], clientToken=token
            )
        except ClientError as error:
            if is_conflict(error):
                # Another run has just created that version, maybe of the same package; the list may not show it yet.
                taken.add(new["ComponentVersion"])
                continue
            raise
        return describe_version(greengrass, created["arn"])
    raise PublishFailed(
        f"other publishers took {CONFLICTS} versions in a row",
        where=plan.component,
        name=plan.component,
        remedy="Publish again when no others are publishing this component.",
    )


def find_deployable(
    greengrass: GreengrassV2Client, plan: ComponentPlan, job_stem: str, runs: Callable[[str], bool]
) -> tuple[ComponentVersion, str] | None:
    """The newest DEPLOYABLE version of this compilation work and its package's ``s3://`` URI; None if there is none.

    DEPLOYABLE is only the cloud's view: ``runs`` tells whether a device could run the package at a URI.

    Raises:
        ComponentTaken: there is no such version, and none can be created, because another model owns the component.
    """
    highest: ComponentVersion | None = None
    for version in list_versions(greengrass, plan.arn()):
        found = describe_version(greengrass, plan.arn(version))
        highest = highest or found
        job = found.compilation_job or ""
        if found.state is not ComponentState.DEPLOYABLE or found.discontinued or not job.startswith(f"{job_stem}-"):
            continue
        recipe = read_recipe(greengrass, found.arn)
        uri = artifact_uri_of(recipe)
        if uri and plan.is_published_by(recipe, version, uri) and may_share(plan, found) and runs(uri):
            return found, uri
    if highest:
        check_owner(plan, highest)
    return None


def warn_about_portal_component(greengrass: GreengrassV2Client, plan: ComponentPlan, warn: Warn) -> None:
    """Warn if the earlier portal created a component of that model under another name."""
    if plan.name_given:
        return
    base = naming.portal_component_base(plan.model_name)
    other = plan.model_copy(update={"component": f"{base}-{plan.target.component_suffix}"})
    if other.component == plan.component or len(other.component) > naming.COMPONENT_NAME_LIMIT:
        return
    if list_versions(greengrass, other.arn()):
        warn(
            f"Component {other.component} exists, the earlier portal's component of model {plan.model_name!r}; "
            f"this one is {plan.component}, and devices treat them as two components. "
            f"To continue the portal's, give component_name {base!r}."
        )


def check_deployable(version: ComponentVersion) -> bool:
    """Whether the version is DEPLOYABLE; False while that is in progress.

    Raises:
        PublishFailed: it cannot become DEPLOYABLE.
    """
    if version.state is ComponentState.DEPLOYABLE:
        return True
    if version.state.in_progress:
        return False
    reason = version.reason or f"the component version is {version.state} and AWS gave no reason"
    raise PublishFailed(
        f"{version.component} {version.version} is {version.state}: {reason}", name=version.component, reason=reason
    )


def read_recipe(greengrass: GreengrassV2Client, arn: str) -> dict[str, Any]:
    """The recipe of a component version, as AWS IoT Greengrass has stored it.

    Raises:
        RecipeInvalid: it is not a valid recipe.
    """
    return parse_recipe(greengrass.get_component(arn=arn, recipeOutputFormat="JSON")["recipe"], arn)


def version_key(version: str) -> tuple[int, ...]:
    """A sort key for versions."""
    return tuple(int(part) if part.isdigit() else 0 for part in version.split("+")[0].split("-")[0].split("."))
