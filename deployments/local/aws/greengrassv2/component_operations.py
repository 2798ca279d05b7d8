"""Operations on components, and on the tags of all resources."""

from __future__ import annotations

import base64
import binascii
import json
from functools import cache
from typing import Any

import botocore.session
import yaml
from botocore.config import Config
from moto.core.responses import ActionResult, EmptyResult

from deployments.local.aws.environment import current, moment
from deployments.local.aws.greengrassv2 import candidates
from deployments.local.aws.greengrassv2.exceptions import ThrottlingException, ValidationException
from deployments.local.aws.greengrassv2.recipe_keys import in_form
from deployments.local.aws.greengrassv2.requests import GreengrassRequest, page
from deployments.local.aws.services.objects import split_uri
from deployments.local.directory import CREDENTIALS


class ComponentOperations(GreengrassRequest):
    """One method per operation on components and tags."""

    def create_component_version(self) -> ActionResult:
        """CreateComponentVersion."""
        request = self._request("CreateComponentVersion")
        recipe = request.get("inlineRecipe")
        try:
            blob = None if recipe is None else base64.b64decode(recipe, validate=True)
        except binascii.Error:
            raise ValidationException("inlineRecipe is not base64.") from None
        try:
            made = self._backend.create_component_version(blob, request.get("tags") or {}, request.get("clientToken"))
        except ThrottlingException as throttled:
            # retryAfterSeconds is sent as a header, which moto omits from errors.
            self.response_headers["Retry-After"] = str(throttled.retryAfterSeconds)
            raise
        return ActionResult(made)

    def describe_component(self) -> ActionResult:
        """DescribeComponent."""
        found = self._backend.component_version(self._request("DescribeComponent")["arn"])
        return ActionResult(
            {
                "arn": found.arn,
                "componentName": found.name,
                "componentVersion": found.version,
                "creationTimestamp": moment(found.created),
                "status": found.status(),
                "tags": found.tags,
                **found.about(),
            }
        )

    def get_component(self) -> ActionResult:
        """GetComponent: the stored recipe, with its artifacts' digests."""
        request = self._request("GetComponent")
        found = self._backend.component_version(request["arn"])
        output = request.get("recipeOutputFormat") or "JSON"
        recipe = in_form(found.recipe, current().settings.recipe_form)
        text = json.dumps(recipe) if output == "JSON" else yaml.safe_dump(recipe, sort_keys=False)
        return ActionResult({"recipeOutputFormat": output, "recipe": text.encode(), "tags": found.tags})

    def list_components(self) -> ActionResult:
        """ListComponents. The account's own components are PRIVATE; there are no public ones here."""
        request = self._request("ListComponents")
        own = request.get("scope", "PRIVATE") == "PRIVATE"
        entries = [
            {
                "arn": latest.component_arn,
                "componentName": latest.name,
                "latestVersion": {
                    "arn": latest.arn,
                    "componentVersion": latest.version,
                    "creationTimestamp": moment(latest.created),
                    **latest.about(),
                },
            }
            for latest in (self._backend.latest_versions() if own else [])
        ]
        return page(request, "components", entries)

    def list_component_versions(self) -> ActionResult:
        """ListComponentVersions."""
        request = self._request("ListComponentVersions")
        versions = self._backend.versions_of(request["arn"])
        entries = [{"componentName": v.name, "componentVersion": v.version, "arn": v.arn} for v in versions]
        return page(request, "componentVersions", entries)

    def delete_component(self) -> ActionResult:
        """DeleteComponent."""
        self._backend.delete_component(self._request("DeleteComponent")["arn"])
        return EmptyResult()

    def get_component_version_artifact(self) -> ActionResult:
        """GetComponentVersionArtifact: a presigned URL of the S3 object. Other artifacts are refused here."""
        request = self._request("GetComponentVersionArtifact")
        uri = self._backend.component_version(request["arn"]).artifact_uri(request["artifactName"])
        if not uri.startswith("s3://"):
            raise ValidationException(f"The local AWS cannot serve {uri}, only artifacts in S3.")
        bucket, key = split_uri(uri)
        url = _s3(self._endpoint_url, self.region).generate_presigned_url(
            "get_object", Params={"Bucket": bucket, "Key": key}
        )
        return ActionResult({"preSignedUrl": url})

    @property
    def _endpoint_url(self) -> str | None:
        """The URL at which this request came in; None under ``mock_aws``."""
        url: str = self.normalized_request.host_url
        return None if "amazonaws.com" in url else url

    def resolve_component_candidates(self) -> ActionResult:
        """ResolveComponentCandidates: the version to install for each candidate."""
        request = self._request("ResolveComponentCandidates")
        platform = (request.get("platform") or {}).get("attributes") or {}
        chosen = [
            candidates.highest(candidate, self._backend.versions_named(candidate.get("componentName", "")), platform)
            for candidate in request.get("componentCandidates") or []
        ]
        entries = [
            {
                "arn": version.arn,
                "componentName": version.name,
                "componentVersion": version.version,
                "recipe": json.dumps(in_form(version.recipe, current().settings.recipe_form)).encode(),
                "vendorGuidance": "ACTIVE",
            }
            for version in chosen
        ]
        return ActionResult({"resolvedComponentVersions": entries})

    def tag_resource(self) -> ActionResult:
        """TagResource."""
        request = self._request("TagResource")
        self._backend.tag_resource(request["resourceArn"], request["tags"])
        return EmptyResult()

    def untag_resource(self) -> ActionResult:
        """UntagResource."""
        request = self._request("UntagResource")
        self._backend.untag_resource(request["resourceArn"], request["tagKeys"])
        return EmptyResult()

    def list_tags_for_resource(self) -> ActionResult:
        """ListTagsForResource."""
        return ActionResult({"tags": self._backend.tags_of(self._request("ListTagsForResource")["resourceArn"])})


@cache
def _s3(endpoint_url: str | None, region: str) -> Any:
    return botocore.session.get_session().create_client(
        "s3",
        region_name=region,
        endpoint_url=endpoint_url,
        aws_access_key_id=CREDENTIALS["AWS_ACCESS_KEY_ID"],
        aws_secret_access_key=CREDENTIALS["AWS_SECRET_ACCESS_KEY"],
        config=Config(signature_version="s3v4"),
    )
