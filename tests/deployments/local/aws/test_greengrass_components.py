from __future__ import annotations

import base64
import hashlib
import json
import time
from typing import Any

import pytest
import yaml

from deployments.local.aws import environment
from deployments.local.aws.greengrassv2 import components, models
from tests.deployments.local.aws.conftest import Aws, error_of, put_package, recipe, settings

NAME = "model-cookie-jetson-xavier"


def arn(version: str = "1.0.0", name: str = NAME) -> str:
    return f"arn:aws:greengrass:us-east-1:123456789012:components:{name}:versions:{version}"


def test_a_component_version_is_created_described_and_read_back(aws: Aws) -> None:
    greengrass = aws.client("greengrassv2")
    put_package(aws)
    made = greengrass.create_component_version(inlineRecipe=recipe(aws), tags={"dda-portal:managed": "true"})
    assert made["arn"] == arn()
    assert (made["componentName"], made["componentVersion"]) == (NAME, "1.0.0")
    assert made["status"]["componentState"] == "REQUESTED"

    described = greengrass.describe_component(arn=arn())
    assert described["status"]["componentState"] == "DEPLOYABLE"
    assert described["publisher"] == "Amazon Lookout for Vision"
    assert described["platforms"] == [{"attributes": {"os": "linux", "architecture": "aarch64"}}]
    assert described["tags"] == {"dda-portal:managed": "true"}

    digest = base64.b64encode(hashlib.sha256(b"a zip").digest()).decode()
    expected = json.loads(recipe(aws))
    expected["Manifests"][0]["Artifacts"][0] |= {"Digest": digest, "Algorithm": "SHA-256"}
    as_json = greengrass.get_component(arn=arn(), recipeOutputFormat="JSON")
    assert json.loads(as_json["recipe"]) == expected
    as_yaml = greengrass.get_component(arn=arn(), recipeOutputFormat="YAML")
    assert as_yaml["recipeOutputFormat"] == "YAML"
    assert yaml.safe_load(as_yaml["recipe"]) == expected


def test_a_yaml_recipe_is_accepted_too(mocked: Aws) -> None:
    put_package(mocked)
    blob = yaml.safe_dump(json.loads(recipe(mocked))).encode()
    assert mocked.client("greengrassv2").create_component_version(inlineRecipe=blob)["arn"] == arn()


@settings(publish_seconds=1)
def test_a_version_goes_through_its_states(aws: Aws) -> None:
    greengrass = aws.client("greengrassv2")
    put_package(aws)
    greengrass.list_components()  # the first call loads the service model, which is slow
    greengrass.create_component_version(inlineRecipe=recipe(aws))
    seen: list[str] = []
    deadline = time.monotonic() + 5
    while not seen or seen[-1] != "DEPLOYABLE":
        state = greengrass.describe_component(arn=arn())["status"]["componentState"]
        if state not in seen:
            seen.append(state)
        assert time.monotonic() < deadline
        time.sleep(0.01)
    assert seen == ["REQUESTED", "INITIATED", "DEPLOYABLE"]


def test_an_existing_version_is_a_conflict(aws: Aws) -> None:
    greengrass = aws.client("greengrassv2")
    put_package(aws)
    greengrass.create_component_version(inlineRecipe=recipe(aws))
    refused = error_of(greengrass.create_component_version, inlineRecipe=recipe(aws))
    assert (refused["Code"], refused["Status"]) == ("ConflictException", 409)
    assert "already exists" in refused["Message"]
    assert refused["response"]["resourceId"] == arn()


def test_a_client_token_returns_the_same_response_for_eight_hours(aws: Aws, monkeypatch: pytest.MonkeyPatch) -> None:
    greengrass = aws.client("greengrassv2")
    put_package(aws)
    request = {"inlineRecipe": recipe(aws), "tags": {"a": "b"}, "clientToken": "0a1b2c3d-1"}
    first = greengrass.create_component_version(**request)
    again = greengrass.create_component_version(**request)
    del first["ResponseMetadata"], again["ResponseMetadata"]
    assert first == again
    other = error_of(greengrass.create_component_version, **request | {"tags": {"a": "c"}})
    assert other["Code"] == "ValidationException"
    later = environment.now() + 8 * 3600 + 1
    monkeypatch.setattr(models, "now", lambda: later)
    assert error_of(greengrass.create_component_version, **request)["Code"] == "ConflictException"


