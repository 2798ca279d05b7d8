import datetime
import json

import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st

from dda_core.components.recipe_comparison import artifact_uri_of, same_recipe
from dda_core.targets import find_target
from tests.fixtures.recipes import URI, change, recipe

STARTUP = ("Manifests", 0, "Lifecycle", "Startup")
SHUTDOWN = ("Manifests", 0, "Lifecycle", "Shutdown")
ARTIFACT = ("Manifests", 0, "Artifacts", 0)


def as_greengrass_returns_it(ours):
    """Keys in another order, empty fields dropped or added, numbers as text, the digest filled in."""
    theirs = json.loads(json.dumps(ours, sort_keys=True))
    manifest = theirs["Manifests"][0]
    del theirs["Lifecycle"]
    theirs["ComponentConfiguration"]["AccessControl"] = {}
    manifest["Selections"] = []
    manifest["Name"] = None
    manifest["Lifecycle"]["Startup"]["Timeout"] = 900.0
    manifest["Artifacts"][0] |= {"Digest": "3q2+7w==", "Algorithm": "SHA-256"}
    return theirs


def test_a_recipe_is_the_same_after_greengrass_has_stored_it():
    ours = recipe()
    assert same_recipe(as_greengrass_returns_it(ours), ours)
    assert same_recipe(yaml.safe_load(yaml.safe_dump(ours)), ours)


def test_a_recipe_from_yaml_may_have_dates_and_word_booleans():
    theirs = as_greengrass_returns_it(recipe())
    theirs["RecipeFormatVersion"] = datetime.date(2020, 1, 25)
    theirs["Manifests"][0]["Lifecycle"]["Startup"]["requiresPrivilege"] = "true"
    assert same_recipe(theirs, recipe())


def test_a_recipe_that_differs_only_in_version_is_the_same():
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
def test_a_recipe_that_publishes_something_else_differs(changes):
    assert not same_recipe(as_greengrass_returns_it(recipe(**changes)), recipe())


def test_a_script_that_names_another_version_than_the_recipe_is_not_ours():
    theirs = recipe()
    script = theirs["Manifests"][0]["Lifecycle"]["Startup"]["Script"]
    theirs["Manifests"][0]["Lifecycle"]["Startup"]["Script"] = script.replace("2.0.0", "9.0.0")
    assert not same_recipe(theirs, recipe())


