"""Finding our component version, and numbering a new one."""

from __future__ import annotations

import json
import re
import threading
from collections.abc import Iterator
from typing import Any

import pytest

from dda_core.aws.tags import Maker
from dda_core.components.component import ComponentNames, ComponentPlan
from dda_core.components.recipe import recipe_bytes
from dda_core.components.status import ComponentState
from dda_core.components.versions import (
    check_deployable,
    describe_version,
    ensure_version,
    find_deployable,
    list_versions,
    warn_about_portal_component,
)
from dda_core.exceptions import ComponentTaken, PublishFailed
from dda_core.failures import guidance_for
from dda_core.targets import find_target
from dda_core.use_case import UseCase
from deployments.local.aws import LocalAws, local_aws
from tests.fixtures.aws_calls import recorded

USE_CASE = UseCase(
    usecase_id="lids",
    account_id="123456789012",
    region="us-east-1",
    s3_bucket="dda-local-artifacts",
    tags={"team": "7"},
)
JOB = "lid-7-arm64cpu-0a1b2c3d-1"


def runs(package: str) -> bool:
    """Every package runs."""
    return package.startswith("s3://")


def plan(**changes: Any) -> ComponentPlan:
    names = ComponentNames(**{"model_name": "Lid Inspection"} | changes)
    return ComponentPlan.of(USE_CASE, find_target("arm64-cpu"), training_job="lid-7", names=names)


@pytest.fixture
def aws() -> Iterator[LocalAws]:
    with local_aws(server=False) as running:
        yield running


def package(aws: LocalAws, content: str = "0a1b2c3d4e5f") -> str:
    key = f"model_artifacts/model-{content}/{content}_greengrass_model_component.zip"
    aws.client("s3").put_object(Bucket=aws.bucket, Key=key, Body=content.encode())
    return f"s3://{aws.bucket}/{key}"


def test_names_and_tags_match_the_contract(aws: LocalAws) -> None:
    made = ensure_version(aws.client("greengrassv2"), plan(), package(aws), compilation_job=JOB, maker=Maker("run-1"))
    assert (made.component, made.version) == ("model-lid-inspection-arm64-cpu", "1.0.0")
    assert made.arn == plan().arn("1.0.0")
    assert made.tags == {
        "team": "7",
        "dda-portal:managed": "true",
        "dda-portal:usecase-id": "lids",
        "dda-portal:training-id": "lid-7",
        "dda-portal:model-name": "Lid Inspection",
        "dda-portal:created-by": "dda-pipeline",
        "dda:compilation-job": JOB,
        "dda:flow-run": "run-1",
        "dda:flow-run-retry": "0",
    }
    recipe = json.loads(aws.client("greengrassv2").get_component(arn=made.arn)["recipe"])
    assert recipe["ComponentConfiguration"]["DefaultConfiguration"]["ModelName"] == "model-lid-inspection (arm64-cpu)"


def test_the_same_package_adopts_the_existing_version(aws: LocalAws) -> None:
    greengrass, uri = aws.client("greengrassv2"), package(aws)
    one = ensure_version(greengrass, plan(), uri, compilation_job=JOB, maker=Maker("run-1"))
    two = ensure_version(greengrass, plan(), uri, compilation_job=JOB, maker=Maker("run-2"))
    assert one.arn == two.arn
    assert list_versions(greengrass, plan().arn()) == ["1.0.0"]


def test_another_package_gets_the_next_major_version(aws: LocalAws) -> None:
    greengrass = aws.client("greengrassv2")
    for content in ("aaaaaaaaaaaa", "bbbbbbbbbbbb"):
        ensure_version(greengrass, plan(), package(aws, content), compilation_job=JOB)
    assert list_versions(greengrass, plan().arn()) == ["2.0.0", "1.0.0"]
    back = ensure_version(greengrass, plan(), package(aws, "aaaaaaaaaaaa"), compilation_job=JOB)
    assert back.version == "1.0.0"


