"""`dealwright rules …` as a person types it: over real HTTP, against automation on PostgreSQL."""

from __future__ import annotations

import asyncio
import contextlib
import json
import socket
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
import uvicorn

from dealwright.__main__ import run
from dealwright.server import KEY, URL
from services.automation.rule_sets.reading import documents_of
from shared.runtime.worker import Server
from shared.testing.stack import Stack
from tests.service.automation.conftest import OLAF, RIGHTS, SCOPES, Office, an_office
from tests.service.automation.test_definitions import EXAMPLE
from tests.service.automation.test_rule_sets import RICH, WAITS, waiting

SALES = Path(__file__).parents[3] / "examples/sales.yaml"


@dataclass(frozen=True, slots=True)
class Typed:
    """How a command ended."""

    code: int
    out: str
    err: str

    @property
    def json(self) -> Any:
        return json.loads(self.out)


@dataclass(eq=False)
class Desk:
    """A person with a key, a folder for texts, and the command."""

    office: Office
    folder: Path
    printed: pytest.CaptureFixture[str]
    monkeypatch: pytest.MonkeyPatch
    asked: list[str] = field(default_factory=list)

    async def type(self, *words: str | Path) -> Typed:
        code = await asyncio.to_thread(run, ["rules", *map(str, words)])
        out, err = self.printed.readouterr()
        return Typed(code, out, err)

    def write(self, text: str, name: str = "rules.yaml") -> Path:
        path = self.folder / name
        path.write_text(text)
        return path

    def answers(self, yes: bool, meanwhile: Callable[[], None] = lambda: None) -> None:
        """A person sits there, and does something before he answers."""

        def confirm(question: str, **_: Any) -> bool:
            meanwhile()
            self.asked.append(question)
            return yes

        self.monkeypatch.setattr("sys.stdin.isatty", lambda: True, raising=False)
        self.monkeypatch.setattr("typer.confirm", confirm)

    async def in_force(self) -> list[Any]:
        return documents_of((await self.type("export")).out)


@contextlib.asynccontextmanager
async def served(office: Office) -> AsyncIterator[str]:
    """The address of its API on a port of this machine."""
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        server = Server(uvicorn.Config(office.house.app, log_config=None, lifespan="off"))
        serving = asyncio.create_task(server.serve(sockets=[taken]))
        yield f"http://127.0.0.1:{taken.getsockname()[1]}"
        server.should_exit = True
        await serving


@pytest.fixture
async def desk(stack: Stack, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Desk]:
    async with an_office(stack) as office, served(office) as url:
        monkeypatch.setenv(URL, url)
        monkeypatch.setenv(KEY, await office.house.key(*SCOPES, *RIGHTS, actor=f"user:{OLAF}"))
        yield Desk(office, tmp_path, capsys, monkeypatch)


# ------------------------------------------------------------------------------------------------ round trip


@pytest.mark.parametrize("text", ["", EXAMPLE, RICH], ids=["nothing", "example", "rich"])
async def test_what_was_applied_is_exported_and_applied_again_without_a_change(desk: Desk, text: str) -> None:
    assert (await desk.type("apply", desk.write(text), "--yes")).code == 0
    exported = desk.folder / "exported.yaml"
    assert (await desk.type("export", "--output", exported)).code == 0
    planned = await desk.type("plan", exported, "--prune", "--exit-code", "--json")
    assert planned.code == 0 and {c["change"] for c in planned.json["changes"]} <= {"unchanged"}
    assert (await desk.type("diff", exported, "--all", "--exit-code")).code == 0
    assert (await desk.type("diff", desk.write(text), "--all", "--exit-code")).code == 0
    assert (await desk.type("diff", desk.write(text), exported, "--exit-code")).code == 0
    again = await desk.type("apply", exported, "--yes")
    assert (again.code, "Nothing to do." in again.out) == (0, True)
    assert (await desk.type("export")).out == exported.read_text()


async def test_an_empty_tenant_exports_a_text_of_nothing(desk: Desk) -> None:
    assert await desk.in_force() == []
    assert (await desk.type("export", "--json")).json == []
    assert (await desk.type("plan", "-", "--help")).code == 0


