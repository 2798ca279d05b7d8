"""The page of one component: which core devices have which version of it."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime

from pydantic import BaseModel, ConfigDict

from dda_core.components.devices import InstalledVersion
from dda_core.pages.links import component_link
from dda_core.pages.markdown import cell, link, table
from dda_core.sanitise import sanitise

SHOWN = 500
"""The most devices listed on a page; the rest are counted, and `dda devices` lists them."""
HEALTH = {"HEALTHY": "🟢", "UNHEALTHY": "🔴"}


class DeviceSurvey(BaseModel):
    """The components on the core devices of one account and Region, read with the credentials of ``use_case``.

    ``failure`` says why they could not be read; the rest is empty then.
    """

    model_config = ConfigDict(frozen=True)

    use_case: str
    region: str
    components: tuple[str, ...] = ()
    versions: tuple[InstalledVersion, ...] = ()
    failure: str | None = None

    @property
    def names(self) -> set[str]:
        """The components that exist in Greengrass or on a device."""
        return {*self.components, *(each.component for each in self.versions)}


def component_page(component: str, surveys: Sequence[DeviceSurvey], at: datetime) -> str:
    """The page as Markdown, as of ``at``; one section per account and Region. It holds no account id."""
    stamp = f"As of {at.astimezone(UTC):%Y-%m-%d %H:%M} UTC; updated by the flow `refresh-devices`."
    parts = [f"# {cell(component)}", stamp, *(_part(component, survey) for survey in surveys)]
    return sanitise("\n\n".join(parts), mask_accounts=True) + "\n"


def _part(component: str, survey: DeviceSurvey) -> str:
    head = f"## {cell(survey.use_case)}, {survey.region}"
    if survey.failure:
        return f"{head}\n\nThe devices could not be read: {cell(survey.failure)}"
    versions = [each for each in survey.versions if each.component == component]
    if not versions:
        there = component in survey.components
        return f"{head}\n\n" + (
            "No core device has it." if there else "It is not in Greengrass, and on no core device."
        )
    counts = table(
        ["version", "devices"],
        [
            [link(each.version, component_link(survey.region, component, each.version)), str(each.count)]
            for each in versions
        ],
        right=["devices"],
    )
    rows = [
        [
            cell(device.thing),
            f"{HEALTH.get(device.status, '⚪')}&nbsp;{cell(device.status)}",
            cell(each.version),
            cell(device.state),
            f"{device.last_seen.astimezone(UTC):%Y-%m-%d %H:%M}" if device.last_seen else "",
            cell(device.deployment),
        ]
        for each in versions
        for device in each.devices
    ]
    devices = table(
        ["device", "device status", "version", "component status", "last seen (UTC)", "deployment"], rows[:SHOWN]
    )
    more = f"\n\n… and {len(rows) - SHOWN} more: `dda devices {component}`" if len(rows) > SHOWN else ""
    return f"{head}\n\n{counts}\n\n{devices}{more}"
