"""Two services as small as the hop of the floor, on the product's kit: an event, a run, a command, a call, its result.

    python -m bench.pair asker work        one of them as a process; settings as for every service

They carry what every service carries: contracts, decisions, a view each, replicas of tenants and credentials, parking, metrics."""

from __future__ import annotations

import sys
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any
from uuid import NAMESPACE_URL, UUID, uuid5

from fastapi import APIRouter
from sqlalchemy import Column, Integer, Text

from bench.plumbing import Record, matching
from shared.contracts import deals, scheduler
from shared.contracts.common import Origin
from shared.es.addressed import Addressed, Facts
from shared.es.aggregate import Aggregate
from shared.es.errors import Rejected
from shared.es.recorded import Context, Recorded
from shared.es.view import StateView, state_table
from shared.messaging.contract import Command, Contract, Event
from shared.messaging.directory import rehearsal_clocks, replicated_directory
from shared.messaging.envelope import Envelope, Message, to_kafka
from shared.messaging.handler import Handler
from shared.messaging.subscription import Subscription
from shared.runtime.clock import now
from shared.runtime.service import Service

TENANT = UUID(int=7)
DIRECTORY = replicated_directory(
    deals.TenantRegistered, deals.TenantSuspended, deals.TenantResumed, deals.CredentialIssued, deals.CredentialRevoked
)
REPLICAS = (*DIRECTORY.replicas, rehearsal_clocks(scheduler.RehearsalClockMoved))


# ------------------------------------------------------------------------------------------------------------- messages
class Arrived(Event, type="source.Arrived.v1", topic="source.events", key=("deal_id",)):
    """The floor's arrival with the same fields."""

    deal_id: str
    pipeline_id: str
    from_stage: str
    to_stage: str
    amount: int
    currency: str
    owner_id: str
    source: str
    tags: tuple[str, ...]
    title: str


class PlanCall(Command, type="doer.PlanCall.v1", topic="doer.commands", key=("deal_id",)):
    deal_id: str
    rule: str
    kind: str
    amount: int


class CallPlanned(Event, type="doer.CallPlanned.v1", topic="doer.events", key=("deal_id",)):
    deal_id: str
    rule: str
    calls: int


class Refused(Event, type="doer.CommandRejected.v1", topic="doer.events", key=("record_key",)):
    record_key: str
    code: str


def refusal(envelope: Envelope, rejected: Rejected) -> Contract:
    return Refused(record_key=envelope.key, code=rejected.code)


# ---------------------------------------------------------------------------------------------------------------- asker
@dataclass(frozen=True, slots=True)
class Run:
    rule: str = ""
    deal_id: str = ""
    amount: int = 0


@dataclass(frozen=True, slots=True)
class Start:
    rule: str
    deal_id: str
    amount: int


@dataclass(frozen=True, slots=True)
class RunStarted:
    rule: str
    deal_id: str
    amount: int


def decide_run(run: Run, command: Start) -> Sequence[RunStarted]:
    return [] if run.rule else [RunStarted(command.rule, command.deal_id, command.amount)]


def evolve_run(run: Run, event: RunStarted) -> Run:
    return Run(event.rule, event.deal_id, event.amount)


RUN: Aggregate[Run, Start, RunStarted] = Aggregate("run", Run(), decide_run, evolve_run, (RunStarted,))
RUNS: StateView[Run] = StateView(
    state_table("runs_v1", Column("rule", Text, nullable=False), Column("deal_id", Text, nullable=False)),
    lambda run, recorded: {"rule": run.rule, "deal_id": run.deal_id},
)


def arrived(message: Message[Arrived], facts: Facts) -> Iterable[Addressed[Any]]:
    body = message.body
    fields = {"amount": body.amount, "currency": body.currency, "tags": body.tags, "source": body.source}
    for rule in [*matching(fields)][:1]:
        yield Addressed(RUN, str(uuid5(NAMESPACE_URL, f"{message.envelope.id}/{rule}")), Start(rule, body.deal_id, body.amount))


