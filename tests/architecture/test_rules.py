"""Repository rules (reliability 5.1): each is a function from a file to what breaks it, with a sample that passes and one that fails."""

from __future__ import annotations

import ast
import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import cache

import pytest

from tests.architecture.source import ROOT, Source, imports, source, sources, within

Found = Iterator[ast.AST]


@cache
def calls(file: Source) -> tuple[tuple[str, ast.Call], ...]:
    """Every call with the text of what is called: 'datetime.now'."""
    return tuple((ast.unparse(node.func), node) for node in ast.walk(file.tree) if isinstance(node, ast.Call))


def no_float(file: Source) -> Found:
    """Money is integers and decimal text (billing 3)."""
    for node in ast.walk(file.tree):
        if (isinstance(node, ast.Name) and node.id == "float") or (isinstance(node, ast.Constant) and isinstance(node.value, float)):
            yield node


SQL = re.compile(
    r"\s*(select\s|insert\s+into|update\s+\w+\s+set|delete\s+from|with\s+\w+\s+as|(create|alter|drop|truncate|grant)\s)", re.IGNORECASE
)
STATEMENTS_OF_NAMES = (
    "shared/runtime/migrate.py",
    "shared/runtime/upkeep.py",
    "shared/es/tables.py",
    "shared/es/view.py",
    "deploy/local/postgres.py",
)
"""Files whose statements are about tables, columns, roles and partitions, and a name cannot be a parameter. In all others only
constants of ours and `.name` are put into a statement."""


def no_value_in_sql(file: Source) -> Found:
    """A value travels as a parameter; into a statement go names of our own tables only.

    What stands outside functions is put together when the module is imported, and no value of a request is there yet."""
    outermost = (node for node in outside_functions(file.tree) if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda))
    for node in (inner for function in outermost for inner in ast.walk(function)):
        match node:
            case ast.JoinedStr(values=[ast.Constant(value=str(start)), *_]) if SQL.match(start):
                yield from (part for part in node.values if isinstance(part, ast.FormattedValue) and not is_own_name(part.value))
            case ast.BinOp(left=ast.Constant(value=str(start)), op=ast.Mod() | ast.Add(), right=right) if SQL.match(start):
                if not isinstance(right, ast.Constant) and not is_own_name(right):
                    yield node
            case ast.Call(func=ast.Attribute(value=ast.Constant(value=str(start)), attr="format")) if SQL.match(start):
                yield node


def outside_functions(tree: ast.Module) -> Iterator[ast.AST]:
    """Every node that is not inside a function, and the functions themselves."""
    waiting: list[ast.AST] = [tree]
    while waiting:
        node = waiting.pop()
        yield node
        if not isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda):
            waiting.extend(ast.iter_child_nodes(node))


def is_own_name(node: ast.expr) -> bool:
    """A constant of ours, or the name of a table."""
    return (isinstance(node, ast.Name) and node.id.isupper()) or (isinstance(node, ast.Attribute) and node.attr == "name")


def no_wait_for_around_getmany(file: Source) -> Found:
    """Cancelling a fetch loses records (AK-3)."""
    for called, node in calls(file):
        if called.endswith("wait_for") and any(re.search(r"\bget(many|one)\(", ast.unparse(argument)) for argument in node.args):
            yield node


def no_clock(file: Source) -> Found:
    """Time and new ids come from shared/runtime/clock.py (D72)."""
    names = r"(\w+\.)*(datetime\.(now|utcnow|today)|date\.today|time\.(time|time_ns|monotonic|perf_counter)|uuid[147]|uuid_utils\.\w+)"
    yield from (node for called, node in calls(file) if re.fullmatch(names, called))


def no_expression_from_outside(file: Source) -> Found:
    """A regular expression is a literal, or built of our own constants (T7)."""
    compiling = re.compile(r"re\.(compile|match|search|fullmatch|sub|subn|split|findall|finditer)")
    yield from (node for called, node in calls(file) if compiling.fullmatch(called) and node.args and not is_own_text(node.args[0]))


def is_own_text(node: ast.expr) -> bool:
    parts = [part.value for part in node.values if isinstance(part, ast.FormattedValue)] if isinstance(node, ast.JoinedStr) else [node]
    return all(isinstance(part, ast.Constant) or (isinstance(part, ast.Name) and part.id.isupper()) for part in parts)


