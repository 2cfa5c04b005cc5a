"""The command line behind every service's `python -m services.<name>` (P1, P2).

Exit codes: 0 done · 1 failed · 2 wrong usage or settings · 3 no such thing · 4 refused · 69 database or broker away ·
70 a handler never returned, 75 the consumer has to start again (both: start the process again) · 130 ended by a second signal."""

from __future__ import annotations

import asyncio
import functools
import getpass
import re
import sys
from collections.abc import Awaitable, Callable
from datetime import datetime
from typing import TYPE_CHECKING, Annotated, Any

import orjson
import typer
from pydantic import SecretStr

from shared.es.errors import NotFound, Rejected, Unavailable
from shared.messaging.requests import to_bytes
from shared.runtime.settings import Settings, SettingsProblem, check_loaded_settings, effective, known_variables, read_settings

if TYPE_CHECKING:
    from shared.runtime.service import Kit, Service

FAILED, USAGE, NOT_FOUND, REFUSED, AWAY = 1, 2, 3, 4, 69

Since = Annotated[datetime | None, typer.Option(help="Only what was recorded from then on.")]
AsJson = Annotated[bool, typer.Option("--json", help="Answer in JSON, for programs.")]


def run(service: Service) -> None:
    """What `services/<name>/__main__.py` calls. Ends the process."""
    commands_of(service)(prog_name=f"python -m services.{service.name}")


def _answered(command: Callable[..., None]) -> Callable[..., None]:
    """What a person can act on is one sentence on stderr and an exit code; a bug keeps its traceback."""

    @functools.wraps(command)
    def answered(*args: Any, **named: Any) -> None:
        try:
            command(*args, **named)
        except Exception as error:
            for kind, code, sentence in _reactions():
                if isinstance(error, kind):
                    sys.stderr.write(sentence.format(error) + "\n")
                    raise typer.Exit(code) from None
            raise

    return answered


def commands_of(service: Service) -> typer.Typer:
    """All commands of one service."""
    app = typer.Typer(add_completion=False, no_args_is_help=True, help=f"The service {service.name}.", pretty_exceptions_enable=False)
    commands = Commands(service)
    for name, command in commands.all().items():
        app.command(name)(_answered(command))
    return app


