from __future__ import annotations

from botocore import xform_name

from deployments.local.aws.greengrassv2.component_operations import ComponentOperations
from deployments.local.aws.greengrassv2.device_operations import DeviceOperations
from deployments.local.aws.services.sagemaker import SageMaker
from deployments.local.aws.shapes import request_violations, response_violations, service_model

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


def test_every_emulated_sagemaker_operation_is_in_the_service_model() -> None:
    assert set(SAGEMAKER) <= set(service_model("sagemaker").operation_names)
    own = {name for name in vars(SageMaker) if not name.startswith("_")}
    assert own == {xform_name(operation) for operation in SAGEMAKER}


def test_the_emulated_greengrass_has_every_operation_of_the_service() -> None:
    own = {name for part in (ComponentOperations, DeviceOperations) for name in vars(part) if not name.startswith("_")}
    assert own == {xform_name(operation) for operation in service_model("greengrassv2").operation_names}


def test_a_request_is_validated_against_its_shape() -> None:
    found = request_violations("greengrassv2", "CreateComponentVersion", {"clientToken": "a b", "tags": {}})
    assert any("clientToken" in text and "[a-zA-Z0-9-]+" in text for text in found)
    assert any("tags" in text for text in found)
    assert request_violations("greengrassv2", "GetComponent", {})[0].startswith("Value null at 'arn'")
    wrong = request_violations("sagemaker", "ListCompilationJobs", {"MaxResults": 101, "SortBy": "Size", "X": 1})
    assert len(wrong) == 3


def test_a_response_is_validated_against_its_shape() -> None:
    response = {"ResponseMetadata": {}, "componentVersion": 1, "status": {"componentState": "READY"}, "more": "x"}
    found = response_violations("greengrassv2", "CreateComponentVersion", response)
    for words in ("componentName", "componentVersion' has type int", "READY", "'more' is not modelled"):
        assert any(words in text for text in found), words
