"""What notifications hears, and whom that concerns. (notifications 8)"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from datetime import datetime, timedelta
from typing import Any

from services.notifications import telling, views
from services.notifications.domain.address import is_email_address
from services.notifications.domain.delivery import DELIVERY, QueueDelivery
from services.notifications.domain.endpoint import ENDPOINT
from services.notifications.domain.notice import (
    NOTICE,
    Attachment,
    Content,
    Element,
    Invitation,
    JoinNotice,
    Person,
    Recipient,
    RequestNotice,
    Window,
)
from services.notifications.domain.origin import Origin
from services.notifications.domain.preferences import Preferences
from services.notifications.domain.texts import said
from services.notifications.replicas import (
    ACTIVITIES,
    COMPANIES,
    CONTACTS,
    EMPLOYEES,
    FILES,
    MEMBERS,
    ROOMS,
    TENANTS,
    Activity,
    Employee,
)
from services.notifications.telling import FINANCE, OPERATORS, Telling, Together, each_once, notice_id, standing_in, tell
from shared.contracts import automation, billing, common, notifications, scheduler
from shared.es.addressed import Addressed, Facts
from shared.es.errors import Fault, NotYet, Rejected
from shared.messaging.envelope import Message, instant
from shared.messaging.subscription import Need, Subscription

Asked = Iterable[Addressed[Any]]
Keys = Callable[[Message[Any]], Iterable[str]]

WINDOW = timedelta(seconds=60)
DAY = timedelta(days=1)

# ------------------------------------------------------------------------------------------------------- translating


def origin_of(origin: common.Origin | None) -> Origin:
    return Origin("api") if origin is None else Origin(**origin.model_dump())


def element_of(element: common.ElementRef | None) -> Element | None:
    return None if element is None else Element(element.element_type, element.element_id)


def deal(deal_id: str | None) -> Element | None:
    return None if deal_id is None else Element("deal", deal_id)


def money(amount: common.Money) -> str:
    return f"{amount.amount} {amount.currency}"


# ------------------------------------------------------------------------------------------------------------- needs


def _id(person: Employee) -> list[str]:
    return [person.employee_id]


def _manager(person: Employee) -> list[str]:
    return [person.manager_id] if person.manager_id else []


WISHES: tuple[Need[Employee, Any], ...] = (Need(views.PREFERENCES_OF, _id), Need(views.HELD_FOR, _id))


def people(ids: Keys, *roles: str) -> tuple[Need[Message[Any], Any], ...]:
    """Employees with their managers, the members of the roles and the operators, and what each of them wishes."""

    def wanted(message: Message[Any]) -> list[str]:
        return [OPERATORS, *roles]

    return (Need(EMPLOYEES, ids, then=(*WISHES, Need(EMPLOYEES, _manager, then=WISHES))), Need(MEMBERS, wanted, then=WISHES))


def field(*names: str) -> Keys:
    """The first of these fields that is given."""

    def value(message: Message[Any]) -> list[str]:
        found = next((value for name in names if (value := getattr(message.body, name)) is not None), None)
        return [] if found is None else [found]

    return value


def first(keys: Keys, message: Message[Any]) -> str | None:
    return next(iter(keys(message)), None)


def nobody(message: Message[Any]) -> list[str]:
    return []


# ---------------------------------------------------------------------------------------------------------- commands


def notify(message: Message[notifications.Notify], facts: Facts) -> Asked:
    """An employee, or every member of a role; in the feed at once, elsewhere as the person wishes."""
    b = message.body
    if (b.employee_id is None) == (b.role is None):
        fault = Fault("/employee_id", "recipient_missing", "Exactly one of employee_id and role is given.")
        raise Rejected("recipient_missing", fault.detail, status=422, errors=[fault])
    if b.employee_id is not None:
        person = facts.one(EMPLOYEES, b.employee_id)
        found = [] if person is None or not person.active else [person]
    else:
        found = list(facts.all(MEMBERS, b.role or ""))
    if not found:
        raise Rejected("recipient_unknown", "There is no such employee, or nobody who has this role.")
    for person in found:
        id = b.notice_id if b.employee_id is not None else notice_id(b.notice_id, person.employee_id)
        yield from _notified(b, facts, person, id)


def _notified(b: notifications.Notify, facts: Facts, person: Employee, id: str) -> Asked:
    """The feed answers; what goes out besides answers nobody."""
    wishes = facts.one(views.PREFERENCES_OF, person.employee_id) or Preferences()
    channels = wishes.channels_for(b.topic_name)
    origin = origin_of(b.origin)
    yield _in_feed(b, facts, person, id, None if "in_app" in channels else "preference_off")
    elsewhere = Telling(b.notice_id, "", b.topic_name, origin, element=element_of(b.element))
    for channel in channels:
        if channel != "in_app":
            yield from telling.told(facts, elsewhere, person, wishes, channel, Content(b.text, b.title or b.text[:80]))


def _in_feed(b: notifications.Notify, facts: Facts, person: Employee, id: str, suppressed: str | None) -> Addressed[Any]:
    """A notice of its own; with a merge key it joins the one of the last minute, and that answers."""
    key = merged(b)
    found = None if key is None or suppressed else telling.still_open(facts, facts.all(views.WINDOWS, key), person, "in_app")
    if found is not None and found["id"] != id:
        return telling.in_window(facts, key or "", person, "in_app", found["id"], JoinNotice(b.text, facts.now, b.request_id))
    command = RequestNotice(
        b.request_id,
        "in_app",
        Recipient(person.employee_id, None, person.name),
        Content(b.text, b.title),
        facts.now,
        origin_of(b.origin),
        element_of(b.element),
        topic=b.topic_name,
        window=None if key is None else Window(key, facts.now + WINDOW),
        suppressed=suppressed,
    )
    return Addressed(NOTICE, id, command) if key is None else telling.in_window(facts, key, person, "in_app", id, command)


def merged(b: notifications.Notify) -> str | None:
    return None if b.merge_key is None else f"notify/{b.merge_key}"


def _merged_with(message: Message[notifications.Notify]) -> list[str]:
    key = merged(message.body)
    return [] if key is None else [key]


def _notified_role(message: Message[notifications.Notify]) -> list[str]:
    return [message.body.role] if message.body.role is not None else []


def send_email(message: Message[notifications.SendEmail], facts: Facts) -> Asked:
    b = message.body
    content = Content(
        b.body_text,
        b.subject,
        b.body_html,
        None if b.from_employee_id is None else _person(facts, b.from_employee_id, "/from_employee_id"),
        b.reply_to,
        tuple(_attachment(facts, id) for id in b.attachment_ids),
        language=b.language,
    )
    command = RequestNotice(
        b.request_id,
        "email",
        Recipient(address=b.to),
        content,
        facts.now,
        origin_of(b.origin),
        element_of(b.element),
        b.importance,
        b.message_class,
    )
    yield Addressed(NOTICE, b.notice_id, command)


def _attachment(facts: Facts, file_id: str) -> Attachment:
    file = facts.one(FILES, file_id)
    if file is None or file.removed:
        fault = Fault("/attachment_ids", "attachment_missing", f"There is no file {file_id}.")
        raise Rejected("attachment_missing", fault.detail, errors=[fault])
    return Attachment(file.file_id, file.name, file.content_type, file.content_ref, file.size)


def _person(facts: Facts, employee_id: str, pointer: str) -> Person:
    person = facts.one(EMPLOYEES, employee_id)
    if person is None:
        fault = Fault(pointer, "recipient_unknown", f"There is no employee {employee_id}.")
        raise Rejected("recipient_unknown", fault.detail, errors=[fault])
    return Person(person.name, person.email)


def send_sms(message: Message[notifications.SendSms], facts: Facts) -> Asked:
    b = message.body
    command = RequestNotice(
        b.request_id,
        "sms",
        Recipient(address=b.to),
        Content(b.text),
        facts.now,
        origin_of(b.origin),
        element_of(b.element),
        b.importance,
        b.message_class,
    )
    yield Addressed(NOTICE, b.notice_id, command)


def send_invitation(message: Message[notifications.SendInvitation], facts: Facts) -> Asked:
    b = message.body
    invitation = Invitation(
        b.method,
        b.uid,
        b.ical_sequence,
        datetime.fromisoformat(b.starts_at),
        datetime.fromisoformat(b.ends_at),
        b.zone,
        b.summary,
        _person(facts, b.organiser_employee_id, "/organiser_employee_id"),
        b.description or "",
        b.location,
        b.url,
    )
    content = Content(b.description or b.summary, b.summary, invitation=invitation)
    command = RequestNotice(
        b.request_id,
        "invitation",
        Recipient(address=b.attendee_email),
        content,
        facts.now,
        origin_of(b.origin),
        element_of(b.element),
        "customer",
    )
    yield Addressed(NOTICE, b.notice_id, command)


def deliver_webhook(message: Message[notifications.DeliverWebhook], facts: Facts) -> Asked:
    """What *Call webhook* asks for (G51, G52)."""
    b, origin, element = message.body, origin_of(message.body.origin), element_of(message.body.element)

    def command(seen: Facts) -> QueueDelivery:
        return QueueDelivery(
            b.request_id,
            b.endpoint_id,
            seen.state(ENDPOINT, b.endpoint_id),
            b.event_name,
            b.payload,
            seen.now,
            instant(message.envelope.time),
            origin,
            element,
            b.callback_url,
            b.callback_expires_at,
        )

    yield Addressed(DELIVERY, b.delivery_id, command, reads=((ENDPOINT, b.endpoint_id),))


def endpoint_disabled(message: Message[notifications.WebhookEndpointDisabled], facts: Facts) -> Asked:
    """Its owner is told, unless a person did it."""
    b = message.body
    if b.reason == "by_person":
        return ()
    news = Telling(message.envelope.id, "endpoint_disabled", "system", origin_of(b.origin), {"url": b.endpoint_id, "reason": b.reason})
    return tell(facts, news, standing_in(facts, b.owner_id))


# ------------------------------------------------------------------------------------------------------------- money


def paid_window(message: Message[billing.InvoicePaid]) -> list[str]:
    b = message.body
    return [f"paid/{b.deal_id or b.invoice_id}/{b.deal_responsible_id or b.responsible_id or FINANCE}"]


RESPONSIBLE_FOR_INVOICE = field("deal_responsible_id", "responsible_id")
RESPONSIBLE_FOR_DEAL = field("deal_responsible_id")


def invoice_paid(message: Message[billing.InvoicePaid], facts: Facts) -> Asked:
    """At once, to the responsible person; several within a minute are one notice (S38, D22)."""
    b = message.body
    responsible = first(RESPONSIBLE_FOR_INVOICE, message)
    people = standing_in(facts, responsible) if responsible else facts.all(MEMBERS, FINANCE)
    values = {"number": b.number, "title": b.title, "amount": money(b.total)}
    together = Together(paid_window(message)[0], facts.now + WINDOW)
    return tell(
        facts, Telling(message.envelope.id, "invoice_paid", "payment", origin_of(b.origin), values, deal(b.deal_id), together), people
    )


def back_window(message: Message[Any]) -> list[str]:
    """A charge-back is told by the payment and by the invoice: one notice."""
    return [f"money-back/{message.body.invoice_id or message.body.payment_id}"]


def _money_back(message: Message[Any], facts: Facts, what: str, values: Mapping[str, object]) -> Asked:
    """The responsible person and finance, urgently (D29)."""
    b, responsible = message.body, first(RESPONSIBLE_FOR_DEAL, message)
    people = each_once(standing_in(facts, responsible) if responsible else [], facts.all(MEMBERS, FINANCE))
    together = Together(back_window(message)[0], facts.now + WINDOW)
    cause, origin = message.envelope.id, origin_of(b.origin)
    return tell(facts, Telling(cause, what, "money_problem", origin, values, deal(b.deal_id), together, urgent=True), people)


def invoice_refunded(message: Message[billing.InvoiceRefunded], facts: Facts) -> Asked:
    return _money_back(message, facts, "invoice_refunded", {"amount": money(message.body.refunded)})


def invoice_reopened(message: Message[billing.InvoiceReopened], facts: Facts) -> Asked:
    return _money_back(message, facts, "invoice_reopened", {"amount": money(message.body.amount_due), "reason": message.body.reason})


def payment_reversed(message: Message[billing.PaymentReversed], facts: Facts) -> Asked:
    return _money_back(message, facts, "payment_reversed", {"amount": money(message.body.amount)})


def overpaid(message: Message[billing.OverpaymentRecorded], facts: Facts) -> Asked:
    b = message.body
    values: Mapping[str, object] = {"amount": money(b.amount)}
    problem = Telling(message.envelope.id, "overpaid", "money_problem", origin_of(b.origin), values, deal(b.deal_id))
    return tell(facts, problem, facts.all(MEMBERS, FINANCE))


def unallocated(message: Message[billing.PaymentUnallocated], facts: Facts) -> Asked:
    """Finance; where a deal is behind it, also who is responsible for it (D31, D32, D58)."""
    b = message.body
    people = each_once(facts.all(MEMBERS, FINANCE), standing_in(facts, b.deal_responsible_id) if b.deal_responsible_id else [])
    values: Mapping[str, object] = {"amount": money(b.amount), "reason": b.reason}
    return tell(facts, Telling(message.envelope.id, "unallocated", "money_problem", origin_of(b.origin), values, deal(b.deal_id)), people)


def refund_unanswered(message: Message[billing.RefundUnanswered], facts: Facts) -> Asked:
    """Finance and whoever is responsible for the deal: somebody has to ask the provider (R10)."""
    b = message.body
    people = each_once(facts.all(MEMBERS, FINANCE), standing_in(facts, b.deal_responsible_id) if b.deal_responsible_id else [])
    values: Mapping[str, object] = {"amount": money(b.amount), "detail": b.detail}
    cause, origin = message.envelope.id, origin_of(b.origin)
    return tell(facts, Telling(cause, "refund_unanswered", "money_problem", origin, values, deal(b.deal_id), urgent=True), people)


# ------------------------------------------------------------------------------------------- quotes and signatures


def quote_sent(message: Message[billing.QuoteSent], facts: Facts) -> Asked:
    """The customer gets the link."""
    b = message.body
    if b.mailed and b.addressee is not None:
        values = {"number": b.number or "", "title": b.title, "amount": money(b.total)}
        yield from _link_mailed(message, facts, b.addressee, "your_quote", values, b.valid_until)


def sign_document_sent(message: Message[billing.SignDocumentSent], facts: Facts) -> Asked:
    """Every signer gets a link of his own."""
    b = message.body
    for signer in b.signers if b.mailed else ():
        yield from _link_mailed(message, facts, signer, "to_sign", {"title": b.title}, b.expires_at)


def _link_mailed(
    message: Message[Any], facts: Facts, whom: billing.Addressee, what: str, values: Mapping[str, object], until: str | None
) -> Asked:
    """One mail with one link. Whose address is gone since gets none: the responsible person has to hand the link over."""
    cause, origin, element = message.envelope.id, origin_of(message.body.origin), deal(message.body.deal_id)
    told = {**values, "name": plain(whom.name), "url": whom.url}
    address = _address_of(facts, whom)
    if address is None:
        news = Telling(f"{cause}/{id_of(whom)}", "link_not_mailed", "document", origin, told, element, urgent=True)
        yield from tell(facts, news, standing_in(facts, message.body.responsible_id))
        return
    words = said(what, whom.language, **told, seller=_seller(facts), until=_until(until, whom.language))
    responsible = facts.one(EMPLOYEES, message.body.responsible_id) if message.body.responsible_id else None
    reply_to = responsible.email if responsible is not None and responsible.active else None
    command = RequestNotice(
        request_id=None,
        channel="email",
        recipient=Recipient(whom.employee_id, address, whom.name),
        content=Content(words.text, words.title, reply_to=reply_to, language=whom.language),
        at=facts.now,
        origin=origin,
        element=element,
        importance="customer",
        topic="document",
    )
    yield Addressed(NOTICE, notice_id(cause, id_of(whom), "email"), command)


def id_of(whom: billing.Addressee) -> str:
    return whom.contact_id or whom.company_id or whom.employee_id or ""


def _address_of(facts: Facts, whom: billing.Addressee) -> str | None:
    """Raises NotYet for somebody whom billing has heard of and notifications has not."""
    if whom.employee_id is not None:
        person = facts.one(EMPLOYEES, whom.employee_id)
        addresses = None if person is None else [person.email]
    else:
        owner = facts.one(CONTACTS, whom.contact_id) if whom.contact_id else facts.one(COMPANIES, whom.company_id or "")
        addresses = None if owner is None else owner.emails
    if addresses is None:
        raise NotYet(f"{id_of(whom)} is not known to notifications yet")
    return next((address for address in addresses if is_email_address(address)), None)


def _seller(facts: Facts) -> str:
    tenant = facts.one(TENANTS, str(facts.tenant))
    return tenant.name if tenant else ""


def _until(moment: str | None, language: str) -> str:
    return said("good_until", language, day=moment[:10]).text if moment else ""


def plain(text: str) -> str:
    """What an outsider typed, on one line, without the marks that would dress a link up as something else."""
    return " ".join(text.replace("[", "(").replace("]", ")").replace("*", "").split())


def quote_accepted(message: Message[billing.QuoteAccepted], facts: Facts) -> Asked:
    return _answered(message, facts, "quote_accepted", _of_quote(message.body))


def quote_declined(message: Message[billing.QuoteDeclined], facts: Facts) -> Asked:
    return _answered(message, facts, "quote_declined", {**_of_quote(message.body), "reason": plain(message.body.reason or "")})


def _of_quote(b: billing.QuoteFact) -> Mapping[str, object]:
    return {"number": b.number or "", "title": b.title, "amount": money(b.total)}


def document_signed(message: Message[billing.SignDocumentSigned], facts: Facts) -> Asked:
    return _answered(message, facts, "document_signed", _of_document(message.body))


def document_declined(message: Message[billing.SignDocumentDeclined], facts: Facts) -> Asked:
    return _answered(message, facts, "document_declined", {**_of_document(message.body), "reason": plain(message.body.reason or "")})


def _of_document(b: billing.SignDocumentFact) -> Mapping[str, object]:
    return {"title": b.title, "signer": plain(b.signer or "")}


def _answered(message: Message[Any], facts: Facts, what: str, values: Mapping[str, object]) -> Asked:
    """The responsible person, unless it was he who recorded it."""
    b = message.body
    if b.responsible_id is not None and _did_it(message, b.responsible_id):
        return ()
    news = Telling(message.envelope.id, what, "document", origin_of(b.origin), values, deal(b.deal_id))
    return tell(facts, news, standing_in(facts, b.responsible_id))


def _quoted(message: Message[billing.QuoteSent]) -> list[billing.Addressee]:
    return [message.body.addressee] if message.body.addressee is not None else []


def _signers(message: Message[billing.SignDocumentSent]) -> list[billing.Addressee]:
    return list(message.body.signers)


def _letter(addressees: Callable[[Message[Any]], list[billing.Addressee]]) -> tuple[Need[Message[Any], Any], ...]:
    """Where the addressees can be reached, who writes to them, and who is told when that does not work."""

    def ids(name: str) -> Keys:
        return lambda message: [id for whom in addressees(message) if (id := getattr(whom, name)) is not None]

    def involved(message: Message[Any]) -> list[str]:
        return [*RESPONSIBLE(message), *ids("employee_id")(message)]

    return (
        *people(involved),
        Need(CONTACTS, ids("contact_id")),
        Need(COMPANIES, ids("company_id")),
        Need(TENANTS, _own_tenant),
    )


def _own_tenant(message: Message[Any]) -> list[str]:
    return [str(message.envelope.context.tenant)]


RESPONSIBLE = field("responsible_id")

# ---------------------------------------------------------------------------------------------------- rules and runs


FAILED = ("failed", "partial")


def failed_window(message: Message[automation.RunFact]) -> list[str]:
    """A rule and a day (C10)."""
    return [f"run-failed/{message.body.rule_id}/{message.envelope.time:%Y-%m-%d}"]


def _failed(message: Message[Any], facts: Facts, outcome: str, detail: str | None) -> Asked:
    """Collected until the sender's day is over, at most a day by our clock: his may be wrong."""
    b, started = message.body, message.envelope.time
    midnight = started.replace(hour=0, minute=0, second=0, microsecond=0) + DAY
    until = min(max(midnight, facts.now + WINDOW), facts.now + DAY)
    together = Together(failed_window(message)[0], until, mail_later=True)
    values: Mapping[str, object] = {"rule": b.rule_name, "outcome": outcome, "detail": detail or ""}
    failure = Telling(message.envelope.id, "run_failed", "run_failed", origin_of(b.origin), values, element_of(b.element), together)
    return tell(facts, failure, standing_in(facts, b.rule_owner_id))


