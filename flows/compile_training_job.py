"""The main job: from a finished training job to components that factory devices can install.

Read ``compile_training_job`` from top to bottom; it is the whole story. ``carry`` is its middle, for one target.
"""

from __future__ import annotations

import asyncio
from functools import partial
from typing import Any

from botocore.exceptions import BotoCoreError, ClientError
from prefect import flow, get_run_logger, unmapped
from prefect.client.schemas.objects import FlowRun, State
from prefect.flows import Flow
from prefect.futures import PrefectFuture
from prefect.logging.loggers import flow_run_logger
from prefect.runtime import flow_run

from dda_core.delivery import Delivery, deliveries
from dda_core.exceptions import DdaError, RunCancelled
from dda_core.manifest import dda_manifest
from dda_core.status import TargetStatus
from dda_core.training_job import check_completed
from flows.ending import describe_page, end_state, note_failure, note_skip, refuse, tag_run
from flows.parameters import ComponentBaseName, OptionalText, TargetName, TrainingJobName
from tasks.compilation import choose_attempts, compile_model, start_compilation, stop_own_jobs
from tasks.packaging import package_model
from tasks.publishing import find_deployable_components, publish_component, wait_until_deployable
from tasks.record import RunRecord
from tasks.run import Run, begin_run, begun, is_cancelling
from tasks.training_job import read_trained_model, read_training_job


async def stop_compilation_jobs(flow: Flow[..., Any], flow_run: FlowRun, state: State) -> None:
    """Stop what a cancelled run left running, where its own process could not."""
    name, use_case = flow_run.parameters["training_job_name"], flow_run.parameters["use_case"]
    run = await begin_run(use_case, str(flow_run.id), RunRecord(name, str(flow_run.id)))
    for job in await stop_own_jobs(run, name):
        flow_run_logger(flow_run, flow).info("Stopped compilation job %s", job)


@flow(name="compile-training-job", flow_run_name="{training_job_name}", on_cancellation=[stop_compilation_jobs])
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
            the first four of the table.
        model_name: What the model is called; the component's name is made from it. Empty: the training job's tag
            `dda:model-name`, else the training job's name.
        component_name: What the component's name starts with, such as `model-lid-inspection`; the target is added
            to it. Empty: made from the model's name.
        friendly_name: The name that operators see on the device. Empty: the component's name without the target.
        force: Compile anew what is deployable already. A compilation in progress is joined all the same.
    """
    async with begun(training_job_name, use_case, str(flow_run.get_id())) as run:
        name = model_name or training_job_name
        try:
            training_job = await read_training_job(training_job_name)
            model_artifact = check_completed(training_job)
            name = training_job.model_name(model_name)
            chosen = training_job.targets(targets, run.use_case)
            run.record.expect([target.name for target in chosen])
            describe_page(run, training_job, name)
            await tag_run(run, name)
            model = await read_trained_model(training_job_name, model_artifact)
            manifest = dda_manifest(model)
            asked = deliveries(
                run.use_case,
                chosen,
                training_job=training_job.name,
                training_job_arn=training_job.arn,
                model_artifact=model_artifact,
                input_shape=model.input_shape,
                model_name=name,
                component_name=component_name,
                friendly_name=friendly_name,
            )
            first = await first_attempts(run, asked, force)
            todo = await without_deployable(run, asked, force)
        except (DdaError, ClientError, BotoCoreError) as error:
            get_run_logger().error("%s", error)
            return await refuse(run, error, name)

        jobs = start_compilation.map(
            [delivery.target for delivery in todo],
            [delivery.work for delivery in todo],
            [first[delivery.target] for delivery in todo],
            unmapped(force),
        )
        try:
            await asyncio.gather(
                *(
                    carry(run, delivery, job, first[delivery.target], force, manifest)
                    for delivery, job in zip(todo, jobs, strict=True)
                )
            )
        except asyncio.CancelledError:
            await stop_if_cancelled(run, name)
            raise
        await tag_run(run, name)
        return end_state(run)


async def carry(
    run: Run,
    delivery: Delivery,
    job: PrefectFuture[Any],
    first: int,
    force: bool,
    manifest: dict[str, Any],
) -> None:
    """Take one target from its compilation job to a deployable component. Its failure is its own."""
    target, note = delivery.target, partial(run.record.note, delivery.target)
    try:
        note(status=TargetStatus.COMPILING, component=delivery.component.component)
        await asyncio.to_thread(job.result)
        compiled = await compile_model(target, delivery.work, first, force)
        note(
            status=TargetStatus.PACKAGING,
            compilation_job=compiled.compilation_job,
            attempt=compiled.attempt,
            compiled_artifact=compiled.artifact,
        )
        run.record.note_facts(target, **compiled.facts.known())
        package = await package_model(target, compiled, manifest)
        package_uri = f"s3://{run.use_case.s3_bucket}/{package.key}"
        run.record.note_facts(target, package_bytes=package.size)
        note(package=package_uri, status=TargetStatus.PUBLISHING)
        version = await publish_component(target, delivery.component, package_uri, compiled.compilation_job)
        note(version=version.version, arn=version.arn)
        await wait_until_deployable(target, version.arn)
        note(status=TargetStatus.DEPLOYABLE)
    except Exception as error:
        note_failure(run, target, error)


async def without_deployable(run: Run, asked: list[Delivery], force: bool) -> list[Delivery]:
    """The deliveries that are still to be made. With ``force`` only what this very run made is left out."""
    there = await find_deployable_components(asked)
    todo = []
    for delivery in asked:
        found = there.get(delivery.target)
        if found and (not force or found.version.flow_run_id == run.flow_run_id):
            note_skip(run, delivery.target, found)
        else:
            todo.append(delivery)
    return todo


async def first_attempts(run: Run, asked: list[Delivery], force: bool) -> dict[str, int]:
    """Each target's first attempt: as chosen when the run began, or anew since it had ended and was retried."""
    targets, works = [delivery.target for delivery in asked], [delivery.work for delivery in asked]
    chosen = await choose_attempts(targets, works, force, retry=0)
    return await choose_attempts(targets, works, force, retry=run.retry, floors=chosen) if run.retry else chosen


async def stop_if_cancelled(run: Run, model_name: str) -> None:
    """On a person's cancel stop the compilation jobs that this run created; any other end leaves them alone."""
    if not await is_cancelling(run.flow_run_id):
        return
    stopped = await stop_own_jobs(run, run.record.training_job)
    get_run_logger().info("The run was cancelled. Stopped compilation jobs: %s", ", ".join(stopped) or "none")
    for target in run.record.targets:
        note_failure(run, target, RunCancelled("the run was cancelled"))
    await tag_run(run, model_name)
