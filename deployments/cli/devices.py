"""``dda devices``: which core devices have which version of our components."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Annotated

import typer

from dda_core.exceptions import ComponentMissing, UsageError
from deployments.cli.options import AsJson
from deployments.cli.output import listed, print_json, print_table

if TYPE_CHECKING:
    from dda_core.use_case import UseCase


def devices_command(
    component: Annotated[
        str | None, typer.Argument(show_default=False, help="A component's name; without it, every component model-...")
    ] = None,
    use_case: Annotated[
        str | None, typer.Option(show_default=False, help="The use case whose account and Region have the devices.")
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Show which core devices have which version of our components, and which deployment installed it.

    The use case can be omitted if only one is registered. The JSON is a list of objects with the keys component,
    version, count and devices; devices is a list of objects with the keys thing, status, state, deployment and
    last_seen.
    """
    from dda_core.components.devices import Spacing, installed_versions, list_components
    from dda_core.settings import load_settings
    from deployments.services.interactive_aws import interactive_clients
    from deployments.services.runs import prefect_errors

    with prefect_errors():
        chosen = asyncio.run(_use_case(use_case))
    spacing = Spacing(load_settings().device_calls_per_second)
    greengrass = interactive_clients(chosen).greengrass
    versions = installed_versions(greengrass, spacing, component)
    # Devices may still have a deleted component, so the account is asked only if none has it.
    if component and not versions and component not in (known := list_components(greengrass, spacing)):
        raise ComponentMissing(
            f"there is no model component {component!r} in account {chosen.account_id}, Region {chosen.region}; "
            f"known: {listed(known)}",
            component=component,
            remedy="Give a component's name; `dda status TRAINING_JOB` shows a training job's.",
        )
    if as_json:
        print_json([each.model_dump(mode="json") for each in versions])
        return
    if not versions:
        typer.echo(f"No core device has {component or 'a component model-...'} in {chosen.region}.", err=True)
        return
    print_table(["component", "version", "devices"], [[each.component, each.version, each.count] for each in versions])
    typer.echo()
    print_table(
        ["component", "version", "device", "device is", "component is", "last seen", "deployment"],
        [
            [
                each.component,
                each.version,
                device.thing,
                device.status,
                device.state,
                device.last_seen.isoformat(timespec="seconds") if device.last_seen else "",
                device.deployment,
            ]
            for each in versions
            for device in each.devices
        ],
    )


async def _use_case(name: str | None) -> UseCase:
    from tasks.store.use_cases import block_name, load_use_case, use_case_names

    if name:
        return await load_use_case(block_name(name))
    names = await use_case_names()
    if len(names) != 1:
        raise UsageError(
            f"{len(names)} use cases are registered ({', '.join(names) or 'none'})",
            remedy="Choose one with --use-case NAME.",
        )
    return await load_use_case(names[0])
