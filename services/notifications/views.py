"""Tables of notifications' own streams, their rows, and the finders over them. (notifications 10)

The feed is the part of `notices` whose channel is in_app; the queue of what is to be sent are the kit's effects."""

from __future__ import annotations

from dataclasses import asdict
from datetime import time
from typing import Any

from sqlalchemy import JSON, Boolean, Column, DateTime, Index, Integer, Text, text

from services.notifications.domain.delivery import Delivery
from services.notifications.domain.endpoint import Endpoint
from services.notifications.domain.notice import Notice
from services.notifications.domain.preferences import Preferences, Quiet
from shared.es.recorded import Recorded
from shared.es.view import Row, SqlFinder, StateView, by_column, state_table


def _instant(name: str, *, nullable: bool = True) -> Column[Any]:
    return Column(name, DateTime(timezone=True), nullable=nullable)


# ----------------------------------------------------------------------------------------------------------- notices

NOTICES_TABLE = state_table(
    "notices_v1",
    Column("channel", Text, nullable=False),
    Column("status", Text, nullable=False),
    Column("employee_id", Text),
    Column("address", Text),
    Column("topic", Text, nullable=False),
    Column("importance", Text, nullable=False),
    Column("message_class", Text, nullable=False),
    Column("urgent", Boolean, nullable=False),
    Column("subject", Text),
    Column("body_text", Text, nullable=False),
    Column("body_html", Text),
    Column("element_type", Text),
    Column("element_id", Text),
    _instant("held_until"),
    Column("window_key", Text),
    _instant("window_until"),
    Column("number", Integer, nullable=False),
    Column("attempts", Integer, nullable=False),
    Column("message_id", Text),
    Column("code", Text),
    Column("detail", Text),
    Column("sandbox", Boolean, nullable=False),
    _instant("created_at", nullable=False),
    _instant("sent_at"),
    _instant("read_at"),
    Column("correlation_id", Text, nullable=False),
    Column("causation_id", Text, nullable=False),
    Column("hops", Integer, nullable=False),
    Column("actor", Text, nullable=False),
    Column("traceparent", Text),
    Index("notices_v1_created", "tenant", "created_at", "id"),
    Index("notices_v1_feed", "tenant", "employee_id", "created_at", postgresql_where=text("channel = 'in_app'")),
    Index("notices_v1_element", "tenant", "element_id", "created_at"),
    Index("notices_v1_window", "tenant", "window_key", postgresql_where=text("window_key is not null")),
    Index("notices_v1_held", "held_until", postgresql_where=text("status = 'held'")),
)


def notice_row(notice: Notice) -> dict[str, Any]:
    """Also what the HTTP API shows of a notice."""
    element, window, content = notice.element, notice.window, notice.content
    return {
        "channel": notice.channel,
        "status": notice.status,
        "employee_id": notice.recipient.employee_id,
        "address": notice.recipient.address,
        "topic": notice.topic,
        "importance": notice.importance,
        "message_class": notice.message_class,
        "urgent": notice.urgent,
        "subject": content.subject,
        "body_text": content.text,
        "body_html": content.html,
        "element_type": element and element.element_type,
        "element_id": element and element.element_id,
        "held_until": notice.held_until if notice.status == "held" else None,
        "window_key": window and window.key,
        "window_until": window and window.until,
        "number": notice.count,
        "attempts": notice.attempts,
        "message_id": notice.message_id,
        "code": notice.code,
        "detail": notice.detail,
        "sandbox": notice.sandbox,
        "created_at": notice.created_at,
        "sent_at": notice.sent_at,
        "read_at": notice.read_at,
    }


def sending_of(notice: Notice, id: str) -> dict[str, Any]:
    """What a channel is handed of a notice."""
    content, invitation = notice.content, notice.content.invitation
    return {
        "notice_id": id,
        "round": notice.round,
        "to": notice.recipient.address,
        "name": notice.recipient.name,
        "subject": content.subject,
        "text": content.text,
        "html": content.html,
        "sender": None if content.sender is None else asdict(content.sender),
        "reply_to": content.reply_to,
        "importance": notice.importance,
        "attachments": [asdict(attachment) for attachment in content.attachments],
        "invitation": None if invitation is None else _plain(asdict(invitation)),
    }


def _plain(fields: dict[str, Any]) -> dict[str, Any]:
    return fields | {"starts_at": fields["starts_at"].isoformat(), "ends_at": fields["ends_at"].isoformat()}


def _notice(notice: Notice, recorded: Recorded[Any]) -> Row:
    c = recorded.context
    chain = {"correlation_id": c.correlation_id, "causation_id": str(recorded.id), "hops": c.hops}
    return {**notice_row(notice), **chain, "actor": c.actor, "traceparent": c.traceparent}


NOTICES: StateView[Notice] = StateView(NOTICES_TABLE, _notice)


def _itself(row: Row) -> Row:
    return row


WINDOWS: SqlFinder[Row] = by_column("windows", NOTICES_TABLE, "window_key", _itself, order="t.created_at desc, t.id")
"""Notices with this window key, the newest first; whether the window is still open is asked with the batch's clock."""

HELD_FOR: SqlFinder[Row] = by_column(
    "held for an employee", NOTICES_TABLE, "employee_id", _itself, where="t.status = 'held' and t.window_key is not null"
)

