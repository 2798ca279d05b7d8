from __future__ import annotations

import pickle
import traceback
from typing import Any

import httpx
import pytest
from botocore.exceptions import ClientError, EndpointConnectionError
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import BaseModel, ValidationError

from dda_core.access.findings import Level, finding
from dda_core.exceptions import AccessRefused, CompilationFailed, RoleNotAssumable, SecretWithheld
from dda_core.failures import guidance_for
from dda_core.sanitise import remember_secret
from dda_core.sanitised_errors import without_secrets

KEY = "AKIA" + "ABCDEFGH12345678"
EXTERNAL_ID = "factory-seven-external"
TEXT = f"InternalError: key {KEY}, https://b.s3.amazonaws.com/k?X-Amz-Signature=hush, id {EXTERNAL_ID}"


@pytest.fixture(autouse=True)
def known() -> None:
    remember_secret(EXTERNAL_ID)


def shown(error: BaseException) -> str:
    """All that a log, a state or a kept result has of an error."""
    attributes = repr(getattr(error, "__dict__", None))
    return "".join(traceback.format_exception(error)) + repr(error) + str(error) + attributes


def assert_clean(text: str) -> None:
    for secret in (KEY, "hush", EXTERNAL_ID):
        assert secret not in text


ERRORS: list[Any] = [
    RuntimeError(TEXT),
    KeyError(TEXT),
    ValueError("a", TEXT, 3),
    FileNotFoundError(2, TEXT, TEXT),
    CompilationFailed(f"failed: {TEXT}", reason=TEXT),
    AccessRefused("lids", [finding("caller", Level.ERROR, TEXT, TEXT)]),
    RoleNotAssumable(TEXT, role=TEXT, remedy=TEXT),
    ClientError(
        {"Error": {"Code": "InternalError", "Message": TEXT}, "SecretAccessKey": "hush"},  # type: ignore[typeddict-unknown-key]
        "CreateCompilationJob",
    ),
    EndpointConnectionError(endpoint_url="https://user:hush@example.com/?token=hush"),
    httpx.ConnectError(TEXT),
]


@pytest.mark.parametrize("error", ERRORS, ids=lambda error: type(error).__name__)
def test_an_error_keeps_its_class_attributes_and_meaning_and_loses_its_secrets(error: Exception) -> None:
    kind, attributes, meant = type(error), set(vars(error)), guidance_for(error)
    clean = without_secrets(error)
    assert clean is error
    assert type(clean) is kind
    assert set(vars(clean)) == attributes
    assert guidance_for(clean).remedy == meant.remedy
    assert_clean(shown(clean))
    assert "***" in shown(clean) or "example.com" in shown(clean)


@pytest.mark.parametrize("explicit", [True, False])
def test_causes_and_contexts_are_cleaned_too(explicit: bool) -> None:
    def fail() -> None:
        try:
            raise KeyError(TEXT)
        except KeyError as error:
            if explicit:
                raise RuntimeError("outer") from error
            raise RuntimeError("outer")  # noqa: B904 - the context is what is tested

    with pytest.raises(RuntimeError) as raised:
        fail()
    assert KEY in shown(raised.value)
    clean = without_secrets(raised.value)
    assert_clean(shown(clean))
    assert "KeyError" in shown(clean)
    assert ("direct cause" in shown(clean)) is explicit


def test_the_members_of_a_group_are_cleaned_too() -> None:
    group = ExceptionGroup("two", [RuntimeError(TEXT), ExceptionGroup("inner", [KeyError(TEXT)])])
    assert_clean(shown(without_secrets(group)))


def test_an_error_that_is_its_own_cause_comes_to_an_end() -> None:
    one, two = RuntimeError(TEXT), RuntimeError(TEXT)
    one.__context__, two.__context__ = two, one
    assert_clean(str(without_secrets(one)) + str(two))


class Numbers(BaseModel):
    one: int


def test_an_error_whose_text_is_out_of_reach_is_replaced_by_one_that_says_the_rest() -> None:
    with pytest.raises(ValidationError) as raised:
        Numbers.model_validate({"one": TEXT})
    clean = without_secrets(raised.value)
    assert isinstance(clean, SecretWithheld)
    assert clean.kind == "ValidationError"
    assert "valid integer" in clean.text
    assert_clean(shown(clean))
    with pytest.raises(RuntimeError) as outer:
        raise RuntimeError("outer") from raised.value
    assert_clean(shown(without_secrets(outer.value)))


def test_an_error_without_secrets_stays_as_it_is() -> None:
    with pytest.raises(ValidationError) as raised:
        Numbers.model_validate({"one": "two"})
    assert without_secrets(raised.value) is raised.value
    error = ClientError({"Error": {"Code": "Throttling", "Message": "slow"}}, "X")
    response = error.response
    assert without_secrets(error).response is response  # type: ignore[attr-defined]
    assert pickle.loads(pickle.dumps(CompilationFailed("a"))).reason == "a"


secrets = [f" {KEY}", f" {EXTERNAL_ID}", "password=hush", "https://hush@h/p", "https://h/?hush"]
words = st.sampled_from([*secrets, "'", '"', "\\", "\n", ": ", "=", "a", "é"])


@settings(max_examples=300)
@given(st.lists(words, max_size=8).map("".join))
def test_whatever_quotes_stand_around_a_secret_the_class_stays(text: str) -> None:
    for error in (RuntimeError(text), CompilationFailed(text, reason=text)):
        assert without_secrets(error) is error
        for secret in (KEY, EXTERNAL_ID):
            assert secret not in shown(error)
