import copy
import datetime
import json

import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st

from dda_core.exceptions import RecipeInvalid
from dda_core.recipe import (
    RECIPE_LIMIT,
    check_recipe,
    component_recipe,
    component_version_for,
    recipe_bytes,
)
from dda_core.recipe_comparison import artifact_uri_of, same_recipe
from dda_core.targets import find_target

URI = "s3://dda-models/model_artifacts/model-0123456789ab/0123456789ab_greengrass_model_component.zip"


def recipe(**changes):
    given = {
        "component": "model-cookie-x86-64-cuda",
        "version": "2.0.0",
        "friendly_name": "Cookie (x86_64-cuda)",
        "target": find_target("x86_64-cuda"),
        "localserver": "aws.edgeml.dda.LocalServer.amd64",
        "artifact_uri": URI,
    }
    return component_recipe(**{**given, **changes})


def as_greengrass_returns_it(ours):
    """Keys in another order, empty fields left out or added, numbers as text, the digest filled in."""
    theirs = json.loads(json.dumps(ours, sort_keys=True))
    manifest = theirs["Manifests"][0]
    del theirs["Lifecycle"]
    theirs["ComponentConfiguration"]["AccessControl"] = {}
    manifest["Selections"] = []
    manifest["Name"] = None
    manifest["Lifecycle"]["Startup"]["Timeout"] = 900.0
    manifest["Artifacts"][0] |= {"Digest": "3q2+7w==", "Algorithm": "SHA-256"}
    return theirs


def test_the_recipe_is_the_contracts_to_the_byte():
    step = '"Timeout":900,"requiresPrivilege":true,"runWith":{"posixUser":"root"}}'
    assert recipe_bytes(recipe()).decode() == (
        '{"RecipeFormatVersion":"2020-01-25","ComponentName":"model-cookie-x86-64-cuda","ComponentVersion":"2.0.0",'
        '"ComponentType":"aws.greengrass.generic","ComponentPublisher":"Amazon Lookout for Vision",'
        '"ComponentConfiguration":{"DefaultConfiguration":{"Autostart":false,"PYTHONPATH":"/usr/bin/python3.9",'
        '"ModelName":"Cookie (x86_64-cuda)"}},'
        '"ComponentDependencies":{"aws.edgeml.dda.LocalServer.amd64":{"VersionRequirement":"^1.0.0",'
        '"DependencyType":"HARD"}},'
        '"Manifests":[{"Platform":{"os":"linux","architecture":"amd64"},"Lifecycle":{'
        '"Startup":{"Script":"python3 /aws_dda/model_convertor.py --unarchived_model_path '
        "{artifacts:decompressedPath}/0123456789ab_greengrass_model_component/ --model_version 2.0.0 "
        f'--model_name model-cookie-x86-64-cuda",{step},'
        '"Shutdown":{"Script":"python3 /aws_dda/convert_model_cleanup.py --model_name model-cookie-x86-64-cuda",'
        f"{step}}},"
        f'"Artifacts":[{{"Uri":"{URI}","Digest":"","Algorithm":"SHA-256","Unarchive":"ZIP",'
        '"Permission":{"Read":"ALL","Execute":"ALL"}}]}],"Lifecycle":{}}'
    )


def test_the_recipe_is_well_under_its_limit():
    assert len(recipe_bytes(recipe())) < RECIPE_LIMIT / 8


def test_a_recipe_is_the_same_after_greengrass_has_stored_it():
    ours = recipe()
    assert same_recipe(as_greengrass_returns_it(ours), ours)
    assert same_recipe(yaml.safe_load(yaml.safe_dump(ours)), ours)


def test_a_recipe_from_yaml_may_have_a_date_and_words_for_switches():
    theirs = as_greengrass_returns_it(recipe())
    theirs["RecipeFormatVersion"] = datetime.date(2020, 1, 25)
    theirs["Manifests"][0]["Lifecycle"]["Startup"]["requiresPrivilege"] = "true"
    assert same_recipe(theirs, recipe())


def test_a_recipe_of_another_version_is_the_same():
    assert same_recipe(as_greengrass_returns_it(recipe(version="17.0.0")), recipe())
    assert same_recipe(recipe(version="1.0.0"), recipe(version="11.0.0"))


