"""Steps four and five: create the package's component version, and wait until devices can install it."""

from __future__ import annotations

import asyncio

from prefect import get_run_logger
from prefect.cache_policies import DEFAULT, NO_CACHE

from dda_core.aws.calls import with_retries
from dda_core.components.component import ComponentPlan, ComponentVersion
from dda_core.components.waiter import ComponentWaiter
from dda_core.delivery import Delivered, Delivery, find_delivered
from dda_core.exceptions import ComponentTaken
from tasks.decorators import task
from tasks.run import current_run, warn
from tasks.store.ui_links import run_link


@task(name="find-deployable", task_run_name="find what is deployable already", cache_policy=NO_CACHE)
async def find_deployable_components(deliveries: list[Delivery]) -> dict[str, Delivered | ComponentTaken]:
    """The targets that already have a deployable component of the same work, or cannot have one, read from AWS."""
    run = current_run()

    async def find(delivery: Delivery) -> Delivered | ComponentTaken | None:
        try:
            return await with_retries(run.settings, get_run_logger().info, find_delivered, run.aws, delivery)
        except ComponentTaken as taken:
            return taken

    found = await asyncio.gather(*map(find, deliveries))
    return {delivery.target: there for delivery, there in zip(deliveries, found, strict=True) if there}


@task(name="publish", task_run_name="publish[{target}]", cache_policy=NO_CACHE)
async def publish_component(
    target: str, plan: ComponentPlan, package_uri: str, compilation_job: str
) -> ComponentVersion:
    """The component version of the package: an existing one, else a new one."""
    run = current_run()
    waiter = ComponentWaiter(run.aws.greengrass, run.settings, get_run_logger().info, warn())
    version = await waiter.publish(plan, package_uri, compilation_job=compilation_job, maker=run.maker)
    maker = version.flow_run_id
    if maker and maker != run.flow_run_id:
        run.ledger.made_by(target, maker)
        get_run_logger().info(f"{target}: joined {version.component} {version.version} of flow run {run_link(maker)}")
    get_run_logger().info(f"{target}: {version.component} {version.version} is {version.state}")
    return version


@task(
    name="wait-until-deployable",
    task_run_name="wait until deployable[{target}]",
    cache_policy=DEFAULT,
    persist_result=True,
)
async def wait_until_deployable(target: str, arn: str) -> ComponentVersion:
    """Wait until devices can install the component version."""
    run = current_run()
    version = await ComponentWaiter(run.aws.greengrass, run.settings, get_run_logger().info).wait(arn)
    get_run_logger().info(f"{target}: {version.component} {version.version} is {version.state}")
    return version