def test_a_failed_version_is_final_in_its_run_and_skipped_by_the_next(aws: LocalAws) -> None:
    greengrass, uri = aws.client("greengrassv2"), package(aws)
    aws.faults.add("publish", target="arm64-cpu", reason="The artifact could not be read", times=1)
    first = ensure_version(greengrass, plan(), uri, compilation_job=JOB, maker=Maker("run-1"))
    failed = describe_version(greengrass, first.arn)
    assert failed.state is ComponentState.FAILED
    with pytest.raises(PublishFailed, match="could not be read"):
        check_deployable(failed)
    restarted = ensure_version(greengrass, plan(), uri, compilation_job=JOB, maker=Maker("run-1"))
    assert restarted.version == "1.0.0"
    retried = ensure_version(greengrass, plan(), uri, compilation_job=JOB, maker=Maker("run-1", 1))
    assert retried.version == "2.0.0"


def test_a_race_ends_with_one_version() -> None:
    with local_aws() as aws:
        uri, versions = package(aws), []

        def publish(run: str) -> None:
            versions.append(
                ensure_version(aws.client("greengrassv2"), plan(), uri, compilation_job=JOB, maker=Maker(run)).version
            )

        threads = [threading.Thread(target=publish, args=(f"run-{number}",)) for number in range(6)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert versions == ["1.0.0"] * 6


def test_a_conflict_that_the_list_does_not_show_yet_is_found_by_its_arn(aws: LocalAws) -> None:
    greengrass, uri = aws.client("greengrassv2"), package(aws)
    ensure_version(greengrass, plan(), uri, compilation_job=JOB, maker=Maker("run-1"))

    class Behind:
        """A client with outdated lists, as in an eventually consistent service."""

        def get_paginator(self, name: str) -> Any:
            return type("Empty", (), {"paginate": lambda self, **_: [{"componentVersions": []}]})()

        def __getattr__(self, name: str) -> Any:
            return getattr(greengrass, name)

    found: Any = ensure_version(Behind(), plan(), uri, compilation_job=JOB, maker=Maker("run-2"))  # type: ignore[arg-type]
    assert found.version == "1.0.0"


LID_A = {"model_name": "Lid A"}
"""Its component has the same name as lid-a's."""


def test_another_models_component_gets_no_version(aws: LocalAws) -> None:
    greengrass = aws.client("greengrassv2")
    ensure_version(greengrass, plan(**LID_A), package(aws, "aaaaaaaaaaaa"), compilation_job=JOB)
    for content in ("aaaaaaaaaaaa", "bbbbbbbbbbbb"):
        with pytest.raises(ComponentTaken) as refused:
            ensure_version(greengrass, plan(model_name="lid-a"), package(aws, content), compilation_job=JOB)
    taken = refused.value
    assert (taken.component, taken.version, taken.base) == ("model-lid-a-arm64-cpu", "1.0.0", "model-lid-a")
    assert (taken.model, taken.other_model) == ("lid-a", "Lid A")
    assert (taken.use_case, taken.other_use_case) == ("lids", "lids")
    for words in ("'lid-a'", "'Lid A'", "component_name to 'model-lid-a'"):
        assert words in str(taken)
    assert list_versions(greengrass, plan(**LID_A).arn()) == ["1.0.0"]
    again = guidance_for(taken)
    assert (again.retry, again.fallback) == ("never", False)


def test_another_use_cases_component_of_the_same_model_name_is_refused(aws: LocalAws) -> None:
    greengrass = aws.client("greengrassv2")
    ensure_version(greengrass, plan(**LID_A), package(aws), compilation_job=JOB)
    other = plan(**LID_A).model_copy(update={"usecase_id": "caps"})
    with pytest.raises(ComponentTaken, match="of use case 'lids'; model 'Lid A' of use case 'caps'"):
        ensure_version(greengrass, other, package(aws), compilation_job=JOB)


def test_giving_a_component_name_allows_sharing_it(aws: LocalAws) -> None:
    greengrass = aws.client("greengrassv2")
    ensure_version(greengrass, plan(**LID_A), package(aws, "aaaaaaaaaaaa"), compilation_job=JOB)
    given = plan(model_name="lid-a", component_name="model-lid-a")
    assert ensure_version(greengrass, given, package(aws, "aaaaaaaaaaaa"), compilation_job=JOB).version == "1.0.0"
    assert ensure_version(greengrass, given, package(aws, "bbbbbbbbbbbb"), compilation_job=JOB).version == "2.0.0"


@pytest.mark.parametrize("written", ["Lid A", "The lids", "The lids (arm64-cpu)", "model-lid-a"])
def test_the_portals_model_name_tags_count_as_ours(aws: LocalAws, written: str) -> None:
    greengrass, ours = aws.client("greengrassv2"), plan(**LID_A, friendly_name="The lids")
    portals = ours.model_copy(update={"model_name": written})
    ensure_version(greengrass, portals, package(aws, "aaaaaaaaaaaa"), compilation_job=JOB)
    assert ensure_version(greengrass, ours, package(aws, "bbbbbbbbbbbb"), compilation_job=JOB).version == "2.0.0"


@pytest.mark.parametrize(
    "left_out",
    [["dda-portal:model-name"], ["dda-portal:usecase-id"], ["dda-portal:usecase-id", "dda-portal:model-name"]],
)
def test_a_component_of_unknown_owner_gets_a_version_and_a_warning(aws: LocalAws, left_out: list[str]) -> None:
    greengrass, warnings = aws.client("greengrassv2"), list[str]()
    ensure_version(greengrass, plan(), package(aws, "aaaaaaaaaaaa"), compilation_job=JOB, warn=warnings.append)
    assert warnings == []
    greengrass.untag_resource(resourceArn=plan().arn("1.0.0"), tagKeys=left_out)
    two = ensure_version(greengrass, plan(), package(aws, "bbbbbbbbbbbb"), compilation_job=JOB, warn=warnings.append)
    assert two.version == "2.0.0"
    [warning] = warnings
    assert warning.startswith(
        f"model-lid-inspection-arm64-cpu 1.0.0 has no tag {' and '.join(left_out)}; assuming that it belongs to model "
    )


def test_a_failed_version_of_another_model_still_owns_the_component(aws: LocalAws) -> None:
    greengrass, uri = aws.client("greengrassv2"), package(aws)
    aws.faults.add("publish", target="arm64-cpu", reason="The artifact could not be read", times=1)
    made = ensure_version(greengrass, plan(**LID_A), uri, compilation_job=JOB)
    assert describe_version(greengrass, made.arn).state is ComponentState.FAILED
    with pytest.raises(ComponentTaken):
        ensure_version(greengrass, plan(model_name="lid-a"), uri, compilation_job=JOB)


def test_of_two_concurrent_models_one_gets_the_component() -> None:
    with local_aws() as aws:
        uri, ends = package(aws), list[str]()
        together = threading.Barrier(4)

        def publish(model: str) -> None:
            together.wait()
            try:
                made = ensure_version(aws.client("greengrassv2"), plan(model_name=model), uri, compilation_job=JOB)
                ends.append(made.tags["dda-portal:model-name"])
            except ComponentTaken as taken:
                ends.append(str(taken.other_model))

        threads = [threading.Thread(target=publish, args=(name,)) for name in ("Lid A", "lid-a", "LID A", "lid a")]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        greengrass = aws.client("greengrassv2")
        assert list_versions(greengrass, plan(**LID_A).arn()) == ["1.0.0"]
        assert ends == [describe_version(greengrass, plan(**LID_A).arn("1.0.0")).tags["dda-portal:model-name"]] * 4


def test_the_owner_is_checked_again_after_a_conflict(aws: LocalAws) -> None:
    greengrass, uri = aws.client("greengrassv2"), package(aws)

    class Overtaken:
        """A client; another model's run creates a version between its list and its create call."""

        def create_component_version(self, **request: Any) -> Any:
            ensure_version(greengrass, plan(**LID_A), uri, compilation_job=JOB)
            return greengrass.create_component_version(**request)

        def __getattr__(self, name: str) -> Any:
            return getattr(greengrass, name)

    client: Any = Overtaken()
    with pytest.raises(ComponentTaken, match=r"1\.0\.0 belongs to model 'Lid A'"):
        ensure_version(client, plan(model_name="lid-a"), uri, compilation_job=JOB)
    assert list_versions(greengrass, plan(**LID_A).arn()) == ["1.0.0"]


def test_another_models_deployable_version_is_not_ours(aws: LocalAws) -> None:
    greengrass, uri = aws.client("greengrassv2"), package(aws)
    stem = JOB.removesuffix("-1")
    ensure_version(greengrass, plan(**LID_A), uri, compilation_job=JOB)
    with pytest.raises(ComponentTaken):
        find_deployable(greengrass, plan(model_name="lid-a"), stem, runs)
    shared = plan(model_name="lid-a", component_name="model-lid-a")
    assert find_deployable(greengrass, shared, stem, runs) is not None
    # Another model's newest version does not hide ours.
    ensure_version(greengrass, shared, package(aws, "bbbbbbbbbbbb"), compilation_job=JOB)
    found = find_deployable(greengrass, plan(**LID_A), stem, runs)
    assert found is not None
    assert found[0].version == "1.0.0"


def test_a_portal_component_of_the_same_model_gives_a_warning(aws: LocalAws) -> None:
    greengrass, warnings = aws.client("greengrassv2"), list[str]()
    ours = plan(model_name="a__b")
    warn_about_portal_component(greengrass, ours, warnings.append)
    assert warnings == [], "the portal has made none"
    portals = plan(model_name="a__b", component_name="model-a--b")
    ensure_version(greengrass, portals, package(aws), compilation_job=JOB)
    for each in (portals, plan(model_name="a-b")):
        warn_about_portal_component(greengrass, each, warnings.append)
    assert warnings == [], "the portal would call it the same"
    warn_about_portal_component(greengrass, ours, warnings.append)
    [warning] = warnings
    for words in ("model-a--b-arm64-cpu", "model-a-b-arm64-cpu", "component_name 'model-a--b'"):
        assert words in warning


def test_a_plan_stored_by_an_earlier_version_is_read(aws: LocalAws) -> None:
    kept = plan(component_name="model-lids").model_dump(mode="json", exclude={"name_given"})
    assert not ComponentPlan.model_validate(kept).name_given


def test_deployable_means_recipe_and_tag_agree_and_the_package_runs(aws: LocalAws) -> None:
    greengrass, uri = aws.client("greengrassv2"), package(aws)
    stem = "lid-7-arm64cpu-0a1b2c3d"
    assert find_deployable(greengrass, plan(), stem, runs) is None
    ensure_version(greengrass, plan(), uri, compilation_job=JOB)
    found = find_deployable(greengrass, plan(), stem, runs)
    assert found is not None
    assert (found[0].version, found[1]) == ("1.0.0", uri)
    assert find_deployable(greengrass, plan(), "lid-8-arm64cpu-0a1b2c3d", runs) is None, "another training job's"
    assert find_deployable(greengrass, plan(friendly_name="Lids"), stem, runs) is None, "another recipe"
    asked: list[str] = []
    assert find_deployable(greengrass, plan(), stem, lambda package: bool(asked.append(package))) is None, "cannot run"
    assert asked == [uri]


def on(**fields: Any) -> ComponentPlan:
    use_case = UseCase(**(USE_CASE.model_dump() | fields))
    return ComponentPlan.of(
        use_case, find_target("arm64-cpu"), training_job="lid-7", names=ComponentNames("Lid Inspection")
    )


def localserver_of(aws: LocalAws, arn: str) -> str:
    (name,) = json.loads(aws.client("greengrassv2").get_component(arn=arn)["recipe"])["ComponentDependencies"]
    return str(name)


def test_a_preset_difference_needs_no_new_version(aws: LocalAws) -> None:
    greengrass, uri = aws.client("greengrassv2"), package(aws)
    first = ensure_version(greengrass, on(fleet="jetpack4-renamed"), uri, compilation_job=JOB)
    assert localserver_of(aws, first.arn) == "aws.edgeml.dda.LocalServer.arm64JP4"
    for fleet in ("current", "original", None):
        assert ensure_version(greengrass, on(fleet=fleet), uri, compilation_job=JOB).version == "1.0.0"
    found = find_deployable(greengrass, on(fleet="current"), "lid-7-arm64cpu-0a1b2c3d", runs)
    assert found is not None
    assert found[0].version == "1.0.0"


def test_the_use_cases_own_localserver_is_published(aws: LocalAws) -> None:
    greengrass, uri = aws.client("greengrassv2"), package(aws)
    ensure_version(greengrass, on(fleet="original"), uri, compilation_job=JOB)
    named = {"arm64-cpu": "aws.edgeml.dda.LocalServer.arm64JP4"}
    second = ensure_version(greengrass, on(fleet="original", localserver=named), uri, compilation_job=JOB)
    assert second.version == "2.0.0"
    assert localserver_of(aws, second.arn) == named["arm64-cpu"]
    same = {"arm64-cpu": "aws.edgeml.dda.LocalServer.arm64"}
    assert ensure_version(greengrass, on(localserver=same), uri, compilation_job=JOB).version == "1.0.0"


def test_a_different_wait_needs_no_new_version(aws: LocalAws) -> None:
    greengrass, uri = aws.client("greengrassv2"), package(aws)
    for wait in (0, 600, 30):
        made = ensure_version(greengrass, on(startup_wait_seconds=wait), uri, compilation_job=JOB)
        assert made.version == "1.0.0"


@pytest.mark.parametrize(
    ("target", "architecture", "localserver"),
    [
        ("jetson-xavier", "aarch64", "arm64"),
        ("x86_64-cpu", "amd64", "amd64"),
        ("x86_64-cuda", "amd64", "amd64"),
        ("arm64-cpu", "aarch64", "arm64"),
        ("jetson-xavier-jp5", "aarch64", "arm64JP5"),
        ("jetson-xavier-jp6", "aarch64", "arm64JP6"),
    ],
)
@pytest.mark.parametrize("fleet", ["current", "jetpack4-renamed", "original"])
def test_without_a_wait_and_with_the_original_names_the_recipe_matches_the_contract(
    target: str, architecture: str, localserver: str, fleet: str
) -> None:
    name = f"aws.edgeml.dda.LocalServer.{localserver}"
    use_case = UseCase(
        **(USE_CASE.model_dump() | {"fleet": fleet, "startup_wait_seconds": 0, "localserver": {target: name}})
    )
    made = ComponentPlan.of(use_case, find_target(target), training_job="lid-7", names=ComponentNames("lid"))
    component = f"model-lid-{target.replace('_', '-')}"
    uri = "s3://dda-lids/model_artifacts/model-0123456789ab/0123456789ab_greengrass_model_component.zip"
    step = '"Timeout":900,"requiresPrivilege":true,"runWith":{"posixUser":"root"}}'
    assert recipe_bytes(made.recipe("2.0.0", uri)).decode() == (
        f'{{"RecipeFormatVersion":"2020-01-25","ComponentName":"{component}","ComponentVersion":"2.0.0",'
        '"ComponentType":"aws.greengrass.generic","ComponentPublisher":"Amazon Lookout for Vision",'
        '"ComponentConfiguration":{"DefaultConfiguration":{"Autostart":false,"PYTHONPATH":"/usr/bin/python3.9",'
        f'"ModelName":"model-lid ({target})"}}}},'
        f'"ComponentDependencies":{{"{name}":{{"VersionRequirement":"^1.0.0","DependencyType":"HARD"}}}},'
        f'"Manifests":[{{"Platform":{{"os":"linux","architecture":"{architecture}"}},"Lifecycle":{{'
        '"Startup":{"Script":"python3 /aws_dda/model_convertor.py --unarchived_model_path '
        "{artifacts:decompressedPath}/0123456789ab_greengrass_model_component/ --model_version 2.0.0 "
        f'--model_name {component}",{step},'
        f'"Shutdown":{{"Script":"python3 /aws_dda/convert_model_cleanup.py --model_name {component}",{step}}},'
        f'"Artifacts":[{{"Uri":"{uri}","Digest":"","Algorithm":"SHA-256","Unarchive":"ZIP",'
        '"Permission":{"Read":"ALL","Execute":"ALL"}}]}],"Lifecycle":{}}'
    )


def test_a_version_missing_from_the_list_is_found_by_the_client_token(aws: LocalAws) -> None:
    greengrass = aws.client("greengrassv2")
    hidden = {"versions": False}

    def hide(parsed: dict[str, Any], **_: Any) -> None:
        if hidden["versions"]:
            parsed["componentVersions"] = []

    greengrass.meta.events.register("after-call.greengrassv2.ListComponentVersions", hide)
    uris = [package(aws, content) for content in ("aaaaaaaaaaaa", "bbbbbbbbbbbb")]
    with recorded() as calls:
        made = [ensure_version(greengrass, plan(), uri, compilation_job=JOB).version for uri in uris]
        hidden["versions"] = True
        again = ensure_version(greengrass, plan(), uris[0], compilation_job=JOB).version
    assert (made, again) == (["1.0.0", "2.0.0"], "1.0.0")
    tokens = [each.parameters["clientToken"] for each in calls if "CreateComponentVersion" in each.operation]
    assert len(tokens) == 3
    assert tokens[0] == tokens[2] != tokens[1]
    assert re.fullmatch("[a-zA-Z0-9-]{1,64}", tokens[0])


def described_as(greengrass: Any, version: str, **status: str) -> None:
    """Make AWS report more status for that version than the local AWS does."""

    def say(parsed: dict[str, Any], **_: Any) -> None:
        if parsed.get("componentVersion") == version:
            parsed["status"].update(status)

    greengrass.meta.events.register("after-call.greengrassv2.DescribeComponent", say)


@pytest.mark.parametrize(
    "status",
    [
        {"componentState": "DEPRECATED"},
        {"componentState": "DEPLOYABLE", "vendorGuidance": "DISCONTINUED"},
        {"componentState": "DEPLOYABLE", "vendorGuidance": "DELETED"},
    ],
)
def test_a_discontinued_version_is_not_adopted(aws: LocalAws, status: dict[str, str]) -> None:
    greengrass, uri, stem = aws.client("greengrassv2"), package(aws), JOB.removesuffix("-1")
    ensure_version(greengrass, plan(), uri, compilation_job=JOB)
    described_as(greengrass, "1.0.0", **status)
    assert find_deployable(greengrass, plan(), stem, runs) is None
    assert ensure_version(greengrass, plan(), uri, compilation_job=JOB).version == "2.0.0"
    found = find_deployable(greengrass, plan(), stem, runs)
    assert found is not None
    assert found[0].version == "2.0.0"


def test_the_reason_contains_all_of_aws_s_texts(aws: LocalAws) -> None:
    greengrass = aws.client("greengrassv2")
    made = ensure_version(greengrass, plan(), package(aws), compilation_job=JOB)
    assert not made.discontinued
    described_as(
        greengrass, "1.0.0", message="It was recalled", vendorGuidance="DISCONTINUED", vendorGuidanceMessage="use 2.0.0"
    )
    withdrawn = describe_version(greengrass, made.arn)
    assert withdrawn.discontinued
    assert withdrawn.reason == "It was recalled; vendor guidance DISCONTINUED: use 2.0.0"
