"""What goes on in the storm: a pipeline with rules is set up, and customers order, get a mail, and pay, all of it from outside."""

from __future__ import annotations

import asyncio
import random
import re
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, TypeVar
from uuid import UUID, uuid5

from shared.runtime.clock import monotonic
from tests.chaos.client import Client, GaveUp

T = TypeVar("T")

NAMESPACE = UUID("6f1b0c1e-8d0e-4b7a-9d55-5a4c33a1d0c5")
LOOK_EVERY = 0.3
ORDERING, PAID = "order", "paid"

RULES = """\
stage: storm/order
rules:
  - id: invoice
    type: create_from
    name: Invoice the deal
    settings: { targets: [invoice], responsible: default, issue: true }
  - id: link
    type: create_payment_link
    name: Payment link
    timing: { after: arrival, offset: 2s }
    execution: after_previous
    settings: { reuse_existing: true }
  - id: mail
    type: send_email
    name: Send the payment link
    execution: after_previous
    settings:
      to: "{{contact.email}}"
      subject: "Your order {{deal.title}}"
      body: "Please pay {{steps.link.amount}} {{steps.link.currency}} here: {{steps.link.url}}"
triggers:
  - id: paid
    type: invoice_paid
    name: Invoice paid
    target_stage: storm/paid
    acting_user: responsible
"""

WAYS = ("whole", "whole", "whole", "halves", "excess", "back", "refund")
"""How a customer pays: at once; in two halves, the later one reported first; too much; or all of it, and later it goes back, because
the provider says so, or because we ask it to."""
QUICK_WAYS = tuple(way for way in WAYS if way not in ("back", "refund"))
"""For a run that must end soon: the mail to whoever is responsible for money that went back waits a minute."""
TOO_MUCH = 500
"""Minor units that stay as the customer's credit (D26)."""

STAGES = (("new", "process"), (ORDERING, "process"), (PAID, "process"), ("won", "success"), ("lost", "failure"))


