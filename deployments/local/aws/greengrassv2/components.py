"""Component versions."""

from __future__ import annotations

from typing import Any

from dda_core.targets import all_targets
from deployments.local.aws.environment import current, moment, now, partition
from deployments.local.aws.greengrassv2 import recipes
from deployments.local.aws.greengrassv2.exceptions import ResourceNotFoundException

_REQUESTED_SHARE = 0.2


def target_of(component: str) -> str | None:
    """The target with the longest name that a component's name ends in; None when there is none."""
    fitting = [t for t in all_targets() if component.endswith(f"-{t.component_suffix}")]
    return max(fitting, key=lambda t: len(t.component_suffix)).name if fitting else None


class ComponentVersion:
    """One version of a component. Its state is derived from the time."""

    def __init__(self, recipe: dict[str, Any], tags: dict[str, str], account: str, region: str) -> None:
        self.recipe = recipe
        self.name, self.version = str(recipe["ComponentName"]), str(recipe["ComponentVersion"])
        self.component_arn = f"arn:{partition(region)}:greengrass:{region}:{account}:components:{self.name}"
        self.arn = f"{self.component_arn}:versions:{self.version}"
        self.tags = dict(tags)
        self.created = now()
        target = target_of(self.name)
        self.planned_failure = current().faults.reason_for("publish", target)
        self._gate = current().holds.gate("publish", target)
        self._seconds = current().settings.publish_seconds

    @property
    def state(self) -> str:
        """REQUESTED, INITIATED, then DEPLOYABLE or FAILED."""
        passed = now() - self.created
        if passed < self._seconds * _REQUESTED_SHARE:
            return "REQUESTED"
        if now() < max(self.created + self._seconds, self._gate.opened):
            return "INITIATED"
        return "DEPLOYABLE" if self.planned_failure is None else "FAILED"

    def created_response(self) -> dict[str, Any]:
        """The response of CreateComponentVersion."""
        return {
            "arn": self.arn,
            "componentName": self.name,
            "componentVersion": self.version,
            "creationTimestamp": moment(self.created),
            "status": {"componentState": "REQUESTED", "message": "NONE", "errors": {}, "vendorGuidance": "ACTIVE"},
        }

    def status(self) -> dict[str, Any]:
        """The status in DescribeComponent's response."""
        state = self.state
        message, errors = "NONE", {}
        if state == "FAILED":
            message = str(self.planned_failure)
            errors = {artifact["Uri"]: message for artifact in recipes.artifacts(self.recipe)}
        return {"componentState": state, "message": message, "errors": errors, "vendorGuidance": "ACTIVE"}

    def about(self) -> dict[str, Any]:
        """What DescribeComponent and ListComponents both return: publisher, description, platforms."""
        members: dict[str, Any] = {"platforms": recipes.platforms(self.recipe)}
        for member, key in (("publisher", "ComponentPublisher"), ("description", "ComponentDescription")):
            if self.recipe.get(key):
                members[member] = str(self.recipe[key])
        return members

    def artifact_uri(self, name: str) -> str:
        """The URI of an artifact, by its URI without the scheme or by its file name.

        Raises:
            ResourceNotFoundException: this version has no such artifact.
        """
        for artifact in recipes.artifacts(self.recipe):
            uri: str = artifact["Uri"]
            if name in (uri.partition(":")[2].removeprefix("//"), uri.rpartition("/")[2]):
                return uri
        raise ResourceNotFoundException("Artifact", name)
