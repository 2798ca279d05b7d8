"""``dda logs``: the log of a target's compilation job, from CloudWatch or the saved copy."""

from __future__ import annotations

import asyncio
import json
from collections import Counter
from typing import TYPE_CHECKING, Annotated, Any

import typer

from deployments.cli.options import AsJson, TargetName, known_targets
from deployments.cli.output import print_json, printable

if TYPE_CHECKING:
    from dda_core.compilation.logs import LogLine
    from tasks.store.products import FoundJob

FOLLOW_SECONDS = 2.0
"""Time between two reads of a log that is followed."""


def logs_command(
    training_job: Annotated[str, typer.Argument(help="The training job.")],
    target: TargetName,
    attempt: Annotated[
        int | None, typer.Option(min=1, show_default=False, help="The attempt; by default the latest of any run.")
    ] = None,
    follow: Annotated[
        bool, typer.Option("--follow", "-f", help="Print new lines until the compilation job ends, or Ctrl-C.")
    ] = False,
    as_json: AsJson = False,
) -> None:
    """Show the CloudWatch log of a target's compilation job, all streams merged by time.

    If CloudWatch no longer has the log, the saved copy is shown. Standard error says if there is no log yet. The JSON
    is a list of objects with the keys stream, at and text; with --follow, one such object per line.
    """
    from deployments.services.runs import prefect_errors

    (target,) = known_targets([target])
    with prefect_errors():
        asyncio.run(_show(training_job, target, attempt, follow=follow, as_json=as_json))


async def _show(training_job: str, target: str, attempt: int | None, *, follow: bool, as_json: bool) -> None:
    from prefect import get_client

    from tasks.store.products import find_job

    which = f"attempt {attempt}" if attempt else "a compilation job"
    waiting = False
    while True:
        async with get_client() as client:
            job = await find_job(client, training_job, target, attempt)
            in_progress = follow and job is None and await _in_progress(client, training_job)
        if job or not in_progress:
            break
        if not waiting:
            typer.echo(f"{training_job}, {target}: waiting for {which}.", err=True)
            waiting = True
        await asyncio.sleep(FOLLOW_SECONDS)
    if job is None:
        typer.echo(f"No run of {training_job} has {which} for {target}, so there is no log.", err=True)
        lines: list[LogLine] = []
    else:
        lines = await (_follow(job, as_json) if follow else _read(job))
        if not lines:
            typer.echo(f"Compilation job {job.name} has no log yet, or it has expired.", err=True)
    if as_json and not follow:
        print_json([_fields(line) for line in lines])
    elif not follow and job:
        for line in lines:
            _print(job.name, line, as_json=False)


async def _in_progress(client: Any, training_job: str) -> bool:
    from tasks.store.history import runs_of

    return any(not (run.run.state and run.run.state.is_final()) for run in await runs_of(client, training_job))


async def _read(job: FoundJob) -> list[LogLine]:
    from dda_core.compilation.logs import read_log, read_saved_log
    from deployments.services.interactive_aws import interactive_clients

    aws = interactive_clients(job.use_case)
    lines = await asyncio.to_thread(read_log, aws.logs, job.name)
    return lines or await asyncio.to_thread(read_saved_log, aws.s3, job.saved_log)


async def _follow(job: FoundJob, as_json: bool) -> list[LogLine]:
    """Print lines as they arrive until the job ends; returns all lines."""
    from dda_core.aws.calls import with_retries
    from dda_core.compilation.logs import job_ended, read_log
    from dda_core.settings import load_settings
    from deployments.services.interactive_aws import interactive_clients

    aws, settings = interactive_clients(job.use_case), load_settings()
    shown: Counter[tuple[Any, ...]] = Counter()
    lines: list[LogLine] = []
    said = False
    while True:
        # Check for the end before reading, so that the last read has the job's last lines.
        ended = await with_retries(settings, _say, job_ended, aws.sagemaker, job.name)
        lines = await with_retries(settings, _say, read_log, aws.logs, job.name)
        here: Counter[tuple[Any, ...]] = Counter()
        for line in lines:
            # Equal lines with the same time are told apart by counting; late ones are printed when they arrive.
            mark = (line.stream, line.at, line.text)
            here[mark] += 1
            if here[mark] > shown[mark]:
                shown[mark] += 1
                _print(job.name, line, as_json=as_json)
        if ended:
            break
        if not lines and not said:
            said = True
            typer.echo(f"Compilation job {job.name} has no log yet; waiting for it.", err=True)
        await asyncio.sleep(FOLLOW_SECONDS)
    if not lines:
        lines = await _read(job)
        for line in lines:
            _print(job.name, line, as_json=as_json)
    return lines


def _say(sentence: str) -> None:
    typer.echo(sentence, err=True)


def _print(job: str, line: LogLine, *, as_json: bool) -> None:
    if as_json:
        typer.echo(json.dumps(_fields(line)))
        return
    fields = _fields(line)
    stream = line.stream.removeprefix(job).removeprefix("/")
    typer.echo(f"{fields['at']}  {f'[{printable(stream)}] ' if stream else ''}{printable(fields['text'])}")


def _fields(line: LogLine) -> dict[str, str]:
    from datetime import UTC

    from dda_core.sanitise import redact

    at = line.at.astimezone(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")
    return {"stream": line.stream, "at": at, "text": redact(line.text.rstrip("\r\n"))}
