"""Real processes for one training job: its own embedded AWS, and the processes of its flow runs.

``multiprocessing`` forks them from a server that has loaded everything: real processes that can be killed, and that
start in a tenth of a second.
"""

from __future__ import annotations

import hashlib
import json
import multiprocessing
import os
import re
from collections.abc import Iterator
from contextlib import contextmanager
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any, NamedTuple
from uuid import UUID

import moto.s3.models
from prefect import get_client
from prefect.client.schemas.objects import FlowRun, StateType
from prefect.settings import PREFECT_API_URL
from prefect.states import AwaitingRetry, Crashed, Pending

from dda_core.runs.liveness import CrashKind, Resumption
from deployments.local.aws import local_aws
from deployments.local.aws.client import AwsControl, boto3_client
from deployments.local.directory import CREDENTIALS
from flows.compile_training_job import compile_training_job
from tasks.store.transitions import set_state, transition_id
from tests.crashes.victim import Kill, run_to_the_end

BUCKET = "dda-local-artifacts"
REGION = "us-east-1"
USE_CASE = "crashes"
MODEL = "Lid Inspection"
FAST = {
    "DDA_POLL_SECONDS": "0.2",
    "DDA_BACKOFF_SECONDS": "0.05",
    "DDA_QUOTA_WAIT_SECONDS": "0.05",
    # No rate limit of the Prefect server serialises anything here.
    "DDA_COMPONENT_VERSIONS_PER_SECOND": "0",
    "DDA_COMPILATION_JOBS_PER_SECOND": "0",
    "DDA_SAGEMAKER_CALLS_PER_SECOND": "0",
    "DDA_GREENGRASS_CALLS_PER_SECOND": "0",
}
SECONDS = 90
"""Time limit for one process, on a busy machine."""

processes = multiprocessing.get_context("forkserver")


def load_server(folder: Path) -> None:
    """Start the fork server, with this process's Prefect API and a home in ``folder``."""
    before = dict(os.environ)
    os.environ.update(
        PREFECT_API_URL=PREFECT_API_URL.value() or "", PREFECT_HOME=str(folder), PREFECT_LOGGING_LEVEL="INFO", **FAST
    )
    try:
        processes.set_forkserver_preload(["tests.crashes.preloaded"])
        processes.Process(target=os.getpid).start()
    finally:
        os.environ.clear()
        os.environ.update(before)


def serve_aws(pipe: Connection, settings: dict[str, Any]) -> None:
    """Run an embedded AWS that accepts small parts, until the other end of the pipe is closed."""
    moto.s3.models.S3_UPLOAD_PART_MIN_SIZE = 1
    with local_aws(**settings) as aws:
        pipe.send(aws.endpoint_url)
        try:
            pipe.recv()
        except EOFError:
            return


class Aws:
    """An embedded AWS in another process."""

    def __init__(self, url: str) -> None:
        self.url = url
        self.environment = {**CREDENTIALS, "AWS_ENDPOINT_URL": url, "AWS_DEFAULT_REGION": REGION}

    def client(self, service: str) -> Any:
        return boto3_client(service, self.url, REGION)

    def train(self, name: str, archive: Path) -> None:
        AwsControl(self.url).train(name, archive, model_name=MODEL)

    def jobs(self) -> list[str]:
        pages = self.client("sagemaker").get_paginator("list_compilation_jobs").paginate()
        return sorted(job["CompilationJobName"] for page in pages for job in page["CompilationJobSummaries"])

    def job_makers(self) -> dict[str, str]:
        """The flow run that created each compilation job."""
        client = self.client("sagemaker")
        makers = {}
        for name in self.jobs():
            arn = client.describe_compilation_job(CompilationJobName=name)["CompilationJobArn"]
            tags = {tag["Key"]: tag["Value"] for tag in client.list_tags(ResourceArn=arn)["Tags"]}
            makers[name] = tags["dda:flow-run"]
        return makers

    def versions(self) -> dict[str, dict[str, Any]]:
        """Every component version by its ARN: DescribeComponent's response, with its recipe and its package."""
        greengrass = self.client("greengrassv2")
        found = {}
        for component in greengrass.list_components()["components"]:
            for row in greengrass.list_component_versions(arn=component["arn"])["componentVersions"]:
                described = greengrass.describe_component(arn=row["arn"])
                recipe = json.loads(greengrass.get_component(arn=row["arn"], recipeOutputFormat="JSON")["recipe"])
                uri = recipe["Manifests"][0]["Artifacts"][0]["Uri"]
                found[row["arn"]] = {
                    "state": described["status"]["componentState"],
                    "tags": described["tags"],
                    "recipe": recipe,
                    "package": hashlib.sha256(self.object(uri)).hexdigest(),
                }
        return found

    def object(self, uri: str) -> bytes:
        bucket, _, key = uri.partition("://")[2].partition("/")
        content: bytes = self.client("s3").get_object(Bucket=bucket, Key=key)["Body"].read()
        return content

    def stored(self) -> list[str]:
        pages = self.client("s3").get_paginator("list_objects_v2").paginate(Bucket=BUCKET)
        return sorted(row["Key"] for page in pages for row in page.get("Contents", []))

    def open_uploads(self) -> list[str]:
        answer = self.client("s3").list_multipart_uploads(Bucket=BUCKET)
        return sorted(upload["Key"] for upload in answer.get("Uploads", []))


