"""What must hold afterwards. Each check gives its findings; none is what is wanted. Numbers in brackets: reliability, section 2."""

from __future__ import annotations

import asyncio
import importlib
import json
from collections import Counter, defaultdict
from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, TypeVar

from shared.runtime.clock import monotonic
from shared.runtime.service import Service
from tests.chaos import money, principals, timers
from tests.chaos.books import SERVICES, Books
from tests.chaos.business import PAID, TOO_MUCH, Business
from tests.chaos.client import GaveUp
from tests.chaos.topics import Record, firsts

Findings = list[str]
Found = TypeVar("Found")


@dataclass(frozen=True, eq=False)
class Evidence:
    """Everything there is to look at: topics read whole, SQL, HTTP, the mailbox."""

    business: Business
    books: Books
    records: Sequence[Record]

    @property
    def deals(self) -> list[str]:
        return [order.deal for order in self.business.orders]

    def heard(self, name: str) -> list[dict[str, Any]]:
        """Bodies of all messages of a type, each message once."""
        return [json.loads(record.value) for record in firsts(self.records) if record.name == name]


def exactly_one(what: str, wanted: Iterable[str], found: Iterable[str | None]) -> Findings:
    """A finding for each that is missing, there twice, or was never asked for."""
    expected, counted = set(wanted), Counter(found)
    wrong = [f"no {what} for {one}" for one in sorted(expected - counted.keys())]
    wrong += [f"{number} {what}s for {one}" for one, number in counted.items() if one in expected and number > 1]
    return wrong + [f"{what} for {one}, who did not ask" for one in counted if one not in expected]


def exactly_as_often(what: str, wanted: Iterable[str], found: Iterable[str]) -> Findings:
    """The same for what may be wanted more than once."""
    expected, counted = Counter(wanted), Counter(found)
    both = sorted(expected.keys() | counted.keys())
    return [f"{what} {one}: {counted[one]}, not {expected[one]}" for one in both if counted[one] != expected[one]]


# ---------------------------------------------------------------------------------------------------------- business
async def invoices(e: Evidence) -> Findings:
    """One a deal, issued and paid, or paid back: on the topic, in the table, over HTTP; numbers without a gap. (I12)"""
    wrong = exactly_one("InvoiceCreated", e.deals, (b["deal_id"] for b in e.heard("billing.InvoiceCreated")))
    rows = await e.books.ask("billing", "select id, deal_id, number, status from invoices_v1")
    wrong += exactly_one("row of invoices", e.deals, (row["deal_id"] for row in rows))
    wanted = {order.deal: "refunded" if order.goes_back else "paid" for order in e.business.orders}
    wrong += [f"invoice {row['id']} is {row['status']}" for row in rows if row["status"] != wanted.get(row["deal_id"])]
    wrong += exactly_one("InvoicePaid", (row["id"] for row in rows), (b["invoice_id"] for b in e.heard("billing.InvoicePaid")))
    numbers = sorted(int(str(row["number"]).rsplit("-", 1)[-1]) for row in rows if row["number"])
    if numbers != list(range(1, len(rows) + 1)):
        wrong.append(f"numbers have gaps or repeat: {numbers}")
    for deal in e.deals:
        shown = (await e.business.client.get("billing", "/v1/invoices", deal_id=deal))["items"]
        wrong += [] if len(shown) == 1 else [f"HTTP shows {len(shown)} invoices for {deal}"]
    return wrong


async def links(e: Evidence) -> Findings:
    """One a deal. (S24)"""
    wrong = exactly_one("PaymentLinkCreated", e.deals, (b["deal_id"] for b in e.heard("billing.PaymentLinkCreated")))
    rows = await e.books.ask("billing", "select distinct deal_id, payment_document_id from payment_documents_v1")
    return wrong + exactly_one("payment document", e.deals, (row["deal_id"] for row in rows))


