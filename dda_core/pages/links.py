"""Addresses of pages: in Prefect's UI, whose base the caller gives, and in the AWS console."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import NamedTuple, Self
from urllib.parse import quote, urlencode

OVERVIEW = "training-jobs"
"""The key of the overview's page."""
CLOUD = "https://app.prefect.cloud"


class Ui(NamedTuple):
    """Prefect's UI. ``base`` is what all its addresses begin with, without a slash at its end."""

    base: str

    @classmethod
    def at(cls, address: str | None) -> Self:
        """The UI at an absolute address, as ``PREFECT_UI_URL`` holds it; for logs and terminals."""
        address = (address or "").rstrip("/")
        # An open-source server has the newer UI, which has pages for artifacts, below /v2.
        return cls(address if _is_cloud(address) else f"{address}/v2")

    @classmethod
    def within(cls, address: str | None) -> Self:
        """The same for the UI's own pages.

        An open-source server may be reached at another address than its workers know, so its pages link without the
        host. In Prefect Cloud a path says nothing without account and workspace.
        """
        return cls.at(address if _is_cloud(address or "") else None)

    @property
    def deployments(self) -> str:
        """The list of deployments."""
        return f"{self.base}/deployments"

    @property
    def all_runs(self) -> str:
        """The list of flow runs."""
        return f"{self.base}/runs"

    def run(self, flow_run_id: str) -> str:
        """A flow run's page."""
        return f"{self.all_runs}/flow-run/{flow_run_id}"

    def runs(self, tag: str) -> str:
        """The list of the runs with a tag."""
        return f"{self.all_runs}?tags={quote(tag, safe=':')}"

    def artifact(self, key: str) -> str:
        """An artifact's page, which the sidebar does not lead to."""
        return f"{self.base}/artifacts/key/{key}"

    def form(self, deployment_id: str, block: str, training_job: str, targets: Sequence[str] = ()) -> str:
        """A deployment's form, with use case, training job and targets filled in."""
        # With parameters in its address the form leaves out the deployment's own, so the use case is among them.
        parameters: dict[str, object] = {"training_job_name": training_job, "use_case": block}
        if targets:
            parameters["targets"] = list(targets)
        query = urlencode({"parameters": json.dumps(parameters, separators=(",", ":"))}, quote_via=quote)
        return f"{self.deployments}/deployment/{deployment_id}/run?{query}"


def _is_cloud(address: str) -> bool:
    return address == CLOUD or address.startswith(f"{CLOUD}/")


def console(region: str) -> str:
    """The address of the AWS console for a Region; its partition decides the domain."""
    domain = "amazonaws.cn" if region.startswith("cn-") else "aws.amazon.com"
    if region.startswith("us-gov-"):
        return "https://console.amazonaws-us-gov.com"
    return f"https://{region}.console.{domain}"


def job_link(region: str, job: str) -> str:
    """The console's page of a compilation job."""
    return f"{console(region)}/sagemaker/home?region={region}#/compilation-jobs/{job}"


def component_link(region: str, component: str, version: str) -> str:
    """The console's page of a component version."""
    return f"{console(region)}/iot/home?region={region}#/greengrass/v2/components/private/{component}/{version}"


def object_link(region: str, uri: str) -> str:
    """The console's page of an object in S3."""
    bucket, _, key = uri.removeprefix("s3://").partition("/")
    return f"{console(region)}/s3/object/{bucket}?region={region}&prefix={quote(key)}"
