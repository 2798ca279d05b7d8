"""Core devices, which are added by the control API, and deployments."""

from __future__ import annotations

import uuid
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field

from deployments.local.aws.environment import current, moment, now, partition


class InstalledComponent(BaseModel):
    """A component that a device has initially. Roots were deployed directly, others are dependencies."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    name: str
    version: str
    root: bool = True
    state: Literal["NEW", "INSTALLED", "STARTING", "RUNNING", "STOPPING", "ERRORED", "BROKEN", "FINISHED"] = "RUNNING"


class CoreDeviceSeed(BaseModel):
    """The description of a core device to add."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    thing: Annotated[str, Field(min_length=1, max_length=128)]
    status: Literal["HEALTHY", "UNHEALTHY"] = "HEALTHY"
    platform: str = "linux"
    architecture: str = "aarch64"
    core_version: str = "2.12.6"
    runtime: str = "aws_nucleus_classic"
    groups: tuple[str, ...] = ()
    """The thing groups that the device belongs to."""
    tags: dict[str, str] = {}
    installed: tuple[InstalledComponent, ...] = ()


class CoreDevice:
    """One core device."""

    def __init__(self, seed: CoreDeviceSeed) -> None:
        self.seed = seed
        self.tags = dict(seed.tags)
        self.since = now()
        self.clients: dict[str, float] = {}
        """Associated client devices, by thing name, with the time of association."""
        self.installed = [self.entry(c.name, c.version, c.root, "LOCAL", self.since, c.state) for c in seed.installed]

    def entry(
        self, name: str, version: str, root: bool, source: str, since: float, state: str = "RUNNING"
    ) -> dict[str, Any]:
        """One entry of ListInstalledComponents."""
        return {
            "componentName": name,
            "componentVersion": version,
            "lifecycleState": state,
            "isRoot": root,
            "lastStatusChangeTimestamp": moment(since),
            "lastReportedTimestamp": moment(since),
            "lastInstallationSource": source,
        }

    def deployed_by(self, deployment: Deployment) -> str:
        """``lastInstallationSource`` of this deployment's components: the thing group or the thing."""
        return deployment.target_arn.rpartition("/")[2]

    def summary(self) -> dict[str, Any]:
        """The device's entry in ListCoreDevices."""
        return {
            "coreDeviceThingName": self.seed.thing,
            "status": self.seed.status,
            "lastStatusUpdateTimestamp": moment(self.since),
            "platform": self.seed.platform,
            "architecture": self.seed.architecture,
            "runtime": self.seed.runtime,
        }

    def describe(self) -> dict[str, Any]:
        """The response of GetCoreDevice."""
        return {**self.summary(), "coreVersion": self.seed.core_version, "tags": self.tags}


class Deployment:
    """One deployment. Its components are on the devices after ``deploy_seconds``, and stay when it is deleted."""

    def __init__(self, request: dict[str, Any], revision: int, account: str, region: str) -> None:
        self.request = request
        self.id = str(uuid.uuid4())
        self.revision = str(revision)
        self.target_arn = str(request["targetArn"])
        self.components: dict[str, Any] = request.get("components") or {}
        self.tags: dict[str, str] = dict(request.get("tags") or {})
        self.created = now()
        self.ended = self.created + current().settings.deploy_seconds
        self._cancelled_at: float | None = None
        self.deleted = False
        self.job_id = str(uuid.uuid4())
        self.job_arn = f"arn:{partition(region)}:iot:{region}:{account}:job/{self.job_id}"

    @property
    def withdrawn(self) -> bool:
        """Whether it was cancelled before it reached any device."""
        return self._cancelled_at is not None and self._cancelled_at < self.ended

    @property
    def done(self) -> bool:
        """Whether it has reached its devices."""
        return not self.withdrawn and now() >= self.ended

    @property
    def status(self) -> str:
        """ACTIVE, COMPLETED or CANCELED. A deployment to a group stays ACTIVE: devices may join the group."""
        if self._cancelled_at is not None:
            return "CANCELED"
        return "COMPLETED" if self.done and ":thing/" in self.target_arn else "ACTIVE"

    def cancel(self) -> None:
        """CancelDeployment; no effect unless it is ACTIVE."""
        if self.status == "ACTIVE":
            self._cancelled_at = now()

    def reaches(self, device: CoreDevice) -> bool:
        """Whether this deployment's target is the device or one of its groups."""
        kind, _, name = self.target_arn.rpartition(":")[2].partition("/")
        return name == device.seed.thing if kind == "thing" else name in device.seed.groups

    def summary(self, latest: bool) -> dict[str, Any]:
        """The deployment's entry in ListDeployments."""
        entry = {
            "targetArn": self.target_arn,
            "revisionId": self.revision,
            "deploymentId": self.id,
            "creationTimestamp": moment(self.created),
            "deploymentStatus": self.status,
            "isLatestForTarget": latest,
        }
        for member in ("deploymentName", "parentTargetArn"):
            if self.request.get(member):
                entry[member] = self.request[member]
        return entry

    def describe(self, latest: bool) -> dict[str, Any]:
        """The response of GetDeployment."""
        response = {
            **self.summary(latest),
            "iotJobId": self.job_id,
            "iotJobArn": self.job_arn,
            "components": self.components,
            "tags": self.tags,
        }
        for member in ("deploymentPolicies", "iotJobConfiguration"):
            if self.request.get(member):
                response[member] = self.request[member]
        return response

    def effective(self) -> dict[str, Any]:
        """The deployment's entry in ListEffectiveDeployments of a device that it reaches."""
        return {
            "deploymentId": self.id,
            "deploymentName": self.request.get("deploymentName") or f"Deployment for {self.target_arn}",
            "iotJobId": self.job_id,
            "iotJobArn": self.job_arn,
            "targetArn": self.target_arn,
            "coreDeviceExecutionStatus": "SUCCEEDED" if self.done else "IN_PROGRESS",
            "reason": "SUCCESSFUL" if self.done else "",
            "creationTimestamp": moment(self.created),
            "modifiedTimestamp": moment(self.ended if self.done else self.created),
        }
