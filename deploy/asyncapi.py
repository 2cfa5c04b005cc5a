"""AsyncAPI 3 from the contracts, the declared topics and what each service really subscribes to (E10)."""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Iterable, Mapping
from functools import cache
from importlib import import_module
from inspect import getdoc
from pathlib import Path
from typing import Any

from deploy.compatibility import Json
from deploy.openapi import SERVICES, wired
from deploy.published import API, EXAMPLES, WithoutTitles, closed
from shared.contracts import ALL
from shared.messaging.contract import Contract
from shared.messaging.topics import Topic, declared
from shared.runtime.service import Service

BINDING = {"bindingVersion": "0.5.0"}
REF = "#/components/schemas/"
Used = Mapping[tuple[str, str], frozenset[type[Contract]]]
"""(action, topic) -> the messages a service sends or receives there."""

ATTRIBUTES = {
    "content-type": "This is datacontenttype; application/cloudevents+json announces structured mode.",
    "ce_specversion": "1.0",
    "ce_id": "Unique per source; the deduplication key.",
    "ce_source": "urn:dealwright:<service>, or a foreign producer's own URI.",
    "ce_type": "The name of the message.",
    "ce_subject": "<aggregate>/<id> of who speaks.",
    "ce_time": "Time of the event, RFC 3339 UTC with milliseconds.",
    "ce_partitionkey": "Same text as the record key.",
    "ce_tenantid": "The tenant, a UUID.",
    "ce_correlationid": "Id of the whole causal chain; the message's own id if left out.",
    "ce_causationid": "Id of the message or request that led here; the message's own id if left out.",
    "ce_sequence": "Version of the publishing stream, decimal.",
    "ce_hops": "Messages in the chain so far, decimal.",
    "ce_actor": "In whose name: user:<employee id>, key:<client id>, system.",
    "traceparent": "W3C trace context of this hop.",
}
REQUIRED = ["content-type", "ce_specversion", "ce_id", "ce_source", "ce_type", "ce_tenantid"]
DEAD_LETTER = {
    "name": "DeadLetter",
    "summary": "A copy of a message that was parked: original key, value and headers, plus dlq_ headers saying where, why and how often.",
    "headers": {
        "type": "object",
        "properties": {
            f"dlq_{name}": {"type": "string"}
            for name in (
                "original_topic original_partition original_offset original_timestamp group attempts reason error_class error_message"
                " first_failed_at last_failed_at replay_count service_version"
            ).split()
        },
    },
    "payload": {},
}


@cache
def used(service: str) -> Used:
    """What a service says, is asked and hears, from its wiring."""
    wiring: Service = import_module(f"services.{service}.service").SERVICE
    heard = [s.contract for s in wiring.subscriptions] + [c for replica in wiring.replicas for c in replica.hears]
    found: dict[tuple[str, str], set[type[Contract]]] = defaultdict(set)
    for contract in heard:
        found["receive", contract.topic].add(contract)
    found["send", f"{service}.events"] = {contract for contract in ALL if contract.topic == f"{service}.events"}
    return {place: frozenset(contracts) for place, contracts in found.items()}


def document(title: str, services: Iterable[str]) -> Json:
    """One AsyncAPI document: the channels these services send and receive on, and nothing else."""
    operations = {service: used(service) for service in services}
    on_topic: dict[str, set[type[Contract]]] = defaultdict(set)
    for places in operations.values():
        for (_, topic), there in places.items():
            on_topic[topic] |= there
    contracts = sorted({contract for there in on_topic.values() for contract in there}, key=lambda c: c.type)
    topics = {topic.name: topic for topic in declared(SERVICES)}
    return {
        "asyncapi": "3.0.0",
        "info": {
            "title": title,
            "version": "1.0.0",
            "description": "CloudEvents 1.0 over the Kafka binding, binary mode; structured is understood. Keys are hashed with murmur2.",
            "license": {"name": "Apache-2.0"},
        },
        "defaultContentType": "application/json",
        "channels": {name: channel(topics[name], on_topic[name]) for name in sorted(on_topic)}
        | {f"{service}.dlq": dead_letters(topics[f"{service}.dlq"]) for service in operations},
        "operations": {k: v for service, places in operations.items() for k, v in operations_of(service, places).items()},
        "components": {
            "messages": {c.type: message(c) for c in contracts} | {"DeadLetter": DEAD_LETTER},
            "schemas": {"Headers": headers()} | schemas(contracts),
        },
    }


