"""Core devices and their components, against the embedded AWS."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from datetime import UTC, datetime

import pytest

from dda_core.components.devices import DeviceEntry, InstalledVersion, Spacing, installed_versions, list_components
from dda_core.pages.devices import SHOWN, DeviceSurvey, component_page
from deployments.local.aws import LocalAws, local_aws

QUICK = Spacing(1e6)
AT = datetime(2026, 1, 2, 3, 4, tzinfo=UTC)


@pytest.fixture
def aws() -> Iterator[LocalAws]:
    with local_aws(server=False) as aws:
        yield aws


def publish(aws: LocalAws, name: str, version: str = "1.0.0") -> None:
    recipe = {
        "RecipeFormatVersion": "2020-01-25",
        "ComponentName": name,
        "ComponentVersion": version,
        "ComponentType": "aws.greengrass.generic",
        "Manifests": [{"Platform": {"os": "linux"}, "Lifecycle": {}}],
    }
    aws.client("greengrassv2").create_component_version(inlineRecipe=json.dumps(recipe).encode())


def test_versions_are_counted_and_sorted_and_other_components_left_out(aws: LocalAws) -> None:
    for number, version in enumerate(["2.0.0", "10.0.0", "2.0.0"]):
        nucleus = {"name": "aws.greengrass.Nucleus", "version": "2.12.0"}
        aws.add_device(thing=f"press-{number}", installed=[{"name": "model-a", "version": version}, nucleus])
    aws.add_device(thing="bare")
    found = installed_versions(aws.client("greengrassv2"), QUICK)
    assert [(each.component, each.version, each.count) for each in found] == [
        ("model-a", "10.0.0", 1),
        ("model-a", "2.0.0", 2),
    ]
    assert [device.thing for device in found[1].devices] == ["press-0", "press-2"]
    assert installed_versions(aws.client("greengrassv2"), QUICK, "model-b") == []


def test_a_component_installed_as_a_dependency_counts_too(aws: LocalAws) -> None:
    aws.add_device(thing="press", installed=[{"name": "model-a", "version": "1.0.0", "root": False}])
    assert [each.count for each in installed_versions(aws.client("greengrassv2"), QUICK)] == [1]


def test_devices_and_components_over_several_pages(aws: LocalAws) -> None:
    many = [{"name": f"other-{number}", "version": "1.0.0"} for number in range(70)]
    for number in range(120):
        installed = [*(many if number == 0 else []), {"name": "model-a", "version": "1.0.0"}]
        aws.add_device(thing=f"press-{number:03}", installed=installed)
    assert [each.count for each in installed_versions(aws.client("greengrassv2"), QUICK)] == [120]


def test_the_deployment_that_installed_it_is_named(aws: LocalAws) -> None:
    greengrass = aws.client("greengrassv2")
    publish(aws, "model-a")
    aws.add_device(thing="press", groups=["hall"], status="UNHEALTHY")
    aws.add_device(thing="bench", installed=[{"name": "model-a", "version": "1.0.0", "state": "BROKEN"}])
    greengrass.create_deployment(
        targetArn="arn:aws:iot:us-east-1:123456789012:thinggroup/hall",
        deploymentName="Hall 3",
        components={"model-a": {"componentVersion": "1.0.0"}},
    )
    [found] = installed_versions(greengrass, QUICK)
    bench, press = found.devices
    assert (press.deployment, press.status, press.state) == ("Hall 3", "UNHEALTHY", "RUNNING")
    assert (bench.deployment, bench.status, bench.state) == ("LOCAL", "HEALTHY", "BROKEN")
    assert press.last_seen is not None


def test_a_device_deleted_during_the_survey_is_left_out(aws: LocalAws) -> None:
    for thing in ("a", "b"):
        aws.add_device(thing=thing, installed=[{"name": "model-a", "version": "1.0.0"}])
    aws.faults.add("call", operation="ListInstalledComponents", error="ResourceNotFoundException", times=1)
    [found] = installed_versions(aws.client("greengrassv2"), QUICK)
    assert [device.thing for device in found.devices] == ["b"]


def test_our_components_are_listed(aws: LocalAws) -> None:
    for number in range(60):
        publish(aws, f"model-{number:02}")
    publish(aws, "com.example.other")
    assert list_components(aws.client("greengrassv2"), QUICK) == [f"model-{number:02}" for number in range(60)]


def test_calls_are_spaced() -> None:
    spacing, began = Spacing(50), time.monotonic()
    for _ in range(6):
        spacing.wait()
    assert time.monotonic() - began >= 0.1


def entry(thing: str) -> DeviceEntry:
    return DeviceEntry(
        thing=thing, status="HEALTHY", state="RUNNING", deployment="arn:aws:iot:us-east-1:123456789012:x", last_seen=AT
    )


def test_the_page_counts_and_lists_and_shows_no_account() -> None:
    devices = tuple(entry(f"press-{number}") for number in range(SHOWN + 3))
    version = InstalledVersion(component="model-a", version="2.0.0", count=len(devices), devices=devices)
    page = component_page("model-a", [DeviceSurvey(use_case="lids", region="eu-central-1", versions=(version,))], AT)
    assert page.startswith("# model-a\n\nAs of 2026-01-02 03:04 UTC")
    assert f" | {SHOWN + 3} |" in page
    assert "console.aws.amazon.com/iot/home?region=eu-central-1#/greengrass/v2/components/private/model-a/2.0.0" in page
    assert f"press-{SHOWN - 1} " in page
    assert f"press-{SHOWN} " not in page
    assert "… and 3 more: `dda devices model-a`" in page
    assert "123456789012" not in page


def test_the_page_names_what_it_does_not_know() -> None:
    known = DeviceSurvey(use_case="a", region="eu-central-1", components=("model-a",))
    unknown = DeviceSurvey(use_case="b", region="eu-central-1", failure="AccessDeniedException: no")
    gone = DeviceSurvey(use_case="c", region="eu-central-1")
    page = component_page("model-a", [known, unknown, gone], AT)
    assert "No core device has it." in page
    assert "could not be read: AccessDeniedException: no" in page
    assert "It is not in Greengrass, and on no core device." in page
