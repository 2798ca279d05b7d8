"""Compilation jobs of the emulated SageMaker: their life cycle over time, their archives and logs."""

from __future__ import annotations

import hashlib
import threading
from typing import Any

from moto.logs.models import logs_backends

from dda_core.targets import all_targets
from deployments.local.aws.environment import current, moment, now, partition
from deployments.local.aws.services.iam import may
from deployments.local.aws.services.neo import NeoFailure, compile_model, output_name
from deployments.local.aws.services.objects import read_for_neo, split_uri, write_from_neo

LOG_GROUP = "/aws/sagemaker/CompilationJobs"
LIVE = ("STARTING", "INPROGRESS", "STOPPING")
_STARTING_SHARE = 0.2
_logging = threading.Lock()
"""Held while a job writes its log: moto recreates a log group, empty, when two threads create it at the same time."""


def target_of(request: dict[str, Any]) -> str | None:
    """The name of the target that a CreateCompilationJob request compiles for; None when none matches."""
    output = request["OutputConfig"]
    last = output["S3OutputLocation"].rstrip("/").rpartition("/")[2]
    by_place = [t.name for t in all_targets() if t.name == last]
    words = request["CompilationJobName"].split("-")
    by_name = [t.name for t in all_targets() if t.suffix in words[1:]]
    by_platform = [
        t.name
        for t in all_targets()
        if t.neo_platform() == output.get("TargetPlatform") and t.compiler_options == output.get("CompilerOptions")
    ]
    return next(iter([*by_place, *reversed(by_name), *by_platform]), None)