@contextmanager
def embedded_aws(**settings: Any) -> Iterator[Aws]:
    """An embedded AWS in its own process, for the duration of a ``with``."""
    ours, theirs = processes.Pipe()
    process = processes.Process(target=serve_aws, args=(theirs, settings), daemon=True)
    process.start()
    theirs.close()
    try:
        assert ours.poll(60), "the embedded AWS did not start"
        yield Aws(ours.recv())
    finally:
        ours.close()
        process.join(10)
        process.kill()


class Ended(NamedTuple):
    """A process of a flow run that has ended: the events it recorded, and its log."""

    exit_code: int | None
    did: list[dict[str, Any]]
    said: str

    @property
    def killed_at(self) -> tuple[str, str] | None:
        last = self.did[-1] if self.did else {}
        return (last["killed"], last["target"]) if "killed" in last else None

    @property
    def created(self) -> list[tuple[str, str]]:
        """The operations with which the process created something, each with its target."""
        return [(entry["created"], entry["target"]) for entry in self.did if "created" in entry]

    @property
    def records(self) -> list[list[dict[str, Any]]]:
        """The possible last writes of the process's record on the server: the last confirmed, and one in flight."""
        written = [entry for entry in self.did if "sent" in entry or "recorded" in entry]
        taken = [entry["recorded"] for entry in written if "recorded" in entry][-1:]
        on_its_way = [written[-1]["sent"]] if written and "sent" in written[-1] else []
        return taken + on_its_way

    @property
    def may_have_no_record(self) -> bool:
        """Whether the server confirmed none of the process's records."""
        return not any("recorded" in entry for entry in self.did)


class FlowRunProcesses:
    """The processes of one flow run, in sequence."""

    def __init__(self, aws: Aws, folder: Path, flow_run_id: UUID, *, forgetful: bool = False) -> None:
        """Args: forgetful: no process has the persisted results of an earlier one."""
        self.aws = aws
        self.flow_run_id = flow_run_id
        self.ended: list[Ended] = []
        self._folder = folder
        self._forgetful = forgetful

    def run(self, kill: Kill | None = None) -> Ended:
        """Run one process to its end."""
        number = len(self.ended)
        name = f"{self.flow_run_id}-{number}"
        arguments = (str(self.flow_run_id), self.aws.environment, kill, self._folder, name, self._forgetful)
        process = processes.Process(target=run_to_the_end, args=arguments)
        process.start()
        process.join(SECONDS)
        if process.exitcode is None:
            process.kill()
            process.join()
        self.ended.append(ended(self._folder, name, process.exitcode))
        return self.ended[-1]


def ended(folder: Path, name: str, exit_code: int | None) -> Ended:
    """The recorded events and the log of a process that has ended."""
    journal, log = folder / f"{name}.jsonl", folder / f"{name}.log"
    did = [json.loads(line) for line in journal.read_text().splitlines()] if journal.exists() else []
    return Ended(exit_code, did, log.read_text() if log.exists() else "")


async def new_run(training_job: str, **parameters: Any) -> UUID:
    """Create a flow run that a worker is about to start."""
    async with get_client() as client:
        run = await client.create_flow_run(
            compile_training_job,
            parameters={"training_job_name": training_job, "use_case": USE_CASE, **parameters},
            state=Pending(),
        )
    return run.id


async def revive(flow_run_id: UUID) -> None:
    """Do what reconcile and a worker do for a run whose process died: mark it Crashed, restart it, make it Pending."""
    async with get_client() as client:
        run = await client.read_flow_run(flow_run_id)
        assert run.state is not None
        assert run.state.type in (StateType.PENDING, StateType.RUNNING), run.state
        await set_state(client, flow_run_id, Crashed(), transition_id(CrashKind.OWN))
        await set_state(client, flow_run_id, AwaitingRetry(), transition_id(Resumption.RESUMED))
        await client.set_flow_run_state(flow_run_id, Pending())


async def read_run(flow_run_id: UUID) -> FlowRun:
    """The run on the server."""
    async with get_client() as client:
        return await client.read_flow_run(flow_run_id)


def comparable(value: Any, training_job: str) -> Any:
    """The value without the parts that differ between training jobs of the same model: name, work digest, run."""
    if isinstance(value, dict):
        return {comparable(name, training_job): comparable(each, training_job) for name, each in value.items()}
    if isinstance(value, list):
        return [comparable(each, training_job) for each in value]
    if not isinstance(value, str):
        return value
    text = value.replace(training_job, "JOB")
    text = re.sub(r"(JOB-[a-z0-9]+)-[0-9a-f]{8}-(\d+)", r"\1-DIGEST-\2", text)
    return re.sub(r"^[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f-]{22}$", "RUN", text)
