"""Untrusted YAML: checked against limits before it is parsed, with errors that never quote the file.

A few hundred bytes of aliases can expand to gigabytes, deep nesting overruns libyaml's stack, and YAML silently
accepts duplicate keys. A line of the file may hold a secret, so messages give only its number.
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
"""The largest document that is parsed, in bytes: PyYAML needs over a hundred times its size in memory."""
MAX_DEPTH = 100
"""Levels of nesting: libyaml's composer overruns the stack at about ten thousand."""
MAX_VALUES = 20_000
"""Keys and values of a document with aliases expanded; real files have a few dozen."""
MAX_NUMBER = 100
"""Characters of a number: YAML 1.1 has base-60 numbers (``1:30``), and long ones take minutes to convert."""
MAX_SHOWN = 80
"""Characters of a key shown in messages."""

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
        return load_yaml(file.read(MAX_BYTES + 1))  # bounded, however large the file is


def load_yaml(text: bytes) -> Any:
    """The value of a YAML document that a user wrote; None if it is empty.

    Raises:
        YamlRefused: it is not YAML in UTF-8, exceeds a limit of size, depth or number of values, has a tag outside
            plain YAML, or a duplicate key. Line and column are those of the first problem.
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
    """The root node of a document, None if it is empty; tags are not checked.

    Args:
        text: the document, which may be hostile.
        count_aliases: limit the number of values, aliases expanded, to ``MAX_VALUES``. Callers that follow a single
            path through the nodes do not need it.

    Raises:
        YamlRefused: it is not YAML, or exceeds a limit.
    """
    if len(text) > MAX_BYTES:
        raise YamlRefused(f"it has over {MAX_BYTES} bytes")
    try:
        # Events first, because composing is what overruns the stack.
        _bound(yaml.parse(text, Loader=_LOADER), count_aliases)
        return yaml.compose(text, Loader=_LOADER)
    except yaml.MarkedYAMLError as error:
        raise _refused(error) from error
    except (yaml.YAMLError, ValueError, RecursionError) as error:
        raise YamlRefused(" ".join(str(error).split())) from error


def _bound(events: Iterator[Any], count_aliases: bool) -> None:
    """Refuse a document as soon as it exceeds the depth or the number of values."""
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
                raise _at(f"the alias *{anchor[:MAX_SHOWN]} refers to a node that contains it", event.start_mark)
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
    """Refuse duplicate keys in a mapping. Keys merged from another mapping (``<<``) may be overridden."""
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
                continue  # not hashable in Python: the constructor reports it
            key = name.value if name.tag == MERGE else constructor.construct_object(name)
            if key in keys:
                raise _at(f"duplicate key {str(key)[:MAX_SHOWN]!r}", name.start_mark)
            keys.add(key)
        waiting += [each for pair in reversed(node.value) for each in reversed(pair)]


class _Constructor(yaml.constructor.SafeConstructor):
    """The constructor of plain YAML, with the position of scalars that have no value, such as February 30th."""

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