class CompilationJob:
    """One compilation job. Its status is derived from the time; its archive is written by the first call after it is
    due.
    """

    def __init__(self, request: dict[str, Any], account: str, region: str) -> None:
        self.request = request
        self.name = str(request["CompilationJobName"])
        self.account, self.region = account, region
        self.arn = f"arn:{partition(region)}:sagemaker:{region}:{account}:compilation-job/{self.name}"
        self.tags: list[dict[str, str]] = list(request.get("Tags") or [])
        self.created = now()
        target = target_of(request)
        self.planned_failure = current().faults.reason_for("compile", target)
        self.spoil = None if self.planned_failure else current().faults.spoil_for(target)
        self._gate = current().holds.gate("compile", target)
        self.failure_reason = ""
        self.artifact = ""
        self.digest: str | None = None
        self.ended: float | None = None
        self._seconds = current().settings.compile_seconds
        self._stop_seconds = current().settings.stop_seconds
        self._status = "STARTING"
        self._modified = self.created
        self._stopping_since: float | None = None
        self._lock = threading.RLock()

    @property
    def started(self) -> float:
        """When STARTING ends and INPROGRESS begins."""
        return self.created + self._seconds * _STARTING_SHARE

    @property
    def due(self) -> float:
        """When it ends by itself; infinite while it is held."""
        return max(self.created + self._seconds, self._gate.opened)

    def status(self) -> str:
        """The current status. Carries out whatever is due by now."""
        with self._lock:
            if self.ended is None:
                self._advance(now())
            return self._status

    def takes_a_slot(self) -> bool:
        """Whether the job counts against the quota now; does not wait for a compilation."""
        due = self.due if self._stopping_since is None else self._stopping_since + self._stop_seconds
        return self.ended is None and now() < due

    def stop(self) -> bool:
        """Start stopping; False when the job has already ended."""
        with self._lock:
            if self.status() not in LIVE:
                return False
            if self._stopping_since is None:
                self._stopping_since = now()
                self._become("STOPPING", self._stopping_since)
            return True

    def _advance(self, at: float) -> None:
        limit = self.request["StoppingCondition"].get("MaxRuntimeInSeconds")
        due = self.due
        if self._stopping_since is not None:
            if at >= self._stopping_since + self._stop_seconds:
                self._end("STOPPED", self._stopping_since + self._stop_seconds)
        elif limit is not None and due - self.started > limit and at >= self.started + limit:
            self._end("STOPPED", self.started + limit)
        elif at >= due:
            self._finish(due)
        elif at >= self.started and self._status == "STARTING":
            self._become("INPROGRESS", self.started)
            self._log(self.started, "Compilation job started.")

    def _finish(self, at: float) -> None:
        try:
            if self.planned_failure is not None:
                raise _PlannedFailure(self.planned_failure)
            source = self.request["InputConfig"]["S3Uri"]
            self._refuse_without_permission("s3:GetObject", source)
            trained = read_for_neo(self.account, self.region, source)
            compiled = compile_model(trained, self.request, created=self.created, spoil=self.spoil)
            name = output_name(source, self.request["OutputConfig"])
            artifact = f"{self.request['OutputConfig']['S3OutputLocation'].rstrip('/')}/{name}"
            self._refuse_without_permission("s3:PutObject", artifact)
            write_from_neo(self.account, self.region, artifact, compiled)
        except (NeoFailure, _PlannedFailure) as failure:
            self.failure_reason = str(failure)[:1024]
            self._log(at, f"ERROR {self.failure_reason}")
            self._end("FAILED", at)
            return
        self.artifact, self.digest = artifact, hashlib.sha256(compiled).hexdigest()
        self._log(at, f"Compiled model written to {artifact} ({len(compiled)} bytes).")
        self._end("COMPLETED", at)

    def _refuse_without_permission(self, action: str, uri: str) -> None:
        role, resource = self.request["RoleArn"], f"arn:{partition(self.region)}:s3:::{'/'.join(split_uri(uri))}"
        if not may(role, action, resource):
            raise NeoFailure(f"{role} is not authorized to perform: {action} on resource: {resource}")

    def _end(self, status: str, at: float) -> None:
        self.ended = at
        self._become(status, at)
        self._log(at, f"Compilation job ended with status {status}.")

    def _become(self, status: str, at: float) -> None:
        self._status = status
        self._modified = at

    def _log(self, at: float, message: str) -> None:
        logs = logs_backends[self.account][self.region]
        streams = {self.name: message}
        with _logging:
            logs.ensure_log_group(LOG_GROUP)
            if self.name not in logs.groups[LOG_GROUP].streams:
                config = self.request["InputConfig"].get("DataInputConfig")
                streams[f"{self.name}/model-info-extraction"] = f"DataInputConfig: {config}"
            for stream, text in streams.items():
                logs.ensure_log_stream(LOG_GROUP, stream)
                logs.put_log_events(LOG_GROUP, stream, [{"timestamp": int(at * 1000), "message": text}])

    def _shown(self) -> tuple[str, dict[str, Any]]:
        # One lock around status and times, so that they are consistent.
        with self._lock:
            status = self.status()
            times: dict[str, Any] = {"CreationTime": moment(self.created), "LastModifiedTime": moment(self._modified)}
            if status not in ("STARTING",) and (self.ended is None or self.ended >= self.started):
                times["CompilationStartTime"] = moment(self.started)
            if self.ended is not None:
                times["CompilationEndTime"] = moment(self.ended)
            return status, times

    def describe(self) -> dict[str, Any]:
        """The response of DescribeCompilationJob."""
        status, times = self._shown()
        request = {
            key: self.request[key]
            for key in ("StoppingCondition", "RoleArn", "InputConfig", "OutputConfig", "VpcConfig")
            if self.request.get(key) is not None
        }
        response = {
            "CompilationJobName": self.name,
            "CompilationJobArn": self.arn,
            "CompilationJobStatus": status,
            "FailureReason": self.failure_reason,
            "ModelArtifacts": {"S3ModelArtifacts": self.artifact},
            **request,
            **times,
        }
        if status == "COMPLETED":
            response["ModelDigests"] = {"ArtifactDigest": self.digest}
            response["InferenceImage"] = self._inference_image()
        return response

    def summary(self) -> dict[str, Any]:
        """The job's entry in ListCompilationJobs."""
        status, times = self._shown()
        output = self.request["OutputConfig"]
        entry = {
            "CompilationJobName": self.name,
            "CompilationJobArn": self.arn,
            "CompilationJobStatus": status,
            **times,
        }
        if "TargetDevice" in output:
            entry["CompilationTargetDevice"] = output["TargetDevice"]
        for part, value in output.get("TargetPlatform", {}).items():
            entry[f"CompilationTargetPlatform{part}"] = value
        return entry

    def _inference_image(self) -> str:
        config = self.request["InputConfig"]
        processor = "gpu" if "NVIDIA" in str(self.request["OutputConfig"].get("TargetPlatform")) else "cpu"
        image = f"sagemaker-inference-{config['Framework'].lower()}:{config.get('FrameworkVersion', '1.8')}"
        suffix = "amazonaws.com.cn" if partition(self.region) == "aws-cn" else "amazonaws.com"
        return f"785573368785.dkr.ecr.{self.region}.{suffix}/{image}-{processor}-py3"


class _PlannedFailure(Exception):
    """The failure reason of an injected fault."""
