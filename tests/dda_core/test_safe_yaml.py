"""YAML that was written to do harm, or by mistake."""

from __future__ import annotations

import resource
import subprocess
import sys
from pathlib import Path

import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st

from dda_core.exceptions import YamlRefused
from dda_core.safe_yaml import MAX_BYTES, MAX_DEPTH, MAX_VALUES, load_yaml, read_yaml_file


def refused(text: bytes | str) -> YamlRefused:
    with pytest.raises(YamlRefused) as caught:
        load_yaml(text.encode() if isinstance(text, str) else text)
    assert "\n" not in str(caught.value)
    return caught.value


def alias_bomb(levels: int = 9, merge: bool = False) -> bytes:
    """Ten aliases in each level, ten to the power of the levels in all; merged, as keys of mappings."""
    if merge:
        lines = ["l0: &l0 {key: x}"]
        lines += [f"l{n}: &l{n}\n  <<: [{', '.join([f'*l{n - 1}'] * 10)}]" for n in range(1, levels)]
    else:
        lines = ["l0: &l0 [x, x, x, x, x, x, x, x, x, x]"]
        lines += [f"l{n}: &l{n} [{', '.join([f'*l{n - 1}'] * 10)}]" for n in range(1, levels)]
    return ("\n".join(lines) + f"\ntags: *l{levels - 1}\n").encode()


BOMBS = {
    "aliases": alias_bomb(),
    "merged aliases": alias_bomb(merge=True),
    "one anchor, many aliases": b"a: &a [" + b"1," * 5000 + b"]\nb: [" + b"*a," * 150_000 + b"]\n",
    "values": b"tags: [" + b"1," * 500_000 + b"]\n",
    "keys": b"".join(b"k%d: 1\n" % n for n in range(90_000)),
    "bytes": b"a: " + b"x" * (64 * MAX_BYTES),
    "nested lists": b"tags: " + b"[" * 500_000,
    "nested mappings": b"tags: " + b"{a: " * 200_000,
    "nested keys": b"tags: " + b"? " * 500_000,
    "nested blocks": b"- " * 500_000,
    "anchors": b"".join(b"k%d: &a%d {k: x}\n" % (n, n) for n in range(50_000)),
    "digits": b"a: " + b"9" * 1_000_000,
    "sixties": b"a: 1" + b":59" * 300_000,
}
READ = """
import sys
from pathlib import Path
from dda_core.exceptions import InvalidUseCase
from dda_core.use_case import read_use_case
try: read_use_case(Path(sys.argv[1]))
except InvalidUseCase as error: print(error)
"""


@pytest.mark.parametrize("name", BOMBS)
def test_a_bomb_costs_neither_time_nor_memory(name: str, tmp_path: Path) -> None:
    path = tmp_path / "lids.yaml"
    path.write_bytes(BOMBS[name])

    def limit() -> None:
        resource.setrlimit(resource.RLIMIT_AS, (768 << 20, 768 << 20))  # a good 100 MB are Python's and pydantic's
        resource.setrlimit(resource.RLIMIT_CPU, (10, 10))  # of the processor: a busy machine does not matter

    command = [sys.executable, "-c", READ, str(path)]
    done = subprocess.run(command, capture_output=True, text=True, preexec_fn=limit, timeout=300)
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.startswith(f"{path}: cannot be read as YAML: ")
    assert len(done.stdout) < 500


def test_values_are_counted_with_what_aliases_stand_for() -> None:
    # 1 for the mapping, 1 for each key, and for each list itself and what is in it
    rows = (MAX_VALUES - 5) // 2
    base = f"a: &a [{', '.join(['1'] * rows)}]\nb: [*a, {', '.join(['1'] * (MAX_VALUES - 6 - 2 * rows - 1))}]\n"
    fits = base if MAX_VALUES - 6 - 2 * rows - 1 > 0 else f"a: &a [{', '.join(['1'] * rows)}]\nb: *a\n"
    assert load_yaml(fits.encode())["a"] == [1] * rows
    found = refused(f"a: &a [{', '.join(['1'] * rows)}]\nb: *a\nc: *a\n")
    assert found.found == f"it holds more than {MAX_VALUES} values, aliases expanded"
    assert (found.line, found.column) == (3, 4)


def test_an_alias_is_the_same_value() -> None:
    assert load_yaml(b"a: &a {k: [1, 2]}\nb: *a\nc: &c x\nd: *c\n") == {
        "a": {"k": [1, 2]},
        "b": {"k": [1, 2]},
        "c": "x",
        "d": "x",
    }


