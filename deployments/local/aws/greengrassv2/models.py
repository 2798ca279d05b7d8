"""The state of the emulated Greengrass: components, core devices and deployments of one account and Region."""

from __future__ import annotations

import hashlib
import json
import math
import threading
from collections.abc import Iterator
from typing import Any

from moto.core.base_backend import BackendDict, BaseBackend
from moto.core.resource_tagging import TaggableResourcesMixin, TaggedResource

from deployments.local.aws.environment import current, now, partition
from deployments.local.aws.greengrassv2 import recipes
from deployments.local.aws.greengrassv2.components import ComponentVersion
from deployments.local.aws.greengrassv2.devices import CoreDevice, Deployment
from deployments.local.aws.greengrassv2.exceptions import (
    ConflictException,
    ResourceNotFoundException,
    ThrottlingException,
    ValidationException,
)
from deployments.local.aws.services.iam import CALLER

TOKEN_SECONDS = 8 * 3600
"""How long the service remembers a client token."""


class GreengrassV2Backend(BaseBackend, TaggableResourcesMixin):  # type: ignore[misc]
    """The state of one account in one Region. The mixin makes it visible to the Resource Groups Tagging API."""

    SERVICE_NAMESPACE = "greengrass"

    def __init__(self, region_name: str, account_id: str) -> None:
        super().__init__(region_name, account_id)
        self.components: dict[str, dict[str, ComponentVersion]] = {}
        self.devices: dict[str, CoreDevice] = {}
        self.deployments: dict[str, Deployment] = {}
        self.connectivity: dict[str, list[dict[str, Any]]] = {}
        """Connectivity information of core devices, by thing name."""
        self.service_role: tuple[str, float] | None = None
        """The ARN of the service role in this Region, and when it was associated."""
        self._tokens: dict[str, tuple[float, str, dict[str, Any]]] = {}
        self._last_create = -math.inf
        self._lock = threading.RLock()

    def create_component_version(
        self, recipe_blob: bytes | None, tags: dict[str, str], client_token: str | None
    ) -> dict[str, Any]:
        """CreateComponentVersion from an inline recipe."""
        settings = current().settings
        with self._lock:
            self._throttle(settings.component_versions_per_second)
            asked = hashlib.sha256((recipe_blob or b"") + json.dumps(tags, sort_keys=True).encode()).hexdigest()
            remembered = self._remembered(client_token, asked)
            if remembered is not None:
                return remembered
            if recipe_blob is None:
                raise ValidationException("The local AWS creates component versions from an inlineRecipe only.")
            if len(recipe_blob) > settings.recipe_bytes:
                raise ValidationException(f"The recipe exceeds the maximum size of {settings.recipe_bytes} bytes.")
            caller = f"arn:{partition(self.region_name)}:iam::{self.account_id}:user/{CALLER}"
            recipe = recipes.parse(recipe_blob, caller)
            recipes.check(recipe)
            versions = self.components.get(recipe["ComponentName"], {})
            if recipe["ComponentVersion"] in versions:
                arn = versions[recipe["ComponentVersion"]].arn
                raise ConflictException(
                    "ComponentVersion",
                    arn,
                    f"Component [{recipe['ComponentName']} : {recipe['ComponentVersion']}] for account "
                    f"[{self.account_id}] already exists with state: [{versions[recipe['ComponentVersion']].state}]",
                )
            stored = recipes.with_digests(recipe, self.account_id, self.region_name, settings.artifact_bytes)
            made = ComponentVersion(stored, tags, self.account_id, self.region_name)
            self.components.setdefault(made.name, {})[made.version] = made
            response = made.created_response()
            if client_token:
                self._tokens[client_token] = (made.created, asked, response)
            return response

    def _throttle(self, per_second: float) -> None:
        at = now()
        if per_second and at - self._last_create < 1 / per_second:
            raise ThrottlingException("Rate exceeded", math.ceil(1 / per_second))
        self._last_create = at

    def _remembered(self, token: str | None, asked: str) -> dict[str, Any] | None:
        if not token or token not in self._tokens:
            return None
        since, parameters, response = self._tokens[token]
        if now() - since > TOKEN_SECONDS:
            del self._tokens[token]
            return None
        if parameters != asked:
            raise ValidationException("The client token was used before in a request with other parameters.")
        return response

    def component_version(self, arn: str) -> ComponentVersion:
        """The component version with that ARN.

        Raises:
            ResourceNotFoundException: there is none.
        """
        # The whole ARN must match: this backend has no components of other accounts and Regions.
        name, _, version = arn.partition(":components:")[2].partition(":versions:")
        found = self.components.get(name, {}).get(version)
        if found is None or found.arn != arn:
            raise ResourceNotFoundException("Component", arn)
        return found

    def versions_of(self, arn: str) -> list[ComponentVersion]:
        """All versions of the component with that ARN, the highest first; empty when it is unknown."""
        return [v for v in self.versions_named(arn.partition(":components:")[2]) if v.component_arn == arn]

    def versions_named(self, name: str) -> list[ComponentVersion]:
        """All versions of the component with that name, the highest first; empty when it is unknown."""
        versions = list(self.components.get(name, {}).values())
        return sorted(versions, key=lambda v: recipes.version_key(v.version), reverse=True)

    def latest_versions(self) -> list[ComponentVersion]:
        """The highest version of every component, by name."""
        components = sorted(self.components.items())
        return [max(v.values(), key=lambda c: recipes.version_key(c.version)) for _, v in components if v]

    def delete_component(self, arn: str) -> None:
        """DeleteComponent: deletes one version; the component ends with its last version."""
        with self._lock:
            found = self.component_version(arn)
            del self.components[found.name][found.version]
            if not self.components[found.name]:
                del self.components[found.name]

    def tags_of(self, arn: str) -> dict[str, str]:
        """The tags of a component version, core device or deployment, as a mutable dictionary.

        Raises:
            ResourceNotFoundException: there is no such resource.
        """
        kind, name = ("", "")
        if arn.count(":") >= 6:
            kind, name = arn.split(":", 6)[5:7]
        if kind == "components":
            return self.component_version(arn).tags
        kept = {id: deployment for id, deployment in self.deployments.items() if not deployment.deleted}
        by_kind: dict[str, dict[str, Any]] = {"coreDevices": self.devices, "deployments": kept}
        held = by_kind.get(kind, {})
        if name not in held:
            raise ResourceNotFoundException("Resource", arn)
        tags: dict[str, str] = held[name].tags
        return tags

    def iter_tagged_resources(self) -> Iterator[TaggedResource]:
        """All taggable resources, for the Resource Groups Tagging API."""
        arn = f"arn:{partition(self.region_name)}:greengrass:{self.region_name}:{self.account_id}"
        for versions in list(self.components.values()):
            for version in list(versions.values()):
                yield TaggedResource(version.arn, version.tags, "greengrass:components:versions")
        for thing, device in list(self.devices.items()):
            yield TaggedResource(f"{arn}:coreDevices:{thing}", device.tags, "greengrass:coreDevices")
        for deployment in list(self.deployments.values()):
            if not deployment.deleted:
                yield TaggedResource(f"{arn}:deployments:{deployment.id}", deployment.tags, "greengrass:deployments")

    def tag_resource(self, arn: str, tags: dict[str, str]) -> None:
        """TagResource, also for the Resource Groups Tagging API."""
        self.tags_of(arn).update(tags)

    def untag_resource(self, arn: str, tag_keys: list[str]) -> None:
        """UntagResource, also for the Resource Groups Tagging API."""
        tags = self.tags_of(arn)
        for key in tag_keys:
            tags.pop(key, None)

    def device(self, thing: str) -> CoreDevice:
        """The core device with that thing name.

        Raises:
            ResourceNotFoundException: there is none.
        """
        if thing not in self.devices:
            raise ResourceNotFoundException("CoreDevice", thing)
        return self.devices[thing]

    def create_deployment(self, request: dict[str, Any]) -> Deployment:
        """CreateDeployment: a new revision for its target.

        Raises:
            ResourceNotFoundException: there is no such component version. AWS's own (``aws.``) are assumed to exist.
            ValidationException: a component version is not DEPLOYABLE.
        """
        for name, spec in (request.get("components") or {}).items():
            made = self.components.get(name, {}).get(spec["componentVersion"])
            if made is None and not name.startswith("aws."):
                raise ResourceNotFoundException("Component", f"{name}:{spec['componentVersion']}")
            if made is not None and made.state != "DEPLOYABLE":
                raise ValidationException(f"Component {name} version {made.version} is {made.state}, not DEPLOYABLE.")
        with self._lock:
            revision = 1 + sum(d.target_arn == request["targetArn"] for d in self.deployments.values())
            made_now = Deployment(request, revision, self.account_id, self.region_name)
            self.deployments[made_now.id] = made_now
        return made_now

    def deployment(self, deployment_id: str) -> Deployment:
        """The deployment with that id.

        Raises:
            ResourceNotFoundException: there is none.
        """
        found = self.deployments.get(deployment_id)
        if found is None or found.deleted:
            raise ResourceNotFoundException("Deployment", deployment_id)
        return found

    def delete_deployment(self, deployment_id: str) -> None:
        """DeleteDeployment. Core devices keep its components.

        Raises:
            ConflictException: it is ACTIVE.
        """
        found = self.deployment(deployment_id)
        if found.status == "ACTIVE":
            raise ConflictException(
                "Deployment", deployment_id, f"Deployment {deployment_id} is ACTIVE. Cancel it before you delete it."
            )
        found.deleted = True

    def latest_deployments(self) -> list[Deployment]:
        """The newest revision per target, without those cancelled before they reached it."""
        latest = {d.target_arn: d for d in self.deployments.values() if not d.withdrawn}
        return list(latest.values())

    def installed(self, device: CoreDevice) -> list[dict[str, Any]]:
        """The components on a device: initial ones, and those of its deployments."""
        found = {entry["componentName"]: entry for entry in device.installed}
        for deployment in self.latest_deployments():
            if not deployment.reaches(device) or not deployment.done:
                continue
            source = device.deployed_by(deployment)
            for name, spec in deployment.components.items():
                found[name] = device.entry(name, spec["componentVersion"], True, source, deployment.ended)
                made = self.components.get(name, {}).get(spec["componentVersion"])
                for dependency in (made.recipe.get("ComponentDependencies") or {}) if made else {}:
                    found.setdefault(dependency, device.entry(dependency, "1.0.0", False, source, deployment.ended))
        return list(found.values())


greengrassv2_backends = BackendDict(GreengrassV2Backend, "greengrassv2")