def run_completed(message: Message[automation.RunCompleted], facts: Facts) -> Asked:
    b = message.body
    if b.outcome not in FAILED:
        return ()
    return _failed(message, facts, b.code or b.outcome, b.detail)


def run_blocked(message: Message[automation.RunBlocked], facts: Facts) -> Asked:
    return _failed(message, facts, f"blocked ({message.body.reason})", message.body.detail)


def run_missed(message: Message[automation.RunMissed], facts: Facts) -> Asked:
    return _failed(message, facts, "missed", f"{message.body.due_at} - {message.body.found_at}")


def rule_invalidated(message: Message[automation.RuleInvalidated], facts: Facts) -> Asked:
    b = message.body
    invalid = Telling(message.envelope.id, "rule_invalid", "run_failed", origin_of(b.origin), {"detail": b.detail})
    return tell(facts, invalid, standing_in(facts, b.owner_id))


def trigger_invalidated(message: Message[automation.TriggerInvalidated], facts: Facts) -> Asked:
    b = message.body
    invalid = Telling(message.envelope.id, "trigger_invalid", "run_failed", origin_of(b.origin), {"detail": b.detail})
    return tell(facts, invalid, standing_in(facts, b.owner_id))


NOT_MOVED = frozenset({"final_stage", "required_fields_missing", "target_missing", "unresolved"})


