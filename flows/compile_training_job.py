"""The main flow: from a finished training job to components that factory devices can install.

Read ``compile_training_job`` from top to bottom. ``make_package`` and ``publish`` are its steps for one target.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Mapping
from functools import partial
from typing import Any

from botocore.exceptions import BotoCoreError, ClientError
from prefect import get_client, get_run_logger, unmapped
from prefect.client.schemas.objects import FlowRun, State
from prefect.flows import Flow
from prefect.futures import PrefectFuture
from prefect.logging.loggers import flow_run_logger
from prefect.runtime import flow_run

from dda_core.components.component import ComponentNames
from dda_core.delivery import Delivery, deliveries
from dda_core.exceptions import ComponentTaken, DdaError, PublishingRejected, RunCancelled
from dda_core.model.manifest import dda_manifest
from dda_core.runs.flows import FlowName
from dda_core.runs.history import TargetLine
from dda_core.training.completed_jobs import is_foreign
from dda_core.training.job import check_completed
from flows.approval import check_can_wait, wait_for_approval
from flows.outcome import describe_page, end_state, ignore, note_failure, note_skip, refuse, reject, tag_run
from flows.parameters import ComponentBaseName, OptionalText, TargetName, TrainingJobName
from tasks.compilation import choose_attempts, compile_model, start_compilation, stop_own_jobs
from tasks.decorators import flow
from tasks.packaging import Packaged, package_model
from tasks.preflight import check_access
from tasks.publishing import find_deployable_components, publish_component, wait_until_deployable
from tasks.retry_scope import RetryOrder, read_retry_order
from tasks.run import Run, begin_run, begun, record_of
from tasks.store.history import last_lines
from tasks.store.run_states import is_cancelling
from tasks.training_job import read_trained_model, read_training_job


async def stop_compilation_jobs(flow: Flow[..., Any], flow_run: FlowRun, state: State) -> None:
    """Stop the compilation jobs of a cancelled run, in case its own process could not."""
    name, use_case = flow_run.parameters["training_job_name"], flow_run.parameters["use_case"]
    run = await begin_run(use_case, str(flow_run.id), record_of(name, str(flow_run.id)))
    for job in await stop_own_jobs(run, name):
        flow_run_logger(flow_run, flow).info("Stopped compilation job %s", job)


@flow(name=FlowName.COMPILE.value, flow_run_name="{training_job_name}", on_cancellation=[stop_compilation_jobs])
async def compile_training_job(
    training_job_name: TrainingJobName,
    use_case: str,
    targets: list[TargetName] = [],  # noqa: B006 - Prefect shows the default in its form; nothing changes the list
    model_name: OptionalText = "",
    component_name: ComponentBaseName = "",
    friendly_name: OptionalText = "",
    force: bool = False,
) -> State[None]:
    """Compile a finished training job for each target, package it, and publish it as a Greengrass component.

    Args:
        training_job_name: The SageMaker training job, in the use case's account and Region. It must be Completed.
        use_case: The name of the use case's block. A use case's own deployment has it filled in.
        targets: What to compile for. Empty: the training job's tag `dda:targets`, else the use case's targets, else
            those of its fleet.
        model_name: The model's name, from which the component's name is derived. Empty: the training job's tag
            `dda:model-name`, else the training job's name.
        component_name: The start of the component's name, such as `model-lid-inspection`; the target is appended.
            Empty: derived from the model's name, and refused if that component belongs to another model.
        friendly_name: The name that operators see on the device. Empty: the component's name without the target.
        force: Compile again what is already deployable. A compilation in progress is still joined.
    """
    async with begun(training_job_name, use_case, str(flow_run.get_id())) as run:
        name = model_name or training_job_name
        try:
            training_job = await read_training_job(training_job_name)
            if is_foreign(training_job, run.use_case):
                return await ignore(run, training_job)
            model_artifact = check_completed(training_job)
            check_can_wait(run)
            name = training_job.model_name(model_name)
            chosen = training_job.targets(targets, run.use_case)
            order, earlier = await read_retry_order(run.retry) if run.retry else RetryOrder(), await earlier_lines(run)
            run.ledger.expect([target.name for target in chosen], earlier if run.resumed else None)
            describe_page(run, training_job, name)
            await tag_run(run, name)
            await check_access(model_artifact)
            model = await read_trained_model(training_job_name, model_artifact)
            manifest = dda_manifest(model)
            asked = deliveries(
                run.use_case,
                chosen,
                training_job,
                model.input_shape,
                ComponentNames(name, component_name, friendly_name, run.created_by),
            )
            first = await first_attempts(run, asked, force, order)
            todo = leave_alone(run, await without_deployable(run, asked, force, earlier), order, earlier)
        except Exception as error:
            get_run_logger().error("%s", error, exc_info=not isinstance(error, DdaError | ClientError | BotoCoreError))
            return await refuse(run, error, name)

        recompile = force or order.force
        jobs = start_compilation.map(
            [delivery.target for delivery in todo],
            [delivery.work for delivery in todo],
            [first[delivery.target] for delivery in todo],
            unmapped(recompile),
        )
        packages = [
            asyncio.ensure_future(make_package(run, delivery, job, first[delivery.target], recompile, manifest))
            for delivery, job in zip(todo, jobs, strict=True)
        ]
        try:
            if run.use_case.require_approval:
                made = zip(todo, await asyncio.gather(*packages), strict=True)
                await wait_for_approval(run, {delivery.target: package for delivery, package in made if package})
            await asyncio.gather(*map(partial(publish, run), todo, packages))
        except PublishingRejected as rejected:
            return await reject(run, rejected, (delivery.target for delivery in todo), name)
        except asyncio.CancelledError:
            await stop_if_cancelled(run, name)
            raise
        await tag_run(run, name)
        return end_state(run)


async def make_package(
    run: Run,
    delivery: Delivery,
    job: PrefectFuture[Any],
    first: int,
    force: bool,
    manifest: dict[str, Any],
) -> Packaged | None:
    """Take one target from its compilation job to a package; None if it failed, which affects no other target."""
    target = delivery.target
    try:
        run.ledger.compiling(target, component=delivery.component.component)
        await asyncio.to_thread(job.result)
        compiled = await compile_model(target, delivery.work, first, force)
        run.ledger.packaging(
            target,
            compilation_job=compiled.compilation_job,
            attempt=compiled.attempt,
            compiled_artifact=compiled.artifact,
        )
        run.ledger.learned(target, compiled.facts)
        package = await package_model(target, compiled, manifest, delivery.component.target)
        uri = f"s3://{run.use_case.s3_bucket}/{package.key}"
        run.ledger.packaged(target, package=uri, size=package.size)
        return Packaged(uri, package.size, compiled.compilation_job)
    except Exception as error:
        note_failure(run, target, error)
        return None


async def publish(run: Run, delivery: Delivery, packaged: Awaitable[Packaged | None]) -> None:
    """Take one target from its package to a deployable component."""
    target = delivery.target
    if (package := await packaged) is None:
        return
    try:
        run.ledger.publishing(target)
        version = await publish_component(target, delivery.component, package.uri, package.compilation_job)
        run.ledger.published(target, version=version.version, arn=version.arn)
        await wait_until_deployable(target, version.arn)
        run.ledger.deployable(target)
    except Exception as error:
        note_failure(run, target, error)


async def without_deployable(
    run: Run, asked: list[Delivery], force: bool, earlier: Mapping[str, TargetLine]
) -> list[Delivery]:
    """The deliveries still to be made. With ``force``, only what this run itself made is left out.

    A target whose component belongs to another model fails here, before anything is compiled for it.
    """
    there = await find_deployable_components(asked)
    todo = []
    for delivery in asked:
        found = there.get(delivery.target)
        if isinstance(found, ComponentTaken):
            note_failure(run, delivery.target, found)
        elif found and (not force or found.version.flow_run_id == run.flow_run_id):
            note_skip(run, delivery.target, found, earlier.get(delivery.target))
        else:
            todo.append(delivery)
    return todo


def leave_alone(run: Run, todo: list[Delivery], order: RetryOrder, earlier: Mapping[str, TargetLine]) -> list[Delivery]:
    """The deliveries in this retry's scope; failed targets out of scope keep their line."""
    left = {name: line for name, line in earlier.items() if order.leaves_alone(name) and line.status.ended}
    for delivery in todo:
        if line := left.get(delivery.target):
            run.ledger.keep(line)
    return [delivery for delivery in todo if delivery.target not in left]


