from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from deployments.local.aws.greengrassv2.candidates import alternatives, fits, meets
from deployments.local.aws.greengrassv2.exceptions import ValidationException
from tests.deployments.local.aws.conftest import Aws, error_of, put_package, recipe

NAME = "model-cookie-jetson-xavier"
JETSON = {"os": "linux", "architecture": "aarch64"}


@pytest.mark.parametrize(
    ("requirement", "within", "beyond"),
    [
        ("1.2.3", ["1.2.3"], ["1.2.4", "1.2.3-rc1"]),
        ("^1.2.3", ["1.2.3", "1.9.0"], ["1.2.2", "2.0.0", "2.0.0-rc1"]),
        ("^0.2.3", ["0.2.3", "0.2.9"], ["0.3.0", "0.2.2"]),
        ("^0.0.3", ["0.0.3"], ["0.0.4"]),
        ("~1.2.3", ["1.2.3", "1.2.9"], ["1.3.0"]),
        ("~1.2", ["1.2.0", "1.2.9"], ["1.3.0", "1.1.9"]),
        (">=2.0.0 <2.13.0", ["2.0.0", "2.12.6"], ["1.9.9", "2.13.0"]),
        (">= 2.0.0 < 2.13.0", ["2.0.0"], ["2.13.0"]),
        (">1", ["2.0.0"], ["1.9.9"]),
        (">1.0.0", ["1.0.1"], ["1.0.0"]),
        ("<=1.2", ["1.2.9", "0.1.0"], ["1.3.0"]),
        ("1.x", ["1.0.0", "1.9.9"], ["2.0.0", "0.9.9"]),
        ("1", ["1.0.0", "1.9.9"], ["2.0.0"]),
        ("*", ["0.0.0", "9.9.9"], []),
        ("", ["0.0.0", "9.9.9"], []),
        ("1.0.0 - 1.9", ["1.0.0", "1.9.9"], ["1.10.0", "0.9.9"]),
        ("^1.0.0 || ^3.0.0", ["1.5.0", "3.1.0"], ["2.0.0", "4.0.0"]),
    ],
)
def test_a_requirement_is_an_npm_version_range(requirement: str, within: list[str], beyond: list[str]) -> None:
    ranges = alternatives(requirement)
    assert [version for version in within if not meets(version, ranges)] == []
    assert [version for version in beyond if meets(version, ranges)] == []


@given(st.tuples(*[st.integers(0, 99)] * 3), st.tuples(*[st.integers(0, 99)] * 3))
def test_a_caret_fixes_the_parts_up_to_the_first_nonzero_one(
    asked: tuple[int, int, int], found: tuple[int, int, int]
) -> None:
    """For any two versions: found satisfies ^asked if it is no lower and equal up to asked's first nonzero part."""
    kept = next((i + 1 for i, part in enumerate(asked) if part), 3)
    expected = found >= asked and found[:kept] == asked[:kept]
    assert meets(".".join(map(str, found)), alternatives(f"^{'.'.join(map(str, asked))}")) == expected


@pytest.mark.parametrize("requirement", ["latest", "1.2.3.4", "^", ">*", "=>1.0.0", "1.a.0", "^1.0.0 and more"])
def test_an_invalid_range_is_refused(requirement: str) -> None:
    with pytest.raises(ValidationException):
        alternatives(requirement)


@pytest.mark.parametrize(
    ("asked", "fitting"),
    [
        ({}, True),
        ({"os": "linux"}, True),
        ({"os": "all"}, True),
        ({"os": "*", "architecture": "aarch64"}, True),
        ({"os": "/linux|darwin/"}, True),
        ({"os": "/(/"}, False),
        ({"os": "windows"}, False),
        ({"os": "linux", "runtime": "aws_nucleus_lite"}, False),
    ],
)
def test_a_manifest_matches_the_platforms_it_names(asked: dict[str, str], fitting: bool) -> None:
    assert fits({"Manifests": [{"Platform": {"os": "windows"}}, {"Platform": asked}]}, JETSON) is fitting
    assert fits({"Lifecycle": {}}, JETSON)


def resolve(aws: Aws, requirements: dict[str, str], **changes: Any) -> Any:
    candidate = {"componentName": NAME, "versionRequirements": requirements} | changes
    return aws.client("greengrassv2").resolve_component_candidates(
        platform={"attributes": JETSON}, componentCandidates=[candidate]
    )


def test_the_highest_version_that_meets_every_requirement_is_resolved(aws: Aws) -> None:
    put_package(aws)
    for version in ("1.0.0", "2.0.0", "10.0.0"):
        aws.client("greengrassv2").create_component_version(inlineRecipe=recipe(aws, version=version))
    (chosen,) = resolve(aws, {"a": ">=1.0.0", "b": "<10.0.0"})["resolvedComponentVersions"]
    assert chosen["componentVersion"] == "2.0.0"
    assert json.loads(chosen["recipe"])["ComponentVersion"] == "2.0.0"
    (latest,) = resolve(aws, {})["resolvedComponentVersions"]
    assert latest["componentVersion"] == "10.0.0"
    (own,) = resolve(aws, {"a": ">=1.0.0"}, componentVersion="1.0.0")["resolvedComponentVersions"]
    assert own["componentVersion"] == "1.0.0"


def test_requirements_that_no_version_meets_are_a_conflict_that_names_them(aws: Aws) -> None:
    put_package(aws)
    aws.faults.add("publish", target="jetson-xavier", reason="broken")
    for version in ("2.0.0", "1.0.0"):
        aws.client("greengrassv2").create_component_version(inlineRecipe=recipe(aws, version=version))
    refused = error_of(resolve, aws, {"a": "^2.0.0"})
    assert (refused["Code"], refused["Status"]) == ("ConflictException", 409), "2.0.0 is FAILED"
    assert "a requires ^2.0.0" in refused["Message"]
