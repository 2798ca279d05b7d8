"""Publishing a component version, and waiting until devices can install it."""

from __future__ import annotations

import time
from dataclasses import dataclass
from typing import TYPE_CHECKING

from botocore.exceptions import ClientError

from dda_core.aws.calls import Log, pause, with_retries
from dda_core.aws.errors import error_text
from dda_core.aws.tags import Maker, Warn, silent
from dda_core.components.component import ComponentPlan, ComponentVersion
from dda_core.components.versions import check_deployable, describe_version, ensure_version, warn_of_portal_component
from dda_core.exceptions import PublishFailed, StepTimedOut
from dda_core.settings import Settings

if TYPE_CHECKING:
    from mypy_boto3_greengrassv2 import GreengrassV2Client


@dataclass(frozen=True)
class ComponentWaiter:
    """Publishes component versions and waits for them.

    ``warn`` is told what a person should look at: a component of unknown owner, or one of the earlier portal beside it.
    """

    greengrass: GreengrassV2Client
    settings: Settings
    log: Log
    warn: Warn = silent

    async def publish(
        self, plan: ComponentPlan, artifact_uri: str, *, compilation_job: str, maker: Maker | None
    ) -> ComponentVersion:
        """The component version of the package at ``artifact_uri``: one that is there, else a new one.

        Raises:
            ComponentTaken: the component is another model's.
            PublishFailed: AWS IoT Greengrass refuses it; the reason is AWS's.
        """
        settings, log = self.settings, self.log
        try:
            await with_retries(settings, log, warn_of_portal_component, self.greengrass, plan, self.warn)
            return await with_retries(
                settings,
                log,
                ensure_version,
                self.greengrass,
                plan,
                artifact_uri,
                compilation_job=compilation_job,
                maker=maker,
                warn=self.warn,
            )
        except ClientError as error:
            reason = error_text(error)
            raise PublishFailed(
                f"AWS IoT Greengrass refused {plan.component}: {reason}", name=plan.component, reason=reason
            ) from error

    async def wait(self, arn: str) -> ComponentVersion:
        """Wait until the component version is DEPLOYABLE.

        Raises:
            PublishFailed: it ended otherwise.
            StepTimedOut: it took longer than its limit; the version is left as it is, and found again by the next run.
        """
        settings, began = self.settings, time.monotonic()
        while True:
            version = await with_retries(settings, self.log, describe_version, self.greengrass, arn)
            if check_deployable(version):
                return version
            if time.monotonic() - began > settings.publish_timeout_seconds:
                raise StepTimedOut(
                    f"{version.component} {version.version} was still {version.state} after "
                    f"{settings.publish_timeout_seconds:g} s",
                    name=version.component,
                    limit=settings.publish_timeout_seconds,
                    remedy="Compile again to wait for it, or raise DDA_PUBLISH_TIMEOUT_SECONDS.",
                )
            await pause(settings.poll_seconds, settings)