@pytest.mark.parametrize(
    "changes",
    [
        {"component": "model-cookie-arm64-cpu"},
        {"friendly_name": "Biscuit (x86_64-cuda)"},
        {"target": find_target("arm64-cpu")},
        {"localserver": "aws.edgeml.dda.LocalServer.arm64JP4"},
        {"artifact_uri": URI.replace("0123456789ab", "ffffffffffff")},
        {"artifact_uri": URI.replace("dda-models", "dda-other")},
    ],
    ids=lambda changes: next(iter(changes)),
)
def test_a_recipe_that_publishes_something_else_is_another(changes):
    assert not same_recipe(as_greengrass_returns_it(recipe(**changes)), recipe())


def test_a_script_that_names_another_version_than_the_recipe_is_not_ours():
    theirs = recipe()
    script = theirs["Manifests"][0]["Lifecycle"]["Startup"]["Script"]
    theirs["Manifests"][0]["Lifecycle"]["Startup"]["Script"] = script.replace("2.0.0", "9.0.0")
    assert not same_recipe(theirs, recipe())


def change(tree, path, value):
    changed = copy.deepcopy(tree)
    node = changed
    for key in path[:-1]:
        node = node[key]
    node[path[-1]] = value
    return changed


STARTUP = ("Manifests", 0, "Lifecycle", "Startup")
ARTIFACT = ("Manifests", 0, "Artifacts", 0)


@pytest.mark.parametrize(
    ("path", "value"),
    [
        (("ComponentType",), "aws.greengrass.plugin"),
        (("ComponentPublisher",), "Somebody"),
        (("ComponentConfiguration", "DefaultConfiguration", "Autostart"), True),
        ((*STARTUP, "Timeout"), 901),
        ((*STARTUP, "requiresPrivilege"), False),
        ((*STARTUP, "runWith", "posixUser"), "ggc_user"),
        ((*STARTUP, "Script"), "true"),
        ((*ARTIFACT, "Unarchive"), "NONE"),
        ((*ARTIFACT, "Permission", "Read"), "OWNER"),
        (("Manifests",), []),
        (("Manifests",), "none"),
        (("Lifecycle",), {"Run": "true"}),
    ],
    ids=lambda value: str(value)[:50],
)
def test_any_other_difference_makes_another_recipe(path, value):
    assert not same_recipe(change(as_greengrass_returns_it(recipe()), path, value) | {}, recipe())


@pytest.mark.parametrize("theirs", [{}, {"Manifests": [None, 3, {"Artifacts": "x"}]}, {"ComponentVersion": 1}])
def test_recipes_of_others_are_compared_without_an_error(theirs):
    assert not same_recipe(theirs, recipe())
    assert artifact_uri_of(theirs) is None


def test_the_artifact_is_found():
    assert artifact_uri_of(as_greengrass_returns_it(recipe())) == URI
    two = recipe()
    two["Manifests"] *= 2
    assert artifact_uri_of(two) is None


def test_a_good_recipe_passes():
    check_recipe(recipe())
    check_recipe(recipe(version="999999.0.0", component="model-" + "a" * 122))
    check_recipe(recipe(version="1.000.0"))


