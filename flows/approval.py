"""The approval before publishing: the run suspends, without a process, until a person has decided.

The decision is a Prefect run input, which the server stores: a run that crashes afterwards does not ask again.
"""

from __future__ import annotations

from collections.abc import Mapping

from prefect import get_client, get_run_logger
from prefect.flow_runs import asuspend_flow_run
from prefect.runtime import deployment

from dda_core.exceptions import ApprovalImpossible, PublishingRejected
from dda_core.pages.markdown import cell, table
from dda_core.sanitise import redact
from tasks.packaging import Packaged
from tasks.run import Run
from tasks.store.approvals import Approval, given_for, pause_key
from tasks.store.tags import set_tags, tags_of

APPROVAL = "approval:"
"""The tag's prefix; ``waiting``, ``approved`` or ``rejected`` follows."""


def check_can_wait(run: Run) -> None:
    """Make sure that the run can be suspended if its use case requires approval.

    Raises:
        ApprovalImpossible: it has no deployment, so no worker could resume it.
    """
    if run.use_case.require_approval and not deployment.get_id():
        raise ApprovalImpossible(run.use_case.usecase_id)


async def wait_for_approval(run: Run, packages: Mapping[str, Packaged]) -> None:
    """Suspend the run, once, until a person has decided about ``packages``, by target.

    It does not ask again about packages that were approved in an earlier retry of the run.

    Raises:
        PublishingRejected: the person decided against it.
    """
    if not packages:
        return
    training_job = run.record.training_job
    shown = what_it_publishes(run, packages)
    async with get_client() as client:
        decision = await given_for(client, run.flow_run_id, run.retry, [each.digest for each in packages.values()])
    if decision is None:
        _notice(
            run, f"⏸️ **Waiting for approval:** Resume on the run's page, or `dda approve {training_job}`.\n\n{shown}"
        )
        await _tag(run, "waiting")
        get_run_logger().info("Every target is packaged or has ended; waiting for `dda approve %s`", training_job)
        form = Approval.with_initial_data(description=shown)
        decision = await asuspend_flow_run(wait_for_input=form, key=pause_key(run.retry))
        assert decision is not None, "Prefect returns the input that it waits for"
    by = redact(f"by {decision.who}" + (f": {decision.why}" if decision.why else ""))
    get_run_logger().info("Publishing was %s %s", decision.word, by)
    _notice(run, f"Publishing was **{decision.word}** {cell(by)}")
    await _tag(run, decision.word)
    if decision.rejects:
        raise PublishingRejected(f"publishing was rejected {by}")


def what_it_publishes(run: Run, packages: Mapping[str, Packaged]) -> str:
    """What the person decides about, as Markdown: the new component versions, and the targets without one."""
    rows = [
        [target, cell(run.ledger.targets[target].component), f"`{each.digest}`", f"{each.size / 1e6:.1f}&nbsp;MB"]
        for target, each in packages.items()
    ]
    rest = [f"{name}: {line.status}" for name, line in run.ledger.targets.items() if name not in packages]
    return "\n\n".join(
        [
            f"A new version of each of these components of {run.record.training_job}:",
            table(["target", "component", "package", "size"], rows, right=["size"]),
            *([f"Not included: {', '.join(rest)}."] if rest else []),
        ]
    )


def _notice(run: Run, text: str) -> None:
    run.record.describe(run.record.context._replace(notice=text))


async def _tag(run: Run, word: str) -> None:
    try:
        others = [tag for tag in await tags_of(run.flow_run_id) if not tag.startswith(APPROVAL)]
        await set_tags(run.flow_run_id, [*others, f"{APPROVAL}{word}"])
    except Exception as error:
        get_run_logger().warning("The tag %s%s could not be set: %s", APPROVAL, word, error)
