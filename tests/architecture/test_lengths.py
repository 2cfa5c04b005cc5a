"""Functions of 4 to 10 lines are normal, over 25 need a reason, over 40 there are none (DESIGN 10).

Counted are the lines of code of a function: no docstring, no comment, no empty line, and text over several lines (SQL) as one.
Three shapes are reason enough between 25 and 40 lines: a function that comes down to one `match`, a case per row of a table, one
that fills a record, a field per line, and one that takes many parameters, a filter per line. A test may tell a story in one
piece. Whatever else is longer than 25 stands in REASONS."""

from __future__ import annotations

import ast
import io
import tokenize
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache

from tests.architecture.source import Source, source, sources

WITH_A_REASON, NEVER = 25, 40

REASONS: dict[str, str] = {}
"""`path::function` of what is longer than 25 lines in another shape, and why it reads better whole."""


@dataclass(frozen=True, slots=True)
class Function:
    name: str
    """Qualified: 'Relay.step'."""
    length: int
    besides: int
    """Length without the longest of: a `match`, a record it fills, its parameters."""


def functions(of: Source) -> Iterator[Function]:
    """Every function, inner ones counted in the outer and for themselves."""
    code = lines_of_code(of.text)

    def lines(node: ast.stmt | ast.expr) -> int:
        return len([line for line in code if node.lineno <= line <= (node.end_lineno or 0)])

    def besides(function: ast.FunctionDef | ast.AsyncFunctionDef) -> int:
        tables = [lines(node) for node in ast.walk(function) if isinstance(node, ast.Match | ast.Call | ast.Dict)]
        parameters = len({parameter.lineno for parameter in ast.walk(function.args) if isinstance(parameter, ast.arg)})
        return lines(function) - max([*tables, parameters])

    def inside(node: ast.AST, prefix: str) -> Iterator[Function]:
        for child in ast.iter_child_nodes(node):
            named = isinstance(child, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef)
            name = f"{prefix}{getattr(child, 'name', '')}" if named else prefix
            if isinstance(child, ast.FunctionDef | ast.AsyncFunctionDef):
                yield Function(name, lines(child), besides(child))
            yield from inside(child, f"{name}." if named else prefix)

    return inside(of.tree, "")


def lines_of_code(text: str) -> set[int]:
    """Numbers of the lines on which a token of code starts; what follows text over several lines counts where that text began."""
    silent = (tokenize.COMMENT, tokenize.NL, tokenize.NEWLINE, tokenize.INDENT, tokenize.DEDENT)
    tokens = [token for token in tokenize.generate_tokens(io.StringIO(text).readline) if token.type not in silent]
    began = {token.end[0]: token.start[0] for token in tokens if token.end[0] > token.start[0]}
    return {began.get(token.start[0], token.start[0]) for token in tokens} - docstrings(ast.parse(text))


def docstrings(tree: ast.Module) -> set[int]:
    owners = (node for node in ast.walk(tree) if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef | ast.Module))
    texts = (node.body[0] for node in owners if node.body and ast.get_docstring(node) is not None)
    return {line for text in texts for line in range(text.lineno, (text.end_lineno or text.lineno) + 1)}


@cache
def all_functions() -> dict[str, Function]:
    return {f"{file.path}::{function.name}": function for file in sources() for function in functions(file)}


def longer_than(limit: int) -> dict[str, Function]:
    return {name: function for name, function in all_functions().items() if function.length > limit}


def test_no_function_is_longer_than_forty_lines() -> None:
    assert longer_than(NEVER) == {}


def test_over_twenty_five_lines_there_is_a_reason() -> None:
    long = {name: function for name, function in longer_than(WITH_A_REASON).items() if function.besides > WITH_A_REASON}
    assert {name: function for name, function in long.items() if name not in REASONS and not name.startswith("tests/")} == {}


def test_no_reason_has_outlived_its_function() -> None:
    assert REASONS.keys() - longer_than(WITH_A_REASON).keys() == set()


# The counting


def only(text: str) -> Function:
    return next(functions(source("sample.py", text)))


def length(text: str) -> int:
    return only(text).length


def test_what_is_counted() -> None:
    assert length("def f():\n    return 1") == 2
    assert length('def f():\n    """One.\n\n    Two."""\n\n    # why\n    return 1') == 2
    assert length('def f():\n    return run("""\n    select *\n    from deals\n    """)') == 2
    assert length("def f(\n    a,\n    b,\n):\n    return a") == 5


def test_a_long_function_is_found() -> None:
    assert only("def f():\n" + "    x = 1\n" * 40) == Function("f", NEVER + 1, NEVER + 1)


def test_a_record_is_reason_enough() -> None:
    filled = only("def f():\n    x = 1\n    return Deal(\n" + "        a=1,\n" * 30 + "    )")
    assert (filled.length, filled.besides) == (34, 2)


def test_a_match_is_reason_enough() -> None:
    cases = "    match x:\n" + "        case 1:\n            y()\n" * 15
    assert only(f"def f():\n    z = 1\n{cases}").besides == 2


def test_parameters_are_reason_enough() -> None:
    assert only("def f(\n    a: int,\n    b: int,\n):\n    return 1").besides == 3


def test_functions_are_named_by_where_they_stand() -> None:
    text = "class A:\n    def f(self):\n        def g():\n            pass\nasync def h():\n    pass\nif True:\n    def i():\n        pass"
    assert [function.name for function in functions(source("sample.py", text))] == ["A.f", "A.f.g", "h", "i"]
