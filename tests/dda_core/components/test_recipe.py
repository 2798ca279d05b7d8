import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st

from dda_core.components.recipe import (
    RECIPE_LIMIT,
    check_recipe,
    component_version_for,
    parse_recipe,
    recipe_bytes,
)
from dda_core.exceptions import RecipeInvalid
from tests.fixtures.recipes import URI, change, recipe


def test_the_recipe_matches_the_contract_to_the_byte():
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


@pytest.mark.parametrize("wait", [1, 600, 86_400])
def test_with_a_wait_only_the_startup_script_and_its_timeout_differ(wait):
    plain, waiting = recipe(), recipe(startup_wait_seconds=wait)
    check_recipe(waiting)
    startup = waiting["Manifests"][0]["Lifecycle"]["Startup"]
    line = plain["Manifests"][0]["Lifecycle"]["Startup"]["Script"]
    assert startup["Script"].endswith(f"done\n{line}")
    assert startup["Timeout"] == wait + 1200
    startup |= {"Script": line, "Timeout": 900}
    assert recipe_bytes(waiting) == recipe_bytes(plain)


def test_the_recipe_is_well_under_its_limit():
    assert len(recipe_bytes(recipe(startup_wait_seconds=600))) < RECIPE_LIMIT / 6


ARTIFACT = ("Manifests", 0, "Artifacts", 0)


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
        (("ComponentDependencies",), {"a b": {"VersionRequirement": "^1.0.0"}}, "not a valid component name"),
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
def test_the_next_version_is_above_the_highest_existing_major(existing, expected):
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


def test_a_recipe_is_read_from_json_and_from_yaml():
    text = recipe_bytes(recipe())
    assert parse_recipe(text, "r.json") == parse_recipe(b"\n " + text, "r.json") == recipe()
    assert parse_recipe(yaml.safe_dump(recipe()).encode(), "r.yaml") == recipe()


@pytest.mark.parametrize(
    ("text", "said"),
    [
        (b'{"a": 1, "b": {"c": 1, "c": 2}}', r"r: this is not a recipe in JSON or YAML \(the key 'c' occurs twice\)"),
        (b'{"a": ', r"r: this is not a recipe in JSON or YAML \("),
        (b"a: [", r"r: this is not a recipe in JSON or YAML \("),
        (b"- a", "r: this is not a recipe; expected an object with ComponentName"),
        (b"text", "r: this is not a recipe; expected an object with ComponentName"),
    ],
)
def test_an_invalid_recipe_is_refused_by_name(text, said):
    with pytest.raises(RecipeInvalid, match=said):
        parse_recipe(text, "r")


def test_a_recipe_exactly_at_the_limits_passes():
    name = "model-" + "a" * 122
    check_recipe(change(recipe(), ("ComponentName",), name))
    check_recipe(change(recipe(), ("ComponentVersion",), "999999.0.0"))
    check_recipe(change(recipe(), ("ComponentVersion",), "1." + "0" * 60 + ".0"))
    check_recipe(change(recipe(), ("ComponentDependencies",), {"a" * 128: {"VersionRequirement": "^1.0.0"}}))
    path = ("ComponentConfiguration", "DefaultConfiguration", "ModelName")
    room = RECIPE_LIMIT - len(recipe_bytes(change(recipe(), path, "")))
    check_recipe(change(recipe(), path, "x" * room))
    for key, value in (
        (("ComponentDependencies",), {"a" * 129: {"VersionRequirement": "1"}}),
        (path, "x" * (room + 1)),
    ):
        with pytest.raises(RecipeInvalid):
            check_recipe(change(recipe(), key, value))


@pytest.mark.parametrize("key", ["ComponentType", "ComponentConfiguration", "Lifecycle", "ComponentDependencies"])
def test_optional_recipe_keys(key):
    made = recipe()
    del made[key]
    check_recipe(made)


def test_optional_manifest_and_artifact_keys():
    check_recipe(recipe() | {"Manifests": [{}]})
    check_recipe(recipe() | {"Manifests": [{"Artifacts": [{"Uri": URI}]}]})
    check_recipe(recipe() | {"ComponentDependencies": {"a": {"VersionRequirement": "^1", "DependencyType": "SOFT"}}})
