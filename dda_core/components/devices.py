"""Which core devices have which version of our components, and which deployment installed it.

AWS IoT Greengrass cannot list the devices of a component, so every device is queried. Calls are spaced, because all
users of the account share its request rate.
"""

from __future__ import annotations

import time
from collections.abc import Iterable
from datetime import datetime
from typing import TYPE_CHECKING, Any

from botocore.exceptions import ClientError
from pydantic import BaseModel, ConfigDict

from dda_core.aws.errors import is_not_found
from dda_core.components.versions import version_key

if TYPE_CHECKING:
    from mypy_boto3_greengrassv2 import GreengrassV2Client

PREFIX = "model-"
"""The prefix of every model component's name."""
LOCAL = "LOCAL"
"""AWS's installation source of a component that was deployed locally on the device."""


class CoreDevice(BaseModel):
    """A Greengrass core device. ``status`` is ``HEALTHY`` or ``UNHEALTHY``."""

    model_config = ConfigDict(frozen=True)

    thing: str
    status: str
    updated: datetime | None = None


class DeviceEntry(BaseModel):
    """A device that has a version of a component. The field names are a contract.

    ``state`` is the component's lifecycle state there, such as ``RUNNING`` or ``BROKEN``; ``deployment`` the name of
    the deployment that installed it, else its id, or ``LOCAL``; ``last_seen`` when it last reported.
    """

    model_config = ConfigDict(frozen=True)

    thing: str
    status: str
    state: str | None
    deployment: str | None
    last_seen: datetime | None


class InstalledVersion(BaseModel):
    """A version of a component, and the devices that have it. The field names are a contract."""

    model_config = ConfigDict(frozen=True)

    component: str
    version: str
    count: int
    devices: tuple[DeviceEntry, ...]


class Spacing:
    """Limits the calls of one thread to ``per_second``."""

    def __init__(self, per_second: float) -> None:
        self._seconds = 1 / per_second
        self._next = 0.0

    def wait(self) -> None:
        """Wait until the next call may be made."""
        time.sleep(max(0.0, self._next - time.monotonic()))
        self._next = time.monotonic() + self._seconds


def list_components(greengrass: GreengrassV2Client, spacing: Spacing) -> list[str]:
    """The names of the account's model components."""
    pages = _pages(greengrass, spacing, "list_components", "components", scope="PRIVATE")
    return sorted({row["componentName"] for row in pages if row["componentName"].startswith(PREFIX)})


def installed_versions(
    greengrass: GreengrassV2Client, spacing: Spacing, component: str | None = None
) -> list[InstalledVersion]:
    """Every version of our components that is on a core device, by component, highest version first.

    Args:
        greengrass: a client of the account.
        spacing: of its calls: one per device, or two if it has one of our components.
        component: only this one.
    """
    found: dict[tuple[str, str], list[DeviceEntry]] = {}
    for device in list_core_devices(greengrass, spacing):
        try:
            for name, version, entry in _components_of(greengrass, spacing, device, component):
                found.setdefault((name, version), []).append(entry)
        except ClientError as error:
            if not is_not_found(error):  # not found: deleted since it was listed
                raise
    versions = [
        InstalledVersion(
            component=name, version=version, count=len(entries), devices=tuple(sorted(entries, key=lambda e: e.thing))
        )
        for (name, version), entries in found.items()
    ]
    newest_first = sorted(versions, key=lambda each: version_key(each.version), reverse=True)
    return sorted(newest_first, key=lambda each: each.component)


def list_core_devices(greengrass: GreengrassV2Client, spacing: Spacing) -> list[CoreDevice]:
    """The account's core devices."""
    return [
        CoreDevice(thing=row["coreDeviceThingName"], status=row["status"], updated=row.get("lastStatusUpdateTimestamp"))
        for row in _pages(greengrass, spacing, "list_core_devices", "coreDevices")
    ]


def _components_of(
    greengrass: GreengrassV2Client, spacing: Spacing, device: CoreDevice, component: str | None
) -> list[tuple[str, str, DeviceEntry]]:
    # ALL: a component that was installed as a dependency is not a root component.
    rows = [
        row
        for row in _pages(
            greengrass,
            spacing,
            "list_installed_components",
            "installedComponents",
            coreDeviceThingName=device.thing,
            topologyFilter="ALL",
        )
        if row["componentName"].startswith(PREFIX) and component in (None, row["componentName"])
    ]
    if not rows:
        return []
    deployments = _pages(
        greengrass, spacing, "list_effective_deployments", "effectiveDeployments", coreDeviceThingName=device.thing
    )
    return [
        (
            row["componentName"],
            row["componentVersion"],
            DeviceEntry(
                thing=device.thing,
                status=device.status,
                state=row.get("lifecycleState"),
                deployment=_deployment(row.get("lastInstallationSource"), deployments),
                last_seen=max(filter(None, (row.get("lastReportedTimestamp"), device.updated)), default=None),
            ),
        )
        for row in rows
    ]


def _deployment(source: str | None, deployments: Iterable[dict[str, Any]]) -> str | None:
    """The deployment's name or id. AWS's installation source is a deployment id, a thing group or the thing."""
    if not source or source == LOCAL:
        return source or None
    for each in deployments:
        if source in (each["deploymentId"], each.get("targetArn", "").rpartition("/")[2]):
            return str(each.get("deploymentName") or each["deploymentId"])
    return source


def _pages(
    greengrass: GreengrassV2Client, spacing: Spacing, operation: Any, rows: str, **parameters: Any
) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = []
    spacing.wait()
    for page in greengrass.get_paginator(operation).paginate(**parameters):
        found += page.get(rows, [])
        if page.get("nextToken"):
            spacing.wait()
    return found