@settings(component_versions_per_second=1)
def test_one_version_per_second_and_region(aws: Aws) -> None:
    greengrass = aws.client("greengrassv2")
    put_package(aws)
    greengrass.create_component_version(inlineRecipe=recipe(aws))
    refused = error_of(greengrass.create_component_version, inlineRecipe=recipe(aws, version="2.0.0"))
    assert (refused["Code"], refused["Status"]) == ("ThrottlingException", 429)
    assert refused["response"]["retryAfterSeconds"] == 1
    elsewhere = error_of(
        aws.client("greengrassv2", "eu-west-1").create_component_version, inlineRecipe=recipe(aws, version="2.0.0")
    )
    assert elsewhere["Code"] == "ValidationException", "each Region has its own rate limit"
    time.sleep(1.01)
    greengrass.create_component_version(inlineRecipe=recipe(aws, version="2.0.0"))


def test_an_artifact_must_exist_in_the_region(aws: Aws) -> None:
    greengrass, far = aws.client("greengrassv2"), aws.client("s3", "eu-west-1")
    far.create_bucket(Bucket="far", CreateBucketConfiguration={"LocationConstraint": "eu-west-1"})
    far.put_object(Bucket="far", Key="package.zip", Body=b"a zip")
    for uri in (f"s3://{aws.bucket}/package.zip", "s3://nobodys/package.zip", "s3://far/package.zip"):
        changed = recipe(aws, Manifests=[{"Platform": {"os": "linux"}, "Artifacts": [{"Uri": uri}]}])
        refused = error_of(greengrass.create_component_version, inlineRecipe=changed)
        assert refused["Code"] == "ValidationException"
        assert refused["Message"].startswith("Specified artifact resource cannot be accessed")
        assert uri in refused["Message"]


@pytest.mark.parametrize(
    "blob", [b'{"RecipeFormatVersion": "2020-01-25",}', b"{'a': 1}", b"a: b: c", b"\xff\xfe", b"[]"]
)
def test_a_malformed_recipe_gets_the_services_misleading_error(mocked: Aws, blob: bytes) -> None:
    refused = error_of(mocked.client("greengrassv2").create_component_version, inlineRecipe=blob)
    assert (refused["Code"], refused["Status"]) == ("AccessDeniedException", 403)
    assert "not authorized to perform: null" in refused["Message"]


TWO_OF_ONE_NAME = [{"Artifacts": [{"Uri": "s3://b/x/a.zip"}, {"Uri": "s3://b/y/a.zip"}]}]


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"RecipeFormatVersion": "2019"}, "2020-01-25"),
        ({"ComponentName": "model cookie"}, "ComponentName"),
        ({"ComponentName": "m" * 129}, "ComponentName"),
        ({"ComponentName": None}, "ComponentName"),
        ({"ComponentVersion": "1.0"}, "semantic version"),
        ({"ComponentVersion": "1000000.0.0"}, "999999"),
        ({"ComponentVersion": 1}, "ComponentVersion"),
        ({"Manifests": "linux"}, "Manifests"),
        ({"Manifests": ["linux"]}, "Manifests"),
        ({"Manifests": [{"Platform": "linux"}]}, "Platform"),
        ({"Manifests": [{"Artifacts": {"Uri": "s3://b/a.zip"}}]}, "Artifacts"),
        ({"Manifests": [{"Artifacts": [{"Uri": "s3://b/a.zip", "Permission": "ALL"}]}]}, "Permission"),
        ({"Manifests": [{"Artifacts": [{"Uri": "s3://b/a.zip", "Permission": {"Read": "ME"}}]}]}, "Read"),
        ({"Manifests": [{"Artifacts": [{"Uri": "docker:"}]}]}, "docker:image"),
        ({"ComponentDependencies": ["x"]}, "ComponentDependencies"),
        ({"Lifecycle": "run.sh"}, "Lifecycle"),
        ({"Manifests": [{"Artifacts": [{"Uri": "https://b/a.zip"}]}]}, "s3://bucket/key"),
        ({"Manifests": [{"Artifacts": [{"Uri": "s3://b/a.zip", "Unarchive": "TAR"}]}]}, "Unarchive"),
        ({"Manifests": TWO_OF_ONE_NAME}, "unique"),
        ({"ComponentDependencies": {"x": {"DependencyType": "HARD"}}}, "VersionRequirement"),
        ({"ComponentDependencies": {"x": {"VersionRequirement": "1", "DependencyType": "MAYBE"}}}, "HARD or SOFT"),
        ({"ComponentDescription": "x" * 17000}, "maximum size"),
    ],
)
def test_a_recipe_that_breaks_a_rule_is_refused(mocked: Aws, change: dict[str, Any], words: str) -> None:
    put_package(mocked)
    greengrass = mocked.client("greengrassv2")
    refused = error_of(greengrass.create_component_version, inlineRecipe=recipe(mocked, **change))
    assert (refused["Code"], refused["Status"]) == ("ValidationException", 400)
    assert words in refused["Message"]
    assert greengrass.list_components()["components"] == []


