from __future__ import annotations

import boto3
import pytest

from deployments.local.aws.environment import partition


@pytest.mark.parametrize("name", ["aws", "aws-cn", "aws-us-gov"])
def test_a_region_has_the_partition_that_botocore_gives_it(name: str) -> None:
    regions = boto3.Session().get_available_regions("sagemaker", partition_name=name)
    assert regions
    assert {partition(region) for region in regions} == {name}


def test_a_region_that_nobody_knows_is_one_of_the_commercial_partition() -> None:
    assert partition("mars-north-1") == "aws"
