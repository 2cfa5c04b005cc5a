"""Payment providers: how a checkout begins, how money goes back, and what a provider's signed reports say (ecosystem 2.5).

`fake` is the provider that needs no account: its hosted checkout is served by billing itself, its webhooks are real HTTP
requests, signed as Standard Webhooks describes. Another provider is another class with the same three verbs."""

from __future__ import annotations

import hmac
import json
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any, Literal, Protocol, assert_never
from uuid import UUID, uuid5

import httpx

from services.billing.desk import asks
from services.billing.domain.checkout import CHECKOUT, OpenCheckout
from services.billing.domain.money import Money, minor_units
from services.billing.domain.origin import BY_ITSELF
from services.billing.domain.payment import PAYMENT, RefuseRefund
from services.billing.domain.payment_document import DOCUMENTS, ExpireLink
from services.billing.domain.quote import QUOTE, ExpireQuote
from services.billing.domain.sign_document import SIGN_DOCUMENT, ExpireSignDocument
from services.billing.settings import settings
from shared.es.addressed import Addressed
from shared.es.errors import Rejected
from shared.http.signed import sealed
from shared.messaging.effects import Claimed, EffectKind, Performed
from shared.runtime import clock
from shared.runtime.failpoints import afp

TOLERANCE = timedelta(seconds=300)
Kind = Literal["payment.succeeded", "payment.failed", "payment.refunded", "payment.reversed"]
KINDS: tuple[Kind, ...] = ("payment.succeeded", "payment.failed", "payment.refunded", "payment.reversed")

# ------------------------------------------------------------------------------------------------------------- port


@dataclass(frozen=True, slots=True)
class Order:
    """What a customer is about to pay. `attempt` names this one try: the same again is the same checkout."""

    tenant: UUID
    document_id: str
    title: str
    money: Money
    return_url: str
    language: str
    attempt: str


@dataclass(frozen=True, slots=True)
class Begun:
    """Where the customer goes on, and what billing has to record for it (of a provider elsewhere: nothing)."""

    url: str
    asks: tuple[Addressed[Any], ...] = ()


@dataclass(frozen=True, slots=True)
class Report:
    """What a provider says happened, its signature checked. `tenant` is what we told the provider when the checkout began."""

    event_id: str
    kind: Kind
    tenant: UUID
    provider_payment_id: str
    money: Money
    at: datetime
    payer: str | None
    invoice_id: str | None
    document_id: str | None
    reference: str
    """The provider's id of a refund or charge-back."""
    raw: str


class PaymentProvider(Protocol):
    name: str

    def report(self, headers: Mapping[str, str], raw: bytes, now: datetime) -> Report:
        """Checks the signature over the raw bytes, then reads them.

        Raises Rejected with status 400: `bad_signature` (wrong, missing, older than five minutes), `malformed_event`."""

    async def begin(self, order: Order) -> Begun: ...

    async def give_back(self, request: Mapping[str, Any]) -> Performed:
        """Refund `request['amount']` of a payment under the key `request['refund_id']`: asked again, it is done once."""


# ------------------------------------------------------------------------------------------------------- signatures


def signed(id: str, at: datetime, body: bytes, secret: bytes) -> dict[str, str]:
    """The three headers of a Standard Webhook."""
    stamp = str(int(at.timestamp()))
    return {"webhook-id": id, "webhook-timestamp": stamp, "webhook-signature": sealed(secret, id, stamp, body)}


def check_signature(headers: Mapping[str, str], body: bytes, secrets: tuple[bytes, ...], now: datetime) -> str:
    """The webhook's id. Raises Rejected (`bad_signature`, 400) unless one of the secrets signed it within the tolerance."""
    id, stamp = headers.get("webhook-id", ""), headers.get("webhook-timestamp", "")
    given = headers.get("webhook-signature", "").split(" ")
    fresh = stamp.isascii() and stamp.isdigit() and len(stamp) < 12 and abs(int(stamp) - now.timestamp()) <= TOLERANCE.total_seconds()
    good = [hmac.compare_digest(sealed(secret, id, stamp, body).encode(), g.encode()) for secret in secrets for g in given]
    if not (id and fresh and any(good)):
        raise Rejected("bad_signature", "The signature is missing, wrong or too old.", status=400)
    return id