@pytest.mark.parametrize(
    ("path", "value", "said"),
    [
        (("ComponentName",), "model-a b", "letters, digits"),
        (("ComponentName",), "model-ä", "letters, digits"),
        (("ComponentName",), "model-x\n", "letters, digits"),
        (("ComponentName",), "model-" + "a" * 123, "has 129 characters, at most 128"),
        (("ComponentName",), "cookie", "expected to start with 'model-'"),
        (("ComponentName",), None, "ComponentName is None"),
        (("ComponentVersion",), "1.0", "semantic version"),
        (("ComponentVersion",), "v1.0.0", "semantic version"),
        (("ComponentVersion",), "1.0.0\n", "semantic version"),
        (("ComponentVersion",), "١.0.0", "semantic version"),
        (("ComponentVersion",), 1, "semantic version"),
        (("ComponentVersion",), "1000000.0.0", "over 999999"),
        (("ComponentVersion",), "1." + "0" * 70 + ".0", "at most 64"),
        (("ComponentVersion",), "1.2.0", "<major>.0.0"),
        (("ComponentVersion",), "1.0.0-rc1", "<major>.0.0"),
        (("ComponentVersion",), "0.0.0", "<major>.0.0"),
        (("RecipeFormatVersion",), "2021-01-25", "RecipeFormatVersion"),
        (("ComponentType",), "aws.greengrass.model", "ComponentType"),
        (("ComponentConfiguration",), [], "ComponentConfiguration is []"),
        (("Lifecycle",), "x", "Lifecycle is 'x'"),
        (("ComponentDependencies",), [], "ComponentDependencies"),
        (("ComponentDependencies",), {"a b": {"VersionRequirement": "^1.0.0"}}, "no component name"),
        (("ComponentDependencies",), {"a": {"DependencyType": "HARD"}}, "no VersionRequirement"),
        (("ComponentDependencies",), {"a": {"VersionRequirement": "^1.0.0", "DependencyType": "MILD"}}, "HARD or SOFT"),
        (("Manifests",), [], "at least one manifest"),
        (("Manifests",), {}, "at least one manifest"),
        (("Manifests", 0), 1, "Manifests[0] is 1"),
        (("Manifests", 0, "Platform"), "linux", "Manifests[0].Platform"),
        (("Manifests", 0, "Artifacts"), {}, "Manifests[0].Artifacts"),
        (ARTIFACT, "x", "Artifacts[0] is 'x'"),
        ((*ARTIFACT, "Uri"), "https://b/k.zip", "s3://<bucket>/<key>"),
        ((*ARTIFACT, "Uri"), "s3://bucket", "s3://<bucket>/<key>"),
        ((*ARTIFACT, "Uri"), "s3://bucket/folder/", "s3://<bucket>/<key>"),
        ((*ARTIFACT, "Uri"), None, "s3://<bucket>/<key>"),
        ((*ARTIFACT, "Unarchive"), "TAR", "NONE or ZIP"),
        ((*ARTIFACT, "Permission", "Read"), "EVERYONE", "NONE, OWNER, ALL"),
        ((*ARTIFACT, "Permission"), "ALL-OF-IT", "NONE, OWNER, ALL"),
        (("ComponentConfiguration", "DefaultConfiguration", "ModelName"), "x" * 17_000, "at most 16384"),
    ],
    ids=lambda value: str(value)[:40],
)
def test_a_broken_rule_is_named(path, value, said):
    with pytest.raises(RecipeInvalid) as refused:
        check_recipe(change(recipe(), path, value))
    assert said in str(refused.value)


def test_artifact_names_are_unique():
    twice = recipe()
    twice["Manifests"][0]["Artifacts"] *= 2
    with pytest.raises(RecipeInvalid, match=r"2 artifacts named '0123456789ab_greengrass_model_component\.zip'"):
        check_recipe(twice)


def test_every_broken_rule_is_listed():
    with pytest.raises(RecipeInvalid) as refused:
        check_recipe(change(recipe(component="cookie", version="0.1.0"), (*ARTIFACT, "Uri"), "x"))
    for said in ("the recipe of cookie 0.1.0", "model-", "<major>.0.0", "s3://"):
        assert said in str(refused.value)


@pytest.mark.parametrize(
    ("existing", "expected"),
    [
        ([], "1.0.0"),
        (["1.0.0"], "2.0.0"),
        (["2.0.0", "10.0.0", "9.0.0"], "11.0.0"),
        (["3.7.1"], "4.0.0"),
        (["4.0.0-rc.1+build"], "5.0.0"),
        (["0.9.0"], "1.0.0"),
        (["999998.0.0"], "999999.0.0"),
    ],
)
def test_the_next_version_is_over_the_highest_existing_major(existing, expected):
    assert component_version_for(existing) == expected
    check_recipe(recipe(version=expected))


def test_versions_run_out():
    with pytest.raises(RecipeInvalid, match="999999"):
        component_version_for(["999999.0.0"])


@settings(max_examples=100)
@given(st.lists(st.integers(1, 999_998), max_size=20), st.randoms())
def test_the_next_version_is_new_whatever_the_order(majors, random):
    existing = [f"{major}.0.0" for major in majors]
    random.shuffle(existing)
    version = component_version_for(iter(existing))
    assert version not in existing
    assert int(version.split(".")[0]) == max(majors, default=0) + 1