def test_a_merged_mapping_may_be_overridden() -> None:
    text = b"base: &base {a: 1, b: 2}\nmore: &more\n  <<: *base\n  b: 3\nlast: {<<: *more, a: 5}\n"
    loaded = load_yaml(text)
    assert (loaded["more"], loaded["last"]) == ({"a": 1, "b": 3}, {"a": 5, "b": 3})


@pytest.mark.parametrize(
    ("text", "line", "column", "key"),
    [
        ("a: 1\nb: 2\na: 3\n", 3, 1, "'a'"),
        ("a: 1\ntags:\n  team: x\n  'team': y\n", 4, 3, "'team'"),
        ("- {x: 1, y: 2, x: 3}\n", 1, 16, "'x'"),
        ("10: a\n0xA: b\n", 2, 1, "'10'"),
        ("x: &x {a: 1}\ny: {<<: *x, <<: *x}\n", 2, 13, "'<<'"),
        ("k: {a: 1, a: 2}\nb: 1\nb: 2\n", 3, 1, "'b'"),
    ],
)
def test_a_key_that_is_there_twice_is_refused_with_its_place(text: str, line: int, column: int, key: str) -> None:
    found = refused(text)
    assert (found.line, found.column) == (line, column)
    assert f"duplicate key {key}" in str(found)
    assert str(found).startswith(f"line {line}, column {column}: ")


@pytest.mark.parametrize(
    ("text", "line", "column", "what"),
    [
        ("a: [1, 2\nb: 3\n", 2, 2, "expected ',' or ']'"),
        ("a: 1\nb: *nothing\n", 2, 4, "alias"),
        ("a: 1\nb: !!python/name:os.system x\n", 2, 4, "tag"),
        ("a: 1\nb: !secret x\n", 2, 4, "tag"),
        ("a: 1\nb: 2024-02-30\n", 2, 4, "no value of type timestamp"),
        ("a: &a [1, *a]\n", 1, 11, "the alias *a refers to a node that contains it"),
        ("a: 1\n--- \nb: 1\n", 2, 1, "document"),
        ("a: 1\n[1]: 2\n", 2, 1, "unhashable"),
        ("a: \x01\n", None, None, "control characters"),
        (b"a: 1\nb: \xff\n", 2, 4, "not in UTF-8"),
        ("a: 1".encode("utf-16"), None, None, "it is in UTF-16, not in UTF-8"),
        ("a: 1".encode("utf-32-be"), None, None, "it is in UTF-32, not in UTF-8"),
        ("[" * (MAX_DEPTH + 1), 1, MAX_DEPTH + 1, f"nested deeper than {MAX_DEPTH} levels"),
    ],
)
def test_what_cannot_be_read_is_refused_with_its_place(
    text: str | bytes, line: int | None, column: int | None, what: str
) -> None:
    found = refused(text)
    assert (found.line, found.column) == (line, column)
    assert what in found.found


def test_a_secret_on_the_refused_line_is_not_quoted() -> None:
    for text in ("a: 1\nexternal_id: 'factory-seven\n", "external_id: factory-seven: x", "external_id: @factory-seven"):
        assert "factory-seven" not in str(refused(text))


def test_the_limits_themselves_are_allowed(tmp_path: Path) -> None:
    assert load_yaml(b"[" * MAX_DEPTH + b"]" * MAX_DEPTH)
    assert load_yaml(b"a: " + b"x" * (MAX_BYTES - 3))["a"] == "x" * (MAX_BYTES - 3)
    path = tmp_path / "large.yaml"
    path.write_bytes(b"a: " + b"x" * (MAX_BYTES - 2))
    with pytest.raises(YamlRefused, match=f"over {MAX_BYTES} bytes"):
        read_yaml_file(path)


def test_a_byte_order_mark_of_utf_8_and_an_empty_text_are_no_trouble() -> None:
    assert load_yaml(b"\xef\xbb\xbfa: \xc3\xbc\n") == {"a": "ü"}
    assert load_yaml(b"") is None
    assert load_yaml(b"# nothing\n") is None


plain = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(),
    lambda inner: st.lists(inner, max_size=5) | st.dictionaries(st.text(), inner, max_size=5),
    max_leaves=20,
)


@settings(max_examples=200, deadline=None)
@given(plain)
def test_what_a_tool_writes_is_read_as_the_safe_loader_reads_it(value: object) -> None:
    text = yaml.safe_dump(value).encode()
    assert load_yaml(text) == yaml.safe_load(text) == value


@settings(max_examples=300, deadline=None)
@given(st.text("ab:-?&*![]{}<>|'\"#%@,0 \n\t", max_size=40))
def test_any_text_is_read_as_the_safe_loader_reads_it_or_refused(text: str) -> None:
    try:
        value = load_yaml(text.encode())
    except YamlRefused:
        return
    assert value == yaml.load(text, yaml.CSafeLoader)
