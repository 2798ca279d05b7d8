"""The emulated Resource Groups Tagging API: moto's, which finds our Greengrass resources through moto's mixin.

Corrections: a resource type also matches its subtypes (``greengrass:components`` finds
``greengrass:components:versions``), keys and values are listed once, and a missing resource is reported in
``FailedResourcesMap``.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from moto.core.responses import ActionResult
from moto.resourcegroupstaggingapi.responses import ResourceGroupsTaggingAPIResponse

from deployments.local.aws.errors import AwsError


def is_of_type(resource_type: str, filters: list[str] | None) -> bool:
    """Whether the filters match a resource of this type; no filters match every type."""
    return not filters or any(f"{resource_type}:".startswith(f"{each}:") for each in filters)


class Tagging(ResourceGroupsTaggingAPIResponse):  # type: ignore[misc]
    """The operations that differ from moto's."""

    def get_tag_keys(self) -> ActionResult:
        """GetTagKeys, all on one page."""
        keys = set(self.backend._get_tag_keys_generator())
        return ActionResult({"TagKeys": sorted(keys), "PaginationToken": ""})

    def get_tag_values(self) -> ActionResult:
        """GetTagValues, all on one page."""
        values = set(self.backend._get_tag_values_generator(self._get_param("Key")))
        return ActionResult({"TagValues": sorted(values), "PaginationToken": ""})

    def tag_resources(self) -> ActionResult:
        """TagResources."""
        tags = self._get_param("Tags", {})
        return self._on_each(lambda arn: self.backend.tag_resources([arn], tags))

    def untag_resources(self) -> ActionResult:
        """UntagResources."""
        keys = self._get_param("TagKeys", [])
        return self._on_each(lambda arn: self.backend.untag_resources([arn], keys))

    def _on_each(self, change: Callable[[str], dict[str, Any]]) -> ActionResult:
        failed: dict[str, Any] = {}
        for arn in self._get_param("ResourceARNList", []):
            try:
                failed |= change(arn)
            except AwsError as error:
                failed[arn] = {
                    "StatusCode": 400,
                    "ErrorCode": "InvalidParameterException",
                    "ErrorMessage": str(error.message),
                }
        return ActionResult({"FailedResourcesMap": failed})