class Commands:
    """Each is a function that typer reads: its parameters are the command's."""

    def __init__(self, service: Service) -> None:
        self._service = service

    def all(self) -> dict[str, Callable[..., None]]:
        return {
            "serve": self.serve,
            "api": self.api,
            "work": self.work,
            "migrate": self.migrate,
            "topics": self.topics,
            "rebuild": self.rebuild,
            "republish": self.republish,
            "parked": self.parked,
            "trace": self.trace,
            "config": self.config,
            "openapi": self.openapi,
        }

    # ------------------------------------------------------------------------------------------------ run

    def serve(self) -> None:
        """API, consumer, relay and loops in one process."""
        self._run(api=True, work=True)

    def api(self) -> None:
        """HTTP only; needs a `work` process beside it."""
        self._run(api=True, work=False)

    def work(self) -> None:
        """Consumer, relay and loops only; answers nothing but probes and /ops."""
        self._run(api=False, work=True)

    def _run(self, *, api: bool, work: bool) -> None:
        from shared.runtime.worker import Process

        settings = self._settings(logs=True)

        async def running() -> int:
            return await Process(self._service, settings, api=api, work=work).run()

        raise typer.Exit(_loop(running))

    # ------------------------------------------------------------------------------------------- database and topics

    def migrate(self, json: AsJson = False) -> None:
        """Bring the database up to date: the kit's migrations, then the tables of views and replicas."""
        from shared.runtime.migrate import migrate

        url = self._settings().owner_database_of(self._service.name)
        _show(_loop(lambda: migrate(url, self._service)), json, "nothing to do")

    def topics(self, dry: bool = False, json: AsJson = False) -> None:
        """Create what is missing of this service's topics, align their settings. --dry only says what would be done."""
        from shared.messaging.kafka import create_topics
        from shared.runtime.worker import cluster_of, topics_from

        settings = self._settings()
        wanted = topics_from(settings, (self._service.name,))
        _show(_loop(lambda: create_topics(cluster_of(settings), wanted, dry=dry)), json, "nothing to do")

    def rebuild(self, view: str, json: AsJson = False) -> None:
        """Fill a view anew from its streams while the service runs. VIEW is a table, with or without its version."""
        from shared.http.ops import Operations
        from shared.messaging.parking import audit
        from shared.runtime.health import Figures, Health

        async def rebuilt(kit: Kit) -> list[str]:
            operations = Operations(kit, Health(), Figures(kit.database))
            table = _table_of(self._service, view)
            async with kit.database.transaction() as tx:
                await audit(tx, _me(), "view.rebuilt", table, {})
            done = await operations.rebuild_now(table, _me())
            return [f"{table}: {done.streams} streams"]

        _show(self._with_kit(rebuilt), json)

    def republish(self, since: Since = None, json: AsJson = False) -> None:
        """Say this service's history again, with the original ids; whoever has heard it drops it."""
        from datetime import UTC

        from shared.messaging.republish import republish

        start = since.replace(tzinfo=since.tzinfo or UTC) if since else None
        number = self._with_kit(lambda kit: republish(kit, since=start))
        _show([f"{number} messages are in the outbox"], json)

    # ------------------------------------------------------------------------------------------------ dead letters

    def parked(
        self,
        replay: Annotated[str | None, typer.Option(help="A key: its messages are tried again, in order.")] = None,
        discard: Annotated[int | None, typer.Option(help="Position of a key's first message: it is given up for good.")] = None,
        why: Annotated[str, typer.Option(help="Why it may be given up; with --discard.")] = "",
        json: AsJson = False,
    ) -> None:
        """Keys that wait for a person, with their messages; --replay and --discard are noted in the audit."""
        from shared.messaging.parking import Parking

        if discard is not None and not why.strip():
            raise typer.BadParameter("--discard needs --why: it is kept in the audit.")

        async def wanted(kit: Kit) -> list[Any]:
            parking = Parking(kit.database, self._service.name)
            if replay is not None:
                await parking.replay(replay, by=_me())
                return [f"{replay}: due"]
            if discard is not None:
                key = await _key_at(kit, discard)
                await parking.discard(key, discard, by=_me(), why=why)
                return [f"{key}: position {discard} discarded"]
            return await _parked_rows(parking)

        _show(self._with_kit(wanted), json, "nothing is parked")

    def trace(self, correlation_id: str, json: AsJson = False) -> None:
        """This service's part of one causal chain, in order of time."""
        from shared.http.ops import chain

        rows = self._with_kit(lambda kit: chain(kit.database, None, correlation_id))
        _show(rows if json else [_hop(row) for row in rows], json, "nothing of that chain is here")

    # ------------------------------------------------------------------------------------------------ about itself

    def config(self, json: AsJson = False) -> None:
        """The settings in force, secrets redacted, and where each comes from."""
        rows = effective(self._settings())
        others = sorted(set(known_variables()) - {variable for variable, _, _ in rows})
        shown = [{"variable": variable, "value": value, "origin": origin} for variable, value, origin in rows]
        shown += [{"variable": variable, "value": "", "origin": "the service's own"} for variable in others]
        _show(shown if json else [f"{row['variable']:<40} {row['value']}  ({row['origin']})" for row in shown], json)

    def openapi(self) -> None:
        """The OpenAPI document, as JSON."""
        sys.stdout.write(orjson.dumps(document_of(self._service), option=orjson.OPT_INDENT_2 | orjson.OPT_SORT_KEYS).decode() + "\n")

    def _settings(self, *, logs: bool = False) -> Settings:
        from shared.runtime.logs import set_up
        from shared.runtime.version import VERSION

        found = read_settings()
        check_loaded_settings()
        stream = None if logs else sys.stderr
        set_up(found.log, service=self._service.name, version=VERSION, environment=found.environment, stream=stream)
        return found

    def _with_kit(self, job: Callable[[Kit], Awaitable[Any]]) -> Any:
        from shared.runtime.worker import opened

        settings = self._settings()

        async def done() -> Any:
            async with opened(self._service, settings) as kit:
                return await job(kit)

        return _loop(done)


