"""Training jobs of the emulated SageMaker."""

from __future__ import annotations

import threading
from typing import Any

from deployments.local.aws.environment import current, moment, now, partition

ENDED = ("Completed", "Failed", "Stopped")
STATUSES = ("InProgress", *ENDED)
_PHASES = (
    ("Starting", 0.0, "Preparing the instances for training"),
    ("Downloading", 0.1, "Downloading input data"),
    ("Training", 0.2, "Training image download completed. Training in progress."),
    ("Uploading", 0.9, "Uploading generated training model"),
)
"""The secondary statuses of a running job: name, the share of its duration after which it begins, message."""
_ENDS = {
    "Completed": "Training job completed",
    "Failed": "Training job failed",
    "Stopping": "Stopping the training job",
    "Stopped": "Training job stopped",
}
_ALGORITHM = "computer-vision-defect-detection"
_SWITCHES = ("EnableInterContainerTrafficEncryption", "EnableManagedSpotTraining", "EnableNetworkIsolation")
_SHOWN = (
    "AlgorithmSpecification",
    "HyperParameters",
    "InputDataConfig",
    "ResourceConfig",
    "RoleArn",
    "StoppingCondition",
    "VpcConfig",
)


class TrainingJob:
    """One training job. Created by CreateTrainingJob it completes after ``train_seconds``; added by the control route
    it has the given status.
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
        self.arn = f"arn:{partition(region)}:sagemaker:{region}:{account}:training-job/{self.training_job_name}"
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
        """True for the first caller only: the event of the job's end is sent once."""
        with self._lock:
            announced, self._announced = self._announced, True
        return not announced

    @property
    def training_job_status(self) -> str:
        """The current status."""
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
        """Start stopping; False when the job has already ended."""
        if self.training_job_status in ENDED:
            return False
        with self._lock:
            self._stopping_since = self._stopping_since or now()
        return True

    @property
    def response_object(self) -> dict[str, Any]:
        """The response of DescribeTrainingJob."""
        status = self.training_job_status
        ended = self.ended if status in ENDED else None
        transitions = self._transitions(status, ended)
        response: dict[str, Any] = {
            "TrainingJobName": self.training_job_name,
            "TrainingJobArn": self.arn,
            "ModelArtifacts": {"S3ModelArtifacts": self.artifact if status == "Completed" else ""},
            "TrainingJobStatus": status,
            "SecondaryStatus": transitions[-1]["Status"],
            "CreationTime": moment(self.created),
            "LastModifiedTime": transitions[-1]["StartTime"],
            "SecondaryStatusTransitions": transitions,
            # AWS returns an empty key where none was given.
            "OutputDataConfig": {"KmsKeyId": "", **self.request["OutputDataConfig"]},
            **{key: bool(self.request.get(key)) for key in _SWITCHES},
            **{key: self.request[key] for key in _SHOWN if self.request.get(key) is not None},
        }
        begun = [entry["StartTime"] for entry in transitions if entry["Status"] == "Downloading"]
        if begun:
            response["TrainingStartTime"] = begun[0]
        if ended is not None:
            seconds = max(1, round(ended - self.created))
            response |= {
                "TrainingEndTime": moment(ended),
                "TrainingTimeInSeconds": seconds,
                "BillableTimeInSeconds": seconds,
            }
        if status == "Failed":
            response["FailureReason"] = self.failure_reason or "AlgorithmError: training failed"
        return response

    def _transitions(self, status: str, ended: float | None) -> list[dict[str, Any]]:
        """The secondary statuses so far; each ends when the next begins, a final one when it begins."""
        # A job with a given status takes no time: all its phases begin when it is created.
        seconds = self._seconds if self._given is None else 0.0
        # For the status that was read, even if the job has changed since.
        stopping = self._stopping_since if status in ("Stopping", "Stopped") else None
        until = stopping or ended or now()
        begun = [(name, self.created + share * seconds, text) for name, share, text in _PHASES]
        phases = [phase for phase in begun if phase[1] <= until]
        if self._given is not None and status != "Completed":
            # A job that still trains, failed or was stopped uploads nothing.
            phases.pop()
        if stopping is not None:
            phases.append(("Stopping", stopping, _ENDS["Stopping"]))
        if ended is not None:
            phases.append((status, ended, _ENDS[status]))
        ends = [at for _, at, _ in phases[1:]] + [ended]
        return [
            {"Status": name, "StartTime": moment(at), "StatusMessage": text}
            | ({"EndTime": moment(end)} if end is not None else {})
            for (name, at, text), end in zip(phases, ends, strict=True)
        ]

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


def request_of(name: str, role_arn: str, output_path: str, tags: dict[str, str], region: str) -> dict[str, Any]:
    """A CreateTrainingJob request, with fixed values for what DDA does not use."""
    place = f"{region}:{role_arn.split(':')[4]}"
    return {
        "TrainingJobName": name,
        "RoleArn": role_arn,
        "AlgorithmSpecification": {
            "AlgorithmName": f"arn:{partition(region)}:sagemaker:{place}:algorithm/{_ALGORITHM}",
            "TrainingInputMode": "File",
        },
        "OutputDataConfig": {"S3OutputPath": output_path},
        "ResourceConfig": {"InstanceType": "ml.g4dn.2xlarge", "InstanceCount": 1, "VolumeSizeInGB": 50},
        "StoppingCondition": {"MaxRuntimeInSeconds": 7200},
        "Tags": [{"Key": key, "Value": value} for key, value in tags.items()],
    }
