"""What the pipeline needs on a Prefect server besides deployments: rate limits, and an eye on runs that fall silent.

It is made when a use case is saved, and by ``prefect deploy``, of which :func:`set_up_once` is a step. All of it may be
there already: what has changed is brought up to date.
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
"""States after which no heartbeat is missed. Cancelling is none: a run whose process died stays in it for ever."""


_done: dict[str, list[str]] = {}


async def set_up_once() -> dict[str, list[str]]:
    """:func:`set_up_server`, for the first deployment of a ``prefect deploy --all``; the others follow at once."""
    if not _done:
        _done.update(await set_up_server())
    return _done


async def set_up_server() -> dict[str, list[str]]:
    """Make the limits of every registered use case's account and Region, and the automation; say which there are.

    A use case that cannot be read has no runs either: its limits are left to whoever mends it.

    Raises:
        InvalidSettings: a ``DDA_`` variable has a value that cannot be used.
    """
    places: set[tuple[str, str]] = set()
    for name in await use_case_names():
        try:
            use_case = await load_use_case(name)
        except DdaError as error:
            print(f"No limits for use case {name!r}: {error}")
            continue
        places.add((use_case.account_id, use_case.region))
    limits = [name for place in sorted(places) for name in await ensure_limits(*place)]
    return {"limits": limits, "automations": await ensure_automation()}


async def ensure_limits(account_id: str, region: str) -> list[str]:
    """The four limits of an account and Region, as the settings have them now; their names, but for rates of 0."""
    settings = load_settings()
    wanted = [limit for limit in Limit if limit.per_second(settings)]
    for limit in wanted:
        await ensure_limit(limit, account_id, region, settings)
    return [limit.name_for(account_id, region) for limit in wanted]


async def ensure_automation() -> list[str]:
    """The automation that marks silent runs Crashed, by its name; no second one is made, and a paused one stays so.

    None where Prefect's heartbeats are switched off.
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
    """Crashed is a run of ours after whose last heartbeat nothing came for the length of three.

    A run that is suspended, or that waits to be begun, has no process, and so no heartbeats: its state was the last
    that came. Where a heartbeat overtakes it, or the server was away for so long, the alarm is a false one;
    ``reconcile`` sees to that.
    """
    seconds = PREFECT_FLOWS_HEARTBEAT_FREQUENCY.value()
    if not seconds:
        return None
    return AutomationCore(
        name=AUTOMATION,
        description=f"Heartbeats are {seconds} s apart. `prefect deploy` and `dda use-case save` bring it up to date.",
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
                message=f"No heartbeat of the run came for {HEARTBEATS * seconds} s.",
            )
        ],
    )


def _content(automation: AutomationCore) -> object:
    return AutomationCore.model_validate(automation.model_dump()).model_dump(exclude={"trigger": {"id"}})
