"""Every operation of the service model, and those beyond components and deployments."""

from __future__ import annotations

import json
import urllib.error
import urllib.request
from typing import Any

import pytest
from botocore import xform_name
from botocore.exceptions import ClientError

from deployments.local.aws import local_aws
from deployments.local.aws.shapes import operation_model, response_violations, service_model
from tests.deployments.local.aws.conftest import Aws, error_of, put_package, recipe

NAME = "model-cookie-jetson-xavier"
THING = "arn:aws:iot:us-east-1:123456789012:thing/press-1"
GROUP = "arn:aws:iot:us-east-1:123456789012:thinggroup/line-1"
ROLE = "arn:aws:iam::123456789012:role/Greengrass_ServiceRole"
ERRORS = {shape.name for shape in service_model("greengrassv2").error_shapes}


def sample(shape: Any, name: str, known: dict[str, Any]) -> Any:
    """A value for a shape: the known one of that name, else a small valid one.

    Members whose known value is None are omitted.
    """
    if name in known:
        return known[name]
    kind = shape.type_name
    if kind == "structure":
        members = {key: sample(member, key, known) for key, member in shape.members.items()}
        return {key: value for key, value in members.items() if value is not None}
    if kind == "list":
        return [sample(shape.member, "", known)]
    if kind == "map":
        return {"key": sample(shape.value, "", known)}
    small = {"string": "x", "blob": b"x", "boolean": True}
    if kind in small:
        return shape.metadata.get("enum", [small[kind]])[0]
    return max(1, shape.metadata.get("min", 1))


def call(aws: Aws, operation: str, known: dict[str, Any]) -> str:
    """``ok`` or the error code. Asserts that the response is in the service model."""
    if operation == "ListComponentVersions":
        known = known | {"arn": known["arn"].partition(":versions")[0]}
    model = operation_model("greengrassv2", operation)
    request = sample(model.input_shape, "", known) if model.input_shape else {}
    try:
        answer = getattr(aws.local.client("greengrassv2"), xform_name(operation))(**request)
    except ClientError as refused:
        error = refused.response["Error"]
    else:
        assert response_violations("greengrassv2", operation, answer) == []
        assert answer["ResponseMetadata"]["HTTPStatusCode"] == model.http.get("responseCode", 200)
        return "ok"
    assert error["Code"] in ERRORS, f"{operation}: {error}"
    assert error["Message"]
    return str(error["Code"])


def test_every_operation_matches_the_service_model_without_any_resources(aws: Aws) -> None:
    arn = f"arn:aws:greengrass:us-east-1:123456789012:components:{NAME}:versions:1.0.0"
    known = {"arn": arn, "resourceArn": arn, "targetArn": THING, "thingGroupArn": GROUP, "parentTargetArn": GROUP}
    known |= {"nextToken": None}
    ends = {name: call(aws, name, known) for name in service_model("greengrassv2").operation_names}
    assert ends["ListComponentVersions"] == "ok"
    assert {ends[f"{verb}Component"] for verb in ("Describe", "Get", "Delete")} == {"ResourceNotFoundException"}
    assert ends["GetServiceRoleForAccount"] == "ResourceNotFoundException"


def test_every_operation_succeeds_with_existing_resources(aws: Aws) -> None:
    greengrass = aws.client("greengrassv2")
    put_package(aws)
    aws.add_device(thing="press-1", groups=["line-1"])
    created = greengrass.create_component_version(inlineRecipe=recipe(aws))
    components = {NAME: {"componentVersion": "1.0.0"}}
    deployment = greengrass.create_deployment(targetArn=THING, components=components)["deploymentId"]
    known = {
        "arn": created["arn"],
        "resourceArn": created["arn"],
        "inlineRecipe": recipe(aws, version="2.0.0"),
        "lambdaFunction": None,
        "nextToken": None,
        "targetArn": THING,
        "parentTargetArn": None,
        "iotJobConfiguration": {},
        "components": components,
        "thingGroupArn": GROUP,
        "coreDeviceThingName": "press-1",
        "deploymentId": deployment,
        "artifactName": "package.zip",
        "platform": {"attributes": {"os": "linux", "architecture": "aarch64"}},
        "componentCandidates": [{"componentName": NAME, "versionRequirements": {"other": "^1.0.0"}}],
    }
    names = sorted(
        service_model("greengrassv2").operation_names, key=lambda name: name.startswith(("Delete", "Disassociate"))
    )
    ends = {name: call(aws, name, known) for name in names}
    assert {name: end for name, end in ends.items() if end != "ok"} == {}


def test_a_service_role_is_associated_per_region(aws: Aws) -> None:
    greengrass, elsewhere = aws.client("greengrassv2"), aws.local.client("greengrassv2", "eu-west-1")
    greengrass.associate_service_role_to_account(roleArn=ROLE)
    assert greengrass.get_service_role_for_account()["roleArn"] == ROLE
    assert error_of(elsewhere.get_service_role_for_account)["Status"] == 404
    greengrass.disassociate_service_role_from_account()
    unchecked = aws.local.client("greengrassv2", connect_timeout=5)
    assert error_of(unchecked.get_service_role_for_account)["Status"] == 404