def trigger_decided(message: Message[automation.TriggerDecided], facts: Facts) -> Asked:
    """Only where somebody would have expected a move (D15, D19)."""
    b = message.body
    reason = "unresolved" if b.outcome == "unresolved" else b.reason
    if b.outcome == "moved" or reason not in NOT_MOVED:
        return ()
    decision = Telling(message.envelope.id, "not_moved", "decision", origin_of(b.origin), {"reason": reason}, element_of(b.element))
    return tell(facts, decision, standing_in(facts, first(DECIDED_FOR, message)))


DECIDED_FOR = field("responsible_id", "pipeline_owner_id")

# -------------------------------------------------------------------------------------------------------- activities


def activity_planned(message: Message[scheduler.ActivityPlanned], facts: Facts) -> Asked:
    b = message.body
    yield from _to_responsible(message, facts, "activity_yours", _when(b))
    yield from _invite(message, facts, b.invitee_ids, "REQUEST", "invitation")


def activity_rescheduled(message: Message[scheduler.ActivityRescheduled], facts: Facts) -> Asked:
    """Same entry, higher sequence; who is no longer invited gets a cancellation (D53)."""
    b = message.body
    yield from _to_responsible(message, facts, "activity_moved", _when(b))
    yield from _invite(message, facts, b.added_invitees, "REQUEST", "invitation")
    yield from _invite(message, facts, [i for i in b.invitee_ids if i not in b.added_invitees], "REQUEST", "invitation_changed")
    yield from _invite(message, facts, b.removed_invitees, "CANCEL", "invitation_withdrawn")