async def payments(e: Evidence) -> Findings:
    """What each customer let the provider take, once, however often that was reported. (I13)"""
    rows = await e.books.ask("billing", "select id, deal_id, amount, unapplied, refunded from payments_v1")
    wanted = [f"{amount} of {order.deal}" for order in e.business.orders for amount in order.charges]
    wrong = exactly_as_often("payment", wanted, (f"{row['amount']} of {row['deal_id']}" for row in rows))
    orders = {order.deal: order for order in e.business.orders}
    for row in rows:
        order = orders.get(row["deal_id"])
        extra, back = TOO_MUCH if order and order.way == "excess" else 0, row["amount"] if order and order.goes_back else 0
        if (row["unapplied"], row["refunded"]) != (extra, back):
            wrong.append(f"payment {row['id']} has {row['unapplied']} unapplied and {row['refunded']} refunded")
    return wrong


async def conserved(e: Evidence) -> Findings:
    """No cent appears or disappears between payments, invoices, credit notes and credit. (I15)"""
    return await e.books.breaches("billing", money.CONSERVED)


async def never_overcharged(e: Evidence) -> Findings:
    """No link takes more than its amount, except as the customer's credit. (I16)"""
    return await e.books.breaches("billing", money.NEVER_OVERCHARGED)


async def agrees_with_the_provider(e: Evidence) -> Findings:
    """The provider's own record, its pages and what customers pressed there say what billing says. (I13, I17)"""
    wrong = await e.books.breaches("billing", money.AGREES)
    for order in e.business.orders:
        page = (await e.business.client.page(e.business.checkouts[order.deal])).text
        shown = (await e.business.client.get("billing", "/v1/payments", deal_id=order.deal))["items"]
        state = "refunded" if order.way == "back" else "paid"
        wrong += [] if f"data-state={state}" in page else [f"the provider's page for {order.deal} does not say {state}"]
        amounts = sorted(int(payment["amount"]["amount"].replace(".", "")) for payment in shown)
        wrong += [] if amounts == sorted(order.charges) else [f"{order.deal} paid {order.charges}, HTTP shows {amounts}"]
    return wrong


async def mails(e: Evidence) -> Findings:
    """One a customer with the one link; a second copy only where the sender could not know (same Message-ID, I22)."""
    await e.business.fetch_mails()
    rows = await e.books.ask("notifications", "select request->>'to' as address, earlier from effects where kind like 'email%'")
    unsure = {row["address"] for row in rows if row["earlier"] == "unknown"}
    addresses = [order.email for order in e.business.orders]
    asked = [b["to"] for b in e.heard("notifications.SendEmail")]
    found = e.business.mails
    wrong = exactly_one("SendEmail", addresses, asked)
    wrong += exactly_one("mail", addresses, (address for address, mails in found.items() for _ in {m["message_id"] for m in mails}))
    for address, copies in found.items():
        if len(copies) > 1 and address not in unsure:
            wrong.append(f"{len(copies)} mails to {address}, and no attempt was in doubt")
        if any(len([link for link in mail["links"] if "/pay/" in link]) != 1 for mail in copies):
            wrong.append(f"a mail to {address} has not one link")
    return wrong


async def moves(e: Evidence) -> Findings:
    """One stage move by the trigger a deal, and there it stands."""
    stage = e.business.stages[PAID]
    moved = [b for b in e.heard("deals.StageChanged") if b["reason"] == "trigger"]
    wrong = exactly_one("move by a trigger", e.deals, (b["element_id"] for b in moved if b["stage_id"] == stage))
    rows = await e.books.ask("deals", "select id, stage_id from deals_v1")
    wrong += exactly_one("deal", e.deals, (row["id"] for row in rows if str(row["stage_id"]) == stage))
    for deal in e.deals:
        shown = await e.business.client.get("deals", f"/v1/deals/{deal}")
        wrong += [] if shown["stage_id"] == stage else [f"HTTP shows {deal} elsewhere"]
    return wrong


