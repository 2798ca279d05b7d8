"""A program for the SageMaker Python SDK, run in the SDK's environment: what a notebook does with training jobs.

Called with the bucket and the name of a job that has ended; prints one line of JSON.
"""

from __future__ import annotations

import json
import sys

import boto3
import sagemaker
from sagemaker.estimator import Estimator

ROLE = "arn:aws:iam::123456789012:role/DDASageMakerExecutionRole"
IMAGE = "123456789012.dkr.ecr.us-east-1.amazonaws.com/cookies:1"


def main(bucket: str, ended: str) -> None:
    """Train and wait with logs, attach, describe, and read a job that others created."""
    # With a bucket given, the SDK does not ask AWS's STS for the account, whose endpoint no variable can change.
    session = sagemaker.Session(boto3.Session(), default_bucket=bucket)
    estimator = Estimator(
        image_uri=IMAGE,
        role=ROLE,
        instance_count=1,
        instance_type="ml.m5.xlarge",
        sagemaker_session=session,
        output_path=f"s3://{bucket}/out",
        max_run=600,
        hyperparameters={"epochs": 1},
    )
    data = session.upload_string_as_file_body("x", bucket, "train/a.txt")
    estimator.fit({"training": data}, wait=True, logs="All")
    name = estimator.latest_training_job.name
    attached = Estimator.attach(name, sagemaker_session=session)
    session.logs_for_job(ended, wait=True, poll=1)
    result = {
        "data": data,
        "name": name,
        "status": session.describe_training_job(name)["TrainingJobStatus"],
        "model": attached.model_data,
        "hyperparameters": attached.hyperparameters(),
        "waited": session.wait_for_job(ended, poll=1)["TrainingJobStatus"],
        "ended": session.describe_training_job(ended)["ModelArtifacts"]["S3ModelArtifacts"],
    }
    print(json.dumps(result))


main(*sys.argv[1:])
