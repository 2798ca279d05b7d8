"""The IAM policies compared with the calls in the code: every action that is needed, and no others."""

from __future__ import annotations

import asyncio
import importlib.resources
import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from dda_core.runs.status import RunStatus
from deployments.local.aws.services.iam import evaluate
from deployments.policies import FOLDER, policy, policy_names
from flows.refresh_devices import refresh_devices
from flows.refresh_overview import refresh_overview
from tests.deployments.cli.command import dda
from tests.fixtures.aws_calls import Call, actions_of, needs, recorded, source_calls
from tests.flows.conftest import ACCOUNT, Pipeline, aws_options, pipeline

__all__ = ["aws_options", "pipeline"]

ROOT = Path(__file__).parents[2]
REGION = "us-east-1"
VALUES = {
    "Account": ACCOUNT,
    "Region": REGION,
    "Bucket": "dda-local-artifacts",
    "SageMakerRole": "DDASageMakerExecutionRole",
    "PipelineRole": "DDAPipeline",
    "WorkerAccount": "210987654321",
    "WorkerRole": "worker",
    "ExternalId": "factory-seven",
    "UseCase": "local",
}
TRUST = [name for name in policy_names() if name.endswith("-trust")]
PERMISSIONS = [name for name in policy_names() if name not in TRUST]
INSTALLERS = {"deployments/webhook/stack.py"}
"""Code that only a person who may create roles and stacks runs."""
NARROWED_BY_CONDITION = {"cloudwatch:PutMetricData"}
NOT_IN_A_GOOD_RUN = {
    "s3:AbortMultipartUpload",
    "s3:GetBucketPolicy",
    "sagemaker:ListCompilationJobs",
    "sagemaker:StopCompilationJob",
}
CONTEXT = {"iam:passedtoservice": ["sagemaker.amazonaws.com"]}


def statements(name: str) -> list[dict[str, Any]]:
    given: list[dict[str, Any]] = policy(name, **VALUES)["Statement"]
    return given


def listed(value: str | list[str]) -> list[str]:
    return [value] if isinstance(value, str) else value


def actions(name: str) -> set[str]:
    return {action for statement in statements(name) for action in listed(statement["Action"])}


@pytest.fixture(scope="module")
def iam_knows() -> dict[str, Any]:
    """Every IAM action with the resource types it can be restricted to, from cfn-lint's data."""
    text = importlib.resources.files("cfnlint").joinpath("data/AdditionalSpecs/Policies.json").read_text()
    found: dict[str, Any] = json.loads(text)
    return found


@pytest.mark.parametrize("name", policy_names())
def test_a_policy_is_well_formed(name: str):
    document = policy(name, **VALUES)
    assert document.keys() == {"Version", "Statement"}
    assert document["Version"] == "2012-10-17"
    expected = {"Sid", "Effect", "Action", "Principal" if name in TRUST else "Resource"}
    for statement in document["Statement"]:
        assert statement.keys() - {"Condition"} == expected
        assert statement["Effect"] == "Allow"
        assert re.fullmatch("[A-Za-z0-9]+", statement["Sid"])
        assert (
            sorted(listed(statement["Action"])) == listed(statement["Action"]) or len(listed(statement["Action"])) < 3
        )
    assert len({statement["Sid"] for statement in document["Statement"]}) == len(document["Statement"])
    # IAM's limit for a managed policy, without whitespace.
    assert len("".join((FOLDER / f"{name}.json").read_text().split())) < 6144


@pytest.mark.parametrize("name", PERMISSIONS)
def test_actions_are_known_and_as_narrow_as_aws_allows(name: str, iam_knows: dict[str, Any]):
    for statement in statements(name):
        for action in listed(statement["Action"]):
            service, _, operation = action.partition(":")
            known = iam_knows[service]["Actions"]
            assert operation.lower() in known, f"{action} is not an IAM action"
            assert "*" not in action
            types = known[operation.lower()].get("Resources", [])
            if not types or action in NARROWED_BY_CONDITION:
                assert not types or statement["Condition"]
                assert listed(statement["Resource"]) == ["*"]
                continue
            formats = [
                pattern.replace("${Partition}", "aws").replace("${Region}", ".*").replace("${Account}", ".*")
                for each in types
                for pattern in iam_knows[service]["Resources"][each.lower()]["ARNFormats"]
            ]
            matching = [
                arn for arn in listed(statement["Resource"]) if any(re.fullmatch(each, arn) for each in formats)
            ]
            assert matching, f"{action} cannot be allowed on {statement['Resource']}"
            assert "*" not in matching