async def runs(e: Evidence) -> Findings:
    """Three rules a visit, each run once, each succeeded; one decision of the trigger a deal that moved it. (I8, I9)"""
    done = e.heard("automation.RunCompleted")
    seen = Counter((b["element"]["element_id"], b["rule_id"]) for b in done)
    rules = {rule for _, rule in seen}
    wrong = [f"run of {rule} for {deal}: {seen[deal, rule]} times" for deal in e.deals for rule in rules if seen[deal, rule] != 1]
    wrong += [] if len(rules) == 3 else [f"{len(rules)} rules ran, not 3"]
    wrong += [f"run of {b['rule_id']} ended as {b['outcome']}" for b in done if b["outcome"] != "succeeded"]
    moved = (b["element"]["element_id"] for b in e.heard("automation.TriggerDecided") if b["outcome"] == "moved")
    return wrong + exactly_one("decision that moved", e.deals, moved)


async def timers_fire(e: Evidence) -> Findings:
    """One a deal, which waits two seconds for its link: not early, once, and none is forgotten. (I18, I19)"""
    wrong = await e.books.breaches("scheduler", timers.LAWS)
    fired = await e.books.ask("scheduler", "select id from chk.timer_event where type = 'TimerFired'")
    return wrong if len(fired) == len(e.deals) else [*wrong, f"{len(fired)} timers fired, not {len(e.deals)}"]


# ---------------------------------------------------------------------------------------------------------- messaging
async def nothing_parked(e: Evidence) -> Findings:
    """No key waits, nothing is in quarantine, no effect needs a person."""
    parked = await e.books.ask_all("select key, reason, error from blocked union all select topic, reason, '' from quarantine")
    effects = await e.books.ask_all("select kind, key, outcome from effects where state in ('failed', 'unknown')")
    wrong = [f"{service}: {row['key']} is parked: {row['reason']} {row['error']}" for service, rows in parked.items() for row in rows]
    return wrong + [f"{service}: effect {row['kind']} {row['key']}: {row['outcome']}" for service, rows in effects.items() for row in rows]


async def gapless(e: Evidence) -> Findings:
    """Versions of every stream are 1, 2, 3 … (I2)"""
    question = """select tenant, stream, min(version) as first, max(version) as last, count(*) as number from events
                  group by 1, 2 having min(version) <> 1 or max(version) <> count(*) or count(distinct version) <> count(*)"""
    found = [(service, row) for service, rows in (await e.books.ask_all(question)).items() for row in rows]
    return [f"{service}: {row['stream']} has {row['number']} versions, {row['first']} to {row['last']}" for service, row in found]


async def published(e: Evidence) -> Findings:
    """Whatever was in an outbox is on its topic, and nothing else is; copies of a message are the same bytes. (I3 a, b, e)"""
    contents: dict[str, set[Any]] = defaultdict(set)
    for record in e.records:
        contents[f"{record.topic} {record.id}"].add(record.content)
    wrong = [f"{message} has {len(found)} contents" for message, found in contents.items() if len(found) > 1]
    said = {f"{topic} {id}": content for s in SERVICES for topic, id, content in await e.books.said(s) if not topic.endswith(".dlq")}
    wrong += [f"{message} was never published" for message in said if message not in contents]
    wrong += [f"{message} is not what was committed" for message, content in said.items() if contents.get(message, {content}) != {content}]
    events = {str(row["id"]) for rows in (await e.books.ask_all("select id from events")).values() for row in rows}
    return wrong + [f"{message} was never committed" for message in contents if message not in said and message.split()[1] not in events]


async def ordered(e: Evidence) -> Findings:
    """One partition a key; first occurrences of a stream come in the order of its versions. (I3 c, d)"""
    places: dict[tuple[str, bytes], set[int]] = defaultdict(set)
    last: dict[tuple[str, str, str], int] = {}
    wrong = []
    for record in sorted(firsts(e.records), key=lambda r: (r.topic, r.partition, r.offset)):
        places[record.topic, record.key].add(record.partition)
        stream = (record.topic, record.tenant, record.subject)
        if record.sequence and record.sequence <= last.get(stream, 0):
            wrong.append(f"{record.topic}: version {record.sequence} of {record.subject} came after {last[stream]}")
        last[stream] = max(record.sequence, last.get(stream, 0))
    return wrong + [f"{topic}: key {key!r} is in partitions {found}" for (topic, key), found in places.items() if len(found) > 1]