def ask(run: Run, recorded: Recorded[RunStarted]) -> Contract:
    return PlanCall(deal_id=run.deal_id, rule=run.rule, kind="plan_call", amount=run.amount)


ASKER = Service(
    "asker",
    APIRouter(),
    (Handler(RUN, ask, (RUNS,)),),
    (Subscription(Arrived, arrived),),
    refusal,
    DIRECTORY,
    REPLICAS,
)


# ----------------------------------------------------------------------------------------------------------------- doer
@dataclass(frozen=True, slots=True)
class Calls:
    number: int = 0


@dataclass(frozen=True, slots=True)
class Plan:
    rule: str
    amount: int


@dataclass(frozen=True, slots=True)
class Planned:
    rule: str
    amount: int


def decide_calls(calls: Calls, command: Plan) -> Sequence[Planned]:
    return [Planned(command.rule, command.amount)]


def evolve_calls(calls: Calls, event: Planned) -> Calls:
    return Calls(calls.number + 1)


CALLS: Aggregate[Calls, Plan, Planned] = Aggregate("calls", Calls(), decide_calls, evolve_calls, (Planned,))
CALLS_OF_DEALS: StateView[Calls] = StateView(
    state_table("calls_v1", Column("number", Integer, nullable=False)), lambda calls, recorded: {"number": calls.number}
)


def plan_call(message: Message[PlanCall], facts: Facts) -> Iterable[Addressed[Any]]:
    yield Addressed(CALLS, message.body.deal_id, Plan(message.body.rule, message.body.amount))


def tell(calls: Calls, recorded: Recorded[Planned]) -> Contract:
    return CallPlanned(deal_id=recorded.aggregate_id, rule=recorded.event.rule, calls=calls.number)


DOER = Service(
    "doer",
    APIRouter(),
    (Handler(CALLS, tell, (CALLS_OF_DEALS,)),),
    (Subscription(PlanCall, plan_call),),
    refusal,
    DIRECTORY,
    REPLICAS,
)


# ------------------------------------------------------------------------------------------------------------ from outside
def record_of(contract: Contract, id: str, subject: str, sequence: int = 1, source: str = "", tenant: UUID = TENANT) -> Record:
    """A contract as another back end would send it."""
    context = Context(tenant, id, id, 1, "user:42")
    source = source or f"urn:dealwright:{contract.topic.partition('.')[0]}"
    data = contract.model_dump_json().encode()
    envelope = Envelope(id, source, contract.type, subject, contract.partition_key(), now(), sequence, context, data)
    key, headers, value = to_kafka(envelope)
    return Record(key, value, list(headers))


def arrival(number: int) -> Record:
    """The n-th event, of one of 1,000 deals: the floor's."""
    deal, id = str(UUID(int=(4 << 96) + number % 1000)), str(UUID(int=(1 << 96) + number))
    body = Arrived(
        deal_id=deal,
        pipeline_id="pipeline-sales",
        from_stage="stage-2",
        to_stage="stage-3",
        amount=12_500 + number % 7,
        currency="EUR",
        owner_id=f"user-{number % 50}",
        source="web",
        tags=("inbound", "priority"),
        title="Acme renewal and expansion of the annual contract",
    )
    return record_of(body, id, f"deal/{deal}", number // 1000 + 1)


def registered() -> Record:
    """Whose deals they are: a tenant that is known not to rehearse."""
    fact = deals.TenantRegistered(
        origin=Origin(kind="system"), tenant_id=str(TENANT), name="Acme", language="de", zone="Europe/Berlin", rehearsal=False
    )
    return record_of(fact, str(UUID(int=2 << 96)), f"tenant/{TENANT}")


SERVICES = {service.name: service for service in (ASKER, DOER)}

if __name__ == "__main__":
    from shared.runtime.cli import run

    run(SERVICES[sys.argv.pop(1)])
