"""Step one: read the training job and its trained archive."""

from __future__ import annotations

import threading

from prefect import get_run_logger
from prefect.cache_policies import DEFAULT, NO_CACHE

from dda_core import naming
from dda_core.archives.s3_sink import MultipartUpload
from dda_core.archives.source import open_source
from dda_core.aws.calls import run_stoppable, with_retries
from dda_core.aws.s3 import parse_s3_uri
from dda_core.cleanup.stale_uploads import remove_stale_uploads
from dda_core.device.manifest import doubts
from dda_core.model.manifest import TrainedModel, dda_manifest
from dda_core.model.trained import read_trained_archive
from dda_core.training.job import TrainingJob, describe_training_job
from tasks.decorators import task
from tasks.run import current_run, warn


@task(name="describe-training-job", task_run_name="describe {training_job}", cache_policy=NO_CACHE)
async def read_training_job(training_job: str) -> TrainingJob:
    """The training job from SageMaker, with its tags."""
    run = current_run()
    return await with_retries(
        run.settings,
        get_run_logger().info,
        describe_training_job,
        run.aws.sagemaker,
        training_job,
        run.use_case,
        warn(),
    )


@task(name="read-trained-model", task_run_name="read {training_job}", cache_policy=DEFAULT, persist_result=True)
async def read_trained_model(training_job: str, model_artifact: str) -> TrainedModel:
    """Read the trained archive once: return what the manifest needs, and upload the ``.pt`` for Neo on the way."""
    run = current_run()
    bucket, key = parse_s3_uri(naming.repackaged_uri(model_artifact))

    def read(stop: threading.Event) -> TrainedModel:
        for each in {bucket, run.use_case.s3_bucket}:
            remove_stale_uploads(run.aws.s3, each)
        source = open_source(model_artifact, run.aws.s3)
        return read_trained_archive(source, lambda: MultipartUpload(run.aws.s3, bucket, key), stop)

    model = await run_stoppable(
        read, limit=run.settings.prepare_timeout_seconds, what=f"reading the archive of {training_job}"
    )
    get_run_logger().info(f"{model.model_file}: input shape {list(model.input_shape)}")
    for doubt in doubts(dda_manifest(model)):
        get_run_logger().warning("%s", doubt)
    return model
