"""The forms in which recipes are accepted and returned."""

from __future__ import annotations

import json
from typing import Any

import pytest
import yaml

from deployments.local.aws import local_aws
from deployments.local.aws.greengrassv2.recipe_keys import in_form
from deployments.local.aws.settings import RecipeForm
from tests.deployments.local.aws.conftest import Aws, error_of, put_package, recipe, settings

NAME = "com.example.Hello"
ARN = f"arn:aws:greengrass:us-east-1:123456789012:components:{NAME}:versions:1.0.0"
ONLY_LIFECYCLE = """
RecipeFormatVersion: 2020-01-25
ComponentName: com.example.Hello
ComponentVersion: 1.0.0
Lifecycle:
  run: echo hello
"""
CAMEL = """
---
recipeFormatVersion: 2020-01-25
componentName: com.example.Hello
componentVersion: 1.0.0
componentDependencies:
  aws.greengrass.DockerApplicationManager:
    versionRequirement: ~2.0.0
    dependencyType: soft
componentConfiguration:
  defaultConfiguration:
    since: 2024-02-29
manifests:
  - name: everywhere
    lifecycle:
      install: {script: docker pull hello, requiresPrivilege: true}
    artifacts:
      - uri: docker:hello:latest
      - uri: docker:registry.example/other/hello:latest
      - uri: greengrass:hello.zip
        unarchive: zip
        permission: {read: all, execute: owner}
"""


def put(aws: Any, blob: bytes | str) -> dict[str, Any]:
    """Create a component version; return its recipe as GetComponent returns it."""
    greengrass = aws.client("greengrassv2")
    made = greengrass.create_component_version(inlineRecipe=blob)
    stored: dict[str, Any] = json.loads(greengrass.get_component(arn=made["arn"])["recipe"])
    return stored


def test_a_recipe_with_only_a_lifecycle_is_for_every_platform(aws: Aws) -> None:
    assert put(aws, ONLY_LIFECYCLE) == {
        "RecipeFormatVersion": "2020-01-25",
        "ComponentName": NAME,
        "ComponentVersion": "1.0.0",
        "Lifecycle": {"run": "echo hello"},
    }
    described = aws.client("greengrassv2").describe_component(arn=ARN)
    assert described["status"]["componentState"] == "DEPLOYABLE"
    assert described["platforms"] == []


def test_keys_are_accepted_in_camel_case_and_stored_in_pascal_case(mocked: Aws) -> None:
    stored = put(mocked, CAMEL)
    assert stored["ComponentDependencies"] == {
        "aws.greengrass.DockerApplicationManager": {"VersionRequirement": "~2.0.0", "DependencyType": "SOFT"}
    }
    assert stored["ComponentConfiguration"] == {"DefaultConfiguration": {"since": "2024-02-29"}}
    (manifest,) = stored["Manifests"]
    assert manifest["Lifecycle"] == {"install": {"script": "docker pull hello", "requiresPrivilege": True}}
    assert manifest["Artifacts"] == [
        {"Uri": "docker:hello:latest"},
        {"Uri": "docker:registry.example/other/hello:latest"},
        {"Uri": "greengrass:hello.zip", "Unarchive": "ZIP", "Permission": {"Read": "ALL", "Execute": "OWNER"}},
    ]
    described = mocked.client("greengrassv2").describe_component(arn=ARN)
    assert described["platforms"] == [{"name": "everywhere", "attributes": {}}]


@pytest.mark.parametrize("change", [str.lower, str.upper, str.capitalize])
def test_keys_are_accepted_in_any_case(mocked: Aws, change: Any) -> None:
    put_package(mocked)
    sent = json.loads(recipe(mocked))
    artifact = {change(key): value for key, value in sent["Manifests"][0]["Artifacts"][0].items()}
    manifest = {change("Platform"): sent["Manifests"][0]["Platform"], change("Artifacts"): [artifact]}
    other = {change(key): value for key, value in sent.items()} | {change("Manifests"): [manifest]}
    stored = put(mocked, json.dumps(other))
    assert stored.keys() == sent.keys()
    assert stored["Manifests"][0].keys() == {"Platform", "Artifacts"}
    assert stored["Manifests"][0]["Artifacts"][0].keys() == {"Uri", "Digest", "Unarchive", "Algorithm"}


@pytest.mark.parametrize("unarchive", ["zip", "Zip", "ZIP", "none"])
def test_unarchive_is_accepted_in_any_case(mocked: Aws, unarchive: str) -> None:
    put_package(mocked)
    artifact = {"URI": f"s3://{mocked.bucket}/package.zip", "unarchive": unarchive}
    stored = put(mocked, recipe(mocked, Manifests=[{"artifacts": [artifact]}]))
    assert stored["Manifests"][0]["Artifacts"][0]["Unarchive"] == unarchive.upper()


def test_artifact_names_need_to_be_unique_only_within_a_manifest(mocked: Aws) -> None:
    put_package(mocked)
    manifest = {"Artifacts": [{"Uri": f"s3://{mocked.bucket}/package.zip"}]}
    amd64 = {"Platform": {"os": "linux", "architecture": "amd64"}, **manifest}
    assert len(put(mocked, recipe(mocked, Manifests=[amd64, manifest]))["Manifests"]) == 2