def activity_reassigned(message: Message[scheduler.ActivityReassigned], facts: Facts) -> Asked:
    b = message.body
    yield from _to_responsible(message, facts, "activity_yours", _when(b))
    yield from _invite(message, facts, b.invitee_ids, "REQUEST", "invitation_changed")


def activity_cancelled(message: Message[scheduler.ActivityCancelled], facts: Facts) -> Asked:
    b, activity = message.body, facts.one(ACTIVITIES, message.body.activity_id)
    if activity is None:
        return
    responsible = facts.one(EMPLOYEES, activity.responsible_id)
    if responsible is not None and responsible.active and not _did_it(message, responsible.employee_id):
        values = {"name": activity.name, "reason": b.reason}
        off = Telling(message.envelope.id, "activity_off", "activity", origin_of(b.origin), values, element_of(b.element))
        yield from tell(facts, off, [responsible])
    yield from _invite(message, facts, b.invitee_ids, "CANCEL", "invitation_withdrawn")


def activity_completed(message: Message[scheduler.ActivityCompleted], facts: Facts) -> Asked:
    """An entry in the future that is withdrawn (D50)."""
    if message.body.calendar_entry == "withdrawn":
        yield from _invite(message, facts, message.body.invitee_ids, "CANCEL", "invitation_withdrawn")


