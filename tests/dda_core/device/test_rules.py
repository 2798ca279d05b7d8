"""The rules as data: the YAML file is valid, and every name in it is used."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import yaml

from dda_core.device import rules as module
from dda_core.device.facts import CONDITIONS
from dda_core.device.relations import RELATIONS
from dda_core.device.rules import RULES, DeviceRules, device_rules
from dda_core.exceptions import InvalidCatalogue


def read_changed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, change: Any) -> DeviceRules:
    fields = yaml.safe_load(RULES.read_text())
    change(fields)
    path = tmp_path / "device_rules.yaml"
    path.write_text(yaml.safe_dump(fields))
    monkeypatch.setattr(module, "RULES", path)
    return device_rules.__wrapped__()


def test_every_condition_has_a_predicate_in_the_code():
    assert device_rules().conditions.keys() == CONDITIONS.keys()


def test_relations_in_code_and_file_match():
    rules = device_rules()
    named = {row.check for group in (rules.common, *rules.groups.values()) for row in group.relations}
    assert named == RELATIONS.keys()


def test_every_group_is_used():
    rules = device_rules()
    assert {name for row in rules.stage_types for name in row.groups} == rules.groups.keys()


def test_every_remedy_is_a_sentence_and_every_rule_has_a_source():
    rules = device_rules()
    groups = (rules.common, *rules.groups.values())
    rows = [row for group in groups for row in group.keys] + [row for group in groups for row in group.relations]
    assert len(rows) > 50
    for row in [*rows, *rules.compiled]:
        assert row.remedy[0].isupper(), row.remedy
        assert row.remedy.endswith("."), row.remedy
        assert row.source.startswith(("run", "read"))


@pytest.mark.parametrize(
    ("change", "what"),
    [
        (lambda rules: rules["stage_types"][0].update(groups=["nonsense"]), "unknown groups nonsense"),
        (lambda rules: rules["stage_types"][1]["names"].append("mochi"), "stage types in two rows: mochi"),
        (lambda rules: rules["common"]["keys"][0].update(when=["maybe"]), "unknown condition 'maybe'"),
        (lambda rules: rules["common"]["keys"][0].update({"is": "banana"}), "banana"),
        (lambda rules: rules["common"]["keys"][0].pop("source"), "source"),
        (lambda rules: rules["common"]["relations"][0].update(failure="sometimes"), "sometimes"),
    ],
)
def test_an_invalid_file_reports_what_is_wrong(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, change: Any, what: str):
    with pytest.raises(InvalidCatalogue, match=r"device_rules\.yaml") as refused:
        read_changed(tmp_path, monkeypatch, change)
    assert what in str(refused.value)


def test_a_new_stage_type_is_six_lines_of_yaml(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    added = read_changed(
        tmp_path,
        monkeypatch,
        lambda rules: rules["stage_types"].append({"names": ["brownie"], "groups": ["calibration"]}),
    )
    found = added.stage_type("brownie")
    assert found is not None
    assert [group.keys[0].key for group in added.groups_of(found)] == ["dataset", "max_val_score"]