def document_of(service: Service) -> dict[str, Any]:
    """The service's OpenAPI document; needs no settings and no database."""
    from shared.http.app import build_app
    from shared.runtime.worker import kit_of

    settings = Settings(
        database_url=SecretStr("postgresql://nobody@localhost/nothing"), kafka_bootstrap_servers="localhost:1", pepper=SecretStr("x" * 32)
    )
    return build_app(kit_of(service, settings), settings).openapi()


def _loop(job: Callable[[], Awaitable[Any]]) -> Any:
    """On uvloop where there is one."""
    try:
        import uvloop
    except ImportError:
        return asyncio.run(_awaited(job))
    return uvloop.run(_awaited(job))


async def _awaited(job: Callable[[], Awaitable[Any]]) -> Any:
    return await job()


def _me() -> str:
    return f"cli:{getpass.getuser()}"


def _table_of(service: Service, view: str) -> str:
    """Raises NotFound."""
    tables = {v.table.name for handler in service.handlers for v in handler.views}
    for table in sorted(tables, reverse=True):
        if view in (table, re.sub(r"_v\d+$", "", table)):
            return table
    raise NotFound(f"There is no view {view}; there are: {', '.join(sorted(tables))}.")


async def _key_at(kit: Kit, position: int) -> str:
    async with kit.database.raw() as raw:
        key = await raw.fetchval("select key from parked where consumer = $1 and position = $2", kit.service.name, position)
    if key is None:
        raise NotFound(f"No message is parked at position {position}.")
    return str(key)


async def _parked_rows(parking: Any) -> list[Any]:
    rows = []
    for key in await parking.keys():
        for message in await parking.messages(key["key"]):
            headers = {name: bytes(content).decode("utf-8", "replace") for name, content in message["headers"]}
            rows.append(
                {
                    "key": key["key"],
                    "position": message["position"],
                    "head": message["position"] == key["head"],
                    "type": headers.get("ce_type"),
                    "reason": message["reason"],
                    "error": key["error"] if message["position"] == key["head"] else None,
                    "attempts": key["attempts"],
                    "next_at": key["next_at"],
                    "since": key["since"],
                    "topic": message["topic"],
                    "partition": message["partition"],
                    "offset": message["offset"],
                }
            )
    return rows


def _hop(row: dict[str, Any]) -> str:
    what = row["type"] if row["what"] == "event" else f"{row['kind']} {row['key']}: {row['state']}"
    return f"{row['at'].isoformat(timespec='milliseconds')}  {row['stream']:<50} {what}"


def _show(rows: Any, json: bool, nothing: str = "") -> None:
    """One line per row; with --json one array."""
    if json:
        sys.stdout.write(to_bytes(rows).decode() + "\n")
        return
    for row in rows or [nothing]:
        sys.stdout.write((row if isinstance(row, str) else _line(row)) + "\n")


def _line(row: dict[str, Any]) -> str:
    return "  ".join(f"{name}={value}" for name, value in row.items() if value not in (None, ""))


def _reactions() -> tuple[tuple[type[Exception], int, str], ...]:
    """Exception, exit code and sentence."""
    from asyncpg import UndefinedTableError

    from shared.messaging.handling import Miswired
    from shared.runtime.worker import PortTaken

    return (
        (SettingsProblem, USAGE, "settings: {}"),
        (NotFound, NOT_FOUND, "{}"),
        (Rejected, REFUSED, "refused: {}"),
        (Unavailable, AWAY, "away: {}"),
        (OSError, AWAY, "away: {}"),
        (PortTaken, FAILED, "{}"),
        (Miswired, FAILED, "miswired: {}"),
        (UndefinedTableError, FAILED, "{}: run `migrate` first"),
    )
