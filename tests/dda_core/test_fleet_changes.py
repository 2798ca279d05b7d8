from dda_core.components.component import ComponentNames, ComponentPlan
from dda_core.fleet_changes import fleet_changes
from dda_core.targets import find_target
from dda_core.use_case import UseCase

FIELDS = {"usecase_id": "lids", "account_id": "123456789012", "region": "eu-west-1", "s3_bucket": "dda-lids"}
PREFIX = "aws.edgeml.dda.LocalServer."


def recipe(use_case, target):
    plan = ComponentPlan.of(use_case, target, training_job="lid-7", names=ComponentNames("lid"))
    return plan.recipe("1.0.0", "s3://dda-lids/k.zip")


def test_what_todays_fleet_changes_for_a_use_case_saved_before():
    changes = fleet_changes(UseCase(**FIELDS), "current", recipe=recipe)
    assert (changes.before, changes.after) == ("original", "current")
    assert (changes.added, changes.removed) == (("jetson-xavier-jp5",), ("jetson-xavier",))
    assert list(changes.targets) == ["jetson-xavier", "x86_64-cpu", "x86_64-cuda", "arm64-cpu", "jetson-xavier-jp5"]
    jetson = changes.targets["jetson-xavier"]
    assert (jetson.before, jetson.after) == (f"{PREFIX}arm64", None)
    assert "JetPack 4 is retired" in jetson.refused
    assert all(line.startswith(("-", "+++ ", "@@")) for line in jetson.diff)
    assert [name for name, change in changes.targets.items() if change.diff] == ["jetson-xavier"]
    assert changes.sentence() == (
        "original becomes current (added to the default targets: jetson-xavier-jp5; "
        "removed from the default targets: jetson-xavier; "
        f"LocalServer of jetson-xavier: {PREFIX}arm64 becomes none)"
    )


def test_a_recipes_differing_lines_are_a_unified_diff():
    changes = fleet_changes(UseCase(**FIELDS, fleet="current"), "jetpack4-renamed", recipe=recipe)
    lines = changes.targets["arm64-cpu"].diff
    assert lines[:2] == ("--- current", "+++ jetpack4-renamed")
    assert [line.strip() for line in lines[2:] if line[0] in "+-"] == [
        f'-    "{PREFIX}arm64": {{',
        f'+    "{PREFIX}arm64JP4": {{',
    ]


def test_what_the_use_case_names_itself_no_fleet_changes():
    use_case = UseCase(**FIELDS, targets=["jetson"], localserver={"jetson": f"{PREFIX}arm64JP4"})
    changes = fleet_changes(use_case, "current", recipe=recipe)
    assert (changes.added, changes.removed) == ((), ())
    assert changes.targets["jetson-xavier"].diff == ()
    assert changes.sentence() == "original becomes current"


def test_only_the_targets_that_were_asked_for_are_compared():
    changes = fleet_changes(UseCase(**FIELDS), "jetpack4-renamed", [find_target("x86_64")])
    assert list(changes.targets) == ["x86_64-cpu"]
