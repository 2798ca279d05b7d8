"""Training jobs of the emulated SageMaker."""

from __future__ import annotations

import threading
from typing import Any

from deployments.local.aws.environment import current, moment, now

ENDED = ("Completed", "Failed", "Stopped")
STATUSES = ("InProgress", *ENDED)
_SHOWN = (
    "AlgorithmSpecification",
    "EnableInterContainerTrafficEncryption",
    "EnableManagedSpotTraining",
    "EnableNetworkIsolation",
    "HyperParameters",
    "InputDataConfig",
    "OutputDataConfig",
    "ResourceConfig",
    "RoleArn",
    "StoppingCondition",
    "VpcConfig",
)


class TrainingJob:
    """One training job. Made by CreateTrainingJob it completes after ``train_seconds``; made by the control
    route it has the status that it was given.
    """

    def __init__(
        self,
        request: dict[str, Any],
        account: str,
        region: str,
        *,
        status: str | None = None,
        failure_reason: str | None = None,
        artifact: str | None = None,
    ) -> None:
        self.request = request
        self.account, self.region = account, region
        self.training_job_name = str(request["TrainingJobName"])
        self.arn = f"arn:aws:sagemaker:{region}:{account}:training-job/{self.training_job_name}"
        self.tags: list[dict[str, str]] = list(request.get("Tags") or [])
        self.failure_reason = failure_reason
        output = request["OutputDataConfig"]["S3OutputPath"].rstrip("/")
        self.artifact = artifact or f"{output}/{self.training_job_name}/output/model.tar.gz"
        self.created = now()
        self.ended = self.created if status in ENDED else None
        self._given = status
        self._seconds = current().settings.train_seconds
        self._stopping_since: float | None = None
        self._announced = False
        self._lock = threading.Lock()

    def announce_once(self) -> bool:
        """True for the first caller: the job's end is told once."""
        with self._lock:
            announced, self._announced = self._announced, True
        return not announced

    @property
    def training_job_status(self) -> str:
        """The status at this moment."""
        with self._lock:
            at = now()
            if self._stopping_since is not None:
                stopped = self._stopping_since + current().settings.stop_seconds
                if at < stopped:
                    return "Stopping"
                self.ended = stopped
                return "Stopped"
            if self._given is not None:
                return self._given
            if at < self.created + self._seconds:
                return "InProgress"
            self.ended = self.created + self._seconds
            return "Completed"

    def stop(self) -> bool:
        """Begin to stop; False when the job has ended already."""
        if self.training_job_status in ENDED:
            return False
        with self._lock:
            self._stopping_since = self._stopping_since or now()
        return True

    @property
    def response_object(self) -> dict[str, Any]:
        """The answer of DescribeTrainingJob."""
        status = self.training_job_status
        started, last = moment(self.created), moment(self.ended or self.created)
        secondary = {"InProgress": "Training"}.get(status, status)
        answer = {
            "TrainingJobName": self.training_job_name,
            "TrainingJobArn": self.arn,
            "ModelArtifacts": {"S3ModelArtifacts": self.artifact if status == "Completed" else ""},
            "TrainingJobStatus": status,
            "SecondaryStatus": secondary,
            "CreationTime": started,
            "TrainingStartTime": started,
            "LastModifiedTime": last,
            "SecondaryStatusTransitions": [{"Status": secondary, "StartTime": started}],
            **{key: self.request[key] for key in _SHOWN if self.request.get(key) is not None},
        }
        if self.ended is not None:
            seconds = max(1, round(self.ended - self.created))
            answer |= {"TrainingEndTime": last, "TrainingTimeInSeconds": seconds, "BillableTimeInSeconds": seconds}
        if status == "Failed":
            answer["FailureReason"] = self.failure_reason or "AlgorithmError: training failed"
        return answer

    def summary(self) -> dict[str, Any]:
        """The job's entry in ListTrainingJobs."""
        described = self.response_object
        keys = (
            "TrainingJobName",
            "TrainingJobArn",
            "CreationTime",
            "TrainingEndTime",
            "LastModifiedTime",
            "TrainingJobStatus",
            "SecondaryStatus",
        )
        return {key: described[key] for key in keys if key in described}


def request_of(name: str, role_arn: str, output_path: str, tags: dict[str, str]) -> dict[str, Any]:
    """A CreateTrainingJob request with the parts that DDA does not care about filled in."""
    return {
        "TrainingJobName": name,
        "RoleArn": role_arn,
        "AlgorithmSpecification": {
            "AlgorithmName": "arn:aws:sagemaker:us-east-1:123456789012:algorithm/computer-vision-defect-detection",
            "TrainingInputMode": "File",
        },
        "OutputDataConfig": {"S3OutputPath": output_path},
        "ResourceConfig": {"InstanceType": "ml.g4dn.2xlarge", "InstanceCount": 1, "VolumeSizeInGB": 50},
        "StoppingCondition": {"MaxRuntimeInSeconds": 7200},
        "Tags": [{"Key": key, "Value": value} for key, value in tags.items()],
    }
