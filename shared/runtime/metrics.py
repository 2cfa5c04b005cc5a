"""All metrics, as one typed list; each says what to do when it moves (ecosystem O1-O3, architecture B.9).

Updates are counted per batch, not per row. Never an id of a tenant, deal or event as a label."""

from __future__ import annotations

from collections import Counter as Tally
from collections.abc import Container, Iterable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

import prometheus_client as prometheus
from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, ProcessCollector

if TYPE_CHECKING:
    from shared.messaging.batch import Result

prometheus.disable_created_metrics()  # type: ignore[no-untyped-call]

REGISTRY = CollectorRegistry(auto_describe=False)
ProcessCollector(registry=REGISTRY)

FAST = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0)
LATE = (0.01, 0.05, 0.1, 0.5, 1.0, 5.0, 15.0, 60.0, 300.0, 3600.0)
METHODS = frozenset({"GET", "POST", "PUT", "PATCH", "DELETE", "HEAD", "OPTIONS"})
SIZES = (1, 2, 5, 10, 20, 50, 100, 200, 500)


@dataclass(frozen=True, slots=True)
class Metric:
    """`remedy`: what to do when it moves. `buckets` are upper bounds of a histogram."""

    name: str
    kind: Literal["counter", "gauge", "histogram"]
    labels: tuple[str, ...]
    remedy: str
    buckets: tuple[float, ...] = FAST


METRICS: tuple[Metric, ...] = (
    # HTTP and Kafka, as everybody names them (O1)
    Metric("http_server_request_duration_seconds", "histogram", ("method", "route", "status"), "Slow or 5xx: read batch_seconds, logs."),
    Metric("http_server_active_requests", "gauge", (), "Near the limit of 1,000: requests pile up behind a slow commit."),
    Metric("messaging_client_sent_messages_total", "counter", ("topic",), "Flat while the outbox grows: the broker is away."),
    Metric("messaging_client_consumed_messages_total", "counter", ("topic", "group"), "Flat with lag: read consumer_silent_seconds."),
    Metric("messaging_client_operation_duration_seconds", "histogram", ("operation",), "Rising: the broker or the network is slow."),
    Metric("messaging_process_duration_seconds", "histogram", ("group",), "Rising: read batch_seconds of the door."),
    # lag (O2)
    Metric("kafka_consumergroup_group_lag", "gauge", ("group", "topic", "partition"), "Rising in one: a hot key; in all: capacity."),
    Metric("kafka_consumergroup_group_lag_seconds", "gauge", ("group", "topic", "partition"), "Above 60 for 5 min: add replicas."),
    Metric("kafka_consumergroup_group_max_lag", "gauge", ("group",), "The worst partition, in records."),
    Metric("kafka_consumergroup_group_max_lag_seconds", "gauge", ("group",), "The worst partition, in seconds: what people notice."),
    Metric("kafka_consumergroup_group_sum_lag", "gauge", ("group", "topic"), "All partitions, in records."),
    Metric("kafka_consumergroup_group_offset", "gauge", ("group", "topic", "partition"), "Unmoved with lag: the consumer is stuck."),
    Metric("kafka_partition_latest_offset", "gauge", ("topic", "partition"), "Unmoved while its publisher works: read its outbox."),
    # outbox and relay
    Metric("outbox_pending", "gauge", (), "Relay or broker is stuck: read the relay's last error."),
    Metric("outbox_oldest_pending_seconds", "gauge", (), "Above 30: as above; others do not hear us."),
    Metric("relay_published_total", "counter", ("topic",), "Flat while the outbox grows: a row that cannot be sent stops the relay."),
    # inbox, consumers, parking
    Metric("inbox_duplicates_total", "counter", ("consumer",), "A burst is normal; steady growth: offsets are not being committed."),
    Metric("consumer_handled_total", "counter", ("group", "type", "outcome"), "Refused rising: a sender changed."),
    Metric("consumer_silent_seconds", "gauge", ("group",), "Silence with lag: the watchdog should have rebuilt the consumer."),
    Metric("dead_letters_total", "counter", ("topic", "group", "reason"), "Look at the last deploy and the newest producer."),
    Metric("dead_letters_open", "gauge", (), "Keys that wait for a person: replay or discard."),
    Metric("parked_messages", "gauge", (), "Messages queued in parked keys: replay or discard."),
    Metric("quarantined_total", "counter", ("topic",), "Somebody publishes what is not an envelope."),
    # the batch
    Metric("batch_items", "histogram", ("door",), "Near 1 under load: batching is broken.", SIZES),
    Metric("batch_seconds", "histogram", ("door", "part"), "The part that grew says where to look."),
    Metric("batch_splits_total", "counter", ("door", "reason"), "The database refuses something: the parked item that follows names it."),
    Metric("batch_redecided_total", "counter", ("door",), "Something is poison, or two doors fight over one stream."),
    Metric("append_conflicts_total", "counter", ("aggregate",), "Two doors fight over one stream."),
    # effects, rebuilds, replicas
    Metric("effects_total", "counter", ("kind", "outcome"), "Failed rising: the mail server, provider or endpoint is in trouble."),
    Metric("effects_unknown", "gauge", ("kind",), "A crash between doing and recording: the kind's policy decides, or a person."),
    Metric("rebuild_streams_total", "counter", ("view",), "Progress of a rebuild."),
    Metric("projection_lag_seconds", "gauge", ("topic",), "A replica is behind its source.", LATE),
    # the services' own business
    Metric("automation_evaluations_total", "counter", ("rule_id", "outcome"), "fired drops to zero: open the rule's why page."),
    Metric("timer_fire_delay_seconds", "histogram", (), "Scheduler short of capacity, or the database clock jumped.", LATE),
    Metric("timers_pending", "gauge", (), "Grows without end: timers are set faster than they come due."),
    Metric("webhook_attempts_total", "counter", ("outcome",), "An endpoint is failing."),
    Metric("invoice_total", "counter", ("status",), "Business sanity: invoices stop while deals move."),
)

