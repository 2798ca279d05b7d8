from __future__ import annotations

import pytest

from tests.deployments.local.aws.conftest import Aws, error_of, put_package, recipe, settings

NAME = "model-cookie-jetson-xavier"
GROUP = "arn:aws:iot:us-east-1:123456789012:thinggroup/line-1"
THING = "arn:aws:iot:us-east-1:123456789012:thing/press-1"


@pytest.fixture
def fleet(aws: Aws) -> Aws:
    """Two devices, one of them in the group line-1, and one deployable component."""
    nucleus = {"name": "aws.greengrass.Nucleus", "version": "2.12.6", "root": False}
    aws.add_device(thing="press-1", groups=["line-1"], installed=[nucleus], tags={"site": "a"})
    aws.add_device(thing="press-2", status="UNHEALTHY", architecture="amd64")
    put_package(aws)
    aws.client("greengrassv2").create_component_version(inlineRecipe=recipe(aws))
    return aws


def test_devices_are_listed_and_described(fleet: Aws) -> None:
    greengrass = fleet.client("greengrassv2")
    pages = greengrass.get_paginator("list_core_devices").paginate(PaginationConfig={"PageSize": 1})
    assert [d["coreDeviceThingName"] for p in pages for d in p["coreDevices"]] == ["press-1", "press-2"]
    assert [d["coreDeviceThingName"] for d in greengrass.list_core_devices(status="UNHEALTHY")["coreDevices"]] == [
        "press-2"
    ]
    assert len(greengrass.list_core_devices(thingGroupArn=GROUP)["coreDevices"]) == 1
    described = greengrass.get_core_device(coreDeviceThingName="press-1")
    assert (described["architecture"], described["tags"]) == ("aarch64", {"site": "a"})
    assert error_of(greengrass.get_core_device, coreDeviceThingName="none")["Code"] == "ResourceNotFoundException"


def test_a_deployment_to_a_group_brings_its_components_and_their_dependencies(fleet: Aws) -> None:
    greengrass = fleet.client("greengrassv2")
    made = greengrass.create_deployment(
        targetArn=GROUP, deploymentName="cookies", components={NAME: {"componentVersion": "1.0.0"}}
    )
    roots = greengrass.list_installed_components(coreDeviceThingName="press-1")["installedComponents"]
    assert [(c["componentName"], c["componentVersion"], c["isRoot"]) for c in roots] == [(NAME, "1.0.0", True)]
    everything = greengrass.list_installed_components(coreDeviceThingName="press-1", topologyFilter="ALL")
    assert {c["componentName"] for c in everything["installedComponents"]} == {
        NAME,
        "aws.greengrass.Nucleus",
        "aws.edgeml.dda.LocalServer.arm64",
    }
    other = greengrass.list_installed_components(coreDeviceThingName="press-2", topologyFilter="ALL")
    assert other["installedComponents"] == []
    effective = greengrass.list_effective_deployments(coreDeviceThingName="press-1")["effectiveDeployments"]
    assert [(d["deploymentName"], d["coreDeviceExecutionStatus"]) for d in effective] == [("cookies", "SUCCEEDED")]
    described = greengrass.get_deployment(deploymentId=made["deploymentId"])
    assert (described["deploymentStatus"], described["isLatestForTarget"]) == ("ACTIVE", True)


def test_a_new_revision_replaces_the_old_one(fleet: Aws) -> None:
    greengrass = fleet.client("greengrassv2")
    greengrass.create_component_version(inlineRecipe=recipe(fleet, version="2.0.0"))
    for version in ("1.0.0", "2.0.0"):
        greengrass.create_deployment(targetArn=THING, components={NAME: {"componentVersion": version}})
    installed = greengrass.list_installed_components(coreDeviceThingName="press-1")["installedComponents"]
    assert [c["componentVersion"] for c in installed] == ["2.0.0"]
    assert len(greengrass.list_deployments(targetArn=THING)["deployments"]) == 1
    history = greengrass.list_deployments(targetArn=THING, historyFilter="ALL")["deployments"]
    assert [(d["revisionId"], d["isLatestForTarget"]) for d in history] == [("2", True), ("1", False)]
    assert history[0]["deploymentStatus"] == "COMPLETED"


