"""Use cases as blocks: what their form asks for, and what it must not presume."""

from __future__ import annotations

from dda_core.fleets import fleet_names
from dda_core.use_case import UseCase
from tasks.store.use_cases import UseCaseBlock

FIELDS = {"usecase_id": "lids", "account_id": "123456789012", "region": "us-east-1", "s3_bucket": "dda-lids"}


def test_the_form_asks_for_the_fleet_and_presumes_none():
    schema = UseCaseBlock.model_json_schema()
    assert schema["properties"]["fleet"]["enum"] == list(fleet_names())
    assert "default" not in schema["properties"]["fleet"], "a form would fill it in where an old use case has none"
    assert "fleet" in schema["required"]


def test_a_use_case_saved_before_there_were_fleets_stays_without_one():
    assert UseCaseBlock(**FIELDS).fleet is None
    assert UseCaseBlock.of(UseCase(**FIELDS)).fleet is None
    assert UseCaseBlock.of(UseCase(**FIELDS, fleet="current")).fleet == "current"