@settings(artifact_bytes=4)
def test_the_artifacts_of_a_component_have_a_size_limit(aws: Aws) -> None:
    put_package(aws)
    refused = error_of(aws.client("greengrassv2").create_component_version, inlineRecipe=recipe(aws))
    assert refused["Code"] == "ValidationException"
    assert "exceeds 4 bytes" in refused["Message"]


def test_a_client_token_has_a_pattern(mocked: Aws) -> None:
    put_package(mocked)
    create = mocked.client("greengrassv2").create_component_version
    assert error_of(create, inlineRecipe=recipe(mocked), clientToken="a_b")["Code"] == "ValidationException"
    assert error_of(create, inlineRecipe=recipe(mocked), clientToken="a" * 65)["Code"] == "ValidationException"


def test_versions_are_listed_in_numeric_order_highest_first_in_pages(aws: Aws) -> None:
    greengrass = aws.client("greengrassv2")
    put_package(aws)
    for version in ("9.0.0", "10.0.0", "2.0.0"):
        greengrass.create_component_version(inlineRecipe=recipe(aws, version=version))
    greengrass.create_component_version(inlineRecipe=recipe(aws, name="model-lid-arm64-cpu"))
    component = arn().partition(":versions")[0]
    pages = greengrass.get_paginator("list_component_versions").paginate(
        arn=component, PaginationConfig={"PageSize": 2}
    )
    assert [v["componentVersion"] for p in pages for v in p["componentVersions"]] == ["10.0.0", "9.0.0", "2.0.0"]
    pages = greengrass.get_paginator("list_components").paginate(PaginationConfig={"PageSize": 1})
    assert [(c["componentName"], c["latestVersion"]["componentVersion"]) for p in pages for c in p["components"]] == [
        (NAME, "10.0.0"),
        ("model-lid-arm64-cpu", "1.0.0"),
    ]
    assert greengrass.list_components(scope="PUBLIC")["components"] == []


def test_a_deleted_version_is_not_found_and_can_be_created_again(aws: Aws) -> None:
    greengrass = aws.client("greengrassv2")
    put_package(aws)
    greengrass.create_component_version(inlineRecipe=recipe(aws))
    greengrass.delete_component(arn=arn())
    for call in (greengrass.describe_component, greengrass.get_component, greengrass.delete_component):
        refused = error_of(call, arn=arn())
        assert (refused["Code"], refused["Status"]) == ("ResourceNotFoundException", 404)
    assert greengrass.list_component_versions(arn=arn().partition(":versions")[0])["componentVersions"] == []
    greengrass.create_component_version(inlineRecipe=recipe(aws))


def test_a_component_of_another_region_or_account_is_not_found(mocked: Aws) -> None:
    greengrass = mocked.client("greengrassv2")
    put_package(mocked)
    greengrass.create_component_version(inlineRecipe=recipe(mocked))
    for other in (arn().replace("us-east-1", "eu-west-1"), arn().replace("123456789012", "999999999999")):
        assert error_of(greengrass.describe_component, arn=other)["Code"] == "ResourceNotFoundException"
    assert error_of(greengrass.describe_component, arn="arn:aws:s3:::x")["Code"] == "ValidationException"


def test_tags_of_a_component_version(aws: Aws) -> None:
    greengrass = aws.client("greengrassv2")
    put_package(aws)
    greengrass.create_component_version(inlineRecipe=recipe(aws), tags={"a": "1", "b": "2"})
    greengrass.tag_resource(resourceArn=arn(), tags={"a": "3", "c": "4"})
    greengrass.untag_resource(resourceArn=arn(), tagKeys=["b", "c"])
    assert greengrass.list_tags_for_resource(resourceArn=arn())["tags"] == {"a": "3"}
    assert greengrass.describe_component(arn=arn())["tags"] == {"a": "3"}
    assert error_of(greengrass.list_tags_for_resource, resourceArn=arn("7.0.0"))["Code"] == "ResourceNotFoundException"


@pytest.mark.parametrize(
    ("component", "target"),
    [
        ("model-cookie-x86-64-cuda", "x86_64-cuda"),
        ("model-cookie-x86-64-cpu", "x86_64-cpu"),
        ("model-cookie-jetson-xavier", "jetson-xavier"),
        ("model-cookie-jetson-xavier-jp5", "jetson-xavier-jp5"),
        ("model-cookie", None),
    ],
)
def test_a_components_name_ends_in_its_target(component: str, target: str | None) -> None:
    assert components.target_of(component) == target
