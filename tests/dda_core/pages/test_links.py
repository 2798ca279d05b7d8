"""Where pages link to: on an open-source server, in Prefect Cloud, and in the AWS console."""

from __future__ import annotations

import re
from datetime import UTC, datetime

import pytest

from dda_core.pages.history import history_page, model_page
from dda_core.pages.links import Ui, component_link, job_link, object_link
from dda_core.pages.overview import OverviewRow, overview_page
from dda_core.runs.history import AttemptStatus, HistoryRow
from dda_core.runs.status import RunStatus, TargetRecord, TargetStatus
from dda_core.runs.view import RunView

NOW = datetime(2026, 1, 1, tzinfo=UTC)
OPEN_SOURCE = "http://127.0.0.1:4200"
CLOUD = "https://app.prefect.cloud/account/0a/workspace/1b"
RUN, DEPLOYMENT = "5f1d", "77aa"
ROW = OverviewRow(
    training_job="lid-7", use_case="lids", block="lids", model="lid", flow_run_id=RUN, deployment_id=DEPLOYMENT
).with_targets({"arm64-cpu": TargetRecord(status=TargetStatus.FAILED)})
ATTEMPT = HistoryRow(
    target="arm64-cpu",
    attempt=1,
    status=AttemptStatus.FAILED,
    started=NOW,
    ended=None,
    seconds=None,
    compilation_job=None,
    component=None,
    version=None,
    reason=None,
    flow_run_id=RUN,
    trigger="manual",
)
MODEL_RUN = RunView(
    training_job="lid-7", flow_run_id=RUN, state="Failed", status=RunStatus.FAILED, targets={}, began=NOW
)


def pages(ui: Ui) -> list[str]:
    return [
        overview_page([ROW], NOW, ui),
        overview_page([], NOW, ui),
        history_page("lid-7", [ATTEMPT], ui),
        model_page("lid", [MODEL_RUN], ui),
    ]


def addresses(ui: Ui) -> set[str]:
    return {address for page in pages(ui) for address in re.findall(r"\]\(([^)\s]+)\)", page)}


@pytest.mark.parametrize(
    ("configured", "at", "within"),
    [
        (OPEN_SOURCE, f"{OPEN_SOURCE}/v2", "/v2"),
        (f"{OPEN_SOURCE}/", f"{OPEN_SOURCE}/v2", "/v2"),
        (None, "/v2", "/v2"),
        ("https://prefect.factory.example/ui", "https://prefect.factory.example/ui/v2", "/v2"),
        (CLOUD, CLOUD, CLOUD),
        (f"{CLOUD}/", CLOUD, CLOUD),
        ("https://app.prefect.cloud.example", "https://app.prefect.cloud.example/v2", "/v2"),
    ],
)
def test_the_base_url_follows_the_server(configured: str | None, at: str, within: str):
    assert Ui.at(configured).base == at
    assert Ui.within(configured).base == within


def test_pages_of_an_open_source_server_link_without_the_host():
    found = addresses(Ui.within(OPEN_SOURCE))
    assert {f"/v2/runs/flow-run/{RUN}", "/v2/deployments", "/v2/artifacts/key/training-jobs"} <= found
    assert "/v2/runs?tags=model:lid" in found
    assert any(address.startswith(f"/v2/deployments/deployment/{DEPLOYMENT}/run?parameters=") for address in found)
    assert [address for address in found if not address.startswith("/v2/")] == []


def test_pages_in_prefect_cloud_link_into_their_workspace():
    found = addresses(Ui.within(CLOUD))
    assert {f"{CLOUD}/runs/flow-run/{RUN}", f"{CLOUD}/deployments", f"{CLOUD}/artifacts/key/training-jobs"} <= found
    assert f"{CLOUD}/runs?tags=model:lid" in found
    assert any(address.startswith(f"{CLOUD}/deployments/deployment/{DEPLOYMENT}/run?") for address in found)
    assert [address for address in found if not address.startswith(f"{CLOUD}/") or "/v2" in address] == []


@pytest.mark.parametrize(
    ("region", "console"),
    [
        ("eu-west-1", "https://eu-west-1.console.aws.amazon.com/"),
        ("cn-north-1", "https://cn-north-1.console.amazonaws.cn/"),
        ("us-gov-west-1", "https://console.amazonaws-us-gov.com/"),
    ],
)
def test_the_console_follows_the_partition(region: str, console: str):
    for address in (
        job_link(region, "lid-7-1"),
        component_link(region, "model-lid", "1.0.0"),
        object_link(region, "s3://dda/a b/c.zip"),
    ):
        assert address.startswith(console)
        assert f"region={region}" in address
