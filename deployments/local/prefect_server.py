"""The Prefect server and worker of a local stack: commands, settings, health checks."""

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
    # Concurrency slots must survive a server restart; by default they are in memory.
    "PREFECT_SERVER_CONCURRENCY_LEASE_STORAGE": "prefect.server.concurrency.lease_storage.filesystem",
    # Write task runs in batches: with one transaction each, SQLite is overloaded and the API answers 503.
    "PREFECT_SERVER_SERVICES_TASK_RUN_RECORDER_BATCH_SIZE": "100",
    "PREFECT_SERVER_SERVICES_TASK_RUN_RECORDER_READ_BATCH_SIZE": "100",
    "PREFECT_SERVER_SERVICES_TASK_RUN_RECORDER_FLUSH_INTERVAL": "2",
    # Poll for scheduled runs every second instead of every ten.
    "PREFECT_WORKER_QUERY_SECONDS": "1",
    "PREFECT_WORKER_HEARTBEAT_SECONDS": "10",
    # Create scheduled runs three minutes ahead, not an hour: reconcile, every half minute, would fill pages.
    "PREFECT_SERVER_SERVICES_SCHEDULER_MIN_SCHEDULED_TIME": "PT3M",
    # Retries cover a server restart of up to four minutes. The timeout is above SQLite's, which waits a minute for
    # its lock at most: a request that timed out and is sent again may already have taken effect.
    "PREFECT_CLIENT_MAX_RETRIES": "7",
    "PREFECT_API_REQUEST_TIMEOUT": "120",
    # Prefect's minimum, so that a dead process is noticed sooner.
    "PREFECT_FLOWS_HEARTBEAT_FREQUENCY": "30",
}

PACE = {
    "DDA_POLL_SECONDS": "1",
    "DDA_BACKOFF_SECONDS": "1",
    "DDA_QUOTA_WAIT_SECONDS": "1",
    # Component versions are limited as in AWS. Polls are not: at this rate, limits cost SQLite too much.
    "DDA_COMPILATION_JOBS_PER_SECOND": "10",
    "DDA_SAGEMAKER_CALLS_PER_SECOND": "0",
    "DDA_GREENGRASS_CALLS_PER_SECOND": "0",
    # The only worker is on this machine: a run whose process is not found here is dead.
    "DDA_SINGLE_HOST": "true",
    "DDA_PENDING_SECONDS": "120",
}
"""The embedded AWS is quick, so flows poll often. The caller's environment overrides these."""

# Requests to this machine never go through a proxy.
_opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))


def stack_environment(
    home: Path, api_url: str, aws_endpoint_url: str | None, region: str, auth: str | None
) -> dict[str, str]:
    """The environment of the stack's processes.

    The caller's, without the variables of a Prefect profile, another server or a real AWS account.

    Args:
        home: PREFECT_HOME, where the server keeps its database.
        api_url: the server's API, ending in ``/api``.
        aws_endpoint_url: the embedded AWS; None for a process that does not use it.
        region: the Region of the embedded AWS.
        auth: ``user:password`` of the API; None where it needs none.
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
    """The server's command, in the foreground: with ``--background`` its death would go unnoticed."""
    return [sys.executable, "-m", "deployments.local.prefect_serve", "--host", HOST, "--port", str(port)]


def worker_command() -> list[str]:
    """The worker's command, without a concurrency limit: the deployments have theirs."""
    command = f"worker start --pool {WORK_POOL} --type process --name {WORKER_NAME} --install-policy never"
    return [sys.executable, "-m", "prefect", *command.split()]


def free_port(wanted: int | None = None) -> int:
    """``wanted`` where it is free, else any free port."""
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
    """The JSON response to a GET, or to a POST of ``body``; None without a successful response."""
    headers = {"Content-Type": "application/json"}
    if auth:
        headers["Authorization"] = "Basic " + base64.b64encode(auth.encode()).decode()
    data = None if body is None else json.dumps(body).encode()
    try:
        with _opener.open(urllib.request.Request(url, data=data, headers=headers), timeout=seconds) as response:  # noqa: S310
            return json.load(response)
    except (OSError, ValueError):
        return None


def server_answers(api_url: str) -> bool:
    """Whether the server's API and its database work."""
    return ask(f"{api_url}/health") is True


def worker_polls(api_url: str, auth: str | None, since: str) -> bool:
    """Whether the stack's worker has sent a heartbeat after ``since`` (ISO 8601, UTC)."""
    workers = ask(f"{api_url}/work_pools/{WORK_POOL}/workers/filter", {}, auth=auth)
    return any(
        worker["name"] == WORKER_NAME and worker["status"] == "ONLINE" and (worker["last_heartbeat_time"] or "") > since
        for worker in workers or []
    )


def aws_instance(endpoint_url: str) -> str | None:
    """The instance id of the embedded AWS at the URL, which is new with every start or reset; None without one."""
    health = ask(f"{endpoint_url}/_dda/health")
    return str(health["instance"]) if isinstance(health, dict) and "instance" in health else None