def _when(b: scheduler.ActivityFact) -> Mapping[str, object]:
    return {"name": b.name, "local": _clock(b.local), "zone": b.zone}


def _clock(local: str) -> str:
    return local.replace("T", " ")[:16]


def _did_it(message: Message[Any], employee_id: str) -> bool:
    return message.envelope.context.actor == f"user:{employee_id}"


def _to_responsible(message: Message[Any], facts: Facts, what: str, values: Mapping[str, object]) -> Asked:
    """In the feed, unless the person did it."""
    b = message.body
    if _did_it(message, b.responsible_id):
        return ()
    news = Telling(message.envelope.id, what, "activity", origin_of(b.origin), values, element_of(b.element))
    return tell(facts, news, standing_in(facts, b.responsible_id))


def _invite(message: Message[Any], facts: Facts, invitees: Sequence[str], method: Any, what: str) -> Asked:
    """An invitation, update or cancellation to each invitee with an address (S106)."""
    activity = facts.one(ACTIVITIES, message.body.activity_id)
    if activity is None:
        return
    organiser = facts.one(EMPLOYEES, activity.responsible_id)
    for invitee in (facts.one(EMPLOYEES, id) for id in invitees):
        if invitee is not None and invitee.active and invitee.email and organiser is not None:
            yield _invited(message, facts, invitee, organiser, activity, method, what)


