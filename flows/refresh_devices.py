"""Which factory devices have which version of each component, updated on a schedule."""

from __future__ import annotations

import asyncio

from prefect.client.schemas.objects import State
from prefect.states import Completed, Failed

from dda_core.runs.flows import FlowName
from tasks.decorators import flow
from tasks.operations.devices import ask_devices, places, write_device_pages
from tasks.operations.download_links import remove_expired_links


@flow(name=FlowName.REFRESH_DEVICES.value, flow_run_name="devices")
async def refresh_devices() -> State[None]:
    """Read what the core devices of every use case have, and write one artifact `component-...` per component.

    It fails if the devices of an account cannot be read; the others' pages are still written. It also removes expired
    links of `artifact-links`.
    """
    await remove_expired_links()
    use_cases = await places()
    surveys = list(await asyncio.gather(*(ask_devices(each.usecase_id, each) for each in use_cases)))
    pages = await write_device_pages(surveys)
    failed = [survey.use_case for survey in surveys if survey.failure]
    message = f"{pages} components in {len(surveys)} accounts and Regions; see the artifacts component-..."
    if failed:
        return Failed(message=f"{message}. Could not read the devices of {', '.join(failed)}; see the log")
    return Completed(message=message)
