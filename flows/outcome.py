"""How a run shows its status: its tags, and its final state.

Only standard state names are used, because the UI's filters and the deployment's page know no others. Details are in
the message and the tags.
"""

from __future__ import annotations

from collections.abc import Iterable

from prefect import get_run_logger
from prefect.client.schemas.objects import State
from prefect.states import Cancelled, Completed, Failed

from dda_core.aws.tags import USE_CASE_TAG
from dda_core.delivery import Delivered
from dda_core.exceptions import CompilationStopped, DdaError, PublishingRejected, RunCancelled, TrainingJobMissing
from dda_core.failures import RETRY_HELPS, guidance_for
from dda_core.pages.links import OVERVIEW
from dda_core.pages.run import PageContext
from dda_core.runs.history import CompilationFacts, TargetLine
from dda_core.runs.ledger import Failure, Installable
from dda_core.runs.retry_class import RetryClass, retry_class_of
from dda_core.runs.status import RunStatus, TargetStatus, run_message, run_status
from dda_core.sanitise import redact
from dda_core.training.job import TrainingJob
from tasks.operations.overview import show_run
from tasks.retry_scope import RETRY
from tasks.run import Run
from tasks.store.history import IGNORED
from tasks.store.record import artifact_key
from tasks.store.refusals import REFUSED
from tasks.store.tags import set_tags, tags_of
from tasks.store.ui_links import artifact_link

OWN_TAGS = ("use-case:", "model:", "training-job:", "target:", "status:", "failed:", REFUSED, RETRY)


def describe_page(run: Run, training_job: TrainingJob, model_name: str) -> None:
    """Set what the run's page shows besides the targets."""
    run.record.describe(
        PageContext(
            training_job=training_job.name,
            model_name=model_name,
            use_case=run.use_case.usecase_id,
            region=run.use_case.region,
            billable_seconds=training_job.billable_seconds,
        )
    )
    log = get_run_logger()
    log.info("The status of each target: %s", artifact_link(artifact_key("targets", training_job.name)))
    log.info("All training jobs: %s", artifact_link(OVERVIEW))


async def tag_run(run: Run, model_name: str, *, refused: RetryClass | None = None) -> None:
    """Tag the run with use case, model, training job and targets, and with its status once it has ended.

    Tags from others are kept; the tags of a retry's scope have been read by now and are removed. The overview of
    training jobs is updated too.

    Args:
        run: the run.
        model_name: the model's name.
        refused: the retry class of a run that could not start any target.
    """
    targets = run.ledger.targets
    tags = [
        f"use-case:{run.use_case.usecase_id}",
        f"model:{model_name}",
        f"training-job:{run.record.training_job}",
        *(f"target:{target}" for target in targets),
    ]
    if refused:
        tags.append(f"{REFUSED}{refused}")
    status = RunStatus.FAILED if refused and not targets else run_status(targets)
    ended = status in (RunStatus.COMPLETED, RunStatus.PARTIAL, RunStatus.FAILED)
    if ended:
        tags.append(f"status:{status}")
        tags += [f"failed:{name}" for name, target in targets.items() if not target.status.good]
    try:
        others = [tag for tag in await tags_of(run.flow_run_id) if not tag.startswith(OWN_TAGS)]
        await set_tags(run.flow_run_id, [*others, *tags])
    except Exception as error:
        # The results in AWS count, not whether the server accepts tags at this moment.
        get_run_logger().warning("The run's tags could not be set (%s); refresh-overview sets them later.", error)
    await show_run(run, model_name, ended=ended)


def end_state(run: Run) -> State[None]:
    """The run's final state: Completed only if devices can install every target's component."""
    message = _message(run, run_message(run.ledger.targets))
    if run_status(run.ledger.targets) is RunStatus.COMPLETED:
        return Completed(message=message)
    return Failed(message=message)


async def ignore(run: Run, training_job: TrainingJob) -> State[None]:
    """End a run whose training job belongs to another use case: nothing is compiled, and no page mentions it."""
    use_case = run.use_case
    owner = training_job.tags.get(USE_CASE_TAG)
    why = (
        f"its tag {USE_CASE_TAG} says {owner!r}"
        if owner
        else f"it has no tag {USE_CASE_TAG}, and its model is not in bucket {use_case.s3_bucket}"
    )
    message = f"ignored: training job {training_job.name} does not belong to use case {use_case.usecase_id!r}: {why}"
    get_run_logger().info("%s. To compile it anyway, give it the tag.", message)
    tags = [tag for tag in await tags_of(run.flow_run_id) if not tag.startswith(OWN_TAGS)]
    about = [f"use-case:{use_case.usecase_id}", f"training-job:{training_job.name}"]
    await set_tags(run.flow_run_id, [*tags, *about, IGNORED])
    return Completed(message=_message(run, message))


async def reject(run: Run, error: PublishingRejected, targets: Iterable[str], model_name: str) -> State[None]:
    """End a run whose components a person rejected for publishing."""
    for target in targets:
        note_failure(run, target, error)
    await tag_run(run, model_name)
    return Cancelled(message=_message(run, str(error)))


async def refuse(run: Run, error: Exception, model_name: str) -> State[None]:
    """End a run that cannot start any target: each gets the same reason, cause and remedy."""
    for target in run.ledger.targets:
        note_failure(run, target, error)
    await tag_run(run, model_name, refused=retry_class_of(error))
    # A missing job may mean that the account is wrong, so this message names it.
    keep = [run.use_case.account_id] if isinstance(error, TrainingJobMissing) else []
    message = str(error)
    if not isinstance(error, DdaError):
        # The pipeline's own errors include a remedy; those of AWS do not.
        guidance = guidance_for(error)
        message = str(DdaError(message or type(error).__name__, remedy=f"{guidance.cause} {guidance.remedy}"))
    return Failed(message=_message(run, message, *keep))


def _message(run: Run, text: str, *keep: str) -> str:
    return redact(text, mask_accounts=True, keep=[run.record.training_job, *keep])


def note_skip(run: Run, target: str, there: Delivered, earlier: TargetLine | None = None) -> None:
    """Record that devices can already install the target: another run made it, or an earlier process of this one.

    ``earlier`` is the target's line from an earlier process of this run.
    """
    maker = there.version.flow_run_id
    own = maker == run.flow_run_id
    if own and earlier and earlier.status is TargetStatus.DEPLOYABLE:
        run.ledger.keep(earlier)
        return
    made = Installable(
        component=there.version.component,
        version=there.version.version,
        arn=there.version.arn,
        package=there.package,
        compilation_job=there.compilation_job,
        attempt=there.attempt,
        compiled_artifact=there.compiled_artifact,
    )
    if own:
        # What this run made is its own attempt, even if the process that made it died before recording it.
        run.ledger.deployable(target, made)
        return
    if maker:
        run.ledger.made_by(target, maker)
    run.ledger.skipped(target, made)


def note_failure(run: Run, target: str, error: BaseException) -> None:
    """Record why a target failed, with cause and remedy; a target that has already ended is unchanged."""
    if run.ledger.targets[target].status.ended:
        return
    guidance = guidance_for(error)
    reason = redact(getattr(error, "reason", None) or str(error) or type(error).__name__)
    facts = CompilationFacts(will_retry_help=RETRY_HELPS[guidance.retry], retry_class=retry_class_of(error))
    run.ledger.learned(target, facts)
    stopped = isinstance(error, CompilationStopped | RunCancelled | PublishingRejected)
    end = run.ledger.stopped if stopped else run.ledger.failed
    end(target, Failure(reason, guidance.cause, guidance.remedy))