GUARDS = re.compile(r"\b(needs|needs_or_signed|public|signed_in)\(")
ROUTE = re.compile(r"[\w.]+\.(get|post|put|patch|delete|head|options|websocket|api_route|route)\(")


def no_route_without_scope(file: Source) -> Found:
    """Every route says who may come in: needs(...), or public(...) and why (T3)."""
    doors = guards_of(file.tree) | imported_guards(file.tree)
    for node in ast.walk(file.tree):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            routes = [text for text in map(ast.unparse, node.decorator_list) if ROUTE.match(text)]
            guarded = " ".join([*routes, ast.unparse(node.args)])
            if routes and not GUARDS.search(guarded) and not doors & set(re.findall(r"\w+", guarded)):
                yield node


def guards_of(tree: ast.Module) -> set[str]:
    """Names that a module gives to guards."""
    return {
        target.id
        for node in tree.body
        if isinstance(node, ast.Assign) and GUARDS.search(ast.unparse(node.value))
        for targets in node.targets
        for target in ast.walk(targets)
        if isinstance(target, ast.Name)
    }


def imported_guards(tree: ast.Module) -> set[str]:
    """Guards that a room of routes takes from its `common.py`."""
    shared = [node for node in tree.body if isinstance(node, ast.ImportFrom) and (node.module or "").endswith(".api.common")]
    return {
        alias.name
        for node in shared
        for alias in node.names
        if alias.name in guards_of(ast.parse((ROOT / f"{(node.module or '').replace('.', '/')}.py").read_text()))
    }


def no_commit(file: Source) -> Found:
    """Transactions begin and end in shared/runtime/database.py."""
    for called, node in calls(file):
        if re.search(r"\.(begin|begin_nested|commit|rollback)$", called) and not node.args and not node.keywords:
            yield node


def no_outside_call_in_a_transaction(file: Source) -> Found:
    """Whoever talks to the outside opens no transaction (R10)."""
    if any(within(imported.name, ("httpx", "aiosmtplib")) for imported in imports(file)):
        yield from (node for called, node in calls(file) if re.search(r"\.(transaction|reading|across_tenants|raw)$", called))


def no_sleeping_thread(file: Source) -> Found:
    """time.sleep stops the loop."""
    yield from (node for called, node in calls(file) if called in ("time.sleep", "sleep"))


def no_print(file: Source) -> Found:
    yield from (node for called, node in calls(file) if called == "print")


def no_text_built_for_the_log(file: Source) -> Found:
    """An event's name is constant, its values are fields: they are redacted and can be searched (T18, T19)."""
    for called, node in calls(file):
        if re.fullmatch(r"(\w+\.)*_?(log|logger|logs)(\(\))?\.(debug|info|warning|error|exception|critical)", called, re.IGNORECASE):
            yield from (argument for argument in node.args[:1] if isinstance(argument, ast.JoinedStr | ast.BinOp))


def no_silent_type_ignore(file: Source) -> Found:
    for number, line in enumerate(file.text.splitlines(), 1):
        if re.search(r"#\s*type:\s*ignore(?!\[)", line):
            yield ast.Pass(lineno=number)


def no_test_left_out(file: Source) -> Found:
    """A test that is not run promises what nobody checks."""
    for node in ast.walk(file.tree):
        if isinstance(node, ast.Attribute) and re.fullmatch(r"pytest\.(mark\.)?(skip|skipif|xfail|importorskip)", ast.unparse(node)):
            yield node


@dataclass(frozen=True, slots=True)
class Rule:
    """`where` matches paths that the rule is for, `but` those it is not for."""

    check: Callable[[Source], Found]
    where: str
    good: str
    bad: str
    but: str = r"(?!)"


