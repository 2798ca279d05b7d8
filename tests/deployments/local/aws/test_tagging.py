"""The Resource Groups Tagging API, with which other software lists components."""

from __future__ import annotations

import pytest

from deployments.local.aws.tagging import is_of_type
from tests.deployments.local.aws.conftest import Aws, error_of, put_package, recipe

NAME = "model-cookie-jetson-xavier"
ARN = f"arn:aws:greengrass:us-east-1:123456789012:components:{NAME}:versions:1.0.0"
MANAGED = [{"Key": "dda-portal:managed", "Values": ["true"]}]


@pytest.fixture
def tagged(aws: Aws) -> Aws:
    """A component with the portal's tags, one without, a device, and a training job."""
    greengrass = aws.client("greengrassv2")
    put_package(aws)
    tags = {"dda-portal:managed": "true", "dda-portal:usecase-id": "cookies"}
    greengrass.create_component_version(inlineRecipe=recipe(aws), tags=tags)
    greengrass.create_component_version(inlineRecipe=recipe(aws, name="other"))
    aws.add_device(thing="press-1", tags={"site": "a"})
    aws.train("cookie-1", b"an archive", tags={"dda-portal:managed": "true"})
    return aws


@pytest.mark.parametrize("kind", ["greengrass", "greengrass:components", "greengrass:components:versions"])
def test_components_are_listed_by_their_tags(tagged: Aws, kind: str) -> None:
    tagging = tagged.client("resourcegroupstaggingapi")
    pages = tagging.get_paginator("get_resources").paginate(TagFilters=MANAGED, ResourceTypeFilters=[kind])
    (found,) = [entry for page in pages for entry in page["ResourceTagMappingList"]]
    assert found["ResourceARN"] == ARN
    assert {"Key": "dda-portal:usecase-id", "Value": "cookies"} in found["Tags"]


def test_components_are_listed_with_other_tagged_resources(tagged: Aws) -> None:
    tagging = tagged.client("resourcegroupstaggingapi")
    found = {entry["ResourceARN"] for entry in tagging.get_resources()["ResourceTagMappingList"]}
    assert found == {
        ARN,
        "arn:aws:greengrass:us-east-1:123456789012:coreDevices:press-1",
        "arn:aws:sagemaker:us-east-1:123456789012:training-job/cookie-1",
    }
    first = tagging.get_resources(ResourcesPerPage=1)
    second = tagging.get_resources(ResourcesPerPage=2, PaginationToken=first["PaginationToken"])
    both = first["ResourceTagMappingList"] + second["ResourceTagMappingList"]
    assert {entry["ResourceARN"] for entry in both} == found


def test_no_component_of_another_kind_tag_or_region_is_listed(tagged: Aws) -> None:
    tagging, elsewhere = (tagged.client("resourcegroupstaggingapi", r) for r in ("us-east-1", "eu-west-1"))
    for client, request in (
        (tagging, {"ResourceTypeFilters": ["greengrass:component"]}),
        (tagging, {"TagFilters": [{"Key": "dda-portal:managed", "Values": ["false"]}]}),
        (elsewhere, {"TagFilters": MANAGED}),
    ):
        assert client.get_resources(**request)["ResourceTagMappingList"] == []


def test_keys_and_values_are_listed_once(tagged: Aws) -> None:
    tagging = tagged.client("resourcegroupstaggingapi")
    assert tagging.get_tag_keys()["TagKeys"] == ["dda-portal:managed", "dda-portal:usecase-id", "site"]
    assert tagging.get_tag_values(Key="dda-portal:managed")["TagValues"] == ["true"]


def test_tag_changes_are_visible_in_greengrass(tagged: Aws) -> None:
    tagging, greengrass = tagged.client("resourcegroupstaggingapi"), tagged.client("greengrassv2")
    missing = ARN.replace("1.0.0", "9.0.0")
    failed = tagging.tag_resources(ResourceARNList=[ARN, missing], Tags={"line": "1"})["FailedResourcesMap"]
    assert failed.keys() == {missing}
    assert failed[missing]["ErrorCode"] == "InvalidParameterException"
    tagging.untag_resources(ResourceARNList=[ARN], TagKeys=["dda-portal:managed"])
    assert greengrass.list_tags_for_resource(resourceArn=ARN)["tags"] == {
        "dda-portal:usecase-id": "cookies",
        "line": "1",
    }


def test_a_page_that_is_too_small_is_refused(tagged: Aws) -> None:
    refused = error_of(tagged.client("resourcegroupstaggingapi").get_resources, ResourcesPerPage=0)
    assert refused["Code"] == "InvalidParameterException"


def test_a_type_filter_matches_whole_parts() -> None:
    assert is_of_type("greengrass:components:versions", ["s3", "greengrass:components"])
    assert is_of_type("greengrass:components:versions", None)
    assert not is_of_type("greengrass:components:versions", ["greengrass:comp"])
    assert not is_of_type("greengrass:components", ["greengrass:components:versions"])
