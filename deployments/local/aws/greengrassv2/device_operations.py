"""Operations on core devices, deployments, client devices and the account's service role."""

from __future__ import annotations

import uuid

from moto.core.responses import ActionResult, EmptyResult

from deployments.local.aws.environment import moment, now
from deployments.local.aws.greengrassv2.exceptions import ResourceNotFoundException
from deployments.local.aws.greengrassv2.requests import GreengrassRequest, page


class DeviceOperations(GreengrassRequest):
    """One method per operation on devices, deployments and the service role."""

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
        return page(request, "coreDevices", devices)

    def get_core_device(self) -> ActionResult:
        """GetCoreDevice."""
        return ActionResult(self._backend.device(self._request("GetCoreDevice")["coreDeviceThingName"]).describe())

    def delete_core_device(self) -> ActionResult:
        """DeleteCoreDevice. AWS keeps the IoT thing; there are no things here."""
        thing = self._request("DeleteCoreDevice")["coreDeviceThingName"]
        self._backend.device(thing)
        del self._backend.devices[thing]
        return EmptyResult()

    def list_installed_components(self) -> ActionResult:
        """ListInstalledComponents: root components only, unless the request says ALL."""
        request = self._request("ListInstalledComponents")
        entries = self._backend.installed(self._backend.device(request["coreDeviceThingName"]))
        if request.get("topologyFilter", "ROOT") == "ROOT":
            entries = [entry for entry in entries if entry["isRoot"]]
        return page(request, "installedComponents", entries)

    def list_effective_deployments(self) -> ActionResult:
        """ListEffectiveDeployments."""
        request = self._request("ListEffectiveDeployments")
        device = self._backend.device(request["coreDeviceThingName"])
        reaching = [d.effective() for d in self._backend.latest_deployments() if d.reaches(device)]
        return page(request, "effectiveDeployments", reaching)

    def create_deployment(self) -> ActionResult:
        """CreateDeployment."""
        made = self._backend.create_deployment(self._request("CreateDeployment"))
        return ActionResult({"deploymentId": made.id, "iotJobId": made.job_id, "iotJobArn": made.job_arn})

    def get_deployment(self) -> ActionResult:
        """GetDeployment."""
        found = self._backend.deployment(self._request("GetDeployment")["deploymentId"])
        return ActionResult(found.describe(found in self._backend.latest_deployments()))

    def list_deployments(self) -> ActionResult:
        """ListDeployments: the latest per target, unless the request says ALL."""
        request = self._request("ListDeployments")
        latest = self._backend.latest_deployments()
        entries = [
            d.summary(d in latest)
            for d in reversed(list(self._backend.deployments.values()))
            if not d.deleted
            and request.get("targetArn") in (None, d.target_arn)
            and request.get("parentTargetArn") in (None, d.request.get("parentTargetArn"))
            and (request.get("historyFilter", "LATEST_ONLY") == "ALL" or d in latest)
        ]
        return page(request, "deployments", entries)

    def cancel_deployment(self) -> ActionResult:
        """CancelDeployment."""
        found = self._backend.deployment(self._request("CancelDeployment")["deploymentId"])
        found.cancel()
        return ActionResult({"message": f"Deployment {found.id} is {found.status}."})

    def delete_deployment(self) -> ActionResult:
        """DeleteDeployment."""
        self._backend.delete_deployment(self._request("DeleteDeployment")["deploymentId"])
        return EmptyResult()

    def batch_associate_client_device_with_core_device(self) -> ActionResult:
        """BatchAssociateClientDeviceWithCoreDevice. Any thing name is accepted: there is no thing registry here."""
        request = self._request("BatchAssociateClientDeviceWithCoreDevice")
        clients = self._backend.device(request["coreDeviceThingName"]).clients
        for entry in request.get("entries") or []:
            clients.setdefault(entry["thingName"], now())
        return ActionResult({"errorEntries": []})

    def batch_disassociate_client_device_from_core_device(self) -> ActionResult:
        """BatchDisassociateClientDeviceFromCoreDevice; devices that are not associated are returned as errors."""
        request = self._request("BatchDisassociateClientDeviceFromCoreDevice")
        core = request["coreDeviceThingName"]
        clients = self._backend.device(core).clients
        missing = [
            {
                "thingName": entry["thingName"],
                "code": ResourceNotFoundException.code,
                "message": f"{entry['thingName']} is not associated with core device {core}.",
            }
            for entry in request.get("entries") or []
            if clients.pop(entry["thingName"], None) is None
        ]
        return ActionResult({"errorEntries": missing})

    def list_client_devices_associated_with_core_device(self) -> ActionResult:
        """ListClientDevicesAssociatedWithCoreDevice."""
        request = self._request("ListClientDevicesAssociatedWithCoreDevice")
        clients = self._backend.device(request["coreDeviceThingName"]).clients
        entries = [
            {"thingName": thing, "associationTimestamp": moment(since)} for thing, since in sorted(clients.items())
        ]
        return page(request, "associatedClientDevices", entries)

    def get_connectivity_info(self) -> ActionResult:
        """GetConnectivityInfo; an empty list for an unknown thing."""
        thing = self._request("GetConnectivityInfo")["thingName"]
        return ActionResult({"connectivityInfo": self._backend.connectivity.get(thing, []), "message": ""})

    def update_connectivity_info(self) -> ActionResult:
        """UpdateConnectivityInfo: replaces the earlier information."""
        request = self._request("UpdateConnectivityInfo")
        self._backend.connectivity[request["thingName"]] = request["connectivityInfo"]
        return ActionResult({"version": str(uuid.uuid4()), "message": "Connectivity Info Updated"})

    def associate_service_role_to_account(self) -> ActionResult:
        """AssociateServiceRoleToAccount."""
        role, since = self._request("AssociateServiceRoleToAccount")["roleArn"], now()
        self._backend.service_role = (role, since)
        return ActionResult({"associatedAt": moment(since).isoformat()})

    def get_service_role_for_account(self) -> ActionResult:
        """GetServiceRoleForAccount. 404 without one, although the service model has no such error."""
        self._request("GetServiceRoleForAccount")
        if self._backend.service_role is None:
            raise ResourceNotFoundException("ServiceRole", self.current_account)
        role, since = self._backend.service_role
        return ActionResult({"roleArn": role, "associatedAt": moment(since).isoformat()})

    def disassociate_service_role_from_account(self) -> ActionResult:
        """DisassociateServiceRoleFromAccount; succeeds even where none is associated."""
        self._request("DisassociateServiceRoleFromAccount")
        self._backend.service_role = None
        return ActionResult({"disassociatedAt": moment(now()).isoformat()})