TAKEN_IN = "select message_id, topic, stream, version from inbox where consumer = $1 and topic is not null order by position"


async def applied(e: Evidence) -> Findings:
    """Each message that a service hears has one row in its inbox; a stream is applied in the order of versions. (I4, I5)"""
    wrong: Findings = []
    for service in SERVICES:
        hears = set((await e.business.client.get(service, "/version"))["hears"])
        rows = await e.books.ask(service, TAKEN_IN, service)
        counted = Counter(row["message_id"] for row in rows)
        wrong += [f"{service} never took in {r.type} {r.id}" for r in firsts(e.records) if r.type in hears and not counted[r.id]]
        wrong += [f"{service} took in {id} {number} times" for id, number in counted.items() if number > 1]
        wrong += [f"{service}: {found}" for found in _disorder(rows)]
    return wrong


def _disorder(rows: Sequence[Any]) -> Findings:
    last: dict[tuple[str, str], int] = {}
    wrong = []
    for row in rows:
        stream = (row["topic"], row["stream"])
        if row["version"] and row["version"] <= last.get(stream, 0):
            wrong.append(f"version {row['version']} of {row['stream']} was applied after {last[stream]}")
        last[stream] = max(row["version"] or 0, last.get(stream, 0))
    return wrong


async def one_relay(e: Evidence) -> Findings:
    """A fence never had two owners, and fences only rose. (I21)"""
    wrong: Findings = []
    for service, rows in (await e.books.ask_all("select resource, owner, fence from chk.lease order by at")).items():
        owners: dict[tuple[str, int], set[str]] = defaultdict(set)
        for row in rows:
            owners[row["resource"], row["fence"]].add(row["owner"])
        wrong += [f"{service}: {place} was held by {found}" for place, found in owners.items() if len(found) > 1]
        fences = [row["fence"] for row in rows if row["resource"] == "relay"]
        wrong += [] if fences == sorted(fences) else [f"{service}: the relay's fence fell"]
        wrong += [] if fences else [f"{service}: no relay ever led"]
    return wrong


# ---------------------------------------------------------------------------------------------------------- who and why
async def principals_and_causes(e: Evidence) -> Findings:
    """Every change in every service names who made it, who is known, and what caused it, which is known too. (I25)"""
    return [breach for service in SERVICES for breach in await e.books.breaches(service, principals.LAWS)]


CONTEXTS = "select id::text as id, tenant::text as tenant, correlation_id, causation_id, hops from events"


async def chains(e: Evidence) -> Findings:
    """A message bears the context of its event; what it causes stays in its tenant and its chain, one hop further. (I24, I25)"""
    said = {record.id: record for record in firsts(e.records)}
    contexts = await e.books.ask_all(CONTEXTS)
    return [f"{service}: {finding}" for service, rows in contexts.items() for row in rows for finding in strays(said, row)]


def strays(said: Mapping[str, Record], event: Mapping[str, Any]) -> Findings:
    """How an event departs from what it was said as, or from the message that caused it. `said`: messages by id."""
    own, cause = said.get(event["id"]), said.get(event["causation_id"])
    wrong: Findings = []
    if own and own.context != (event["tenant"], event["correlation_id"], event["causation_id"], event["hops"]):
        wrong.append(f"{own.type} {own.id} was said as {own.context}, its event is {tuple(event.values())[1:]}")
    if cause and (cause.tenant, cause.correlation) != (event["tenant"], event["correlation_id"]):
        wrong.append(f"event {event['id']} left the chain or the tenant of its cause {cause.type} {cause.id}")
    if cause and event["hops"] not in (cause.hops, cause.hops + 1):
        wrong.append(f"event {event['id']} has {event['hops']} hops, its cause {cause.type} {cause.hops}")
    return wrong