async def test_one_pipeline_is_exported_by_its_code(desk: Desk) -> None:
    await desk.type("apply", SALES, "--yes")
    assert (await desk.type("export", "--pipeline", "installation")).out.count("stage:") == 0
    assert (await desk.type("export", "-p", "sales")).out.count("stage: sales/") == 5
    unknown = await desk.type("export", "-p", "purchase")
    assert (unknown.code, unknown.err) == (1, "There is no pipeline purchase.\n")
    assert (await desk.type("export", "-p", "../rules")).code == 1


# ------------------------------------------------------------------------------------------------ plan and apply


async def test_a_plan_shows_changes_by_stage_and_writes_nothing(desk: Desk) -> None:
    planned = await desk.type("plan", SALES, "--exit-code")
    assert planned.code == 2
    assert "sales/payment-expected\n  + rule link\n  + rule mail\n" in planned.out
    assert "sales/collect-goods\n  + trigger paid\n" in planned.out
    assert planned.out.endswith("8 to create, 0 unchanged.\n")
    assert (await desk.type("plan", SALES)).code == 0
    assert await desk.in_force() == []


async def test_a_plan_shows_what_differs_and_the_runs_that_wait(desk: Desk) -> None:
    await waiting(desk.office)
    planned = await desk.type("plan", desk.write(WAITS.replace("180d", "10d")), "--waiting", "migrate")
    assert '  ~ rule renewal\n      timing/offset: "180d" -> "10d"\n' in planned.out
    assert "Runs that wait\n  1 of rule renewal on sales/won\n" in planned.out
    assert "      --waiting migrate: they go on with the new version, from their original start\n" in planned.out
    assert "      --waiting cancel: they would be cancelled\n" in planned.out
    assert "Elements that have arrived already keep their versions: 1 on sales/won.\n" in planned.out
    shown = (await desk.type("plan", desk.write(WAITS.replace("180d", "10d")), "--json")).json
    assert shown["waiting"][0]["runs"][0]["run_id"] in planned.out


async def test_apply_asks_first_and_a_no_changes_nothing(desk: Desk) -> None:
    desk.answers(False)
    refused = await desk.type("apply", SALES)
    assert (refused.code, refused.err) == (1, "Nothing was applied.\n")
    assert "+ rule link" in refused.out and desk.asked == ["Apply this?"]
    assert await desk.in_force() == []
    desk.answers(True)
    applied = await desk.type("apply", SALES)
    assert applied.code == 0 and applied.out.endswith("Applied: 8 created, 0 unchanged.\n")
    assert len(await desk.in_force()) == 5


async def test_where_nobody_can_be_asked_nothing_is_applied_without_yes(desk: Desk) -> None:
    desk.monkeypatch.setattr("sys.stdin.isatty", lambda: False, raising=False)
    for words in (("apply", SALES), ("apply", SALES, "--json")):
        refused = await desk.type(*words)
        assert (refused.code, "--yes" in refused.err, refused.out) == (1, True, "")
    assert (await desk.type("apply", SALES, "--yes", "--json")).json["applied"]


async def test_a_plan_that_somebody_overtook_is_refused_in_a_sentence(desk: Desk) -> None:
    loop = asyncio.get_running_loop()
    desk.answers(True, lambda: asyncio.run_coroutine_threadsafe(desk.office.publish(WAITS), loop).result())
    late = await desk.type("apply", desk.write(WAITS.replace("180d", "10d")))
    assert (late.code, late.err.startswith("Nothing was applied: somebody has changed what this plan rests on")) == (1, True)
    (document,) = await desk.in_force()
    assert document["rules"][0]["timing"]["offset"] == "180d"


async def test_a_rule_that_its_author_may_not_make_takes_all_others_with_it(desk: Desk) -> None:
    desk.monkeypatch.setenv(KEY, await desk.office.house.key(*SCOPES, actor=f"user:{OLAF}"))
    text = RICH.partition("---\n")[2]
    refused = await desk.type("apply", desk.write(text.replace("{{const.house}}", "").replace("{{var.street}}", "")), "--yes")
    assert refused.code == 1 and refused.err.startswith("Nothing was applied: ") and "not_allowed_for_author" in refused.err
    assert ": warning: not_allowed_for_author at #/0/rules/1/type: create_recurring_lead needs the right deals:write.\n" in refused.out
    assert await desk.in_force() == []


async def test_pruning_shows_what_goes(desk: Desk) -> None:
    await desk.type("apply", SALES, "--yes")
    short = desk.write("stage: sales/payment-expected\nrules: [{ id: link, type: create_payment_link }]")
    assert "  - rule mail\n" in (await desk.type("plan", short, "--prune")).out
    assert "  - rule mail\n" not in (await desk.type("plan", short)).out


