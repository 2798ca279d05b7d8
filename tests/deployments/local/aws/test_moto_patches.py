"""What the emulator needs of moto's internals. A failure means that moto has changed: start with moto_patches.py."""

from __future__ import annotations

import inspect
import sys

import boto3
import moto
import moto.backend_index
import moto.resourcegroupstaggingapi.models
from moto.backends import get_backend
from moto.core.base_backend import BackendDict, BaseBackend
from moto.core.resource_tagging import TaggableResourcesMixin, match_resource_type
from moto.iam.models import IAMBackend
from moto.iam.responses import IamResponse
from moto.s3.models import FakeKey, S3Backend, s3_backends
from moto.s3.responses import S3Response
from moto.sagemaker.models import SageMakerModelBackend, sagemaker_backends
from moto.sagemaker.responses import SageMakerResponse
from moto.sts.responses import TokenResponse

from deployments.local.aws.greengrassv2.models import GreengrassV2Backend
from deployments.local.aws.moto_patches import GREENGRASS_HOST, install


def test_moto_is_the_version_that_the_patches_were_written_for() -> None:
    assert moto.__version__ == "5.2.5"


def test_overridden_methods_of_moto_still_exist() -> None:
    for owner, names in (
        (S3Response, ("copy_object", "put_object", "upload_part", "get_object", "_key_response_post", "_get_key")),
        (SageMakerResponse, ("create_compilation_job", "list_compilation_jobs", "create_training_job", "list_tags")),
        (SageMakerModelBackend, ("_get_resource_from_arn",)),
        (TokenResponse, ("assume_role", "get_caller_identity")),
        (IAMBackend, ("create_user", "put_user_policy", "create_role", "put_role_policy", "get_roles")),
        (IamResponse, ("create_role", "serialized")),
        (BaseBackend, ("reset",)),
        (BackendDict, ("reset",)),
    ):
        for name in names:
            assert callable(getattr(owner, name)), f"{owner.__name__}.{name}"
    assert "_url_module" in vars(S3Backend)
    assert "self._value_buffer" in inspect.getsource(FakeKey.__init__)
    assert "self.lock" in inspect.getsource(FakeKey.__init__)


def test_moto_keeps_its_state_where_the_emulator_reads_it() -> None:
    backend = sagemaker_backends["123456789012"]["us-east-1"]
    assert backend.compilation_jobs == {}
    assert backend.training_jobs == {}
    assert isinstance(s3_backends["123456789012"]["aws"], S3Backend)


def test_moto_serves_our_greengrass() -> None:
    install()
    assert sys.modules["moto.greengrassv2"].greengrassv2_backends is get_backend("greengrassv2")  # type: ignore[call-overload]
    assert moto.backend_index.backend_url_patterns[0][0] == "greengrassv2"
    backend = get_backend("greengrassv2")["123456789012"]["us-east-1"]  # type: ignore[call-overload]
    assert isinstance(backend, GreengrassV2Backend)
    assert {path.partition("(")[0] for path in backend.flask_paths} == {
        "/greengrass/v2/<regex",
        "/greengrass/servicerole",
        "/greengrass/things/<regex",
        "/tags/<regex",
    }


def test_greengrass_is_served_at_the_hosts_of_every_partition() -> None:
    for region in ("eu-west-1", "cn-north-1", "us-gov-west-1"):
        url = boto3.client("greengrassv2", region_name=region).meta.endpoint_url
        assert GREENGRASS_HOST.fullmatch(url), url


def test_moto_finds_tagged_resources_as_the_emulator_expects() -> None:
    tagging = moto.resourcegroupstaggingapi.models
    assert issubclass(GreengrassV2Backend, TaggableResourcesMixin)
    for name in ("_get_tag_keys_generator", "_get_tag_values_generator", "tag_resources", "untag_resources"):
        assert callable(getattr(tagging.ResourceGroupsTaggingAPIBackend, name))
    assert "match_resource_type(" in inspect.getsource(tagging.ResourceGroupsTaggingAPIBackend)
    assert not match_resource_type("greengrass:components:versions", ["greengrass:components"]), (
        "is_of_type can be deleted"
    )


def test_moto_still_lacks_simulate_principal_policy() -> None:
    assert not hasattr(IamResponse, "simulate_principal_policy"), "our own can be deleted"


def test_installing_twice_changes_nothing() -> None:
    install()
    patterns = list(moto.backend_index.backend_url_patterns)
    install()
    assert patterns == moto.backend_index.backend_url_patterns


def test_every_emulated_service_is_guarded() -> None:
    install()
    from deployments.local.aws.faults import SERVICES

    for service in SERVICES:
        backends = get_backend(service)["123456789012"]  # type: ignore[call-overload]
        backend = backends["aws"] if "aws" in backends else backends["us-east-1"]
        for handler in backend.url_paths.values():
            assert handler.__qualname__ == "guarded.<locals>.answer", service


def test_the_greengrass_emulator_works_in_plain_moto() -> None:
    """As in docs/local-aws.md, for users who want only the Greengrass emulator."""
    from moto import mock_aws

    install()
    with mock_aws():
        greengrass = boto3.client("greengrassv2", region_name="us-east-1")
        assert greengrass.list_components()["components"] == []
