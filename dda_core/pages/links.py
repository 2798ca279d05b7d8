"""URLs of pages: in Prefect's UI, whose base URL the caller gives, and in the AWS console."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import NamedTuple, Self
from urllib.parse import quote, urlencode

OVERVIEW = "training-jobs"
"""The artifact key of the overview page."""
CLOUD = "https://app.prefect.cloud"


class Ui(NamedTuple):
    """Prefect's UI. ``base`` is the prefix of all its URLs, without a trailing slash."""

    base: str

    @classmethod
    def at(cls, address: str | None) -> Self:
        """The UI at an absolute URL, such as ``PREFECT_UI_URL``; for logs and terminals."""
        address = (address or "").rstrip("/")
        # An open-source server serves the newer UI, which has artifact pages, below /v2.
        return cls(address if _is_cloud(address) else f"{address}/v2")

    @classmethod
    def within(cls, address: str | None) -> Self:
        """The same, for links on the UI's own pages.

        Users may reach an open-source server at a different URL than its workers, so its pages link without the host.
        In Prefect Cloud a path needs account and workspace.
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
        """An artifact's page, which the sidebar does not link to."""
        return f"{self.base}/artifacts/key/{key}"

    def form(self, deployment_id: str, block: str, training_job: str, targets: Sequence[str] = ()) -> str:
        """A deployment's run form, with use case, training job and targets filled in."""
        # With parameters in its URL the form ignores the deployment's own, so the use case is included.
        parameters: dict[str, object] = {"training_job_name": training_job, "use_case": block}
        if targets:
            parameters["targets"] = list(targets)
        query = urlencode({"parameters": json.dumps(parameters, separators=(",", ":"))}, quote_via=quote)
        return f"{self.deployments}/deployment/{deployment_id}/run?{query}"


def _is_cloud(address: str) -> bool:
    return address == CLOUD or address.startswith(f"{CLOUD}/")


def console(region: str) -> str:
    """The URL of the AWS console for a Region; its partition determines the domain."""
    domain = "amazonaws.cn" if region.startswith("cn-") else "aws.amazon.com"
    if region.startswith("us-gov-"):
        return "https://console.amazonaws-us-gov.com"
    return f"https://{region}.console.{domain}"


def job_link(region: str, job: str) -> str:
    """The console page of a compilation job."""
    return f"{console(region)}/sagemaker/home?region={region}#/compilation-jobs/{job}"


def component_link(region: str, component: str, version: str) -> str:
    """The console page of a component version."""
    return f"{console(region)}/iot/home?region={region}#/greengrass/v2/components/private/{component}/{version}"


def object_link(region: str, uri: str) -> str:
    """The console page of an S3 object."""
    bucket, _, key = uri.removeprefix("s3://").partition("/")
    return f"{console(region)}/s3/object/{bucket}?region={region}&prefix={quote(key)}"
