"""No code depends on an error's text, which is for people; errors carry their data as attributes."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
SOURCES = [
    path for part in ("dda_core", "tasks", "flows", "deployments") for path in sorted((ROOT / part).rglob("*.py"))
]
CUTS = {"partition", "rpartition", "split", "rsplit", "splitlines", "find", "rfind", "index", "removeprefix"}
ASKS = {"startswith", "endswith", "count", "isdigit"}
MATCHES = {"search", "match", "fullmatch", "findall", "finditer", "split"}
Scope = ast.FunctionDef | ast.AsyncFunctionDef | ast.Module


def errors_of(scope: Scope) -> set[str]:
    """The names of exceptions: in handlers, and of parameters with an exception type."""
    names = {node.name for node in ast.walk(scope) if isinstance(node, ast.ExceptHandler) and node.name}
    for node in ast.walk(scope):
        if isinstance(node, ast.arg) and node.annotation is not None:
            kinds = ast.unparse(node.annotation).split(" | ")
            if any(kind.rpartition(".")[2].endswith(("Error", "Exception")) for kind in kinds):
                names.add(node.arg)
    return names


def is_text(node: ast.AST, errors: set[str], texts: set[str]) -> bool:
    """Whether the expression is an error's text: ``str(error)``, ``f"{error}"``, ``error.args``, or a name for it."""
    match node:
        case ast.Name(id=name):
            return name in texts
        case ast.Call(func=ast.Name(id="str" | "repr"), args=[ast.Name(id=name)]):
            return name in errors
        case ast.Call(func=ast.Attribute(value=inner, attr="lower" | "casefold" | "strip" | "upper")):
            return is_text(inner, errors, texts)
        case ast.JoinedStr(values=values):
            return any(
                isinstance(each, ast.FormattedValue)
                and (
                    is_text(each.value, errors, texts) or (isinstance(each.value, ast.Name) and each.value.id in errors)
                )
                for each in values
            )
        case (
            ast.Attribute(value=ast.Name(id=name), attr="args")
            | ast.Subscript(value=ast.Attribute(value=ast.Name(id=name), attr="args"))
        ):
            return name in errors
        case ast.BoolOp(values=values):
            return any(is_text(each, errors, texts) for each in values)
    return False


def decisions(scope: Scope) -> Iterator[ast.AST]:
    """Places where the scope takes an error's text apart, or tests its content."""
    errors, texts = errors_of(scope), set[str]()
    for node in ast.walk(scope):
        if isinstance(node, ast.Assign | ast.AnnAssign | ast.NamedExpr) and node.value is not None:
            targets = node.targets if isinstance(node, ast.Assign) else [node.target]
            if is_text(node.value, errors, texts):
                texts |= {target.id for target in targets if isinstance(target, ast.Name)}
    for node in ast.walk(scope):
        match node:
            # Without arguments, split only normalises whitespace.
            case ast.Call(func=ast.Attribute(value=text, attr="split"), args=[], keywords=[]):
                pass
            case ast.Call(func=ast.Attribute(value=text, attr=name)) if name in CUTS | ASKS:
                if is_text(text, errors, texts):
                    yield node
            case ast.Call(func=ast.Attribute(attr=name), args=arguments) if name in MATCHES:
                if any(is_text(each, errors, texts) for each in arguments):
                    yield node
            case ast.Compare(left=left, comparators=others):
                if any(is_text(each, errors, texts) for each in (left, *others)):
                    yield node


def found(source: str) -> list[str]:
    tree = ast.parse(source)
    scopes = [tree, *(node for node in ast.walk(tree) if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef))]
    return sorted(
        {f"line {node.lineno}: {ast.unparse(node)}" for scope in scopes[1:] or scopes for node in decisions(scope)}
    )


@pytest.mark.parametrize("path", SOURCES, ids=lambda path: str(path.relative_to(ROOT)))
def test_no_code_parses_an_errors_text_or_decides_by_it(path: Path) -> None:
    assert found(path.read_text(encoding="utf-8")) == []


@pytest.mark.parametrize(
    "line",
    [
        "found, _, remedy = str(error).partition('. ')",
        "remedy = str(error).split('. ')[1]",
        "return 'Wait' in str(error)",
        "return str(error) == 'gone'",
        "return str(error).lower().startswith('wait')",
        "return f'{error}'.endswith('later')",
        "return 'Wait' in error.args[0]",
        "return re.search('Wait', str(error))",
        "text = str(error)\n        return text.startswith('Wait')",
        "text = str(error) or 'nothing'\n        return 'Wait' in text",
    ],
)
@pytest.mark.parametrize(
    "scope",
    [
        "def f(g):\n    try: g()\n    except Exception as error:\n        {}",
        "def f(error: DdaError):\n    if error:\n        {}",
    ],
)
def test_code_that_depends_on_an_errors_text_is_found(scope: str, line: str) -> None:
    assert found(scope.format(line)) != []


@pytest.mark.parametrize(
    "line",
    [
        "return error.remedy",
        "return f'it failed: {error}'",
        "return ' '.join(str(error).split())",
        "return 'Wait' in words",
        "return error.code == 404",
    ],
)
def test_code_that_only_shows_an_error_is_not_found(line: str) -> None:
    assert found(f"def f(error: OSError, words: list[str]):\n    {line}") == []
