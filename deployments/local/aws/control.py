"""Control of the embedded AWS beside AWS's own API: functions in its process, and HTTP routes under ``/_dda/``.

| request | meaning |
|---|---|
| ``GET /_dda/health`` | the service name, the instance id and the settings |
| ``GET``, ``POST``, ``DELETE /_dda/faults`` | list, add, clear faults |
| ``POST /_dda/training-jobs`` | add a training job with a given status |
| ``POST /_dda/devices`` | add a core device |
| ``POST /_dda/reset`` | return to the initial state; the settings stay |
| ``GET /_dda/calls`` | how often each operation was called |
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterable
from typing import Any

from moto.core import DEFAULT_ACCOUNT_ID
from moto.sagemaker.models import sagemaker_backends
from pydantic import ValidationError
from werkzeug.wrappers import Request, Response

from dda_core.exceptions import DdaError, InvalidName, UsageError
from deployments.local.aws import initial_state
from deployments.local.aws.environment import current, partition
from deployments.local.aws.errors import AwsError
from deployments.local.aws.greengrassv2.devices import CoreDevice, CoreDeviceSeed
from deployments.local.aws.greengrassv2.models import greengrassv2_backends
from deployments.local.aws.services.iam import ROLE_NAME
from deployments.local.aws.services.sagemaker import add_training_job
from deployments.local.aws.services.training import STATUSES, TrainingJob, request_of

PREFIX = "/_dda/"
SERVICE = "dda-local-aws"
_JOB_NAME = re.compile(r"[a-zA-Z0-9](-*[a-zA-Z0-9]){0,62}")


def check_job_name(name: str) -> str:
    """``name``, validated as SageMaker does.

    Raises:
        InvalidName: it is not a valid name of a training job.
    """
    if len(name) > 63 or not _JOB_NAME.fullmatch(name):
        raise InvalidName(
            f"{name!r} is not a valid name of a training job",
            name=name,
            expected="at most 63 letters, digits and hyphens, with a letter or digit at both ends",
        )
    return name


def training_archive_key(name: str) -> str:
    """The S3 key of a training job's archive that ``dda local train`` uploads."""
    return f"models/training/{name}/output/model.tar.gz"


def add_job(
    name: str,
    artifact: str,
    *,
    status: str = "Completed",
    failure_reason: str | None = None,
    tags: dict[str, str] | None = None,
) -> str:
    """Add a training job to the embedded AWS of this process; return its ARN.

    Raises:
        InvalidName: the name is malformed or taken.
        UsageError: there is no such status.
    """
    check_job_name(name)
    if status not in STATUSES:
        raise UsageError(f"{status!r} is not a status of a training job", expected=f"one of {', '.join(STATUSES)}")
    region = current().settings.region
    output_path = artifact.removesuffix(f"/{name}/output/model.tar.gz")
    role = f"arn:{partition(region)}:iam::{DEFAULT_ACCOUNT_ID}:role/{ROLE_NAME}"
    job = TrainingJob(
        request_of(name, role, output_path, tags or {}, region),
        DEFAULT_ACCOUNT_ID,
        region,
        status=status,
        failure_reason=failure_reason,
        artifact=artifact,
    )
    try:
        add_training_job(sagemaker_backends[DEFAULT_ACCOUNT_ID][region], job)
    except AwsError:
        raise InvalidName(
            f"the local AWS already has a training job {name}", name=name, remedy="Choose another name."
        ) from None
    return job.arn


def add_device(seed: CoreDeviceSeed) -> None:
    """Add a core device to the embedded AWS of this process, replacing one with the same thing name."""
    backend = greengrassv2_backends[DEFAULT_ACCOUNT_ID][current().settings.region]
    backend.devices[seed.thing] = CoreDevice(seed)


class ControlApp:
    """The server's WSGI application: the control routes, and moto for everything else."""

    def __init__(self, moto: Callable[..., Iterable[bytes]]) -> None:
        self._moto = moto

    def __call__(self, environ: dict[str, Any], start_response: Any) -> Iterable[bytes]:
        """Handle one request."""
        if not environ.get("PATH_INFO", "").startswith(PREFIX):
            answered: Iterable[bytes] = self._moto(environ, start_response)
            return answered
        status, body = _answer(Request(environ))
        response = Response(json.dumps(body), status=status, content_type="application/json")
        content: Iterable[bytes] = response(environ, start_response)
        return content


def _answer(request: Request) -> tuple[int, dict[str, Any]]:
    route = (request.method, request.path.removeprefix(PREFIX))
    environment = current()
    try:
        body = json.loads(request.get_data() or b"{}")
        match route:
            case ("GET", "health"):
                return 200, {
                    "service": SERVICE,
                    "instance": environment.instance,
                    "settings": environment.settings.model_dump(),
                }
            case ("GET", "faults"):
                return 200, {"faults": environment.faults.listed()}
            case ("POST", "faults"):
                return 201, environment.faults.add(**body).model_dump(exclude_none=True)
            case ("DELETE", "faults"):
                return 200, {"cleared": environment.faults.clear()}
            case ("POST", "training-jobs"):
                return 201, {"arn": add_job(**body)}
            case ("POST", "devices"):
                add_device(CoreDeviceSeed.model_validate(body))
                return 201, body
            case ("POST", "reset"):
                initial_state.reset()
                return 200, {"instance": current().instance}
            case ("GET", "calls"):
                return 200, {"calls": dict(environment.calls)}
            case _:
                return 404, {"kind": "UsageError", "error": f"no route {request.method} {request.path}"}
    except DdaError as error:
        facts = {key: getattr(error, key) for key in ("found", "where", "expected", "remedy")}
        name = error.name if isinstance(error, InvalidName) else None
        return 400, {"kind": type(error).__name__, "error": str(error), "facts": facts, "name": name}
    except (ValidationError, ValueError, TypeError) as error:
        return 400, {"kind": "UsageError", "error": str(error)}