_NAMED = {metric.name: metric for metric in METRICS}


def counter(name: str) -> Counter:
    metric = _NAMED[name]
    return Counter(name, metric.remedy, metric.labels, registry=REGISTRY)


def gauge(name: str) -> Gauge:
    metric = _NAMED[name]
    return Gauge(name, metric.remedy, metric.labels, registry=REGISTRY)


def histogram(name: str) -> Histogram:
    metric = _NAMED[name]
    return Histogram(name, metric.remedy, metric.labels, registry=REGISTRY, buckets=metric.buckets)


HTTP_SECONDS = histogram("http_server_request_duration_seconds")
HTTP_ACTIVE = gauge("http_server_active_requests")
SENT = counter("messaging_client_sent_messages_total")
CONSUMED = counter("messaging_client_consumed_messages_total")
OPERATION_SECONDS = histogram("messaging_client_operation_duration_seconds")
PROCESS_SECONDS = histogram("messaging_process_duration_seconds")
LAG = gauge("kafka_consumergroup_group_lag")
LAG_SECONDS = gauge("kafka_consumergroup_group_lag_seconds")
MAX_LAG = gauge("kafka_consumergroup_group_max_lag")
MAX_LAG_SECONDS = gauge("kafka_consumergroup_group_max_lag_seconds")
SUM_LAG = gauge("kafka_consumergroup_group_sum_lag")
GROUP_OFFSET = gauge("kafka_consumergroup_group_offset")
LATEST_OFFSET = gauge("kafka_partition_latest_offset")
OUTBOX_PENDING = gauge("outbox_pending")
OUTBOX_OLDEST_SECONDS = gauge("outbox_oldest_pending_seconds")
RELAY_PUBLISHED = counter("relay_published_total")
INBOX_DUPLICATES = counter("inbox_duplicates_total")
CONSUMER_HANDLED = counter("consumer_handled_total")
CONSUMER_SILENT_SECONDS = gauge("consumer_silent_seconds")
DEAD_LETTERS = counter("dead_letters_total")
DEAD_LETTERS_OPEN = gauge("dead_letters_open")
PARKED_MESSAGES = gauge("parked_messages")
QUARANTINED = counter("quarantined_total")
BATCH_ITEMS = histogram("batch_items")
BATCH_SECONDS = histogram("batch_seconds")
BATCH_SPLITS = counter("batch_splits_total")
BATCH_REDECIDED = counter("batch_redecided_total")
APPEND_CONFLICTS = counter("append_conflicts_total")
EFFECTS = counter("effects_total")
EFFECTS_UNKNOWN = gauge("effects_unknown")
REBUILD_STREAMS = counter("rebuild_streams_total")
PROJECTION_LAG_SECONDS = gauge("projection_lag_seconds")
AUTOMATION_EVALUATIONS = counter("automation_evaluations_total")
TIMER_FIRE_DELAY_SECONDS = histogram("timer_fire_delay_seconds")
TIMERS_PENDING = gauge("timers_pending")
WEBHOOK_ATTEMPTS = counter("webhook_attempts_total")
INVOICES = counter("invoice_total")


