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
from dda_core.components.versions import check_deployable, describe_version, ensure_version, warn_about_portal_component
from dda_core.exceptions import PublishFailed, StepTimedOut
from dda_core.settings import Settings

if TYPE_CHECKING:
    from mypy_boto3_greengrassv2 import GreengrassV2Client


@dataclass(frozen=True)
class ComponentWaiter:
    """Publishes component versions and waits for them.

    ``warn`` gets what a person should look at: a component of unknown owner, or a second one from the earlier portal.
    """

    greengrass: GreengrassV2Client
    settings: Settings
    log: Log
    warn: Warn = silent

    async def publish(
        self, plan: ComponentPlan, artifact_uri: str, *, compilation_job: str, maker: Maker | None
    ) -> ComponentVersion:
        """The component version of the package at ``artifact_uri``: an existing one, else a new one.

        Raises:
            ComponentTaken: another model owns the component.
            PublishFailed: AWS IoT Greengrass refused it, for the reason given.
        """
        settings, log = self.settings, self.log
        try:
            await with_retries(settings, log, warn_about_portal_component, self.greengrass, plan, self.warn)
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
            PublishFailed: it ended in another state.
            StepTimedOut: it took longer than its limit; the version stays, and the next run adopts it.
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
