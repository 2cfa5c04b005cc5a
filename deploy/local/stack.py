"""The whole system on one page: what runs, in which order, on which ports."""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass

import asyncpg

from deploy.local.kafka import Kafka
from deploy.local.network import LOOPBACK
from deploy.local.parts import Part
from deploy.local.postgres import Postgres, create_service_database, database_in, database_url, rewritten
from deploy.local.problems import StackProblem
from deploy.local.services import MailboxPart, ServicePart
from deploy.local.state import REPOSITORY, State

SERVICES = ("deals", "automation", "billing", "scheduler", "notifications")
PARTS = ("postgres", "kafka", "mailbox", *SERVICES)

PORTS: Mapping[str, int] = {
    "deals": 8101,
    "automation": 8102,
    "billing": 8103,
    "scheduler": 8104,
    "notifications": 8105,
    "mailbox": 8125,
    "smtp": 8126,
    "postgres": 15432,
    "kafka": 19092,
    "kafka-controller": 19093,
}
"""Where each part listens, on loopback, if the port is free at the first start; kept from then on."""

OURS = re.compile(r"DEALWRIGHT_(STACK|CACHE|POSTGRES|JAVA|TEST)_.+|DEALWRIGHT_STATE_DIR|DATABASE_URL(_FILE)?|KAFKA_BOOTSTRAP_SERVERS")
"""Variables that are read here and not handed on."""


@dataclass(frozen=True, slots=True)
class Stack:
    """Started group after group, drained group after group; the parts of a group together.

    Services go first, while Kafka and PostgreSQL still listen: they hand back what they hold.
    """

    started: tuple[tuple[Part, ...], ...]
    drained: tuple[tuple[Part, ...], ...]

    @property
    def parts(self) -> tuple[Part, ...]:
        return tuple(part for group in self.started for part in group)

    def without(self, names: frozenset[str]) -> Stack:
        """Those parts are left to be run by hand."""
        started, drained = ([tuple(p for p in group if p.name not in names) for group in order] for order in (self.started, self.drained))
        return Stack(tuple(started), tuple(drained))


def stack(state: State, ports: Mapping[str, int], yours: Yours, progress: Callable[[str], None]) -> Stack:
    """PostgreSQL, Kafka, mailbox, then the services; without PostgreSQL or Kafka where yours are named."""
    postgres = () if yours.database_url else (_postgres(state, ports),)
    kafka = () if yours.bootstrap else (_kafka(state, ports, progress),)
    mailbox = (_mailbox(state, ports),)
    services = tuple(service_part_of(name, state, ports, yours) for name in SERVICES)
    return Stack(
        started=((*postgres, *kafka, *mailbox), services),
        drained=(services, (*mailbox, *kafka), postgres),
    )


def _kafka(state: State, ports: Mapping[str, int], progress: Callable[[str], None]) -> Kafka:
    return Kafka(
        home=state.folder / "kafka",
        port=ports["kafka"],
        controller_port=ports["kafka-controller"],
        log=state.log("kafka"),
        topics_of=SERVICES,
        progress=progress,
    )


def _postgres(state: State, ports: Mapping[str, int]) -> Postgres:
    databases = tuple((name, state.secret(f"database {name}")) for name in SERVICES)
    return Postgres(home=state.postgres_home, port=ports["postgres"], log=state.log("postgres"), databases=databases)


def _mailbox(state: State, ports: Mapping[str, int]) -> MailboxPart:
    return MailboxPart(
        port=ports["mailbox"],
        smtp_port=ports["smtp"],
        folder=state.folder / "mailbox",
        log=state.log("mailbox"),
        root=REPOSITORY,
        environment=handed_on(),
    )


def service_part_of(name: str, state: State, ports: Mapping[str, int], yours: Yours) -> ServicePart:
    return ServicePart(
        name=name,
        port=ports[name],
        log=state.log(name),
        root=REPOSITORY,
        state=state.of_service(name),
        environment=handed_on() | service_environment(name, state, ports, yours),
        leaves=state.operator_key if name == "deals" else None,
    )


def service_environment(name: str, state: State, ports: Mapping[str, int], yours: Yours) -> dict[str, str]:
    """What one service process is told; the rest of its settings keep their defaults, or what the caller's environment says."""
    return {
        "DATABASE_URL": yours.database_of(name, state) or _embedded_database(name, state, ports),
        "KAFKA_BOOTSTRAP_SERVERS": yours.bootstrap or f"{LOOPBACK}:{ports['kafka']}",
        "DEALWRIGHT_PORT": str(ports[name]),
        "DEALWRIGHT_STATE_DIR": str(state.of_service(name)),
        "DEALWRIGHT_PEPPER": state.secret("pepper"),
        "DEALWRIGHT_STORAGE__FOLDER": str(state.files),
        "DEALWRIGHT_SMTP__HOST": LOOPBACK,
        "DEALWRIGHT_SMTP__PORT": str(ports["smtp"]),
    }


def _embedded_database(name: str, state: State, ports: Mapping[str, int]) -> str:
    password = state.secret(f"database {name}")
    return database_url(user=name, password=password, port=ports["postgres"], database=f"dealwright_{name}")


def handed_on() -> dict[str, str]:
    """The caller's environment without what concerns the stack alone; output unbuffered, so that a killed process has said all."""
    return {name: value for name, value in os.environ.items() if not OURS.fullmatch(name)} | {"PYTHONUNBUFFERED": "1"}


@dataclass(frozen=True, slots=True)
class Yours:
    """PostgreSQL and Kafka that are run by somebody else, by DATABASE_URL and KAFKA_BOOTSTRAP_SERVERS.

    A DATABASE_URL with `{service}` is used as it stands for each service; one without is an administrator's, with which databases and
    log-ins are made (P1, B.5).
    """

    database_url: str | None
    bootstrap: str | None

    def database_of(self, service: str, state: State) -> str | None:
        if self.database_url is None or "{service}" in self.database_url:
            return self.database_url and self.database_url.replace("{service}", service)
        password = state.secret(f"database {service}")
        return rewritten(self.database_url, user=service, password=password, database=f"dealwright_{service}")

    async def create_databases(self, state: State) -> None:
        """Databases and roles where they are missing. Raises StackProblem."""
        if self.database_url is None:
            return
        template = "{service}" in self.database_url
        try:
            for service in SERVICES:
                url = self.database_url.replace("{service}", service)
                password = None if template else state.secret(f"database {service}")
                await _create_one(url, service, database_in(url) if template else None, password)
        except (OSError, TimeoutError, asyncpg.PostgresError, asyncpg.InterfaceError) as error:
            raise StackProblem(f"Your PostgreSQL (DATABASE_URL) could not be made ready: {error}") from error


async def _create_one(url: str, service: str, database: str | None, password: str | None) -> None:
    """With a log-in of its own only when there is a password to give it."""
    connection = await asyncpg.connect(rewritten(url, database="postgres") if database else url, timeout=10)
    try:
        await create_service_database(connection, service, database or f"dealwright_{service}", password)
    finally:
        await connection.close()


def yours_from_environment() -> Yours:
    return Yours(os.environ.get("DATABASE_URL") or None, os.environ.get("KAFKA_BOOTSTRAP_SERVERS") or None)