# ------------------------------------------------------------------------------------------------- the test provider


class Fake:
    """The built-in test provider. A payment whose id contains `norefund` cannot be given back."""

    name = "fake"

    def report(self, headers: Mapping[str, str], raw: bytes, now: datetime) -> Report:
        check_signature(headers, raw, settings().secrets, now)
        try:
            return _read(json.loads(raw), raw.decode())
        except (ValueError, KeyError, TypeError, AttributeError, Rejected) as error:
            raise Rejected("malformed_event", f"The event cannot be read: {type(error).__name__}.", status=400) from None

    async def begin(self, order: Order) -> Begun:
        id = str(uuid5(UUID(order.document_id), f"checkout/{order.attempt}"))
        known = (id, order.document_id, order.title, order.money, order.return_url, order.language)
        open = Addressed(CHECKOUT, id, lambda seen: OpenCheckout(*known, seen.now))
        return Begun(f"{settings().base}/fake-provider/checkouts/{id}", (open,))

    async def give_back(self, request: Mapping[str, Any]) -> Performed:
        if "norefund" in request["provider_payment_id"]:
            return Performed("failed", {"detail": "The provider does not give this payment back."})
        return Performed("done", {"provider_refund_id": f"re_{request['refund_id']}"})


def _read(event: Mapping[str, Any], raw: str) -> Report:
    data, about = event["data"], event["data"]["metadata"]
    currency = data["currency"]
    if event["type"] not in KINDS:
        raise ValueError(event["type"])
    return Report(
        event_id=_text(event["id"]),
        kind=event["type"],
        tenant=UUID(about["tenant_id"]),
        provider_payment_id=_text(data["payment_id"]),
        money=_above_zero(Money(minor_units(data["amount"], currency), currency)),
        at=datetime.fromisoformat(data["at"]).astimezone(UTC),
        payer=None if data.get("payer") is None else _text(data["payer"]),
        invoice_id=_id(about.get("invoice_id")),
        document_id=_id(about.get("payment_document_id")),
        reference=_text(data.get("reference") or event["id"]),
        raw=raw,
    )


def _text(value: Any) -> str:
    if not isinstance(value, str) or not 0 < len(value) <= 255 or not value.isprintable():
        raise ValueError("not a text of 1 to 255 characters")
    return value


def _id(value: Any) -> str | None:
    return None if value is None else str(UUID(value))


def _above_zero(money: Money) -> Money:
    if money.minor <= 0:
        raise ValueError("not above zero")
    return money


PROVIDERS: dict[str, PaymentProvider] = {"fake": Fake()}
DEFAULT = "fake"

# ---------------------------------------------------------------------------------------------------------- effects

SLOWEST = timedelta(minutes=1)
ROAD: httpx.AsyncBaseTransport | None = None
"""How the test provider reaches the shop; None is the network. Tests put the application itself here."""


def webhook_body(tenant: UUID, request: Mapping[str, Any]) -> bytes:
    """What the test provider reports, as it is signed and sent."""
    about = {"tenant_id": str(tenant), "payment_document_id": request["payment_document_id"]}
    data = {"payment_id": request["payment"], "amount": request["amount"], "currency": request["currency"], "at": request["at"]}
    event = {"id": request["event_id"], "type": request["kind"], "data": {**data, "metadata": about}}
    return json.dumps(event).encode()


async def send_webhook(claimed: Claimed) -> Performed:
    """The test provider's delivery: a real request, repeated until the shop has answered 2xx. A wrong signature is tried once."""
    body, spoilt = webhook_body(claimed.tenant, claimed.request), bool(claimed.request["bad_signature"])
    secret = b"nobody knows this one" if spoilt else settings().secrets[0]
    headers = {"content-type": "application/json", **signed(claimed.request["event_id"], clock.now(), body, secret)}
    try:
        async with httpx.AsyncClient(timeout=10, transport=ROAD) as shop:
            answer = await shop.post(f"{settings().base}/v1/provider-events/fake", content=body, headers=headers)
    except httpx.HTTPError as error:
        return _later(claimed, {"error": type(error).__name__})
    if answer.is_success or spoilt:
        return Performed("done", {"status": answer.status_code})
    return _later(claimed, {"status": answer.status_code})


