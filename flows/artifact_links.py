"""Download links on demand, for users of the Prefect UI."""

from __future__ import annotations

from typing import Annotated
from uuid import UUID

from botocore.exceptions import BotoCoreError, ClientError
from prefect.client.schemas.objects import State
from prefect.runtime import flow_run
from prefect.states import Completed, Failed
from pydantic import Field

from dda_core.exceptions import DdaError
from dda_core.runs.flows import FlowName
from dda_core.sanitise import redact
from flows.parameters import TrainingJobName
from tasks.decorators import flow
from tasks.operations.download_links import make_links, remove_expired_links, write_links


@flow(name=FlowName.ARTIFACT_LINKS.value, flow_run_name="links of {training_job_name}")
async def artifact_links(
    training_job_name: TrainingJobName,
    use_case: str,
    expires_minutes: Annotated[int, Field(ge=1, le=720)] = 60,
) -> State[None]:
    """Create links to what a training job's runs made: compiled archives, packages and logs, for every target.

    They are on this run's page, under Artifacts. A valid link is as good as a password, so the page is an artifact
    without a key: it belongs to this run only, is not a version of a lasting artifact, and shows when its links
    expire. The next run of this flow, or of the scheduled `refresh-devices`, then deletes it. No other artifact, log,
    tag or result ever holds a link.

    Args:
        training_job_name: The training job whose files are wanted.
        use_case: The name of the use case's block. A use case's own deployment has it filled in.
        expires_minutes: How long the links work; at most 720 (12 hours). They expire earlier if the credentials that
            sign them do.
    """
    await remove_expired_links()
    try:
        made = await make_links(training_job_name, use_case, expires_minutes)
    except (DdaError, ClientError, BotoCoreError) as error:
        return Failed(message=redact(str(error), mask_accounts=True))
    good = sum(each.link is not None for each in made)
    if not good:
        return Failed(message=f"Nothing that a run of {training_job_name} made in this use case still exists")
    run_id = flow_run.get_id()
    assert run_id is not None
    expires = await write_links(UUID(str(run_id)), training_job_name, made)
    return Completed(message=f"{good} links, valid until {expires:%Y-%m-%d %H:%M} UTC: see Artifacts")