async def audited(e: Evidence) -> Findings:
    """Who tries a wrong key and who rebuilds a view stands in the audit once, by name, over HTTP as in the table. (I25, T19)"""
    found = await asyncio.gather(*(_audited(e, service) for service in SERVICES))
    return [finding for findings in found for finding in findings]


async def _audited(e: Evidence, service: str) -> Findings:
    client, id = e.business.client, e.business.client.ground.key.split("_")[2]
    for _ in range(3):
        await client.try_the_door(service, "/ops/parked")
    actor = (await e.books.ask(service, "select actor from credentials_v1 where id = $1", id))[0]["actor"]
    wanted = [f"view.rebuilt {view} by {actor}" for view in views_of(service)] + [f"key.refused /ops/parked by credential:{id}"]
    found = await _when(lambda: _audit(e, service), lambda rows: len(rows) >= len(wanted))
    shown = (await client.get(service, "/ops/audit"))["items"]
    over_http = exactly_as_often(f"{service}: audit over HTTP", found, (f"{r['action']} {r['ref']} by {r['principal']}" for r in shown))
    return exactly_as_often(f"{service}: audit", wanted, found) + over_http


async def _audit(e: Evidence, service: str) -> list[str]:
    return [row["row"] for row in await e.books.ask(service, "select format('%s %s by %s', action, ref, principal) as row from audit")]


async def _when(look: Callable[[], Awaitable[Found]], enough: Callable[[Found], bool]) -> Found:
    """What was found once it is enough, or after ten seconds."""
    deadline = monotonic() + 10
    while not enough(found := await look()) and monotonic() < deadline:
        await asyncio.sleep(0.05)
    return found


# ---------------------------------------------------------------------------------------------------------- views
async def views(e: Evidence) -> Findings:
    """Each view is emptied, filled again from its streams as the operator's verb does it, and is what it was. (I27)"""
    found = await asyncio.gather(*(_rebuilt_one_by_one(e, service) for service in SERVICES))
    return [finding for findings in found for finding in findings]


async def _rebuilt_one_by_one(e: Evidence, service: str) -> Findings:
    return [finding for view in views_of(service) for finding in await _rebuilt(e, service, view)]


def views_of(service: str) -> list[str]:
    described: Service = importlib.import_module(f"services.{service}.service").SERVICE
    return sorted({view.table.name for handler in described.handlers for view in handler.views})


async def _rebuilt(e: Evidence, service: str, view: str) -> Findings:
    before = await _rows(e, service, view)
    await e.books.ask(service, f"delete from {view}")
    await e.business.client.act(service, "/ops/rebuilds", {"view": view})
    runs = await _when(lambda: _runs(e, service, view), lambda runs: runs[0] != "running")
    if runs != ["done"]:
        raise GaveUp(f"the rebuild of {service}.{view} is {runs}")
    after = await _rows(e, service, view)
    lost, new = before - after, after - before
    differ = f"{service}.{view}: {sum(lost.values())} rows differ from the rebuilt ones, the first {_first(lost)} is {_first(new)}"
    return [differ] if lost or new else []


async def _runs(e: Evidence, service: str, view: str) -> list[str]:
    items = (await e.business.client.get(service, "/ops/rebuilds"))["items"]
    return [run["status"] for run in items if run["view"] == view]


def _first(rows: Counter[str]) -> str:
    return next(iter(sorted(rows)), "not there")


async def _rows(e: Evidence, service: str, view: str) -> Counter[str]:
    return Counter(row["row"] for row in await e.books.ask(service, f"select v::text as row from {view} v"))


CHECKS: tuple[Callable[[Evidence], Awaitable[Findings]], ...] = (
    invoices,
    links,
    payments,
    conserved,
    never_overcharged,
    agrees_with_the_provider,
    mails,
    moves,
    runs,
    timers_fire,
    nothing_parked,
    gapless,
    published,
    ordered,
    applied,
    one_relay,
    principals_and_causes,
    chains,
    views,
    audited,
)
