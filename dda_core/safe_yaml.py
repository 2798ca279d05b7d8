"""YAML that other people wrote: bounded in every way before it is taken apart, and never with a quoted line.

A few hundred bytes of aliases can stand for gigabytes, deep nesting overruns libyaml's stack, and of a key that is
there twice YAML silently takes one. A line of the file may hold a secret, so messages give its number alone.
"""

from __future__ import annotations

from collections.abc import Hashable, Iterator
from pathlib import Path
from typing import Any

import yaml

from dda_core.encoding import foreign_encoding
from dda_core.exceptions import YamlRefused
from dda_core.validation import without_quotes

MAX_BYTES = 1 << 20
"""Bytes of a document that is parsed: YAML takes over a hundred times its size in memory."""
MAX_DEPTH = 100
"""Levels of nesting: libyaml's composer overruns the stack on some ten thousand."""
MAX_VALUES = 20_000
"""Keys and values of a document, what an alias stands for counted each time; real files have some dozens."""
MAX_NUMBER = 100
"""Characters of a number: YAML 1.1 has numbers to the base of 60 (``1:30``), and long ones take minutes to make."""
MAX_SHOWN = 80
"""Characters of a key that messages show."""

_LOADER: Any = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
MERGE = "tag:yaml.org,2002:merge"
"""The tag of the key ``<<``."""


def read_yaml_file(path: Path) -> Any:
    """The value of a YAML file that a user wrote.

    Raises:
        YamlRefused: as ``load_yaml`` does.
        OSError: the file cannot be read.
    """
    with path.open("rb") as file:
        return load_yaml(file.read(MAX_BYTES + 1))  # no more of it, however long it is


def load_yaml(text: bytes) -> Any:
    """The value of a YAML document that a user wrote; None where it is empty.

    Raises:
        YamlRefused: it is no YAML in UTF-8, is too large, nested too deep or holds too many values, has a tag that is
            not of plain YAML, or a key twice in one mapping. Line and column are those of the first such place.
    """
    if encoding := foreign_encoding(text):
        raise YamlRefused(f"it is in {encoding}, not in UTF-8")
    try:
        text.decode()
    except UnicodeDecodeError as error:
        line = text.count(b"\n", 0, error.start) + 1
        raise YamlRefused("it is not in UTF-8", line, error.start - text.rfind(b"\n", 0, error.start)) from None
    root = compose_yaml(text, count_aliases=True)
    if root is None:
        return None
    constructor = _Constructor()
    try:
        _refuse_double_keys(root, constructor)
        return constructor.construct_document(root)
    except yaml.MarkedYAMLError as error:
        raise _refused(error) from error


def compose_yaml(text: bytes, *, count_aliases: bool) -> Any:
    """The root node of a document, None where it is empty; its tags are not looked at.

    Args:
        text: the document, which may be hostile.
        count_aliases: hold the number of values, aliases expanded, to ``MAX_VALUES``. Not needed by who follows one
            path through the nodes and never expands them.

    Raises:
        YamlRefused: it is no YAML, or over a limit.
    """
    if len(text) > MAX_BYTES:
        raise YamlRefused(f"it has over {MAX_BYTES} bytes")
    try:
        # The events first: composing is what overruns the stack.
        _bound(yaml.parse(text, Loader=_LOADER), count_aliases)
        return yaml.compose(text, Loader=_LOADER)
    except yaml.MarkedYAMLError as error:
        raise _refused(error) from error
    except (yaml.YAMLError, ValueError, RecursionError) as error:
        raise YamlRefused(" ".join(str(error).split())) from error


def _bound(events: Iterator[Any], count_aliases: bool) -> None:
    """Refuse what is nested too deep or stands for too much, as soon as it is."""
    sizes: dict[str, int] = {}
    within: list[tuple[str | None, int]] = []
    total = 0
    for event in events:
        if isinstance(event, yaml.CollectionEndEvent):
            anchor, before = within.pop()
            if anchor is not None:
                sizes[anchor] = total - before
            continue
        if not isinstance(event, yaml.NodeEvent):
            continue
        anchor = event.anchor
        if isinstance(event, yaml.AliasEvent):
            assert anchor is not None
            if count_aliases and any(anchor == open_anchor for open_anchor, _ in within):
                raise _at(f"the alias *{anchor[:MAX_SHOWN]} is inside of what it stands for", event.start_mark)
            total += sizes.get(anchor, 1)
        else:
            total += 1
        if count_aliases and total > MAX_VALUES:
            raise _at(f"it holds more than {MAX_VALUES} values, aliases expanded", event.start_mark)
        if isinstance(event, yaml.CollectionStartEvent):
            within.append((anchor, total - 1))
            if len(within) > MAX_DEPTH:
                raise _at(f"it is nested deeper than {MAX_DEPTH} levels", event.start_mark)
        elif anchor is not None and not isinstance(event, yaml.AliasEvent):
            sizes[anchor] = 1


def _refuse_double_keys(root: Any, constructor: yaml.constructor.SafeConstructor) -> None:
    """Refuse a mapping with a key twice. One that is merged into another (``<<``) may be overridden there."""
    visited: set[int] = set()
    waiting = [root]
    while waiting:
        node = waiting.pop()
        if isinstance(node, yaml.ScalarNode) or id(node) in visited:
            continue
        visited.add(id(node))
        if isinstance(node, yaml.SequenceNode):
            waiting += reversed(node.value)
            continue
        keys: set[Hashable] = set()
        for name, _ in node.value:
            if not isinstance(name, yaml.ScalarNode):
                continue  # no key that Python can have: the constructor says so
            key = name.value if name.tag == MERGE else constructor.construct_object(name)
            if key in keys:
                raise _at(f"the key {str(key)[:MAX_SHOWN]!r} is there twice", name.start_mark)
            keys.add(key)
        waiting += [each for pair in reversed(node.value) for each in reversed(pair)]


class _Constructor(yaml.constructor.SafeConstructor):
    """The constructor of plain YAML, which says where a scalar stands that has no value, such as a 30th of February."""

    def construct_object(self, node: Any, deep: bool = False) -> Any:
        kind = node.tag.rpartition(":")[2]
        try:
            if kind in ("int", "float") and len(node.value) > MAX_NUMBER:
                raise ValueError(f"over {MAX_NUMBER} characters")
            return super().construct_object(node, deep=deep)
        except (ValueError, OverflowError, ArithmeticError) as error:
            raise yaml.constructor.ConstructorError(None, None, f"no value of type {kind}", node.start_mark) from error


def _refused(error: yaml.MarkedYAMLError) -> YamlRefused:
    return _at(without_quotes(error), error.problem_mark or error.context_mark)


def _at(problem: str, mark: Any) -> YamlRefused:
    return YamlRefused(problem, mark.line + 1, mark.column + 1) if mark else YamlRefused(problem)