@pytest.mark.parametrize("blob", ["a: &a [*a]", "[" * 8000, "? {a: b}\n: c", "a: .nan", "a: !!binary aGk="])
def test_values_that_json_cannot_represent_are_refused(mocked: Aws, blob: str) -> None:
    refused = error_of(mocked.client("greengrassv2").create_component_version, inlineRecipe=blob)
    assert (refused["Code"], refused["Status"]) == ("AccessDeniedException", 403)


def test_an_unquoted_version_of_two_parts_is_a_number_and_refused(mocked: Aws) -> None:
    blob = ONLY_LIFECYCLE.replace("1.0.0", "1.0")
    refused = error_of(mocked.client("greengrassv2").create_component_version, inlineRecipe=blob)
    assert (refused["Code"], refused["Status"]) == ("ValidationException", 400)


@settings(recipe_form="with-defaults")
def test_the_service_may_fill_in_defaults(aws: Aws) -> None:
    stored = put(aws, CAMEL)
    assert (stored["ComponentType"], stored["Lifecycle"]) == ("aws.greengrass.generic", {})
    artifact = stored["Manifests"][0]["Artifacts"][0]
    assert artifact == {
        "Uri": "docker:hello:latest",
        "Unarchive": "NONE",
        "Permission": {"Read": "OWNER", "Execute": "NONE"},
    }


@settings(recipe_form="normalised")
def test_the_service_may_normalise_keys_order_and_empty_fields(aws: Aws) -> None:
    put_package(aws)
    sent = json.loads(recipe(aws))
    stored = put(aws, recipe(aws))
    assert list(stored) == [
        "componentDependencies",
        "componentName",
        "componentPublisher",
        "componentType",
        "componentVersion",
        "manifests",
        "recipeFormatVersion",
    ]
    assert stored["componentDependencies"].keys() == sent["ComponentDependencies"].keys()
    (manifest,) = stored["manifests"]
    assert manifest.keys() == {"artifacts", "platform"}
    assert manifest["platform"] == sent["Manifests"][0]["Platform"]
    assert manifest["artifacts"][0]["permission"] == {"execute": "NONE", "read": "OWNER"}


@pytest.mark.parametrize("form", RecipeForm)
def test_a_returned_recipe_can_be_sent_again_and_is_returned_unchanged(form: RecipeForm) -> None:
    sent, stored = None, []
    for _ in range(2):
        with local_aws(server=False, recipe_form=form) as aws:
            put_package(aws)
            stored.append(put(aws, sent or recipe(aws)))
        sent = json.dumps(stored[-1])
    assert stored[0] == stored[1]


def test_a_form_does_not_change_what_is_stored() -> None:
    stored = {"ComponentName": "a", "Manifests": [{"Artifacts": [{"Uri": "docker:a"}]}]}
    before = json.dumps(stored)
    for form in RecipeForm:
        in_form(stored, form)
    assert json.dumps(stored) == before


def test_a_recipe_is_returned_as_yaml_in_the_same_form(mocked: Aws) -> None:
    as_json = put(mocked, CAMEL)
    as_yaml = mocked.client("greengrassv2").get_component(arn=ARN, recipeOutputFormat="YAML")["recipe"]
    assert yaml.safe_load(as_yaml) == as_json


@pytest.mark.parametrize("region", ["us-east-1", "eu-west-1"])
def test_a_component_is_published_as_gdk_does_it(aws: Aws, region: str) -> None:
    """The calls of ``gdk component publish``, twice: bucket, existing versions, artifacts, a YAML recipe string."""
    greengrass, s3 = aws.client("greengrassv2", region), aws.client("s3", region)
    bucket, component = f"gdk-{region}-123456789012", f"arn:aws:greengrass:{region}:123456789012:components:{NAME}"
    elsewhere = {} if region == "us-east-1" else {"CreateBucketConfiguration": {"LocationConstraint": region}}
    for version in ("1.0.0", "1.0.1"):
        listed = greengrass.list_component_versions(arn=component)["componentVersions"]
        assert [each["componentVersion"] for each in listed] == ([] if version == "1.0.0" else ["1.0.0"])
        try:
            s3.create_bucket(Bucket=bucket, **elsewhere)
        except s3.exceptions.BucketAlreadyOwnedByYou:
            assert s3.get_bucket_location(Bucket=bucket)["LocationConstraint"] == region
        s3.put_object(Bucket=bucket, Key=f"{NAME}/{version}/hello.zip", Body=b"a zip")
        artifact = {"URI": f"s3://{bucket}/{NAME}/{version}/hello.zip", "Unarchive": "ZIP"}
        sent = yaml.safe_load(ONLY_LIFECYCLE.replace("1.0.0", version).replace("2020-01-25", "'2020-01-25'"))
        sent["Manifests"] = [{"Platform": {"os": "linux"}, "Artifacts": [artifact]}]
        made = greengrass.create_component_version(inlineRecipe=yaml.safe_dump(sent))
        assert made["arn"] == f"{component}:versions:{version}"
