"""``python -m deployments.local.registration USE_CASE ACCOUNT REGION BUCKET``: what a new Prefect server is told.

A process of its own, begun by ``dda local up`` while the server is still loading: it loads meanwhile, waits for the
server, and registers the use case and the deployments of ``prefect.yaml``.
"""

from __future__ import annotations

import asyncio
import os
import runpy
import sys
import time
from pathlib import Path

from dda_core.use_case import UseCase
from deployments.local.prefect_server import server_answers

PROJECT = Path(__file__).resolve().parents[2]


def main() -> None:
    """Register, and end with exit code 0; anything else is in the log, which is the output."""
    from deployments.registration import save_use_case

    usecase_id, account, region, bucket = sys.argv[1:]
    use_case = UseCase(usecase_id=usecase_id, account_id=account, region=region, s3_bucket=bucket)
    while not server_answers(os.environ["PREFECT_API_URL"]):
        time.sleep(0.1)
    asyncio.run(save_use_case(use_case))
    if (PROJECT / "prefect.yaml").exists():
        # Prefect's own command, in this process: another one would load Prefect once more.
        os.chdir(PROJECT)
        sys.argv = ["prefect", "--no-prompt", "deploy", "--all"]
        runpy.run_module("prefect", run_name="__main__")


if __name__ == "__main__":
    main()
