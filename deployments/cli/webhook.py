"""``dda webhook``: start a run automatically when a training job completes."""

from __future__ import annotations

import asyncio
import json
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from dda_core.exceptions import UsageError
from dda_core.runs.flows import FlowName
from deployments.cli.options import AsJson
from deployments.cli.output import print_json, printable

if TYPE_CHECKING:
    from dda_core.use_case import UseCase
    from deployments.webhook.request import WebhookRequest

app = typer.Typer(no_args_is_help=True, help="Start a run automatically when a training job completes.")

UseCaseName = Annotated[
    str, typer.Option("--use-case", metavar="NAME", help="The use case, as registered with `dda use-case save`.")
]
Url = Annotated[
    str | None,
    typer.Option(metavar="URL", help="The server's URL for AWS, if not PREFECT_API_URL; /api is added if missing."),
]


@app.command("install")
def install(
    use_case: UseCaseName,
    queue: Annotated[
        bool, typer.Option("--queue", help="Put the events into an SQS queue, for a server that AWS cannot reach.")
    ] = False,
    url: Url = None,
    alarm_topic: Annotated[
        str, typer.Option(metavar="ARN", help="An SNS topic to notify when an event cannot be delivered.")
    ] = "",
) -> None:
    """Create or update the use case's CloudFormation stack `dda-webhook-NAME`, and wait for it. Safe to repeat.

    EventBridge then calls the Prefect server over HTTPS, with the user and password of PREFECT_API_AUTH_STRING, which
    are kept in AWS Secrets Manager. With --queue the deployment drain-training-events reads the events from SQS.
    """
    from dda_core.aws.tags import PORTAL_MANAGED_TAG, PORTAL_USE_CASE_TAG
    from deployments.services.interactive_aws import interactive_clients
    from deployments.webhook.request import TEMPLATE, webhook_parameters
    from deployments.webhook.stack import QUEUE_TEMPLATE, answers_without_password, check_reachable_by_aws
    from deployments.webhook.stack import install as install_stack

    loaded = _load(use_case)
    parameters = asyncio.run(webhook_parameters(use_case, url))
    if queue:
        template, parameters = QUEUE_TEMPLATE, {"UseCase": parameters["UseCase"]}
    else:
        template = TEMPLATE
        check_reachable_by_aws(parameters, answers_without_password)
    tags = {**loaded.tags, PORTAL_MANAGED_TAG: "true", PORTAL_USE_CASE_TAG: loaded.usecase_id}
    outcome, stack = install_stack(
        interactive_clients(loaded).cloudformation, template, {**parameters, "AlarmTopic": alarm_topic}, tags
    )
    typer.echo(f"{outcome}: stack dda-webhook-{parameters['UseCase']} in {loaded.account_id}, {loaded.region}")
    for name, value in stack.outputs.items():
        typer.echo(f"  {name}: {value}")
    if queue and not asyncio.run(_drain_is_deployed()):
        typer.echo(
            f"Nothing reads the queue yet: the server has no deployment {FlowName.DRAIN_TRAINING_EVENTS}. "
            f"In the project's folder, run: prefect --no-prompt deploy --all",
            err=True,
        )


@app.command("uninstall")
def uninstall(use_case: UseCaseName) -> None:
    """Delete the stack, its queues and the events in them. Safe to repeat."""
    from deployments.services.interactive_aws import interactive_clients
    from deployments.webhook.stack import stack_name
    from deployments.webhook.stack import uninstall as uninstall_stack
    from tasks.store.use_cases import block_name

    loaded = _load(use_case)
    name = block_name(use_case)
    deleted = uninstall_stack(interactive_clients(loaded).cloudformation, name)
    typer.echo(
        f"{'deleted' if deleted else 'not there'}: stack {stack_name(name)} in {loaded.account_id}, {loaded.region}"
    )


@app.command("request")
def request(
    event: Annotated[Path, typer.Option(metavar="FILE", help="The EventBridge event, as JSON.")],
    use_case: UseCaseName,
    url: Url = None,
    as_json: AsJson = False,
) -> None:
    """Print the request that EventBridge would send for an event, without sending it. Works before `install`.

    With --json it is the complete request, including the server's password in the header Authorization.
    """
    from deployments.webhook.request import read_event, webhook_parameters, webhook_request

    content = read_event(event)
    made = webhook_request(content, asyncio.run(webhook_parameters(use_case, url)))
    if as_json:
        print_json(made._asdict())
        return
    typer.echo(f"{made.method} {printable(made.url)}")
    for name, value in made.headers.items():
        typer.echo(f"{name}: {'Basic *** (shown by --json)' if name == 'Authorization' else value}")
    typer.echo(f"\n{json.dumps(made.body, indent=2)}")


@app.command("test")
def send_request(
    use_case: Annotated[
        str | None, typer.Option("--use-case", metavar="NAME", help="The use case; optional if there is only one.")
    ] = None,
    event: Annotated[Path | None, typer.Option(metavar="FILE", help="The EventBridge event, as JSON.")] = None,
    training_job: Annotated[
        str | None, typer.Option(metavar="NAME", help="Instead of an event: create one for this training job.")
    ] = None,
    url: Url = None,
    as_json: AsJson = False,
) -> None:
    """Send the request that EventBridge would send, and show the result. It starts a run.

    A training job has only one webhook run: sending the request again finds that run.
    """
    from deployments.webhook.request import send
    from tasks.store.ui_links import run_link

    started = send(_test_request(use_case or _only_use_case(), event, training_job, url))
    link = run_link(started.flow_run_id)
    if as_json:
        print_json({**started._asdict(), "link": link})
        return
    what = "starts" if started.status == 201 else f"exists already ({started.state})"
    typer.echo(f"{started.status}: flow run {started.flow_run_id} of {printable(started.name)} {what}: {link}")


def _test_request(use_case: str, event: Path | None, training_job: str | None, url: str | None) -> WebhookRequest:
    from dda_core.naming import check_training_job_name
    from dda_core.training.events import training_event
    from deployments.webhook.request import read_event, webhook_parameters, webhook_request

    if (event is None) == (training_job is None):
        raise UsageError("give either --event FILE or --training-job NAME")
    if event is not None:
        content = read_event(event)
    else:
        assert training_job is not None
        loaded = _load(use_case)
        content = training_event(check_training_job_name(training_job), loaded.account_id, loaded.region)
    return webhook_request(content, asyncio.run(webhook_parameters(use_case, url)))


def _load(use_case: str) -> UseCase:
    from deployments.services.runs import prefect_errors
    from tasks.store.use_cases import block_name, load_use_case

    with prefect_errors():
        return asyncio.run(load_use_case(block_name(use_case)))


def _only_use_case() -> str:
    from deployments.services.runs import prefect_errors
    from tasks.store.use_cases import use_case_names

    with prefect_errors():
        names = asyncio.run(use_case_names())
    if len(names) != 1:
        raise UsageError(f"give --use-case; registered are: {', '.join(names) or 'none'}")
    return names[0]


async def _drain_is_deployed() -> bool:
    from prefect import get_client
    from prefect.exceptions import ObjectNotFound

    async with get_client() as client:
        try:
            await client.read_deployment_by_name(f"{FlowName.DRAIN_TRAINING_EVENTS}/{FlowName.DRAIN_TRAINING_EVENTS}")
        except ObjectNotFound:
            return False
    return True