async def earlier_lines(run: Run) -> dict[str, TargetLine]:
    """The targets' lines from the run's earlier processes, if any."""
    if not run.begun_before:
        return {}
    async with get_client() as client:
        return await last_lines(client, run.flow_run_id, run.record.training_job)


async def first_attempts(run: Run, asked: list[Delivery], force: bool, order: RetryOrder) -> dict[str, int]:
    """Each target's first attempt: chosen when the run started, and again for each retry."""
    targets, works = [delivery.target for delivery in asked], [delivery.work for delivery in asked]
    chosen = await choose_attempts(targets, works, force, retry=0)
    if not run.retry:
        return chosen
    # A forced retry adopts no finished compilation, whoever made it.
    floors = None if order.force else chosen
    return await choose_attempts(targets, works, force or order.force, retry=run.retry, floors=floors)


async def stop_if_cancelled(run: Run, model_name: str) -> None:
    """If a person cancelled the run, stop the compilation jobs that it created; any other end leaves them alone."""
    if not await is_cancelling(run.flow_run_id):
        return
    log = get_run_logger()
    try:
        stopped = await stop_own_jobs(run, run.record.training_job)
        log.info("The run was cancelled. Stopped compilation jobs: %s", ", ".join(stopped) or "none")
    except (DdaError, ClientError, BotoCoreError) as error:
        # The run is cancelled regardless. The worker's hook tries once more.
        log.error("The run was cancelled. Its compilation jobs could not be stopped and may continue: %s", error)
    for target in run.ledger.targets:
        note_failure(run, target, RunCancelled())
    await tag_run(run, model_name)
