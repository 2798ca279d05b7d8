"""Every patch of moto's internals, in one place.

moto is pinned to one version; ``tests/deployments/local/aws/test_moto_patches.py`` fails when these internals change.
"""

from __future__ import annotations

import importlib
import re
import sys
import warnings
from functools import cache
from types import ModuleType
from typing import Any

import moto.backend_index
import moto.resourcegroupstaggingapi.models
from moto.events.utils import EventTemplateParser
from moto.moto_api._internal.models import MotoAPIBackend
from moto.s3.models import S3Backend

from deployments.local.aws import greengrassv2, initial_state
from deployments.local.aws.dispatch import guarded
from deployments.local.aws.faults import SERVICES
from deployments.local.aws.greengrassv2.urls import HOST
from deployments.local.aws.services.iam import Iam
from deployments.local.aws.services.s3 import S3
from deployments.local.aws.services.sagemaker import SageMaker
from deployments.local.aws.services.sts import Sts
from deployments.local.aws.tagging import Tagging, is_of_type

GREENGRASS_HOST = re.compile(HOST)

EVENT = (
    '{"version": "0", "id": "<id>", "detail-type": "<detail-type>", "source": "<source>", "account": "<account>", '
    '"time": <time>, "region": "<region>", "resources": <resources>, "detail": <detail>}'
)
"""moto's template of an EventBridge event, with the account added."""


@cache
def install() -> None:
    """Install the emulator in moto, once per process, for ``mock_aws`` and for moto's server."""
    # moto warns about errors that are not in the service model, but AWS sends such errors too.
    warnings.filterwarnings("ignore", message=r"Exception\(.*\) with code .* does not match an error shape")
    _register_greengrass()
    _url_module("sagemaker").url_paths = {"{0}/$": SageMaker.dispatch}
    _url_module("sts").url_paths = {"{0}/$": Sts.dispatch}
    _url_module("iam").url_paths = {"{0}/$": Iam.dispatch}
    _url_module("resourcegroupstaggingapi").url_paths = {"{0}/$": Tagging.dispatch}
    moto.resourcegroupstaggingapi.models.match_resource_type = is_of_type
    s3 = _url_module("s3")
    # moto reloads this module on each access, which would undo the patch.
    S3Backend._url_module = property(lambda backend: s3)
    paths = s3.url_paths
    s3.url_paths = {path: getattr(S3, handler.__name__) for path, handler in paths.items()}
    EventTemplateParser.DEFAULT_EVENT_INPUT_TEMPLATE = EVENT
    _restore_initial_state_after_reset()
    for service in SERVICES:
        module = _url_module(service)
        module.url_paths = {path: guarded(service, handler) for path, handler in module.url_paths.items()}


def _restore_initial_state_after_reset() -> None:
    reset = MotoAPIBackend.reset

    def reset_and_restore(backend: MotoAPIBackend) -> None:
        reset(backend)
        initial_state.restore()

    MotoAPIBackend.reset = reset_and_restore


def _register_greengrass() -> None:
    for part in ("", ".models", ".urls", ".responses"):
        name = f"{greengrassv2.__name__}{part}"
        sys.modules[f"moto.greengrassv2{part}"] = importlib.import_module(name)
    # First in the list, because Greengrass V1 has the same host.
    moto.backend_index.backend_url_patterns.insert(0, ("greengrassv2", GREENGRASS_HOST))


def _url_module(service: str) -> Any:
    module: ModuleType = importlib.import_module(f"moto.{service}.urls")
    return module