def test_client_devices_of_a_core_device(aws: Aws) -> None:
    greengrass = aws.client("greengrassv2")
    aws.add_device(thing="press-1")
    entries = [{"thingName": name} for name in ("camera-2", "camera-1", "camera-2")]
    associated = greengrass.batch_associate_client_device_with_core_device(
        coreDeviceThingName="press-1", entries=entries
    )
    assert associated["errorEntries"] == []
    pages = greengrass.get_paginator("list_client_devices_associated_with_core_device").paginate(
        coreDeviceThingName="press-1", PaginationConfig={"PageSize": 1}
    )
    assert [d["thingName"] for p in pages for d in p["associatedClientDevices"]] == ["camera-1", "camera-2"]
    removed = greengrass.batch_disassociate_client_device_from_core_device(
        coreDeviceThingName="press-1", entries=[{"thingName": "camera-1"}, {"thingName": "camera-3"}]
    )
    assert [entry["thingName"] for entry in removed["errorEntries"]] == ["camera-3"]
    left = greengrass.list_client_devices_associated_with_core_device(coreDeviceThingName="press-1")
    assert [d["thingName"] for d in left["associatedClientDevices"]] == ["camera-2"]
    missing = error_of(greengrass.list_client_devices_associated_with_core_device, coreDeviceThingName="press-2")
    assert missing["Code"] == "ResourceNotFoundException"


def test_connectivity_information_is_stored(aws: Aws) -> None:
    greengrass = aws.client("greengrassv2")
    assert greengrass.get_connectivity_info(thingName="press-1")["connectivityInfo"] == []
    information = [{"id": "lan", "hostAddress": "192.0.2.1", "portNumber": 8883, "metadata": ""}]
    first = greengrass.update_connectivity_info(thingName="press-1", connectivityInfo=information)["version"]
    second = greengrass.update_connectivity_info(thingName="press-1", connectivityInfo=information)["version"]
    assert first != second
    assert greengrass.get_connectivity_info(thingName="press-1")["connectivityInfo"] == information


def test_an_artifact_is_downloaded_by_its_presigned_url() -> None:
    with local_aws() as local:
        aws = Aws(local)
        greengrass = aws.client("greengrassv2")
        put_package(aws)
        arn = greengrass.create_component_version(inlineRecipe=recipe(aws))["arn"]
        for name in ("package.zip", f"{aws.bucket}/package.zip"):
            url = greengrass.get_component_version_artifact(arn=arn, artifactName=name)["preSignedUrl"]
            with urllib.request.urlopen(url, timeout=5) as answer:
                assert answer.read() == b"a zip"
        missing = error_of(greengrass.get_component_version_artifact, arn=arn, artifactName="other.zip")
        assert (missing["Code"], missing["Status"]) == ("ResourceNotFoundException", 404)


def test_an_artifact_outside_s3_has_no_url(mocked: Aws) -> None:
    greengrass = mocked.client("greengrassv2")
    blob = recipe(mocked, Manifests=[{"Artifacts": [{"Uri": "docker:hello:latest"}]}])
    arn = greengrass.create_component_version(inlineRecipe=blob)["arn"]
    refused = error_of(greengrass.get_component_version_artifact, arn=arn, artifactName="hello:latest")
    assert refused["Code"] == "ValidationException"


@pytest.mark.parametrize(
    ("region", "partition"), [("cn-north-1", "aws-cn"), ("us-gov-west-1", "aws-us-gov"), ("eu-west-1", "aws")]
)
def test_arns_have_the_partition_of_their_region(aws: Aws, region: str, partition: str) -> None:
    greengrass, s3 = aws.client("greengrassv2", region), aws.client("s3", region)
    s3.create_bucket(Bucket="artifacts", CreateBucketConfiguration={"LocationConstraint": region})
    s3.put_object(Bucket="artifacts", Key="package.zip", Body=b"a zip")
    manifest = {"Artifacts": [{"Uri": "s3://artifacts/package.zip"}]}
    body = {"RecipeFormatVersion": "2020-01-25", "ComponentName": "lid", "ComponentVersion": "1.0.0"}
    made = greengrass.create_component_version(inlineRecipe=json.dumps({**body, "Manifests": [manifest]}))
    begin = f"arn:{partition}:greengrass:{region}:123456789012:"
    assert made["arn"] == f"{begin}components:lid:versions:1.0.0"
    (listed,) = greengrass.list_components()["components"]
    assert listed["arn"] == f"{begin}components:lid"
    assert len(greengrass.list_component_versions(arn=listed["arn"])["componentVersions"]) == 1
    greengrass.tag_resource(resourceArn=made["arn"], tags={"a": "1"})
    assert greengrass.list_tags_for_resource(resourceArn=made["arn"])["tags"] == {"a": "1"}
    target = f"arn:{partition}:iot:{region}:123456789012:thing/press-1"
    job = greengrass.create_deployment(targetArn=target)["iotJobArn"]
    assert job.startswith(f"arn:{partition}:iot:{region}:123456789012:job/")
    refused = error_of(greengrass.create_component_version, inlineRecipe="[]")
    assert f"arn:{partition}:iam::" in refused["Message"]


def test_a_body_that_is_not_json_is_refused() -> None:
    with local_aws() as local:
        scope = "Credential=local/20240101/us-east-1/greengrass/aws4_request"
        request = urllib.request.Request(
            f"{local.endpoint_url}/greengrass/v2/deployments",
            data=b"{",
            headers={
                "Authorization": f"AWS4-HMAC-SHA256 {scope}, SignedHeaders=host, Signature=0",
                "Content-Type": "application/json",
            },
        )
        with pytest.raises(urllib.error.HTTPError) as refused:
            urllib.request.urlopen(request, timeout=5)
        assert refused.value.code == 400
        assert refused.value.headers["x-amzn-errortype"].startswith("ValidationException")


@pytest.mark.parametrize(
    ("service", "operation"), [("resourcegroupstaggingapi", "describe_report_creation"), ("sagemaker", "list_hubs")]
)
def test_an_operation_that_is_not_emulated_is_an_aws_error(aws: Aws, service: str, operation: str) -> None:
    refused = error_of(getattr(aws.local.client(service), operation))
    assert (refused["Code"], refused["Status"]) == ("NotImplemented", 501)
