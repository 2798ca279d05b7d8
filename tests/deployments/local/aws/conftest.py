from __future__ import annotations

import io
import json
import tarfile
from collections.abc import Iterator
from typing import Any

import pytest

from deployments.local.aws import LocalAws, local_aws
from deployments.local.aws.shapes import operation_model, response_violations

# Errors that any AWS service may send although its model does not list them.
COMMON_ERRORS = {"ValidationException", "ThrottlingException", "AccessDeniedException", "InternalFailure"}


def validate_responses(client: Any) -> Any:
    """Validate every response to this client against botocore's model."""
    service = client.meta.service_model.service_name

    def check(model: Any, parsed: dict[str, Any], http_response: Any, **_: Any) -> None:
        # moto's own IAM responses are not validated.
        if http_response.status_code < 300 and service != "iam":
            found = response_violations(service, model.name, parsed)
            assert not found, f"{service}:{model.name}: {found}"
            assert http_response.status_code in (model.http.get("responseCode", 200), 206)
        elif service in ("sagemaker", "greengrassv2"):
            modelled = {shape.name for shape in operation_model(service, model.name).error_shapes}
            assert parsed["Error"]["Code"] in modelled | COMMON_ERRORS
            assert parsed["Error"]["Message"]

    client.meta.events.register("after-call", check)
    return client


class Aws:
    """A local AWS whose clients validate every response."""

    def __init__(self, local: LocalAws) -> None:
        self.local = local
        self.bucket = local.bucket

    def __getattr__(self, name: str) -> Any:
        return getattr(self.local, name)

    def client(self, service: str, region: str | None = None, **config: Any) -> Any:
        return validate_responses(self.local.client(service, region, **config))


def settings(**changes: Any) -> pytest.MarkDecorator:
    """Mark a test to change settings of its ``aws``, which are ``AwsSettings.instant`` otherwise."""
    return pytest.mark.parametrize("aws_settings", [changes], ids=[""])


@pytest.fixture
def aws_settings() -> dict[str, Any]:
    """No changes; overridden by ``settings``."""
    return {}


@pytest.fixture(params=["mock_aws", "server"])
def aws(request: pytest.FixtureRequest, aws_settings: dict[str, Any]) -> Iterator[Aws]:
    """A local AWS, under ``mock_aws`` and as a server."""
    with local_aws(server=request.param == "server", **aws_settings) as local:
        yield Aws(local)


@pytest.fixture
def mocked() -> Iterator[Aws]:
    """A local AWS under ``mock_aws`` only, for what cannot differ from the server."""
    with local_aws(server=False) as local:
        yield Aws(local)


def archive(**files: bytes) -> bytes:
    """A gzip tar; ``archive(mochi_pt=...)`` contains ``mochi.pt``."""
    packed = io.BytesIO()
    with tarfile.open(fileobj=packed, mode="w:gz") as tar:
        for name, content in files.items():
            member = tarfile.TarInfo(name.replace("_", "."))
            member.size = len(content)
            tar.addfile(member, io.BytesIO(content))
    return packed.getvalue()


JETSON_OPTIONS = '{"cuda-ver": "10.2", "gpu-code": "sm_72", "trt-ver": "8.2.1", "jetson-platform": "xavier"}'


def compile_request(aws: Any, name: str = "cookie-jetson-0123abcd-1", **changes: Any) -> dict[str, Any]:
    """A valid CreateCompilationJob request; ``changes`` replace whole members."""
    request: dict[str, Any] = {
        "CompilationJobName": name,
        "RoleArn": "arn:aws:iam::123456789012:role/DDASageMakerExecutionRole",
        "InputConfig": {
            "S3Uri": f"s3://{aws.bucket}/in/model_for_compilation.tar.gz",
            "DataInputConfig": '{"input_shape": [1, 3, 768, 576]}',
            "Framework": "PYTORCH",
            "FrameworkVersion": "1.8",
        },
        "OutputConfig": {
            "S3OutputLocation": f"s3://{aws.bucket}/models/compilation/{name}/jetson-xavier",
            "TargetPlatform": {"Os": "LINUX", "Arch": "ARM64", "Accelerator": "NVIDIA"},
            "CompilerOptions": JETSON_OPTIONS,
        },
        "StoppingCondition": {"MaxRuntimeInSeconds": 3600},
    }
    return request | changes


def put_input(aws: Any, content: bytes | None = None) -> None:
    """Upload the input object of ``compile_request``."""
    body = archive(mochi_pt=b"weights" * 1000) if content is None else content
    aws.client("s3").put_object(Bucket=aws.bucket, Key="in/model_for_compilation.tar.gz", Body=body)


def recipe(aws: Any, name: str = "model-cookie-jetson-xavier", version: str = "1.0.0", **changes: Any) -> bytes:
    """A minimal recipe of a model component; ``changes`` replace whole members."""
    return json.dumps(
        {
            "RecipeFormatVersion": "2020-01-25",
            "ComponentName": name,
            "ComponentVersion": version,
            "ComponentType": "aws.greengrass.generic",
            "ComponentPublisher": "Amazon Lookout for Vision",
            "ComponentDependencies": {
                "aws.edgeml.dda.LocalServer.arm64": {"VersionRequirement": "^1.0.0", "DependencyType": "HARD"}
            },
            "Manifests": [
                {
                    "Platform": {"os": "linux", "architecture": "aarch64"},
                    "Lifecycle": {},
                    "Artifacts": [{"Uri": f"s3://{aws.bucket}/package.zip", "Digest": "", "Unarchive": "ZIP"}],
                }
            ],
            "Lifecycle": {},
        }
        | changes
    ).encode()


def put_package(aws: Any) -> None:
    """Upload the artifact of ``recipe``."""
    aws.client("s3").put_object(Bucket=aws.bucket, Key="package.zip", Body=b"a zip")


def error_of(call: Any, *args: Any, **kwargs: Any) -> dict[str, Any]:
    """The error of a call that must fail: Code, Message, Status."""
    from botocore.exceptions import ClientError

    with pytest.raises(ClientError) as refused:
        call(*args, **kwargs)
    response = refused.value.response
    return {**response["Error"], "Status": response["ResponseMetadata"]["HTTPStatusCode"], "response": response}