def exposition() -> bytes:
    """Everything in Prometheus' text format."""
    return prometheus.generate_latest(REGISTRY)


def batch_handled(door: str, items: int, seconds: float) -> None:
    """One batch of a door, from taking its items to their answers."""
    BATCH_ITEMS.labels(door).observe(items)
    BATCH_SECONDS.labels(door, "whole").observe(seconds)


def batch_part(door: str, part: str, seconds: float) -> None:
    """One part of a batch: claim, find, load, decide, write or commit."""
    BATCH_SECONDS.labels(door, part).observe(seconds)


def split(door: str, reason: str) -> None:
    """A batch that the database refused goes on in halves."""
    BATCH_SPLITS.labels(door, reason).inc()


def redecided(door: str) -> None:
    """A batch that met a conflict is decided again."""
    BATCH_REDECIDED.labels(door).inc()


def duplicates(consumer: str, number: int) -> None:
    if number:
        INBOX_DUPLICATES.labels(consumer).inc(number)


def handled(consumer: str, results: Sequence[Result], known: Container[str]) -> None:
    """A type that is not among the `known` ones is no label: senders do not choose our labels."""
    tally = Tally((_label(getattr(result.item.asks, "type", ""), known), result.outcome) for result in results)
    for (kind, outcome), number in tally.items():
        CONSUMER_HANDLED.labels(consumer, kind, outcome).inc(number)


def _label(type: str, known: Container[str]) -> str:
    return type if type in known else "unrouted"


def ignored(consumer: str, type: str) -> None:
    """A type that no route is for."""
    CONSUMER_HANDLED.labels(consumer, "unrouted", "ignored").inc()


def parked(consumer: str, messages: Iterable[tuple[str, str]]) -> None:
    """Topic and reason of each message parked."""
    for (topic, reason), number in Tally(messages).items():
        DEAD_LETTERS.labels(topic, consumer, reason).inc(number)


def quarantined(topics: Iterable[str]) -> None:
    for topic, number in Tally(topics).items():
        QUARANTINED.labels(topic).inc(number)


def effect(kind: str, outcome: str) -> None:
    EFFECTS.labels(kind, outcome).inc()


def published(topic: str, number: int) -> None:
    """Outbox rows that the broker acknowledged."""
    RELAY_PUBLISHED.labels(topic).inc(number)
    SENT.labels(topic).inc(number)


def consumed(group: str, topics: Iterable[str], seconds: float) -> None:
    """One batch of a consumer, handled in this time."""
    for topic, number in Tally(topics).items():
        CONSUMED.labels(topic, group).inc(number)
    PROCESS_SECONDS.labels(group).observe(seconds)


_HTTP: dict[tuple[str, str, int], Any] = {}


def http_answered(method: str, route: str, status: int, seconds: float) -> None:
    """One request. `route` is the template, never the path."""
    series = _HTTP.get((method, route, status))
    if series is None:
        series = _HTTP[method, route, status] = HTTP_SECONDS.labels(method if method in METHODS else "OTHER", route, str(status))
    series.observe(seconds)
