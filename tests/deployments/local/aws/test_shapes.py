from __future__ import annotations

from typing import Any

import pytest

from deployments.local.aws.greengrassv2.responses import GreengrassV2
from deployments.local.aws.sagemaker import SageMaker
from deployments.local.aws.shapes import request_violations, response_violations, service_model

GREENGRASS = [
    "CreateComponentVersion",
    "DescribeComponent",
    "GetComponent",
    "ListComponents",
    "ListComponentVersions",
    "DeleteComponent",
    "TagResource",
    "UntagResource",
    "ListTagsForResource",
    "ListCoreDevices",
    "GetCoreDevice",
    "ListInstalledComponents",
    "CreateDeployment",
    "GetDeployment",
    "ListDeployments",
    "ListEffectiveDeployments",
    "CancelDeployment",
]
SAGEMAKER = [
    "CreateCompilationJob",
    "DescribeCompilationJob",
    "ListCompilationJobs",
    "StopCompilationJob",
    "DeleteCompilationJob",
    "CreateTrainingJob",
    "DescribeTrainingJob",
    "ListTrainingJobs",
    "StopTrainingJob",
    "AddTags",
    "ListTags",
    "DeleteTags",
]


@pytest.mark.parametrize(
    ("service", "response", "operations"),
    [("greengrassv2", GreengrassV2, GREENGRASS), ("sagemaker", SageMaker, SAGEMAKER)],
    ids=["greengrassv2", "sagemaker"],
)
def test_every_operation_of_the_emulator_is_one_of_the_service(
    service: str, response: Any, operations: list[str]
) -> None:
    from botocore import xform_name

    assert set(operations) <= set(service_model(service).operation_names)
    own = {name for name in vars(response) if not name.startswith("_")}
    assert own == {xform_name(operation) for operation in operations}


def test_a_request_is_held_against_its_shape() -> None:
    found = request_violations("greengrassv2", "CreateComponentVersion", {"clientToken": "a b", "tags": {}})
    assert any("clientToken" in text and "[a-zA-Z0-9-]+" in text for text in found)
    assert any("tags" in text for text in found)
    assert request_violations("greengrassv2", "GetComponent", {})[0].startswith("Value null at 'arn'")
    wrong = request_violations("sagemaker", "ListCompilationJobs", {"MaxResults": 101, "SortBy": "Size", "X": 1})
    assert len(wrong) == 3


def test_a_response_is_held_against_its_shape() -> None:
    response = {"ResponseMetadata": {}, "componentVersion": 1, "status": {"componentState": "READY"}, "more": "x"}
    found = response_violations("greengrassv2", "CreateComponentVersion", response)
    for words in ("componentName", "componentVersion' has type int", "READY", "'more' is not modelled"):
        assert any(words in text for text in found), words