def _invited(
    message: Message[Any], facts: Facts, invitee: Employee, organiser: Employee, activity: Activity, method: Any, what: str
) -> Addressed[Any]:
    b = message.body
    invitation = Invitation(
        method,
        b.uid,
        b.ical_sequence,
        datetime.fromisoformat(activity.starts_at),
        datetime.fromisoformat(activity.ends_at),
        activity.zone,
        activity.name,
        Person(organiser.name, organiser.email),
        activity.description,
        _location(facts, activity),
        activity.link,
    )
    values = {"name": activity.name, "organiser": organiser.name, "local": _clock(activity.local), "zone": activity.zone}
    words = said(what, invitee.language, **values)
    text = "\n\n".join(part for part in (words.text, activity.description, activity.link) if part)
    command = RequestNotice(
        request_id=None,
        channel="invitation",
        recipient=telling.recipient(invitee, "invitation"),
        content=Content(text, words.title, invitation=invitation, language=invitee.language),
        at=facts.now,
        origin=origin_of(b.origin),
        element=element_of(b.element),
        topic="activity",
    )
    return Addressed(NOTICE, notice_id(message.envelope.id, invitee.employee_id, "invitation"), command)


def _location(facts: Facts, activity: Activity) -> str | None:
    room = None if activity.room_id is None else facts.one(ROOMS, activity.room_id)
    places = [activity.address, room and room.name, room and room.location]
    return ", ".join(place for place in places if place) or None