@dataclass(frozen=True, slots=True)
class Order:
    """One customer with one deal. All ids and keys follow from the seed."""

    number: int
    contact: str
    deal: str
    email: str
    amount: str
    way: str

    @property
    def owed(self) -> int:
        """In cents."""
        return int(self.amount.replace(".", ""))

    @property
    def goes_back(self) -> bool:
        return self.way in ("back", "refund")

    @property
    def charges(self) -> list[int]:
        """What the customer lets the provider take, in cents: his own record of it."""
        match self.way:
            case "halves":
                return [self.owed // 2, self.owed - self.owed // 2]
            case "excess":
                return [self.owed + TOO_MUCH]
            case _:
                return [self.owed]

    @property
    def buttons(self) -> dict[str, str]:
        """On the provider's page."""
        if self.way == "excess":
            return {"button": "excess", "amount": f"{self.charges[0] // 100}.{self.charges[0] % 100:02}"}
        return {"button": "pay", "out_of_order": "on" if self.way == "halves" else ""}


@dataclass(eq=False)
class Business:
    """`deadline`: a moment of the monotonic clock by which everything has to have happened. `checkouts`: pages at the provider."""

    client: Client
    seed: int
    count: int
    deadline: float
    ways: tuple[str, ...] = WAYS
    stages: dict[str, str] = field(default_factory=dict)
    employee: str = ""
    pipeline: str = ""
    tenant: str = ""
    mails: dict[str, list[dict[str, Any]]] = field(default_factory=dict)
    paid: set[str] = field(default_factory=set)
    checkouts: dict[str, str] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.orders = [self._order(n) for n in range(self.count)]

    def _order(self, n: int) -> Order:
        contact, deal = (str(uuid5(NAMESPACE, f"{self.seed}/{kind}/{n}")) for kind in ("contact", "deal"))
        way = random.Random(f"way {self.seed} {n}").choice(self.ways)
        return Order(n, contact, deal, f"customer.{n}.{self.seed}@example.org", f"{100 + n}.00", way)

    # ----------------------------------------------------------------------------------------------------- before
    async def open(self) -> None:
        """Pipeline and rules are in force."""
        client, employee = self.client, {"code": "storm", "name": "Ina Sturm", "email": "ina@acme.test", "zone": "Europe/Berlin"}
        made = await client.post("deals", "/v1/employees", {**employee, "language": "en", "roles": []}, f"{self.seed}-employee")
        self.employee = _id(made, "employee")
        shown = [{"code": code, "name": code, "kind": kind} for code, kind in STAGES]
        body = {"code": "storm", "name": "Storm", "element_type": "deal", "owner_id": self.employee, "zone": "Europe/Berlin"}
        pipeline = await client.post("deals", "/v1/pipelines", {**body, "language": "en", "stages": shown}, f"{self.seed}-pipeline")
        self.pipeline = _id(pipeline, "pipeline")
        self.stages = {stage["code"]: stage["stage_id"] for stage in pipeline["stages"]}
        plan = await self.until("automation plans the rules", self._plan)
        await client.post("automation", "/v1/rule-sets/applications", {"plan_id": plan["plan_id"]}, f"{self.seed}-rules")

    async def _plan(self) -> Any:
        """None while automation has not heard of the pipeline yet."""
        key = f"{self.seed}-plan-{monotonic()}"
        plan = await self.client.post("automation", "/v1/rule-sets/plans", {"text": RULES}, key, expect=(200, 201, 422))
        return plan if "plan_id" in plan else None

    # ----------------------------------------------------------------------------------------------------- during
    async def trade(self, seconds: float) -> None:
        """Orders come in over the first three quarters of these seconds; returns when all are paid and moved. Raises GaveUp."""
        chance = random.Random(f"business {self.seed}")
        starts = [chance.uniform(0, seconds * 0.75) for _ in self.orders]
        post = asyncio.create_task(self._fetch_mails())
        try:
            async with asyncio.TaskGroup() as tasks:
                for order, start in zip(self.orders, starts, strict=True):
                    tasks.create_task(self._serve(order, start, random.Random(f"order {self.seed} {order.number}")))
        except ExceptionGroup as group:
            raise group.exceptions[0] from group
        finally:
            post.cancel()

    async def _serve(self, order: Order, start: float, chance: random.Random) -> None:
        await asyncio.sleep(start)
        await self._sell(order)
        mail = await self.until(f"mail to {order.email}", lambda: self._mail(order))
        await self._pay(order, next(link for link in mail["links"] if "/pay/" in link), chance)
        self.paid.add(order.deal)
        await self.until(f"deal {order.deal} is moved by its payment", lambda: self._moved(order))
        if order.way == "back":
            await self._press(order, {"button": "refund", "attempt": "back", "twice": "on" if chance.random() < 1 / 2 else ""})
        if order.way == "refund":
            await self._ask_it_back(order)
        if order.goes_back:
            await self.until(f"the money of deal {order.deal} went back", lambda: self._went_back(order))

    async def _sell(self, order: Order) -> None:
        client, key = self.client, f"{self.seed}-{order.number}"
        contact = {"id": order.contact, "first_name": "Petra", "last_name": f"Muster {order.number}", "emails": [order.email]}
        await client.post("deals", "/v1/contacts", contact, f"{key}-contact")
        lines = [{"name": "Tent", "quantity": "1", "unit_price": order.amount, "tax_rate": "19"}]
        deal = {"id": order.deal, "title": f"Tent {order.number}", "pipeline_id": self.pipeline, "responsible_id": self.employee}
        customer = {"contact_ids": [order.contact], "primary_contact_id": order.contact}
        money = {"currency": "EUR", "prices_include_tax": True, "amount_mode": "from_lines", "lines": lines}
        await client.post("deals", "/v1/deals", deal | customer | money, f"{key}-deal")
        await client.post("deals", f"/v1/deals/{order.deal}/stage-changes", {"stage_id": self.stages[ORDERING]}, f"{key}-order")

    async def _mail(self, order: Order) -> dict[str, Any] | None:
        return next(iter(self.mails.get(order.email, ())), None)

    async def _pay(self, order: Order, link: str, chance: random.Random) -> None:
        """On the test provider's page; its webhook comes twice for one in two, late for one in three."""
        client, attempt = self.client, f"{self.seed}-{order.number}"
        await client.page(link)
        begun = await client.page(f"{link}/checkouts", {"attempt": attempt}, expect=(303,))
        self.checkouts[order.deal] = begun.headers["location"]
        form = {**order.buttons, "attempt": attempt, "twice": "on" if chance.random() < 1 / 2 else ""}
        form["delay"] = str(chance.randint(1, 4)) if chance.random() < 1 / 3 else "0"
        for _ in range(chance.randint(1, 2)):
            await self._press(order, form)

    async def _ask_it_back(self, order: Order) -> None:
        """Of the provider, which returns it once, however often it is asked under the refund's id."""
        found = (await self.client.get("billing", "/v1/payments", deal_id=order.deal))["items"]
        body, key = {"amount": order.amount, "reason": "changed his mind"}, f"{self.seed}-{order.number}-refund"
        await self.client.post("billing", f"/v1/payments/{found[0]['id']}/refunds", body, key)

    async def _press(self, order: Order, form: dict[str, str]) -> None:
        """On the page of the checkout as it was when it was opened: a button that was pressed already is pressed again."""
        checkout = self.checkouts[order.deal]
        page = await self.client.page(checkout)
        action = re.search(r'action="([^"]+)"', page.text)
        if action is None:
            raise GaveUp(f"the provider's page has no form: {page.text[:300]}")
        await self.client.page(str(page.url.join(action[1])), form, expect=(303,))

    async def _went_back(self, order: Order) -> bool | None:
        found = (await self.client.get("billing", "/v1/payments", deal_id=order.deal))["items"]
        return True if any(payment["status"] == "refunded" for payment in found) else None

    async def _moved(self, order: Order) -> bool | None:
        deal = await self.client.get("deals", f"/v1/deals/{order.deal}")
        return True if deal["stage_id"] == self.stages[PAID] else None

    async def _fetch_mails(self) -> None:
        while True:
            await self.fetch_mails()
            await asyncio.sleep(LOOK_EVERY)

    async def fetch_mails(self) -> None:
        found = (await self.client.get("mailbox", "/mails", to=f".{self.seed}@example.org"))["items"]
        by_address: dict[str, list[dict[str, Any]]] = {}
        for mail in found:
            by_address.setdefault(mail["to"][0], []).append(mail)
        self.mails = by_address

    async def until(self, what: str, look: Callable[[], Any]) -> Any:
        """Raises GaveUp at the deadline."""
        while (found := await look()) is None:
            if monotonic() > self.deadline:
                raise GaveUp(f"{what}: not by the deadline")
            await asyncio.sleep(LOOK_EVERY)
        return found


def _id(thing: Any, kind: str) -> str:
    return str(thing.get("id") or thing[f"{kind}_id"])
