"""Two models whose names give the same component: the second is refused before anything is compiled for it."""

from __future__ import annotations

import asyncio
import json

import pytest

from dda_core.runs.status import RunStatus, TargetStatus
from tests.flows.conftest import Pipeline

pytestmark = [pytest.mark.xdist_group("prefect")]


async def test_another_models_component_is_refused_before_a_job_is_created(pipeline: Pipeline) -> None:
    pipeline.train("lid-1", model_name="Lid A")
    pipeline.train("lid-2", model_name="lid-a")
    assert (await pipeline.run("lid-1", targets=["arm64-cpu"])).status is RunStatus.COMPLETED
    view = await pipeline.run("lid-2", targets=["arm64-cpu", "x86_64-cpu"])

    assert view.status is RunStatus.PARTIAL, "of x86_64-cpu there is no component yet"
    refused = view.targets["arm64-cpu"]
    assert refused.status is TargetStatus.FAILED
    for words in ("model-lid-a-arm64-cpu 1.0.0", "'Lid A'", "'lid-a'", "component_name"):
        assert words in str(refused.reason)
    assert "component_name" in str(refused.remedy)
    assert not [job for job in pipeline.jobs() if job.startswith("lid-2-arm64cpu-")]
    assert pipeline.versions() == ["model-lid-a-arm64-cpu 1.0.0", "model-lid-a-x86-64-cpu 1.0.0"]

    given = await pipeline.run("lid-2", targets=["arm64-cpu"], component_name="model-lid-a", friendly_name="B")
    assert given.targets["arm64-cpu"].version == "2.0.0", "a component name that is given is consent"


@pytest.mark.slow
async def test_a_component_taken_in_the_meantime_is_refused_when_published(
    pipeline: Pipeline,
) -> None:
    pipeline.train("lid-1", model_name="Lid A")
    pipeline.train("lid-2", model_name="lid-a")
    pipeline.aws.holds.hold("compile", "arm64-cpu")
    second = asyncio.create_task(pipeline.run("lid-2", targets=["arm64-cpu"]))
    await pipeline.until(lambda: pipeline.jobs())
    pipeline.aws.client("greengrassv2").create_component_version(
        inlineRecipe=json.dumps(
            {
                "RecipeFormatVersion": "2020-01-25",
                "ComponentName": "model-lid-a-arm64-cpu",
                "ComponentVersion": "1.0.0",
                "Manifests": [{"Platform": {"os": "linux"}}],
            }
        ).encode(),
        tags={"dda-portal:model-name": "Lid A", "dda-portal:usecase-id": "local"},
    )
    pipeline.aws.holds.release("compile", "arm64-cpu")
    record = (await second).targets["arm64-cpu"]
    assert record.status is TargetStatus.FAILED
    assert "belongs to model 'Lid A' of use case 'local'" in str(record.reason)
    assert pipeline.versions() == ["model-lid-a-arm64-cpu 1.0.0"]


@pytest.mark.slow
async def test_what_a_person_should_look_at_is_in_the_runs_log(
    pipeline: Pipeline, caplog: pytest.LogCaptureFixture
) -> None:
    pipeline.train("a-1", model_name="a__b")
    await pipeline.run("a-1", targets=["arm64-cpu"], component_name="model-a--b")
    first = await pipeline.run("a-1", targets=["arm64-cpu"])
    assert "model-a--b-arm64-cpu exists, the earlier portal's component of model" in caplog.text
    arn = str(first.targets["arm64-cpu"].arn)
    pipeline.aws.client("greengrassv2").untag_resource(resourceArn=arn, tagKeys=["dda-portal:model-name"])
    pipeline.train("a-2", model_name="a__b")
    second = await pipeline.run("a-2", targets=["arm64-cpu"], friendly_name="A and B")
    assert second.targets["arm64-cpu"].version == "2.0.0"
    assert caplog.text.count("model-a-b-arm64-cpu 1.0.0 has no tag dda-portal:model-name") == 1
