"""An operator's chores on the running stack: topics, a look into one, a causal chain over all services."""

from __future__ import annotations

import asyncio
import contextlib
import json
import sys
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any

from deploy.local.network import LOOPBACK
from deploy.local.problems import StackProblem
from deploy.local.services import fetched
from deploy.local.stack import SERVICES, yours_from_environment
from deploy.local.state import State
from shared.es.errors import Unavailable
from shared.messaging import kafka
from shared.messaging.records import KafkaRecord
from shared.messaging.topics import declared

Say = Callable[[str], None]


def bootstrap_of(state: State) -> str:
    """Yours, else the embedded one. Raises StackProblem."""
    if own := yours_from_environment().bootstrap:
        return own
    if not state.exists():
        raise StackProblem("The stack is not there: `make up`.")
    return f"{LOOPBACK}:{state.ports()['kafka']}"


def operator_key(state: State) -> str:
    """What deals wrote at its first start. Raises StackProblem."""
    path = state.operator_key
    if not path.exists():
        raise StackProblem(f"There is no operator's key at {path}: deals writes it at its first start (`make up`).")
    return path.read_text().strip()


async def create_topics(state: State, dry: bool, say: Say) -> None:
    """Every declared topic exists with its settings; a line for each that had to be made or changed."""
    try:
        done = await kafka.create_topics(bootstrap_of(state), declared(SERVICES), dry=dry)
    except Unavailable as error:
        raise StackProblem(f"Kafka is away: {error}") from error
    for line in done or ["all topics are as declared"]:
        say(line)


async def watch(state: State, topic: str, from_start: bool, say: Say) -> None:
    """A line per record as it comes, until interrupted."""
    bootstrap = bootstrap_of(state)
    try:
        if topic not in (known := await kafka.existing_topics(bootstrap)):
            raise StackProblem(f"There is no topic {topic}; there are: {', '.join(sorted(known))}.")
        async with contextlib.aclosing(_records(bootstrap, topic, from_start)) as records:
            async for record in records:
                say(shown(record))
    except Unavailable as error:
        raise StackProblem(f"Kafka is away: {error}") from error


def _records(bootstrap: str, topic: str, from_start: bool) -> Any:
    return kafka.read_from(bootstrap, topic, "earliest" if from_start else "latest")


def shown(record: KafkaRecord) -> str:
    """Time of publishing, place, type, subject, data; binary and structured mode alike, anything else as its bytes."""
    at = datetime.fromtimestamp(record.timestamp / 1000, UTC).isoformat(timespec="milliseconds")
    attributes = {name.removeprefix("ce_"): value.decode(errors="replace") for name, value in record.headers if name.startswith("ce_")}
    body = (record.value or b"(tombstone)").decode(errors="replace")
    what = " ".join(filter(None, (attributes.get("type"), attributes.get("subject"))))
    return f"{at}  {record.topic}[{record.partition}]@{record.offset}  {what or '(not in binary mode)'}  {body}"


async def trace(state: State, correlation_id: str, say: Say) -> None:
    """One chain over all services in order of time, with the milliseconds since the hop before. Raises StackProblem."""
    headers = {"Authorization": f"Bearer {operator_key(state)}"}
    ports = state.ports()
    answers = await asyncio.gather(*(_part_of_chain(ports[name], correlation_id, headers) for name in SERVICES))
    for name, (_, problem) in zip(SERVICES, answers, strict=True):
        if problem:
            sys.stderr.write(f"{name}: {problem}\n")
    hops = sorted((hop for items, _ in answers for hop in items), key=lambda hop: hop["at"])
    if not hops:
        raise StackProblem(f"No service knows of {correlation_id}.")
    for line in told(hops):
        say(line)


async def _part_of_chain(port: int, correlation_id: str, headers: dict[str, str]) -> tuple[list[dict[str, Any]], str]:
    """Hops, each with its service; or none and what is the matter."""
    status, body = await fetched(port, f"/ops/trace/{correlation_id}", headers=headers)
    if status != 200:
        return [], body[:200]
    answer = json.loads(body)
    return [{**item, "service": answer["service"]} for item in answer["items"]], ""


def told(hops: list[dict[str, Any]]) -> list[str]:
    before, lines = None, []
    for hop in hops:
        at = datetime.fromisoformat(hop["at"])
        passed = (at - before) / timedelta(milliseconds=1) if before else 0
        what = hop["type"] if hop["what"] == "event" else f"{hop['kind']}: {hop['state']}"
        lines.append(f"{at.isoformat(timespec='milliseconds')}  {passed:>+9.0f} ms  {hop['service']:<14} {what:<28} {hop['stream']}")
        before = at
    return lines