def reminder_due(message: Message[scheduler.ActivityReminderDue], facts: Facts) -> Asked:
    b = message.body
    values: Mapping[str, object] = {"name": b.name, "minutes": b.minutes_before}
    soon = Telling(
        message.envelope.id, "reminder", "activity", origin_of(b.origin), values, element_of(b.element), message_class="reminder"
    )
    return tell(facts, soon, standing_in(facts, b.responsible_id))


def room_conflict(message: Message[scheduler.RoomConflict], facts: Facts) -> Asked:
    b, activity = message.body, facts.one(ACTIVITIES, message.body.activity_id)
    local, zone = (b.starts_at, "UTC") if activity is None else (activity.local, activity.zone)
    values: Mapping[str, object] = {"local": _clock(local), "zone": zone}
    return tell(
        facts, Telling(message.envelope.id, "room_conflict", "activity", origin_of(b.origin), values), standing_in(facts, b.organiser_id)
    )


def _involved(message: Message[Any]) -> list[str]:
    b = message.body
    removed = getattr(b, "removed_invitees", ())
    return [*([b.responsible_id] if hasattr(b, "responsible_id") else []), *b.invitee_ids, *removed]


def _activity(message: Message[Any]) -> list[str]:
    return [message.body.activity_id]


def _responsible_of(activity: Activity) -> list[str]:
    return [activity.responsible_id]


def _room_of(activity: Activity) -> list[str]:
    return [activity.room_id] if activity.room_id else []


OF_ACTIVITY: tuple[Need[Message[Any], Any], ...] = (
    *people(_involved),
    Need(
        ACTIVITIES,
        _activity,
        then=(Need(EMPLOYEES, _responsible_of, then=WISHES), Need(ROOMS, _room_of)),
    ),
)

# ------------------------------------------------------------------------------------------------------------ wiring


def _files(message: Message[notifications.SendEmail]) -> Sequence[str]:
    return message.body.attachment_ids