@pytest.mark.parametrize(
    ("path", "value"),
    [
        (("ComponentType",), "aws.greengrass.plugin"),
        (("ComponentPublisher",), "Somebody"),
        (("ComponentConfiguration", "DefaultConfiguration", "Autostart"), True),
        ((*STARTUP, "Script"), "python3 /aws_dda/model_convertor.py"),
        ((*SHUTDOWN, "Script"), "true"),
        ((*STARTUP[:-1], "Run"), "true"),
        ((*STARTUP[:-2], "Platform", "architecture"), "aarch64"),
        (("ComponentDependencies", "Another"), {"VersionRequirement": "^1.0.0"}),
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
def test_any_other_difference_counts(path, value):
    assert not same_recipe(change(as_greengrass_returns_it(recipe()), path, value) | {}, recipe())


@pytest.mark.parametrize("theirs", [{}, {"Manifests": [None, 3, {"Artifacts": "x"}]}, {"ComponentVersion": 1}])
def test_foreign_recipes_are_compared_without_an_error(theirs):
    assert not same_recipe(theirs, recipe())
    assert artifact_uri_of(theirs) is None


def test_the_artifact_is_found():
    assert artifact_uri_of(as_greengrass_returns_it(recipe())) == URI
    two = recipe()
    two["Manifests"] *= 2
    assert artifact_uri_of(two) is None


@pytest.mark.parametrize(
    ("path", "value"),
    [
        ((*STARTUP, "Timeout"), 901),
        ((*SHUTDOWN, "Timeout"), 15),
        (("ComponentDescription",), "added"),
        (("ComponentConfiguration", "DefaultConfiguration", "AddedByTheService"), 1),
        ((*STARTUP, "SkipIf"), ""),
        ((*ARTIFACT, "Owner"), "root"),
        (("Manifests", 0, "Name"), "linux"),
        (("Lifecycle",), None),
        (("ComponentType",), None),
        (("ComponentDependencies", "aws.edgeml.dda.LocalServer.amd64"), {"versionrequirement": "^1.0.0"}),
    ],
    ids=lambda value: str(value)[:50],
)
def test_time_limits_and_what_a_service_adds_or_drops_make_no_difference(path, value):
    assert same_recipe(change(recipe(), path, value), recipe())


@pytest.mark.parametrize("wait", [1, 30, 600, 86_400])
def test_whether_and_how_long_a_device_waits_makes_no_difference(wait):
    waiting = as_greengrass_returns_it(recipe(startup_wait_seconds=wait))
    assert same_recipe(waiting, recipe())
    assert same_recipe(recipe(), recipe(startup_wait_seconds=wait))
    assert same_recipe(waiting, recipe(startup_wait_seconds=wait + 7))


def test_anything_else_before_the_startup_line_makes_a_difference():
    script = recipe()["Manifests"][0]["Lifecycle"]["Startup"]["Script"]
    theirs = change(recipe(), (*STARTUP, "Script"), f"rm -rf /aws_dda\n{script}")
    assert not same_recipe(theirs, recipe())


NAMES = tuple(f"aws.edgeml.dda.LocalServer.{name}" for name in ("arm64", "arm64JP4"))


def test_interchangeable_localservers_make_no_difference():
    theirs, ours = (recipe(localserver=name) for name in NAMES)
    assert not same_recipe(theirs, ours)
    assert same_recipe(theirs, ours, localservers=NAMES)
    assert not same_recipe(recipe(localserver="Another"), ours, localservers=NAMES)
    loose = change(theirs, ("ComponentDependencies", NAMES[0], "DependencyType"), "SOFT")
    assert not same_recipe(loose, ours, localservers=NAMES)
    more = change(theirs, ("ComponentDependencies", "Another"), {"VersionRequirement": "^1.0.0"})
    assert not same_recipe(more, ours, localservers=NAMES)


def cased(tree, random):
    """The same tree with keys in any case and order; component names and empty values are unchanged."""
    if isinstance(tree, list):
        return [cased(each, random) for each in tree]
    if not isinstance(tree, dict):
        return tree
    pairs = [(random.choice([key, key.lower(), key.upper(), key[:1].lower() + key[1:]]), key) for key in tree]
    random.shuffle(pairs)
    return {
        (key if key.startswith("aws.edgeml") else shown): cased(tree[key], random)
        for shown, key in pairs
        if tree[key] not in ({}, [], "", None) or random.random() < 0.5
    }


settings_of_recipes = st.fixed_dictionaries(
    {
        "component": st.text("abc-", min_size=1, max_size=9).map("model-{}".format),
        "friendly_name": st.text(min_size=1, max_size=12),
        "localserver": st.sampled_from(NAMES),
        "artifact_uri": st.sampled_from([URI, URI.replace("0123456789ab", "ffffffffffff")]),
        "target": st.sampled_from(["x86_64-cuda", "arm64-cpu"]).map(find_target),
    }
)


@settings(max_examples=200)
@given(settings_of_recipes, settings_of_recipes, st.integers(1, 99), st.integers(0, 999), st.randoms())
def test_recipes_are_the_same_if_and_only_if_they_publish_the_same(one, other, major, wait, random):
    """Normalisation by the service (camelCase, lower case, dropped empty fields, added defaults) must not lead to a new
    version on every run; a recipe that publishes something else differs.
    """
    theirs = cased(recipe(**one, version=f"{major}.0.0", startup_wait_seconds=wait), random)
    assert same_recipe(theirs, recipe(**one))
    assert artifact_uri_of(theirs) == one["artifact_uri"]
    assert same_recipe(theirs, recipe(**other)) is (one == other)
