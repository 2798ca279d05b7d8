"""The operations of AWS IoT Greengrass V2 as moto dispatches them."""

from __future__ import annotations

import base64
import binascii
import json
from typing import Any
from urllib.parse import unquote

import yaml
from moto.core.responses import ActionResult, BaseResponse, EmptyResult

from deployments.local.aws.environment import moment
from deployments.local.aws.greengrassv2.exceptions import ThrottlingException, ValidationException
from deployments.local.aws.greengrassv2.models import GreengrassV2Backend, greengrassv2_backends
from deployments.local.aws.shapes import operation_model, request_violations, summary

PAGE = 50
"""How many entries a list gives when the caller does not say."""


class GreengrassV2(BaseResponse):  # type: ignore[misc]
    """Every operation that the emulator knows, one method each."""

    def __init__(self) -> None:
        super().__init__(service_name="greengrassv2")
        self.automated_parameter_parsing = True

    @property
    def _backend(self) -> GreengrassV2Backend:
        backend: GreengrassV2Backend = greengrassv2_backends[self.current_account][self.region]
        return backend

    def _request(self, operation: str) -> dict[str, Any]:
        """The request's members, checked against the service model.

        Raises:
            ValidationException: what AWS would find wrong with it.
        """
        shape = operation_model("greengrassv2", operation).input_shape
        request: dict[str, Any] = json.loads(self.body) if self.body else {}
        query = self.normalized_request.args
        for name, member in shape.members.items() if shape else ():
            where, key = member.serialization.get("location"), member.serialization.get("name", name)
            if where == "uri":
                request[name] = unquote(self.uri_match[key])
            elif where == "querystring" and key in query:
                request[name] = query.getlist(key) if member.type_name == "list" else query[key]
            if member.type_name == "integer" and isinstance(request.get(name), str):
                request[name] = int(request[name])
        violations = request_violations("greengrassv2", operation, request)
        if violations:
            raise ValidationException(summary(violations))
        return request

    def create_component_version(self) -> ActionResult:
        """CreateComponentVersion."""
        request = self._request("CreateComponentVersion")
        recipe = request.get("inlineRecipe")
        try:
            blob = None if recipe is None else base64.b64decode(recipe, validate=True)
        except binascii.Error:
            raise ValidationException("inlineRecipe is not base64.") from None
        try:
            made = self._backend.create_component_version(blob, request.get("tags") or {}, request.get("clientToken"))
        except ThrottlingException as throttled:
            # retryAfterSeconds is a header, which moto leaves out of errors.
            self.response_headers["Retry-After"] = str(throttled.retryAfterSeconds)
            raise
        return ActionResult(made)

    def describe_component(self) -> ActionResult:
        """DescribeComponent."""
        found = self._backend.component_version(self._request("DescribeComponent")["arn"])
        return ActionResult(
            {
                "arn": found.arn,
                "componentName": found.name,
                "componentVersion": found.version,
                "creationTimestamp": moment(found.created),
                "status": found.status(),
                "tags": found.tags,
                **found.about(),
            }
        )

    def get_component(self) -> ActionResult:
        """GetComponent: the stored recipe, with the digests that the service filled in."""
        request = self._request("GetComponent")
        found = self._backend.component_version(request["arn"])
        output = request.get("recipeOutputFormat") or "JSON"
        text = json.dumps(found.recipe) if output == "JSON" else yaml.safe_dump(found.recipe, sort_keys=False)
        return ActionResult({"recipeOutputFormat": output, "recipe": text.encode(), "tags": found.tags})

    def list_components(self) -> ActionResult:
        """ListComponents. The account's own are PRIVATE; of the public ones there are none here."""
        request = self._request("ListComponents")
        own = request.get("scope", "PRIVATE") == "PRIVATE"
        entries = [
            {
                "arn": latest.component_arn,
                "componentName": latest.name,
                "latestVersion": {
                    "arn": latest.arn,
                    "componentVersion": latest.version,
                    "creationTimestamp": moment(latest.created),
                    **latest.about(),
                },
            }
            for latest in (self._backend.latest_versions() if own else [])
        ]
        return _page(request, "components", entries)

    def list_component_versions(self) -> ActionResult:
        """ListComponentVersions."""
        request = self._request("ListComponentVersions")
        versions = self._backend.versions_of(request["arn"])
        entries = [{"componentName": v.name, "componentVersion": v.version, "arn": v.arn} for v in versions]
        return _page(request, "componentVersions", entries)

    def delete_component(self) -> ActionResult:
        """DeleteComponent."""
        self._backend.delete_component(self._request("DeleteComponent")["arn"])
        return EmptyResult()

    def tag_resource(self) -> ActionResult:
        """TagResource."""
        request = self._request("TagResource")
        self._backend.tags_of(request["resourceArn"]).update(request["tags"])
        return EmptyResult()

    def untag_resource(self) -> ActionResult:
        """UntagResource."""
        request = self._request("UntagResource")
        tags = self._backend.tags_of(request["resourceArn"])
        for key in request["tagKeys"]:
            tags.pop(key, None)
        return EmptyResult()

    def list_tags_for_resource(self) -> ActionResult:
        """ListTagsForResource."""
        return ActionResult({"tags": self._backend.tags_of(self._request("ListTagsForResource")["resourceArn"])})

    def list_core_devices(self) -> ActionResult:
        """ListCoreDevices."""
        request = self._request("ListCoreDevices")
        group = (request.get("thingGroupArn") or "").partition("thinggroup/")[2]
        devices = [
            device.summary()
            for _, device in sorted(self._backend.devices.items())
            if (not group or group in device.seed.groups)
            and request.get("status") in (None, device.seed.status)
            and request.get("runtime") in (None, device.seed.runtime)
        ]
        return _page(request, "coreDevices", devices)

    def get_core_device(self) -> ActionResult:
        """GetCoreDevice."""
        return ActionResult(self._backend.device(self._request("GetCoreDevice")["coreDeviceThingName"]).describe())

    def list_installed_components(self) -> ActionResult:
        """ListInstalledComponents: the roots only, unless ALL is asked for."""
        request = self._request("ListInstalledComponents")
        entries = self._backend.installed(self._backend.device(request["coreDeviceThingName"]))
        if request.get("topologyFilter", "ROOT") == "ROOT":
            entries = [entry for entry in entries if entry["isRoot"]]
        return _page(request, "installedComponents", entries)

    def list_effective_deployments(self) -> ActionResult:
        """ListEffectiveDeployments."""
        request = self._request("ListEffectiveDeployments")
        device = self._backend.device(request["coreDeviceThingName"])
        reaching = [d.effective() for d in self._backend.latest_deployments() if d.reaches(device)]
        return _page(request, "effectiveDeployments", reaching)

    def create_deployment(self) -> ActionResult:
        """CreateDeployment."""
        made = self._backend.create_deployment(self._request("CreateDeployment"))
        return ActionResult({"deploymentId": made.id, "iotJobId": made.job_id, "iotJobArn": made.job_arn})

    def get_deployment(self) -> ActionResult:
        """GetDeployment."""
        found = self._backend.deployment(self._request("GetDeployment")["deploymentId"])
        return ActionResult(found.describe(found in self._backend.latest_deployments()))

    def list_deployments(self) -> ActionResult:
        """ListDeployments: the latest of each target, unless ALL is asked for."""
        request = self._request("ListDeployments")
        latest = self._backend.latest_deployments()
        entries = [
            d.summary(d in latest)
            for d in reversed(list(self._backend.deployments.values()))
            if request.get("targetArn") in (None, d.target_arn)
            and request.get("parentTargetArn") in (None, d.request.get("parentTargetArn"))
            and (request.get("historyFilter", "LATEST_ONLY") == "ALL" or d in latest)
        ]
        return _page(request, "deployments", entries)

    def cancel_deployment(self) -> ActionResult:
        """CancelDeployment."""
        found = self._backend.deployment(self._request("CancelDeployment")["deploymentId"])
        found.cancelled = found.cancelled or not found.done
        return ActionResult({"message": f"Deployment {found.id} is {found.status}."})


def _page(request: dict[str, Any], member: str, entries: list[dict[str, Any]]) -> ActionResult:
    token = request.get("nextToken")
    try:
        start = int(base64.urlsafe_b64decode(token)) if token else 0
    except (ValueError, binascii.Error):
        raise ValidationException("The nextToken is not valid.") from None
    end = start + request.get("maxResults", PAGE)
    answer: dict[str, Any] = {member: entries[start:end]}
    if end < len(entries):
        answer["nextToken"] = base64.urlsafe_b64encode(str(end).encode()).decode()
    return ActionResult(answer)