def test_every_placeholder_is_explained():
    text = " ".join((FOLDER / f"{name}.json").read_text() for name in policy_names())
    used = set(re.findall(r"\$\{(\w+)\}", text))
    assert used == VALUES.keys()
    explained = (ROOT / "docs" / "operate.md").read_text()
    assert [name for name in used if f"`${{{name}}}`" not in explained] == []
    assert [name for name in policy_names() if f"{name}.json" not in explained] == []


def test_the_policies_have_the_actions_that_the_source_calls_need_and_no_others():
    calls = {path: operations for path, operations in source_calls().items() if path not in INSTALLERS}
    events = calls.pop("dda_core/training/events.py")
    needed = {action for operations in calls.values() for each in operations for action in actions_of(each)}
    assert needed == actions("pipeline")
    assert {action for each in events for action in actions_of(each)} == actions("training-events")
    assert actions("operator") < actions("pipeline")
    assert actions("worker") == {"sts:AssumeRole"}
    assert actions("storage-clean") == {"s3:DeleteObject"}
    for name in TRUST:
        assert actions(name) == {"sts:AssumeRole"}


async def test_a_run_with_the_policies_of_the_files(pipeline: Pipeline):
    """The embedded AWS enforces the SageMaker role's policy; every call is checked against the pipeline's."""
    iam = pipeline.aws.client("iam")
    role = VALUES["SageMakerRole"]
    iam.create_role(RoleName=role, AssumeRolePolicyDocument=json.dumps(policy("sagemaker-execution-trust")))
    document = json.dumps(policy("sagemaker-execution", **VALUES))
    iam.put_role_policy(RoleName=role, PolicyName="p", PolicyDocument=document)
    iam.put_user_policy(
        UserName="local", PolicyName="dda-from-the-start", PolicyDocument=json.dumps(policy("pipeline", **VALUES))
    )
    pipeline.train()
    pipeline.aws.add_device(thing="line-1", installed=[{"name": "model-lid-7-x86-64-cpu", "version": "1.0.0"}])
    with recorded() as calls:
        view = await pipeline.run(targets=["x86_64-cpu", "jetson-xavier"])
        await pipeline.run(targets=["x86_64-cpu"])
        await refresh_devices()
        await refresh_overview()
    assert view.status is RunStatus.COMPLETED, view
    assert {call.operation for call in calls} <= set.union(*source_calls().values())
    asked = set(asked_for(calls))
    assert {each for each in asked if not allows("pipeline", each)} == set()
    assert {action for action, _ in asked} >= actions("pipeline") - NOT_IN_A_GOOD_RUN
    packages = [f"arn:aws:s3:::{str(target.package).removeprefix('s3://')}" for target in view.targets.values()]
    assert all(allows("device", ("s3:GetObject", package)) for package in packages)
    assert allows("device", ("s3:GetBucketLocation", f"arn:aws:s3:::{VALUES['Bucket']}"))

    with recorded() as calls:
        for words in (
            ["devices", "--use-case", "local"],
            ["logs", "lid-7", "x86_64-cpu"],
            ["history", "lid-7"],
            ["status", "lid-7"],
            ["artifacts", "link", "lid-7", "x86_64-cpu"],
            ["artifacts", "get", "lid-7", "x86_64-cpu", "--output", pipeline.folder / "package.zip"],
        ):
            result = await asyncio.to_thread(dda, *words)
            assert result.exit_code == 0, result.output
    asked = set(asked_for(calls))
    assert {each for each in asked if not allows("operator", each)} == set()
    assert {action for action, _ in asked} == actions("operator")


def allows(name: str, asked: tuple[str, str]) -> bool:
    """Whether a policy allows an action on a resource."""
    return evaluate([policy(name, **VALUES)], *asked, CONTEXT) == "allowed"


def asked_for(calls: list[Call]) -> Iterator[tuple[str, str]]:
    """Each action that the calls need, with its resource. The local AWS's user stands in for the pipeline's role."""
    for call in calls:
        for action, resource in needs(call, REGION, ACCOUNT):
            yield action, resource.replace(":user/local", f":role/{VALUES['PipelineRole']}")