_HELD = """
select n.tenant, n.id, n.version, n.held_until, n.correlation_id, n.causation_id, n.hops, n.actor, n.traceparent,
       coalesce((select e.active from employees_v1 e where e.tenant = n.tenant and e.id = n.employee_id), true) as active
"""
_NOT_BLOCKED = """
  and not exists (select 1 from blocked b where b.consumer = 'held notices' and b.key = n.tenant::text || '/' || n.id
                                            and (b.next_at is null or b.next_at > $1::timestamptz))
order by n.held_until, n.id limit $2 for update of n skip locked
"""
_OWN_CLOCK = "exists (select 1 from rehearsal_clocks_v1 c where c.tenant = n.tenant)"
_REHEARSED = "rehearsal_clocks_v1 own join notices_v1 n on n.tenant = own.tenant and n.held_until <= own.stands_at"
HELD_DUE = f"""{_HELD}
from notices_v1 n
where n.status = 'held' and n.held_until <= $1::timestamptz and not {_OWN_CLOCK} {_NOT_BLOCKED}
"""
REHEARSED_DUE = f"""{_HELD}
from {_REHEARSED}
where n.status = 'held' {_NOT_BLOCKED}
"""
"""Of rehearsals whose clock was moved: there that one counts."""
NEXT_HELD = f"""
select (select n.held_until from notices_v1 n where n.status = 'held' and not {_OWN_CLOCK} order by n.held_until limit 1) as held_until,
       exists (select 1 from {_REHEARSED} where n.status = 'held') as rehearsed
"""
"""When the next one is to be released by the service's clock, and whether a rehearsal's clock has passed one of its own."""
DUE = """
select count(*) from notices_v1 n where n.status = 'held' and ($1::uuid is null or n.tenant = $1)
   and n.held_until <= coalesce((select c.stands_at from rehearsal_clocks_v1 c where c.tenant = n.tenant), clock_timestamp())
"""
"""How many are about to be released. $1 tenant, null: all"""

# ------------------------------------------------------------------------------------------------------- preferences

PREFERENCES_TABLE = state_table(
    "preferences_v1",
    Column("channels", JSON, nullable=False),
    Column("quiet_hours", JSON, nullable=False),
    Column("digest", Text),
)


def preferences_row(preferences: Preferences) -> dict[str, Any]:
    """Also what the HTTP API shows."""
    digest = preferences.digest
    return {
        "channels": {topic: list(channels) for topic, channels in preferences.channels.items()},
        "quiet_hours": [{"starts": f"{q.starts:%H:%M}", "ends": f"{q.ends:%H:%M}"} for q in preferences.quiet_hours],
        "digest": None if digest is None else f"{digest:%H:%M}",
    }


PREFERENCES: StateView[Preferences] = StateView(PREFERENCES_TABLE, lambda preferences, recorded: preferences_row(preferences))


def _preferences(row: Row) -> Preferences:
    quiet = tuple(Quiet(time.fromisoformat(q["starts"]), time.fromisoformat(q["ends"])) for q in row["quiet_hours"])
    digest = None if row["digest"] is None else time.fromisoformat(row["digest"])
    return Preferences({topic: tuple(channels) for topic, channels in row["channels"].items()}, quiet, digest)


PREFERENCES_OF: SqlFinder[Preferences] = by_column("preferences of an employee", PREFERENCES_TABLE, "id", _preferences)

# ---------------------------------------------------------------------------------------------------------- webhooks

ENDPOINTS_TABLE = state_table(
    "webhook_endpoints_v1",
    Column("url", Text, nullable=False),
    Column("status", Text, nullable=False),
    Column("reason", Text),
    Column("purpose", Text, nullable=False),
    Column("owner_id", Text, nullable=False),
    Column("description", Text, nullable=False),
    Column("secret_number", Integer, nullable=False),
    Index("webhook_endpoints_v1_status", "tenant", "status"),
)


def endpoint_row(endpoint: Endpoint) -> dict[str, Any]:
    """Also what the HTTP API shows of an endpoint."""
    return {
        "url": endpoint.url,
        "status": endpoint.status,
        "reason": endpoint.reason,
        "purpose": endpoint.purpose,
        "owner_id": endpoint.owner_id,
        "description": endpoint.description,
        "secret_number": endpoint.secret_number,
    }


ENDPOINTS: StateView[Endpoint] = StateView(ENDPOINTS_TABLE, lambda endpoint, recorded: endpoint_row(endpoint))
ENDPOINTS_THERE: SqlFinder[Row] = SqlFinder(
    "endpoints of a tenant",
    """
    select w.tenant, w.key, e.id from unnest($1::uuid[], $2::text[]) as w(tenant, key)
    join webhook_endpoints_v1 e on e.tenant = w.tenant and e.status <> 'deleted'
    """,
    _itself,
)

DELIVERIES_TABLE = state_table(
    "webhook_deliveries_v1",
    Column("endpoint_id", Text, nullable=False),
    Column("status", Text, nullable=False),
    Column("event_name", Text, nullable=False),
    Column("url", Text, nullable=False),
    Column("body", Text, nullable=False),
    Column("element_type", Text),
    Column("element_id", Text),
    Column("attempts", Integer, nullable=False),
    Column("response_status", Integer),
    Column("code", Text),
    Column("detail", Text),
    _instant("created_at", nullable=False),
    _instant("ended_at"),
    Index("webhook_deliveries_v1_endpoint", "tenant", "endpoint_id", "created_at"),
)


def delivery_row(delivery: Delivery) -> dict[str, Any]:
    """Also what the HTTP API shows of a delivery."""
    element = delivery.element
    return {
        "endpoint_id": delivery.endpoint_id,
        "status": delivery.status,
        "event_name": delivery.event_name,
        "url": delivery.url,
        "body": delivery.body,
        "element_type": element and element.element_type,
        "element_id": element and element.element_id,
        "attempts": delivery.attempts,
        "response_status": delivery.response_status,
        "code": delivery.code,
        "detail": delivery.detail,
        "created_at": delivery.created_at,
        "ended_at": delivery.ended_at,
    }


DELIVERIES: StateView[Delivery] = StateView(DELIVERIES_TABLE, lambda delivery, recorded: delivery_row(delivery))
