"""The Prefect server and worker of a local stack: their commands, their settings, and whether they answer."""

from __future__ import annotations

import base64
import json
import os
import socket
import sys
import urllib.error
import urllib.request
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from deployments.local.directory import CREDENTIALS

HOST = "127.0.0.1"
WORK_POOL = "dda"
WORKER_NAME = "local"
SERVER_AUTH = "PREFECT_SERVER_API_AUTH_STRING"
CLIENT_AUTH = "PREFECT_API_AUTH_STRING"

SETTINGS = {
    "PREFECT_SERVER_ANALYTICS_ENABLED": "false",
    "PREFECT_SERVER_UI_SHOW_PROMOTIONAL_CONTENT": "false",
    # Slots of the concurrency limits must outlive the server; the default keeps them in its memory.
    "PREFECT_SERVER_CONCURRENCY_LEASE_STORAGE": "prefect.server.concurrency.lease_storage.filesystem",
    # Task runs are written in batches: SQLite answers 503 under one transaction for each.
    "PREFECT_SERVER_SERVICES_TASK_RUN_RECORDER_BATCH_SIZE": "100",
    "PREFECT_SERVER_SERVICES_TASK_RUN_RECORDER_READ_BATCH_SIZE": "100",
    "PREFECT_SERVER_SERVICES_TASK_RUN_RECORDER_FLUSH_INTERVAL": "2",
    # A run that was started is looked for every second, not every ten.
    "PREFECT_WORKER_QUERY_SECONDS": "1",
    "PREFECT_WORKER_HEARTBEAT_SECONDS": "10",
    # Scheduled runs are made minutes ahead, not an hour: one that is due every half minute would fill pages.
    "PREFECT_SERVER_SERVICES_SCHEDULER_MIN_SCHEDULED_TIME": "PT3M",
    # A server that is restarted is waited for up to four minutes, and one whose database is locked is asked once: a
    # request that is given up and sent again may have had its effect. SQLite is waited for a minute at most.
    "PREFECT_CLIENT_MAX_RETRIES": "7",
    "PREFECT_API_REQUEST_TIMEOUT": "120",
    # The shortest Prefect allows: a run whose process died is noticed sooner.
    "PREFECT_FLOWS_HEARTBEAT_FREQUENCY": "30",
}

PACE = {
    "DDA_POLL_SECONDS": "1",
    "DDA_BACKOFF_SECONDS": "1",
    "DDA_QUOTA_WAIT_SECONDS": "1",
    # Here as in AWS a component version per second; looks, which are this frequent, cost SQLite too much to be counted.
    "DDA_COMPILATION_JOBS_PER_SECOND": "10",
    "DDA_SAGEMAKER_CALLS_PER_SECOND": "0",
    "DDA_GREENGRASS_CALLS_PER_SECOND": "0",
    # Its only worker is here, so a run's process is seen, or is gone.
    "DDA_SINGLE_HOST": "true",
    "DDA_PENDING_SECONDS": "120",
}
"""The embedded AWS is quick, so flows look often. Whoever starts the stack may set them otherwise."""

# Requests to this machine never go through a proxy.
_opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))


def stack_environment(
    home: Path, api_url: str, aws_endpoint_url: str | None, region: str, auth: str | None
) -> dict[str, str]:
    """The environment of the stack's processes.

    The caller's own, without what would let a profile, another server or a real AWS account into the stack.

    Args:
        home: Prefect's home, where the server keeps its database.
        api_url: the server's API, ending in ``/api``.
        aws_endpoint_url: the embedded AWS; None for a process that does not speak to it.
        region: of the embedded AWS.
        auth: ``user:password`` that guards the API, None for an open one.
    """
    environment = {name: value for name, value in os.environ.items() if not name.startswith(("PREFECT_", "AWS_"))}
    environment |= {**PACE, **{name: value for name, value in environment.items() if name in PACE}}
    environment |= SETTINGS
    environment |= {
        "PREFECT_HOME": str(home),
        "PREFECT_API_URL": api_url,
        "PREFECT_SERVER_UI_API_URL": api_url,
        "NO_PROXY": ",".join(filter(None, (os.environ.get("NO_PROXY"), HOST, "localhost"))),
    }
    if auth:
        environment |= {SERVER_AUTH: auth, CLIENT_AUTH: auth}
    if aws_endpoint_url:
        environment |= {**CREDENTIALS, "AWS_ENDPOINT_URL": aws_endpoint_url, "AWS_DEFAULT_REGION": region}
    return environment


def server_command(port: int) -> list[str]:
    """Run the server in the foreground: ``--background`` hides one that died."""
    return [sys.executable, "-m", "deployments.local.prefect_serve", "--host", HOST, "--port", str(port)]


def worker_command() -> list[str]:
    """Run the worker, without a limit of its own: the deployments have theirs."""
    command = f"worker start --pool {WORK_POOL} --type process --name {WORKER_NAME} --install-policy never"
    return [sys.executable, "-m", "prefect", *command.split()]


def free_port(wanted: int | None = None) -> int:
    """``wanted`` where nothing listens on it, else a port that is free now."""
    for port in (wanted or 0, 0):
        with socket.socket() as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            try:
                probe.bind((HOST, port))
            except OSError:
                continue
            return int(probe.getsockname()[1])
    raise OSError(f"no port is free on {HOST}")


def ask(url: str, body: Mapping[str, Any] | None = None, *, auth: str | None = None, seconds: float = 3.0) -> Any:
    """The JSON answer to a GET, or to a POST of ``body``; None when nothing answers, or not with success."""
    headers = {"Content-Type": "application/json"}
    if auth:
        headers["Authorization"] = "Basic " + base64.b64encode(auth.encode()).decode()
    data = None if body is None else json.dumps(body).encode()
    try:
        with _opener.open(urllib.request.Request(url, data=data, headers=headers), timeout=seconds) as answer:  # noqa: S310
            return json.load(answer)
    except (OSError, ValueError):
        return None


def server_answers(api_url: str) -> bool:
    """Whether the server's API and its database are there."""
    return ask(f"{api_url}/health") is True


def worker_polls(api_url: str, auth: str | None, since: str) -> bool:
    """Whether the stack's worker has reported to the server after ``since`` (ISO 8601, UTC)."""
    workers = ask(f"{api_url}/work_pools/{WORK_POOL}/workers/filter", {}, auth=auth)
    return any(
        worker["name"] == WORKER_NAME and worker["status"] == "ONLINE" and (worker["last_heartbeat_time"] or "") > since
        for worker in workers or []
    )


def aws_instance(endpoint_url: str) -> str | None:
    """Which embedded AWS answers at the URL: its state has this name, and ends with it. None when none does."""
    answer = ask(f"{endpoint_url}/_dda/health")
    return str(answer["instance"]) if isinstance(answer, dict) and "instance" in answer else None