WINDOW_OF_PAYMENT: Need[Message[Any], Any] = Need(views.WINDOWS, paid_window)
WINDOW_OF_MONEY_BACK: Need[Message[Any], Any] = Need(views.WINDOWS, back_window)
WINDOW_OF_RULE: Need[Message[Any], Any] = Need(views.WINDOWS, failed_window)
MONEY_BACK = (*people(RESPONSIBLE_FOR_DEAL, FINANCE), WINDOW_OF_MONEY_BACK)
RUN_FAILED = (*people(field("rule_owner_id")), WINDOW_OF_RULE)


def _owner_of_failed(message: Message[automation.RunCompleted]) -> list[str]:
    """Most runs succeed, and then there is nobody to look up."""
    return [message.body.rule_owner_id] if message.body.outcome in FAILED else []


SUBSCRIPTIONS: tuple[Subscription[Any], ...] = (
    Subscription(
        notifications.Notify,
        notify,
        (*people(field("employee_id")), Need(MEMBERS, _notified_role, then=WISHES), Need(views.WINDOWS, _merged_with)),
    ),
    Subscription(notifications.SendEmail, send_email, (Need(EMPLOYEES, field("from_employee_id")), Need(FILES, _files))),
    Subscription(notifications.SendSms, send_sms),
    Subscription(notifications.SendInvitation, send_invitation, (Need(EMPLOYEES, field("organiser_employee_id")),)),
    Subscription(notifications.DeliverWebhook, deliver_webhook),
    Subscription(notifications.WebhookEndpointDisabled, endpoint_disabled, people(field("owner_id"))),
    Subscription(billing.InvoicePaid, invoice_paid, (*people(RESPONSIBLE_FOR_INVOICE, FINANCE), WINDOW_OF_PAYMENT)),
    Subscription(billing.InvoiceRefunded, invoice_refunded, MONEY_BACK),
    Subscription(billing.InvoiceReopened, invoice_reopened, MONEY_BACK),
    Subscription(billing.PaymentReversed, payment_reversed, MONEY_BACK),
    Subscription(billing.OverpaymentRecorded, overpaid, people(nobody, FINANCE)),
    Subscription(billing.PaymentUnallocated, unallocated, people(RESPONSIBLE_FOR_DEAL, FINANCE)),
    Subscription(billing.RefundUnanswered, refund_unanswered, people(RESPONSIBLE_FOR_DEAL, FINANCE)),
    Subscription(billing.QuoteSent, quote_sent, _letter(_quoted)),
    Subscription(billing.QuoteAccepted, quote_accepted, people(RESPONSIBLE)),
    Subscription(billing.QuoteDeclined, quote_declined, people(RESPONSIBLE)),
    Subscription(billing.SignDocumentSent, sign_document_sent, _letter(_signers)),
    Subscription(billing.SignDocumentSigned, document_signed, people(RESPONSIBLE)),
    Subscription(billing.SignDocumentDeclined, document_declined, people(RESPONSIBLE)),
    Subscription(automation.RunCompleted, run_completed, (*people(_owner_of_failed), WINDOW_OF_RULE)),
    Subscription(automation.RunBlocked, run_blocked, RUN_FAILED),
    Subscription(automation.RunMissed, run_missed, RUN_FAILED),
    Subscription(automation.RuleInvalidated, rule_invalidated, people(field("owner_id"))),
    Subscription(automation.TriggerInvalidated, trigger_invalidated, people(field("owner_id"))),
    Subscription(automation.TriggerDecided, trigger_decided, people(DECIDED_FOR)),
    Subscription(scheduler.ActivityPlanned, activity_planned, OF_ACTIVITY),
    Subscription(scheduler.ActivityRescheduled, activity_rescheduled, OF_ACTIVITY),
    Subscription(scheduler.ActivityReassigned, activity_reassigned, OF_ACTIVITY),
    Subscription(scheduler.ActivityCancelled, activity_cancelled, OF_ACTIVITY),
    Subscription(scheduler.ActivityCompleted, activity_completed, OF_ACTIVITY),
    Subscription(scheduler.ActivityReminderDue, reminder_due, people(field("responsible_id"))),
    Subscription(scheduler.RoomConflict, room_conflict, (*people(field("organiser_id")), Need(ACTIVITIES, _activity))),
)
