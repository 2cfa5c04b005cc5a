"""A service as small as one can be: jars of marbles. What the kit promises is shown on it."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from typing import Any, assert_never
from uuid import UUID, uuid4

from fastapi import APIRouter
from sqlalchemy import Column, Integer, Text

from shared.contracts import deals, scheduler
from shared.es.addressed import Addressed, Facts
from shared.es.aggregate import Aggregate
from shared.es.errors import NotYet, Rejected
from shared.es.recorded import Context, Recorded
from shared.es.view import HistoryView, Row, StateView, by_column, history_table, state_table
from shared.messaging.contract import Command, Contract, Event
from shared.messaging.directory import rehearsal_clocks, replicated_directory
from shared.messaging.effects import Claimed, Effect, EffectKind, Performed
from shared.messaging.envelope import Envelope, Message, to_kafka
from shared.messaging.handler import Handler
from shared.messaging.records import KafkaRecord
from shared.messaging.replica import HistoryReplica, Replica
from shared.messaging.subscription import Need, Subscription
from shared.runtime.clock import now
from shared.runtime.service import Service

TENANT = UUID(int=1)
OTHER_TENANT = UUID(int=2)


# ------------------------------------------------------------------------------------------------------------- domain
@dataclass(frozen=True, slots=True)
class Jar:
    marbles: int = 0
    colour: str = ""


@dataclass(frozen=True, slots=True)
class PutMarbles:
    number: int
    colour: str = ""


@dataclass(frozen=True, slots=True)
class PourInto:
    """All marbles of another jar."""

    number: int


@dataclass(frozen=True, slots=True)
class MarblesPut:
    number: int
    colour: str = ""


@dataclass(frozen=True, slots=True)
class JarFull:
    pass


JarCommand = PutMarbles | PourInto
JarEvent = MarblesPut | JarFull


def decide(jar: Jar, command: JarCommand) -> Sequence[JarEvent]:
    match command:
        case PutMarbles(number=13):
            raise ValueError("thirteen is a bug of this jar")
        case PutMarbles(number=number) if number > 100:
            raise Rejected("too_many", "A jar takes at most 100 marbles at once.")
        case PutMarbles(number=0):
            return []
        case PutMarbles(number=number, colour=colour):
            put = MarblesPut(number, colour)
            return [put, JarFull()] if jar.marbles + number >= 1000 > jar.marbles else [put]
        case PourInto(number=number):
            return [MarblesPut(number)] if number else []
        case _:
            assert_never(command)


def evolve(jar: Jar, event: JarEvent) -> Jar:
    match event:
        case MarblesPut(number=number, colour=colour):
            return replace(jar, marbles=jar.marbles + number, colour=colour or jar.colour)
        case JarFull():
            return jar
        case _:
            assert_never(event)


JAR: Aggregate[Jar, JarCommand, JarEvent] = Aggregate("jar", Jar(), decide, evolve, (MarblesPut, JarFull), read_by_others=True)


@dataclass(frozen=True, slots=True)
class Postcard:
    sent: int = 0
    told: str = ""


@dataclass(frozen=True, slots=True)
class SendPostcard:
    text: str


@dataclass(frozen=True, slots=True)
class NotePostcard:
    state: str


@dataclass(frozen=True, slots=True)
class PostcardAsked:
    text: str


@dataclass(frozen=True, slots=True)
class PostcardNoted:
    state: str


CardCommand = SendPostcard | NotePostcard
CardEvent = PostcardAsked | PostcardNoted


def decide_card(card: Postcard, command: CardCommand) -> Sequence[CardEvent]:
    match command:
        case SendPostcard(text=text):
            return [PostcardAsked(text)]
        case NotePostcard(state=state):
            return [PostcardNoted(state)]
        case _:
            assert_never(command)


def evolve_card(card: Postcard, event: CardEvent) -> Postcard:
    match event:
        case PostcardAsked():
            return replace(card, sent=card.sent + 1)
        case PostcardNoted(state=state):
            return replace(card, told=state)
        case _:
            assert_never(event)


POSTCARD: Aggregate[Postcard, CardCommand, CardEvent] = Aggregate(
    "postcard", Postcard(), decide_card, evolve_card, (PostcardAsked, PostcardNoted)
)


# ---------------------------------------------------------------------------------------------------------- contracts
class Put(Command, type="toy.Put.v1", topic="toy.commands", key=("jar_id",)):
    request_id: str
    jar_id: str
    number: int
    colour: str = ""


class Pour(Command, type="toy.Pour.v1", topic="toy.commands", key=("jar_id",)):
    request_id: str
    jar_id: str
    from_jar_id: str


class Filled(Event, type="toy.Filled.v1", topic="toy.events", key=("jar_id",)):
    jar_id: str
    number: int
    marbles: int
    colour: str = ""


class ToyRejected(Event, type="toy.CommandRejected.v1", topic="toy.events", key=("record_key",)):
    record_key: str
    code: str
    detail: str
    faults: tuple[str, ...] = ()


class Painted(Event, type="shop.Painted.v1", topic="shop.events", key=("jar_id",)):
    """What another service says: a jar has a colour now."""

    jar_id: str
    colour: str
    owner_id: str = ""


class Wanted(Event, type="shop.Wanted.v1", topic="shop.events", key=("jar_id",)):
    """Another service's fact that makes us act: put marbles of the jar's colour in, if we know its colour already."""

    jar_id: str
    number: int


class OwnerNamed(Event, type="shop.OwnerNamed.v1", topic="shop.events", key=("owner_id",)):
    owner_id: str
    name: str


# -------------------------------------------------------------------------------------------------- views and replicas
JARS: StateView[Jar] = StateView(
    state_table("jars_v1", Column("marbles", Integer, nullable=False), Column("colour", Text, nullable=False)),
    lambda jar, recorded: {"marbles": jar.marbles, "colour": jar.colour},
)


def _lines(jar: Jar, recorded: Recorded[JarEvent]) -> Iterable[Row]:
    match recorded.event:
        case MarblesPut(number=number):
            yield {"number": number, "total": jar.marbles}


PUTS = HistoryView(history_table("puts_v1", Column("number", Integer, nullable=False), Column("total", Integer, nullable=False)), _lines)
BY_COLOUR = by_column("jars by colour", JARS.table, "colour", lambda row: row["id"])


@dataclass(frozen=True, slots=True)
class Paint:
    colour: str
    owner_id: str


@dataclass(frozen=True, slots=True)
class Owner:
    name: str


PAINTS = Replica(
    state_table("paints_v1", Column("colour", Text, nullable=False), Column("owner_id", Text, nullable=False)),
    Paint,
    {Painted: lambda row, e: Paint(e.colour, e.owner_id)},
)
OWNERS = Replica(state_table("owners_v1", Column("name", Text, nullable=False)), Owner, {OwnerNamed: lambda row, e: Owner(e.name)})
HEARD = HistoryReplica(history_table("heard_v1", Column("says", Text, nullable=False)), {Painted: lambda m: [{"says": m.body.colour}]})


# ------------------------------------------------------------------------------------------------------- subscriptions
def put(message: Message[Put], facts: Facts) -> Iterable[Addressed[Any]]:
    body = message.body
    yield Addressed(JAR, body.jar_id, PutMarbles(body.number, body.colour))


def pour(message: Message[Pour], facts: Facts) -> Iterable[Addressed[Any]]:
    body = message.body
    source = ((JAR, body.from_jar_id),)
    yield Addressed(JAR, body.jar_id, lambda seen: PourInto(seen.state(JAR, body.from_jar_id).marbles), reads=source, exclusive="pours")


def wanted(message: Message[Wanted], facts: Facts) -> Iterable[Addressed[Any]]:
    paint = facts.one(PAINTS, message.body.jar_id)
    if paint is None:
        raise NotYet(f"the colour of jar {message.body.jar_id}")
    owner = facts.one(OWNERS, paint.owner_id) if paint.owner_id else None
    colour = paint.colour + (f" of {owner.name}" if owner else "")
    yield Addressed(JAR, message.body.jar_id, PutMarbles(message.body.number, colour))


def publish(jar: Jar, recorded: Recorded[JarEvent]) -> Contract | None:
    match recorded.event:
        case MarblesPut(number=number):
            return Filled(jar_id=recorded.aggregate_id, number=number, marbles=jar.marbles, colour=jar.colour)
        case JarFull():
            return None
        case _:
            assert_never(recorded.event)


def refusal(envelope: Envelope, rejected: Rejected) -> Contract:
    faults = tuple(fault.pointer for fault in rejected.errors)
    return ToyRejected(record_key=envelope.key, code=rejected.code, detail=rejected.detail[:500], faults=faults)


# ------------------------------------------------------------------------------------------------------------- effects
class Postman:
    """The world outside: it can be asked what it did, and told what to answer."""

    def __init__(self) -> None:
        self.bag: list[Claimed] = []
        self.sandbox: list[Claimed] = []
        self.answers: list[Performed | Exception] = []

    async def __call__(self, claimed: Claimed) -> Performed:
        self.bag.append(claimed)
        answer = self.answers.pop(0) if self.answers else Performed("done", {"stamp": claimed.fence})
        if isinstance(answer, Exception):
            raise answer
        return answer

    async def rehearse(self, claimed: Claimed) -> Performed:
        self.sandbox.append(claimed)
        return Performed("done", {"sandbox": True})


POSTMAN = Postman()


async def send(claimed: Claimed) -> Performed:
    return await POSTMAN(claimed)


async def rehearse(claimed: Claimed) -> Performed:
    return await POSTMAN.rehearse(claimed)


def tell(claimed: Claimed, performed: Performed) -> Addressed[Any]:
    return Addressed(POSTCARD, claimed.request["card"], NotePostcard(performed.state))


def postcard(card: Postcard, recorded: Recorded[CardEvent]) -> Effect | None:
    match recorded.event:
        case PostcardAsked(text=text):
            return Effect("post", str(recorded.id), {"text": text, "card": recorded.aggregate_id})
        case _:
            return None


DIRECTORY = replicated_directory(
    deals.TenantRegistered, deals.TenantSuspended, deals.TenantResumed, deals.CredentialIssued, deals.CredentialRevoked
)

SERVICE = Service(
    name="toy",
    api=APIRouter(),
    handlers=(Handler(JAR, publish, (JARS, PUTS)), Handler(POSTCARD, effect=postcard)),
    subscriptions=(
        Subscription(Put, put),
        Subscription(Pour, pour),
        Subscription(
            Wanted,
            wanted,
            (Need(PAINTS, lambda m: [m.body.jar_id], then=(Need(OWNERS, lambda paint: [paint.owner_id] if paint.owner_id else []),)),),
        ),
    ),
    refusal=refusal,
    directory=DIRECTORY,
    replicas=(PAINTS, OWNERS, HEARD, *DIRECTORY.replicas, rehearsal_clocks(scheduler.RehearsalClockMoved)),
    effects=(EffectKind("post", send, rehearse, tell),),
)


# ------------------------------------------------------------------------------------------------------------ messages
class Mailbag:
    """Makes records as Kafka would hand them over: offsets rise per topic and partition, sequences per sender's stream."""

    def __init__(self) -> None:
        self._offsets: dict[str, int] = {}

    def record(self, contract: Contract, *, subject: str = "", sequence: int = 0, tenant: UUID = TENANT, **own: Any) -> KafkaRecord:
        source = own.get("source", f"urn:dealwright:{contract.topic.split('.')[0]}")
        id = own.get("id") or str(uuid4())
        context = Context(tenant, own.get("correlation", id), own.get("cause", id))
        subject = subject or f"thing/{contract.partition_key()}"
        at = own.get("at") or now()
        data = own["data"] if "data" in own else contract.model_dump_json().encode()
        envelope = Envelope(id, source, contract.type, subject, contract.partition_key(), at, sequence, context, data)
        return self.raw(contract.topic, *to_kafka(envelope))

    def raw(self, topic: str, key: bytes | None, headers: Any, value: bytes | None) -> KafkaRecord:
        offset = self._offsets[topic] = self._offsets.get(topic, -1) + 1
        return KafkaRecord(topic, 0, offset, 0, key, value, headers)
