"""The names of the flows."""

from __future__ import annotations

import importlib
import pkgutil
from pathlib import Path

import yaml
from prefect import Flow

import flows
from dda_core.runs.flows import HOUSEKEEPING, FlowName

ROOT = Path(__file__).parents[3]


def every_flow() -> dict[str, Flow]:
    found = {}
    for module in pkgutil.iter_modules(flows.__path__):
        for value in vars(importlib.import_module(f"flows.{module.name}")).values():
            if isinstance(value, Flow):
                found[value.name] = value
    return found


def test_every_flow_is_named_in_one_place():
    assert set(every_flow()) == set(FlowName)
    assert [name for name in every_flow() if type(name) is not str] == []


def test_every_flow_except_the_compiling_one_is_housekeeping():
    assert set(HOUSEKEEPING) == set(FlowName) - {FlowName.COMPILE}


def test_every_deployment_belongs_to_an_existing_flow():
    written = yaml.safe_load((ROOT / "prefect.yaml").read_text(encoding="utf-8"))
    modules = {each["entrypoint"].split(".")[1] for each in written["deployments"]}
    assert modules == {name.replace("-", "_") for name in FlowName}