async def test_several_files_are_one_text(desk: Desk) -> None:
    values = desk.write('constants: { house: { type: string, value: "7" } }', "values.yaml")
    rules = desk.write('stage: sales/new\nrules: [{ id: tell, type: notify, settings: { text: "{{const.house}}" } }]', "new.yaml")
    assert (await desk.type("apply", values, rules, "--yes")).code == 0
    assert len(await desk.in_force()) == 2


# ------------------------------------------------------------------------------------------------ what is wrong

WRONG = """\
# two faults
stage: sales/new
rules:
  - id: tell
    type: notify
    colour: red
    settings:
      text: "{{deal.titel}}"
"""


@pytest.mark.parametrize("command", [("check",), ("plan",), ("apply", "--yes")], ids=lambda c: c[0])
async def test_every_fault_is_named_by_file_line_and_pointer(desk: Desk, command: tuple[str, ...]) -> None:
    path = desk.write(WRONG)
    found = await desk.type(command[0], path, *command[1:])
    lines = found.out.splitlines()
    assert found.code == 1
    assert lines[0].startswith(f"{path}:6:5: unknown_key at #/0/rules/0/colour: There is no key colour; there are id, type,")
    assert lines[1] == f"{path}:8:7: unknown_path at #/0/rules/0/settings/text: There is no field titel of a deal; did you mean title?"
    assert lines[2] == "2 faults: nothing was planned or applied."


async def test_faults_in_the_second_file_are_named_there_and_in_json_too(desk: Desk) -> None:
    values, wrong = desk.write("---\n# nothing\n---\nconstants: {}", "values.yaml"), desk.write(WRONG)
    found = await desk.type("check", values, wrong, "--json")
    places = [(f["file"], f["line"], f["pointer"], f["severity"]) for f in found.json["findings"]]
    assert (found.code, places[0]) == (1, (str(wrong), 6, "#/0/rules/0/colour", "error"))


async def test_a_warning_is_shown_and_forbids_nothing(desk: Desk) -> None:
    path = desk.write(WRONG.replace("colour: red", "execution: after_previous").replace("{{deal.titel}}", "Hello"))
    found = await desk.type("check", path)
    assert found.code == 0 and found.out.startswith(f"{path}:6:5: warning: after_previous_without_previous at ")
    assert found.out.endswith("In order.\n")


async def test_what_is_no_yaml_is_said_with_its_line_before_anybody_is_asked(desk: Desk) -> None:
    desk.monkeypatch.setenv(URL, "http://127.0.0.1:1")
    path = desk.write("stage: sales/new\nstage: sales/new")
    found = await desk.type("check", path)
    assert (found.code, found.err) == (1, f"{path}: syntax: line 1: a key stands twice in one map\n")


async def test_a_key_that_is_not_known_or_may_not_is_said_so(desk: Desk) -> None:
    desk.monkeypatch.setenv(KEY, await desk.office.house.key("rules:read"))
    assert "(403)" in (await desk.type("plan", SALES)).err
    desk.monkeypatch.setenv(KEY, "nonsense")
    refused = await desk.type("export")
    assert (refused.code, refused.err.startswith("The key is not enough for that (401): ")) == (1, True)


async def test_nobody_at_the_address_is_a_sentence(desk: Desk) -> None:
    desk.monkeypatch.setenv(URL, "http://127.0.0.1:1")
    away = await desk.type("export")
    assert (away.code, away.err.startswith("Nobody answers at http://127.0.0.1:1 ")) == (1, True)


async def test_differences_from_what_is_in_force_are_shown_for_the_stages_of_the_file(desk: Desk) -> None:
    await desk.type("apply", SALES, "--yes")
    path = desk.write("stage: sales/payment-expected\nrules:\n  - { id: link, type: create_payment_link }\n  - { id: tell, type: nothing }")
    found = await desk.type("diff", path, "--exit-code")
    assert found.code == 2
    assert '  ~ rule link\n      name: "Payment link" -> "Create payment link"\n' in found.out
    assert "  - rule mail\n" in found.out and "  + rule tell\n" in found.out and "sales/won" not in found.out
    assert "sales/won" in (await desk.type("diff", path, "--all")).out
