"""Who may import what (architecture B.3), as one table. A planted bad import per row shows that the row bites."""

from __future__ import annotations

import re
import sys
from dataclasses import dataclass

import pytest

from tests.architecture.source import Source, imports, source, sources, within

STDLIB = tuple(sys.stdlib_module_names)
TIME_AND_DATA = ("shared.runtime.database", "shared.runtime.clock", "shared.runtime.statements")
MESSAGES = ("shared.messaging.contract", "shared.messaging.envelope", "shared.messaging.handler.InNameOf")
NOT_OF_HANDLERS = ("settings", "api", "subscriptions", "replicas")
RANDOM_IDS = ("uuid.uuid1", "uuid.uuid4")
WEB = ("fastapi", "starlette", "httpx", "aiosmtplib", "aiokafka")


@dataclass(frozen=True, slots=True)
class Rule:
    """Files whose path matches `where` import nothing from `never` and, when given, nothing but `only`.

    `{own}` is the service's package. `fine` is an exception to `never`, `but` names files the rule does not mean."""

    where: str
    only: tuple[str, ...] = ()
    never: tuple[str, ...] = ()
    fine: tuple[str, ...] = ()
    but: str = r"(?!)"


RULES = {
    "domain is pure": Rule(
        r"services/\w+/domain/",
        only=(*STDLIB, "shared.es.aggregate", "shared.es.errors", "{own}.domain"),
        never=("asyncio", "random", "secrets", "time", "socket", "subprocess", "urllib.request", "http.client", *RANDOM_IDS),
    ),
    "publications say and do nothing else": Rule(
        r"services/\w+/publications\.py",
        only=(*STDLIB, "orjson", "{own}.domain", "shared.contracts", "shared.es", *MESSAGES),
        never=("asyncio", "shared.es.store"),
    ),
    "handlers know no contract and no setting": Rule(
        r"services/\w+/handlers\.py",
        never=(*WEB, "shared.contracts", "shared.http", "shared.runtime", *(f"{{own}}.{room}" for room in NOT_OF_HANDLERS)),
    ),
    "subscriptions turn messages into commands": Rule(
        r"services/\w+/subscriptions\.py",
        never=("shared.http", "shared.runtime", "{own}.handlers", "{own}.api", "{own}.publications", "sqlalchemy", *WEB),
    ),
    "replicas are rows": Rule(
        r"services/\w+/replicas\.py",
        never=("shared.http", "shared.es.aggregate", "{own}.handlers", "{own}.api", "{own}.subscriptions", "{own}.publications", *WEB),
    ),
    "views are functions of our streams": Rule(
        r"services/\w+/views\.py",
        never=("shared.contracts", "shared.http", "{own}.handlers", "{own}.api", "{own}.subscriptions", "{own}.publications", *WEB),
    ),
    "api asks commands and reads rows": Rule(
        r"services/\w+/api(\.py|/)",
        never=("shared.contracts", "{own}.handlers", "{own}.subscriptions", "{own}.publications", "httpx", "aiosmtplib", "aiokafka"),
    ),
    "contracts enter through three files": Rule(
        r"services/", never=("shared.contracts",), but=r"services/\w+/(publications|subscriptions|replicas|service)\.py"
    ),
    "services do not know each other": Rule(r"services/\w+/", never=("services",), fine=("{own}",)),
    "contracts are words": Rule(r"shared/contracts/", only=(*STDLIB, "pydantic", "shared.messaging.contract", "shared.contracts")),
    "event sourcing knows no messages and no web": Rule(
        r"shared/es/",
        only=(*STDLIB, "sqlalchemy", "asyncpg", "pydantic", "pydantic_core", "orjson", "shared.es", *TIME_AND_DATA),
    ),
    "the kit does not know the words": Rule(r"shared/(?!contracts/)", never=("services", "shared.contracts")),
    "only tests import the testing kit": Rule(r"(shared/(?!testing/)|services/|deploy/)", never=("shared.testing", "tests")),
    "nothing knows how it is run": Rule(r"(shared/(?!testing/)|services/)", never=("deploy",)),
    "one file imports aiokafka": Rule(r"(shared|services|deploy)/", never=("aiokafka",), but=r"shared/messaging/kafka\.py"),
    "the web framework stays at the door": Rule(
        r"(shared|services)/", never=("fastapi", "starlette"), but=r"(services/\w+/api(\.py|/)|shared/http/|shared/runtime/service\.py)"
    ),
    "the outside world is met in adapters": Rule(
        r"(shared|services)/", never=("httpx", "aiosmtplib", "requests", "smtplib"), but=r"services/\w+/(provider\.py|channels/)"
    ),
    "the command line is a client": Rule(
        r"dealwright/",
        never=(
            "services",
            "shared.contracts",
            "shared.messaging",
            "shared.testing",
            "tests",
            "sqlalchemy",
            "asyncpg",
            "aiokafka",
            "fastapi",
        ),
        fine=tuple(f"services.automation.rule_sets.{pure}" for pure in ("reading", "emitting", "comparing")),
    ),
    "no template engine that runs code": Rule(r"", never=("jinja2",)),
}


