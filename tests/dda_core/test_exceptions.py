"""Every error of the tree keeps what it knows, and says it, wherever it is taken."""

from __future__ import annotations

import copy
import inspect
import pickle
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import cloudpickle
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dda_core import exceptions
from dda_core.access.findings import Level
from dda_core.access.findings import finding as access_finding
from dda_core.exceptions import DdaError, InvalidName, TargetFailed
from dda_core.sanitised_errors import without_secrets

EXAMPLES = 100
SECRET = "AKIA" + "ABCDEFGH12345678"
FACTS = ("where", "expected", "remedy")


def family(cls: type[DdaError]) -> Iterator[type[DdaError]]:
    yield cls
    for child in cls.__subclasses__():
        yield from family(child)


CLASSES = [cls for cls in family(DdaError) if cls.__module__ == exceptions.__name__]


def value(parameter: inspect.Parameter, text: str) -> Any:
    """Something to give for a parameter, with ``text`` in every text that it has."""
    text = f"the {parameter.name} {text}"
    match parameter.annotation:
        case "str" | "str | None":
            return text
        case "Path" | "str | Path":
            return Path(text)
        case "int" | "int | None":
            return 7
        case "bool":
            return True
        case "float | None":
            return 2.5
        case "Iterable[str]":
            return [f"one of {text}", f"another of {text}"]
        case "Iterable[object]":
            return [access_finding("upload", Level.ERROR, text, f"Remedy of {text}.")]
    raise AssertionError(f"say in this test what to give for {parameter}")


def given_to(cls: type[DdaError], text: str) -> dict[str, Any]:
    """An argument for every parameter of the class, and all the facts that it takes."""
    parameters = list(inspect.signature(cls).parameters.values())
    named = {each.name: value(each, text) for each in parameters if each.kind is not each.VAR_KEYWORD}
    if len(named) < len(parameters):
        named |= {fact: f"the {fact} {text}" for fact in FACTS}
    return named


def state(error: DdaError) -> tuple[object, ...]:
    return type(error), vars(error), error.args, str(error), repr(error)


@pytest.mark.parametrize("cls", CLASSES, ids=lambda cls: cls.__name__)
class TestEveryClass:
    def test_it_has_what_it_was_given_as_attributes(self, cls: type[DdaError]) -> None:
        arguments = given_to(cls, "x")
        error = cls(**arguments)
        for name, wanted in arguments.items():
            kept = getattr(error, name)
            match wanted:
                case list():
                    assert kept == tuple(wanted)
                case Path():
                    assert str(kept) == str(wanted)
                case str() if name == "found":
                    assert wanted in kept
                case _:
                    assert kept == wanted

    def test_its_sentence_is_made_of_what_it_knows_and_in_one_place(self, cls: type[DdaError]) -> None:
        error = cls(**given_to(cls, "x"))
        assert cls.__str__ is DdaError.__str__
        assert error.found
        for fact in (error.found, error.where, error.expected, error.remedy):
            assert fact in str(error)

    @pytest.mark.parametrize(
        "copied",
        [lambda error: pickle.loads(pickle.dumps(error)), copy.copy, copy.deepcopy],
        ids=["pickle", "copy", "deepcopy"],
    )
    def test_a_copy_of_it_is_the_same(self, cls: type[DdaError], copied: Any) -> None:
        error = cls(**given_to(cls, "x"))
        error.add_note("while it was tested")
        assert state(copied(error)) == state(error)

    def test_prefect_can_keep_it_as_a_result(self, cls: type[DdaError]) -> None:
        error = cls(**given_to(cls, "x"))
        assert state(cloudpickle.loads(cloudpickle.dumps(error))) == state(error)

    def test_its_attributes_and_sentence_lose_their_secrets_and_nothing_else(self, cls: type[DdaError]) -> None:
        error = cls(**given_to(cls, SECRET))
        attributes = set(vars(error))
        assert SECRET in str(error)
        clean = without_secrets(error)
        assert clean is error
        assert set(vars(clean)) == attributes
        assert SECRET not in repr(vars(clean)) + str(clean) + repr(clean) + repr(clean.args)
        assert state(clean)[1:] == state(cls(**given_to(cls, "***")))[1:]
        assert SECRET.encode() not in pickle.dumps(clean)


def test_the_tree_that_the_module_draws_is_the_one_that_it_defines() -> None:
    assert exceptions.__doc__
    drawn, above = {"DdaError": Exception.__name__}, {0: "DdaError"}
    for indent, name in re.findall(r"^ {4}([│ ]*)[├└]── (\w+)", exceptions.__doc__, re.MULTILINE):
        depth = len(indent) // 4 + 1
        drawn[name], above[depth] = above[depth - 1], name
    assert drawn == {cls.__name__: cls.__bases__[0].__name__ for cls in CLASSES}


@pytest.mark.parametrize(
    ("facts", "said"),
    [
        ({}, "it is gone"),
        ({"where": "a.tar.gz"}, "a.tar.gz: it is gone"),
        ({"expected": "a file"}, "it is gone; expected a file"),
        ({"remedy": "Make it again."}, "it is gone. Make it again."),
        (
            {"where": "a.tar.gz", "expected": "a file", "remedy": "Make it again."},
            "a.tar.gz: it is gone; expected a file. Make it again.",
        ),
    ],
)
def test_a_sentence_says_where_what_what_was_expected_and_what_to_do(facts: Any, said: str) -> None:
    assert str(DdaError("it is gone", **facts)) == said


def test_a_reason_that_is_a_sentence_gets_no_second_full_stop() -> None:
    assert str(DdaError("AWS says: Try later.", remedy="Wait.")) == "AWS says: Try later. Wait."


def test_a_failed_target_without_a_reason_of_aws_has_its_sentence_as_the_reason() -> None:
    assert TargetFailed("it ended", remedy="Compile again.").reason == "it ended. Compile again."
    assert TargetFailed("it ended", reason="ServerError").reason == "ServerError"


@settings(max_examples=EXAMPLES)
@given(found=st.text(), name=st.text(), where=st.text(), expected=st.text(), remedy=st.text())
def test_whatever_the_facts_are_the_sentence_holds_them_and_a_pickle_keeps_them(
    found: str, name: str, where: str, expected: str, remedy: str
) -> None:
    """**Property: an error is its facts**

    Whatever texts an error is given, its sentence holds each of them as it is, and a pickle of it has them all.
    """
    error = InvalidName(found, name=name, where=where, expected=expected, remedy=remedy)
    assert all(fact in str(error) for fact in (found, where, expected, remedy))
    kept = pickle.loads(pickle.dumps(error))
    assert (kept.found, kept.name, kept.where, kept.expected, kept.remedy) == (found, name, where, expected, remedy)
    assert str(kept) == str(error)