def _later(claimed: Claimed, outcome: dict[str, Any]) -> Performed:
    wait = min(SLOWEST, timedelta(milliseconds=250 * 2 ** min(claimed.attempt, 10)))
    return Performed("failed", outcome, again_after=wait)


def nothing_more(claimed: Claimed, performed: Performed) -> Addressed[Any]:
    return Addressed(CHECKOUT, claimed.stream.removeprefix("checkout-"), lambda seen: None)


async def give_back(claimed: Claimed) -> Performed:
    """Ask the payment's provider for the refund, under the refund's id whatever the attempt (R10)."""
    provider = PROVIDERS.get(claimed.request["provider"])
    if provider is None:
        return Performed("failed", {"detail": f"There is no provider {claimed.request['provider']} here."})
    await afp("pay.before_call")
    performed = await provider.give_back(claimed.request)
    await afp("pay.after_call_before_store")
    return performed


async def rehearse_giving_back(claimed: Claimed) -> Performed:
    """Nobody outside is asked."""
    return await PROVIDERS["fake"].give_back(claimed.request)


def settle(claimed: Claimed, performed: Performed) -> tuple[Addressed[Any], ...]:
    """The payment and its invoices learn in one item what became of the refund. Only an answer refuses it, the provider's or
    that of a person who asked there; of what was never answered nobody may say that it did not happen."""
    r, said = claimed.request, performed.outcome
    back = asks.MoneyBack(r["payment_id"], r["refund_id"], r["deal_id"], tuple(r["invoices"]))
    match performed.state:
        case "done":
            reference = str(said.get("provider_refund_id") or f"confirmed/{r['refund_id']}")
            return asks.settle_refund(back, r["amount"], r["to_be_paid_again"], reference)
        case "failed":
            detail = str(said.get("detail", "The provider did not give the money back."))
            return (Addressed(PAYMENT, r["payment_id"], RefuseRefund(r["refund_id"], detail)),)
        case "unknown":
            return asks.doubt_refund(back, str(said.get("detail") or said.get("error") or "The provider did not answer."))
        case _:
            assert_never(performed.state)


async def come_due(claimed: Claimed) -> Performed:
    """Nothing is done outside: the moment itself is what was waited for."""
    return Performed("done", {})


def expire_link(claimed: Claimed, performed: Performed) -> Addressed[Any]:
    r = claimed.request
    return Addressed(DOCUMENTS, r["documents"], ExpireLink(r["document_id"], r["token_hash"], BY_ITSELF))


def expire_quote(claimed: Claimed, performed: Performed) -> Addressed[Any]:
    return Addressed(QUOTE, claimed.request["quote"], ExpireQuote(BY_ITSELF))


def expire_signing(claimed: Claimed, performed: Performed) -> Addressed[Any]:
    return Addressed(SIGN_DOCUMENT, claimed.request["document"], lambda seen: ExpireSignDocument(seen.now, BY_ITSELF))


EFFECTS = (
    EffectKind("provider_webhook", send_webhook, send_webhook, nothing_more, unknown="again", by_tenants_clock=True),
    EffectKind("provider_refund", give_back, rehearse_giving_back, settle, unknown="again", given_up="unknown"),
    EffectKind("link_expiry", come_due, come_due, expire_link, unknown="again", by_tenants_clock=True),
    EffectKind("quote_expiry", come_due, come_due, expire_quote, unknown="again", by_tenants_clock=True),
    EffectKind("sign_expiry", come_due, come_due, expire_signing, unknown="again", by_tenants_clock=True),
)
"""A rehearsal tenant's refunds go to the test provider whatever the payment says; the test provider's webhooks stay in the house."""