KIT = r"(shared|services)/"
RULES = {
    "no float in billing": Rule(no_float, r"services/billing/", "x = Decimal('1.5')", "x: float = 1"),
    "no float constant in billing": Rule(no_float, r"services/billing/", "x = 15", "x = 1.5"),
    "no value in SQL": Rule(
        no_value_in_sql,
        r"(shared|services|deploy)/",
        "Q = f'select {columns()} from deals'\ndef q(): return f'select * from {TABLE} join {t.name} using (id) where a = $1'",
        "def q(id): return f'select * from deals where id = {id}'",
        but="|".join(map(re.escape, STATEMENTS_OF_NAMES)),
    ),
    "no value formatted into SQL": Rule(
        no_value_in_sql,
        KIT,
        "def q(): return 'select 1' + ' from deals'",
        "def q(id): return 'delete from deals where id = %s' % id",
        but="|".join(map(re.escape, STATEMENTS_OF_NAMES)),
    ),
    "no wait_for around getmany": Rule(
        no_wait_for_around_getmany,
        r"",
        "await wait_for(consumer.stop(), 5)",
        "await asyncio.wait_for(consumer.getmany(), 5)",
        but=r"tests/kit/aiokafka/",
    ),
    "one clock": Rule(no_clock, KIT, "at = clock.now()", "at = datetime.now(UTC)", but=r"shared/runtime/clock\.py"),
    "new ids come from the clock": Rule(no_clock, KIT, "id = uuid5(NAMESPACE, name)", "id = uuid.uuid4()", but=r"shared/runtime/clock\.py"),
    "no expression from outside": Rule(
        no_expression_from_outside, r"(shared|services|deploy)/", "A = re.compile(rf'{NAME}[0-9]+')", "re.search(condition.pattern, text)"
    ),
    "every route has a scope": Rule(
        no_route_without_scope,
        r"(shared/http/|services/)",
        "@api.get('/v1/deals')\nasync def deals(door: Annotated[Door, needs('deals:read')]): ...",
        "@api.get('/v1/deals')\nasync def deals(id: str): ...",
    ),
    "one file commits": Rule(
        no_commit, KIT, "await member.commit(offsets)", "await connection.commit()", but=r"shared/runtime/database\.py"
    ),
    "no call outside in a transaction": Rule(
        no_outside_call_in_a_transaction,
        KIT,
        "import httpx\nasync def f(): await client.post(url)",
        "import httpx\nasync def f():\n    async with database.transaction() as tx: await client.post(url)",
    ),
    "no sleeping thread": Rule(no_sleeping_thread, r"(shared|services|tests)/", "await asyncio.sleep(1)", "time.sleep(1)"),
    "no print": Rule(no_print, KIT, "log.info('started')", "print('started')"),
    "no text built for the log": Rule(
        no_text_built_for_the_log, r"(shared|services|deploy)/", "log.info('paid', invoice=id)", "log.info(f'paid {secret}')"
    ),
    "no silent type ignore": Rule(no_silent_type_ignore, r"", "x = f()  # type: ignore[arg-type]", "x = f()  # type: " + "ignore"),
    "no test left out": Rule(no_test_left_out, r"tests/", "pytest.mark.parametrize('a', [])", "pytest.mark.xfail"),
}


def breaches(rule: Rule, file: Source) -> list[str]:
    if not re.match(rule.where, file.path) or re.match(rule.but, file.path):
        return []
    return [f"{file.path}:{getattr(node, 'lineno', 0)}" for node in rule.check(file)]


@pytest.mark.parametrize("name", RULES)
def test_nothing_of_ours_breaks_the_rule(name: str) -> None:
    assert [line for file in sources() for line in breaches(RULES[name], file)] == []


@pytest.mark.parametrize("name", RULES)
def test_the_good_sample_passes(name: str) -> None:
    rule = RULES[name]
    assert list(rule.check(source("sample.py", rule.good))) == []


@pytest.mark.parametrize("name", RULES)
def test_the_bad_sample_is_found(name: str) -> None:
    rule = RULES[name]
    assert len(list(rule.check(source("sample.py", rule.bad)))) == 1


def test_a_door_may_have_a_name_of_its_own() -> None:
    route = "\n@api.get('/v1/deals')\nasync def deals(door: Annotated[Door, READ]): ..."
    for named in ("READ = needs('deals:read')", "READ, WRITE = needs('deals:read'), needs('deals:write')"):
        assert list(no_route_without_scope(source("services/deals/api.py", named + route))) == []


@pytest.mark.parametrize(("name", "found"), [("READ", 0), ("Page", 1)])
def test_a_door_may_be_taken_from_what_the_routes_share(name: str, found: int) -> None:
    text = f"from services.automation.api.common import {name}\n@api.get('/v1/runs')\nasync def runs(door: Annotated[Door, {name}]): ..."
    assert len(list(no_route_without_scope(source("services/automation/api/runs.py", text)))) == found


def test_a_files_rules_go_by_its_path() -> None:
    rule = RULES["one clock"]
    assert breaches(rule, source("shared/runtime/clock.py", rule.bad)) == []
    assert breaches(rule, source("services/deals/api.py", rule.bad)) == ["services/deals/api.py:1"]