def channel(topic: Topic, contracts: Iterable[type[Contract]]) -> Json:
    names = sorted(contract.type for contract in contracts)
    whole = _channel(topic, {name: {"$ref": f"#/components/messages/{name}"} for name in names})
    return whole | ({"description": foreign()[topic.name]} if topic.name in foreign() else {})


@cache
def foreign() -> dict[str, str]:
    """By topic: what becomes of messages of types that are none of ours, where something does."""
    others = [import_module(f"services.{service}.service").SERVICE.others for service in SERVICES]
    return {one.contract.topic: getdoc(one.contract) or "" for one in others if one is not None}


def dead_letters(topic: Topic) -> Json:
    return _channel(topic, {"DeadLetter": {"$ref": "#/components/messages/DeadLetter"}})


def _channel(topic: Topic, messages: Json) -> Json:
    config = topic.config(copies=3)
    return {
        "address": topic.name,
        "messages": messages,
        "bindings": {
            "kafka": {
                "topic": topic.name,
                "partitions": topic.partitions,
                "topicConfiguration": {
                    "cleanup.policy": [config["cleanup.policy"]],
                    "retention.ms": int(config["retention.ms"]),
                    "max.message.bytes": int(config["max.message.bytes"]),
                },
                **BINDING,
            }
        },
    }


def operations_of(service: str, places: Used) -> Json:
    found: Json = {}
    for (action, topic), contracts in sorted(places.items()):
        names = sorted(contract.type for contract in contracts)
        group: Json = {"bindings": {"kafka": {"groupId": {"type": "string", "enum": [service]}, **BINDING}}} if action == "receive" else {}
        found[f"{service}.{action}.{topic}"] = _operation(action, topic, names) | group
    found[f"{service}.send.{service}.dlq"] = _operation("send", f"{service}.dlq", ["DeadLetter"])
    return found


def _operation(action: str, topic: str, names: list[str]) -> Json:
    channel_ref = f"#/channels/{topic}"
    return {"action": action, "channel": {"$ref": channel_ref}, "messages": [{"$ref": f"{channel_ref}/messages/{name}"} for name in names]}


def message(contract: type[Contract]) -> Json:
    example = json.loads((EXAMPLES / f"{contract.type}.json").read_text())
    described, _, _ = (contract.__doc__ or "").partition("\n\n")
    key = {"type": "string", "description": " else ".join(contract.key)}
    return {
        "name": contract.type,
        "title": contract.__name__,
        "summary": described.replace("\n    ", " "),
        "contentType": "application/json",
        "headers": {"$ref": f"{REF}Headers"},
        "payload": {"$ref": f"{REF}{contract.type}"},
        "bindings": {"kafka": {"key": key, **BINDING}},
        "examples": [{"headers": example["headers"], "payload": example["value"]}],
    }


def headers() -> Json:
    properties = {name: {"type": "string", "description": said} for name, said in ATTRIBUTES.items()}
    return {"type": "object", "properties": properties, "required": REQUIRED}


def schemas(contracts: Iterable[type[Contract]]) -> Json:
    """Bodies by type and parts by name, at the document's root, where references are resolved.

    Raises ValueError when two different parts have one name."""
    found: Json = {}
    for contract in contracts:
        body: Any = closed(contract.model_json_schema(ref_template=REF + "{model}", schema_generator=WithoutTitles))
        for name, part in {**body.pop("$defs", {}), contract.type: body}.items():
            if found.setdefault(name, part) != part:
                raise ValueError(f"two different parts of contracts are called {name}")
    return dict(sorted(found.items()))


def document_files() -> dict[Path, Json]:
    services = wired()
    files = {API / f"asyncapi-{service}.json": document(f"Dealwright {service}", [service]) for service in services}
    return {**files, API / "asyncapi.json": document("Dealwright", services)}