def broken(name: str, file: Source) -> list[str]:
    """What a file imports against a rule."""
    rule = RULES[name]
    if not re.match(rule.where, file.path) or re.match(rule.but, file.path):
        return []
    only, never, fine = (named(prefixes, file) for prefixes in (rule.only, rule.never, rule.fine))
    return [
        f"{file.path}:{i.line} {i.name}"
        for i in imports(file)
        if (within(i.name, never) and not within(i.name, fine)) or (only and not within(i.name, only))
    ]


def named(prefixes: tuple[str, ...], file: Source) -> tuple[str, ...]:
    return tuple(prefix.replace("{own}", f"services.{file.service}") for prefix in prefixes)


@pytest.mark.parametrize("name", RULES)
def test_imports(name: str) -> None:
    assert [line for file in sources() for line in broken(name, file)] == []


PLANTED = [
    ("domain is pure", "services/deals/domain/deal.py", "from pydantic import BaseModel"),
    ("domain is pure", "services/deals/domain/deal.py", "from uuid import uuid4"),
    ("domain is pure", "services/deals/domain/deal.py", "from shared.es.view import StateView"),
    ("domain is pure", "services/deals/domain/deal.py", "from services.deals.views import DEALS"),
    ("domain is pure", "services/deals/domain/deal.py", "from . import money"),
    ("publications say and do nothing else", "services/deals/publications.py", "from shared.runtime.database import Tx"),
    ("handlers know no contract and no setting", "services/deals/handlers.py", "from shared.contracts import deals"),
    ("handlers know no contract and no setting", "services/deals/handlers.py", "from services.deals.settings import settings"),
    ("subscriptions turn messages into commands", "services/deals/subscriptions.py", "import httpx"),
    ("subscriptions turn messages into commands", "services/deals/subscriptions.py", "from services.deals.handlers import HANDLERS"),
    ("replicas are rows", "services/billing/replicas.py", "from fastapi import Depends"),
    ("views are functions of our streams", "services/billing/views.py", "import shared.contracts.billing"),
    ("api asks commands and reads rows", "services/billing/api.py", "from shared.contracts.billing import CreateInvoice"),
    ("contracts enter through three files", "services/billing/provider.py", "from shared.contracts import billing"),
    ("services do not know each other", "services/billing/service.py", "from services.deals.views import DEALS"),
    ("services do not know each other", "services/billing/service.py", "import services.deals"),
    ("contracts are words", "shared/contracts/deals.py", "from shared.messaging.envelope import Envelope"),
    ("event sourcing knows no messages and no web", "shared/es/store.py", "from shared.messaging.handler import Handler"),
    ("the kit does not know the words", "shared/http/auth.py", "from shared.contracts.deals import CredentialIssued"),
    ("the kit does not know the words", "shared/runtime/cli.py", "from services.deals.service import SERVICE"),
    ("only tests import the testing kit", "shared/runtime/worker.py", "from shared.testing.stack import stack"),
    ("one file imports aiokafka", "shared/messaging/relay.py", "import aiokafka"),
    ("nothing knows how it is run", "services/billing/provider.py", "from deploy.local.stack import ports"),
    ("the web framework stays at the door", "shared/runtime/database.py", "from starlette.requests import Request"),
    ("the outside world is met in adapters", "services/billing/api.py", "import httpx"),
    ("the command line is a client", "dealwright/rules.py", "from services.automation.rule_sets.planning import plan_of"),
    ("the command line is a client", "dealwright/server.py", "from shared.contracts import automation"),
    ("no template engine that runs code", "services/notifications/channels/email.py", "from jinja2 import Template"),
]


@pytest.mark.parametrize(("name", "path", "line"), PLANTED)
def test_a_planted_import_is_found(name: str, path: str, line: str) -> None:
    assert len(broken(name, source(path, line))) == 1


def test_every_rule_has_a_planted_import() -> None:
    assert {name for name, _, _ in PLANTED} == RULES.keys()


ALLOWED = [
    ("services/deals/domain/deal.py", "from uuid import UUID, uuid5\nfrom shared.es.errors import Rejected"),
    ("services/deals/domain/lead.py", "from __future__ import annotations\nfrom services.deals.domain import money"),
    ("services/deals/publications.py", "from shared.contracts import deals\nfrom shared.es.recorded import Recorded"),
    ("services/deals/subscriptions.py", "from shared.contracts.billing import InvoicePaid\nfrom shared.es.addressed import Addressed"),
    ("services/deals/api.py", "from fastapi import APIRouter\nfrom shared.http.auth import needs\nfrom sqlalchemy import select"),
    ("services/billing/provider.py", "import httpx"),
    ("shared/messaging/kafka.py", "import aiokafka"),
    ("shared/contracts/deals.py", "from typing import Literal\nfrom pydantic import Field\nfrom shared.messaging.contract import Event"),
]


@pytest.mark.parametrize(("path", "text"), ALLOWED, ids=[path for path, _ in ALLOWED])
def test_what_is_allowed_is_not_found(path: str, text: str) -> None:
    assert [line for name in RULES for line in broken(name, source(path, text))] == []