@settings(deploy_seconds=60)
def test_a_cancelled_deployment_never_reaches_its_devices(fleet: Aws) -> None:
    greengrass = fleet.client("greengrassv2")
    made = greengrass.create_deployment(targetArn=THING, components={NAME: {"componentVersion": "1.0.0"}})
    effective = greengrass.list_effective_deployments(coreDeviceThingName="press-1")["effectiveDeployments"]
    assert effective[0]["coreDeviceExecutionStatus"] == "IN_PROGRESS"
    greengrass.cancel_deployment(deploymentId=made["deploymentId"])
    assert greengrass.get_deployment(deploymentId=made["deploymentId"])["deploymentStatus"] == "CANCELED"
    assert greengrass.list_effective_deployments(coreDeviceThingName="press-1")["effectiveDeployments"] == []


def test_only_existing_deployable_versions_can_be_deployed(fleet: Aws) -> None:
    greengrass = fleet.client("greengrassv2")
    fleet.faults.add("publish", target="jetson-xavier", reason="broken")
    greengrass.create_component_version(inlineRecipe=recipe(fleet, version="3.0.0"))
    deploy = greengrass.create_deployment
    missing = error_of(deploy, targetArn=THING, components={NAME: {"componentVersion": "9.0.0"}})
    assert missing["Code"] == "ResourceNotFoundException"
    failed = error_of(deploy, targetArn=THING, components={NAME: {"componentVersion": "3.0.0"}})
    assert failed["Code"] == "ValidationException"
    assert error_of(deploy, targetArn="press-1")["Code"] == "ValidationException"
    assert error_of(greengrass.get_deployment, deploymentId="none")["Code"] == "ResourceNotFoundException"
    greengrass.create_deployment(targetArn=THING, components={"aws.greengrass.Cli": {"componentVersion": "2.12.6"}})


def test_a_deployment_to_a_group_can_be_cancelled_and_deleted_and_devices_keep_its_components(fleet: Aws) -> None:
    greengrass = fleet.client("greengrassv2")
    made = greengrass.create_deployment(targetArn=GROUP, components={NAME: {"componentVersion": "1.0.0"}})
    deployment = made["deploymentId"]
    refused = error_of(greengrass.delete_deployment, deploymentId=deployment)
    assert (refused["Code"], refused["Status"]) == ("ConflictException", 409)
    greengrass.cancel_deployment(deploymentId=deployment)
    assert greengrass.get_deployment(deploymentId=deployment)["deploymentStatus"] == "CANCELED"
    greengrass.delete_deployment(deploymentId=deployment)
    assert error_of(greengrass.get_deployment, deploymentId=deployment)["Code"] == "ResourceNotFoundException"
    assert greengrass.list_deployments(historyFilter="ALL")["deployments"] == []
    installed = greengrass.list_installed_components(coreDeviceThingName="press-1")["installedComponents"]
    assert [c["componentName"] for c in installed] == [NAME]
    again = greengrass.create_deployment(targetArn=GROUP)["deploymentId"]
    assert greengrass.get_deployment(deploymentId=again)["revisionId"] == "2"


def test_a_deleted_core_device_is_no_longer_listed(fleet: Aws) -> None:
    greengrass = fleet.client("greengrassv2")
    greengrass.delete_core_device(coreDeviceThingName="press-2")
    assert [d["coreDeviceThingName"] for d in greengrass.list_core_devices()["coreDevices"]] == ["press-1"]
    again = error_of(greengrass.delete_core_device, coreDeviceThingName="press-2")
    assert again["Code"] == "ResourceNotFoundException"
