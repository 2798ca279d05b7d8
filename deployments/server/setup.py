"""What the pipeline needs on a Prefect server besides deployments: rate limits, and an automation for silent runs.

Both are created when a use case is saved, and by ``prefect deploy``, which has :func:`set_up_once` as a step. Existing
ones are updated.
"""

from __future__ import annotations

from datetime import timedelta

from prefect import get_client
from prefect.client.schemas.objects import StateType
from prefect.events.actions import ChangeFlowRunState
from prefect.events.schemas.automations import AutomationCore, EventTrigger, Posture
from prefect.events.schemas.events import ResourceSpecification
from prefect.settings import PREFECT_FLOWS_HEARTBEAT_FREQUENCY

from dda_core.exceptions import DdaError
from dda_core.runs.flows import FlowName
from dda_core.settings import load_settings
from tasks.operations.liveness_probes import HEARTBEAT, HEARTBEATS
from tasks.rate_limits import Limit, ensure_limit
from tasks.store.transitions import SILENT_NAME
from tasks.store.use_cases import load_use_case, use_case_names

AUTOMATION = "dda: a run whose heartbeats stop has crashed"
WITHOUT_HEARTBEATS = (
    *("Scheduled", "Late", "AwaitingRetry", "AwaitingConcurrencySlot", "Resuming", "Pending"),
    *("Paused", "Suspended"),
    *("Completed", "Failed", "Cancelled", "Crashed", "TimedOut"),
)
"""States after which no heartbeat is expected. Not Cancelling: a run whose process died would stay in it forever."""


_done: dict[str, list[str]] = {}


async def set_up_once() -> dict[str, list[str]]:
    """:func:`set_up_server`, once per ``prefect deploy --all``, which calls this step for every deployment."""
    if not _done:
        _done.update(await set_up_server())
    return _done


async def set_up_server() -> dict[str, list[str]]:
    """Create the rate limits for every registered use case's account and Region, and the automation; returns the names.

    A use case that cannot be read is skipped: it has no runs, and saving a repaired one creates its limits.

    Raises:
        InvalidSettings: a ``DDA_`` variable has a value that cannot be used.
    """
    places: set[tuple[str, str]] = set()
    for name in await use_case_names():
        try:
            use_case = await load_use_case(name)
        except DdaError as error:
            print(f"No rate limits for use case {name!r}: {error}")
            continue
        places.add((use_case.account_id, use_case.region))
    limits = [name for place in sorted(places) for name in await ensure_limits(*place)]
    return {"limits": limits, "automations": await ensure_automation()}


async def ensure_limits(account_id: str, region: str) -> list[str]:
    """Create or update the rate limits of an account and Region from the settings; returns their names.

    A rate of 0 means no limit.
    """
    settings = load_settings()
    wanted = [limit for limit in Limit if limit.per_second(settings)]
    for limit in wanted:
        await ensure_limit(limit, account_id, region, settings)
    return [limit.name_for(account_id, region) for limit in wanted]


async def ensure_automation() -> list[str]:
    """Create or update the automation that marks silent runs Crashed; returns its name.

    Duplicates are deleted, and a paused automation stays paused. Empty if Prefect's heartbeats are switched off.
    """
    wanted = silence_automation()
    async with get_client() as client:
        there = await client.read_automations_by_name(AUTOMATION)
        for superfluous in there[1 if wanted else 0 :]:
            await client.delete_automation(superfluous.id)
        if wanted is None:
            return []
        if not there:
            await client.create_automation(wanted)
        else:
            wanted = wanted.model_copy(update={"enabled": there[0].enabled})
            if _content(there[0]) != _content(wanted):
                await client.update_automation(there[0].id, wanted)
    return [AUTOMATION]


def silence_automation() -> AutomationCore | None:
    """The automation: a run of one of our flows is Crashed if nothing follows a heartbeat for three intervals.

    A suspended or scheduled run has no process and so no heartbeats; its state event is the last one. If a heartbeat
    overtakes that event, or the server was down that long, a run is wrongly marked Crashed; ``reconcile`` reverses it.
    """
    seconds = PREFECT_FLOWS_HEARTBEAT_FREQUENCY.value()
    if not seconds:
        return None
    return AutomationCore(
        name=AUTOMATION,
        description=f"Heartbeats are {seconds} s apart. `prefect deploy` and `dda use-case save` update this.",
        trigger=EventTrigger(
            posture=Posture.Proactive,
            after={HEARTBEAT},
            expect={HEARTBEAT, *(f"prefect.flow-run.{state}" for state in WITHOUT_HEARTBEATS)},
            match=ResourceSpecification({"prefect.resource.id": "prefect.flow-run.*"}),
            match_related=ResourceSpecification(
                {"prefect.resource.role": "flow", "prefect.resource.name": [name.value for name in FlowName]}
            ),
            for_each={"prefect.resource.id"},
            threshold=1,
            within=timedelta(seconds=HEARTBEATS * seconds),
        ),
        actions=[
            ChangeFlowRunState(
                state=StateType.CRASHED,
                name=SILENT_NAME,
                message=f"The run sent no heartbeat for {HEARTBEATS * seconds} s.",
            )
        ],
    )


def _content(automation: AutomationCore) -> object:
    return AutomationCore.model_validate(automation.model_dump()).model_dump(exclude={"trigger": {"id"}})
