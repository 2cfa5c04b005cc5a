"""The product's jobs, each with real service processes on databases and topics of its own: what ratios are made of.

    python -m bench.product hop --n 20000      event -> service -> command -> service -> result, two processes of the kit
    python -m bench.product hop --rate 100     the same, open loop
    python -m bench.product automation         automation alone: StageChanged on a stage with ten rules, to the command
    python -m bench.product http               one contact per request to deals, 16 connections
    python -m bench.product timers             10,000 timers of the scheduler, due over ten seconds
    python -m bench.product idle               all five services with nothing to do: CPU and memory

A backlog is produced while the services stand still (SIGSTOP, after warming up), so that they begin at once; the clock stops when
Kafka has acknowledged the last result. Settings are those of production but for the consumer group's session."""

from __future__ import annotations

import argparse
import asyncio
import importlib
import os
import time
from collections.abc import Callable, Coroutine, Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any
from uuid import UUID, uuid4

import orjson
import uvloop

from bench import pair, plumbing, sales
from bench.floor import Load, post_all
from bench.meter import Meter, Result, cpu_seconds, pss, shown, written
from bench.plumbing import Reader, Record
from bench.stand import Counter, Stand, a_stand, until
from shared.contracts import scheduler
from shared.contracts.common import When
from shared.messaging.envelope import instant
from shared.runtime.service import Service

ALL = ("deals", "automation", "billing", "scheduler", "notifications")
WARM = 2_000
LEAD = 40.0
"""Seconds from the first SetTimer to the first due time: all are armed by then, or the run counts for nothing."""


def service_of(name: str) -> Service:
    found: Service = importlib.import_module(f"services.{name}.service").SERVICE
    return found


# ------------------------------------------------------------------------------------------------------------------ hop
async def hop(o: argparse.Namespace, stand: Stand) -> Result:
    await stand.create_topics("source", "deals", "scheduler", "asker", "doer")
    await stand.say_all("deals.events", [pair.registered()])
    for name, service in pair.SERVICES.items():
        await stand.start(service, "bench.pair", name, "work")
    meter = Meter(**{started.name: started.pid for started in stand.started}, **await stand.servers())
    async with Counter(stand, "doer.events") as results:
        await stand.say("source.events", WARM, pair.arrival)
        await results.reaches(WARM)
        if o.rate:
            return await _open_loop(o, stand, meter)
        stand.hold()
        await stand.say("source.events", o.n, pair.arrival, start=WARM)
        with meter:
            stand.go_on()
            await results.reaches(WARM + o.n)
    return meter.result("hop", o.n)


async def _open_loop(o: argparse.Namespace, stand: Stand, meter: Meter) -> Result:
    load = Load(stand.stack.bootstrap, pair.arrival, start=WARM)
    async with load.running(stand.topic("source.events"), stand.topic("doer.events")):
        await load.offer(o.rate, 3)
        with meter:
            late = await load.offer(o.rate, o.seconds)
    return meter.result(f"hop at {o.rate}/s", len(late), late)


# ----------------------------------------------------------------------------------------------------------- automation
async def automation(o: argparse.Namespace, stand: Stand) -> Result:
    """Every deal moves once; the deals and the rules are known before. One command for each rule that holds."""
    await stand.create_topics(*ALL)
    service = await stand.start(service_of("automation"), "services.automation", "serve")
    facts, key = sales.company()
    await stand.say_all("deals.events", facts)
    await sales.publish_rules(service.port, key, sales.rules(o.matches))
    total = WARM + o.n
    await stand.say("deals.events", total, sales.created)
    meter = Meter(automation=service.pid, **await stand.servers())
    async with Counter(stand, "scheduler.commands") as commands:
        await stand.say("deals.events", WARM, sales.moved)
        await commands.reaches(WARM * o.matches)
        stand.hold()
        await stand.say("deals.events", o.n, sales.moved, start=WARM)
        with meter:
            stand.go_on()
            await commands.reaches(total * o.matches)
    return meter.result("automation", o.n)


# ----------------------------------------------------------------------------------------------------------------- http
def contact(key: str) -> bytes:
    """A request that creates one."""
    id = str(uuid4())
    body = orjson.dumps({"first_name": "Petra", "last_name": "Muster", "emails": [f"petra.{id[:8]}@example.org"], "zone": "Europe/Berlin"})
    head = f"POST /v1/contacts HTTP/1.1\r\nhost: deals\r\nauthorization: Bearer {key}\r\nidempotency-key: {id}\r\n"
    return f"{head}content-type: application/json\r\ncontent-length: {len(body)}\r\n\r\n".encode() + body


async def http(o: argparse.Namespace, stand: Stand) -> Result:
    await stand.create_topics(*ALL)
    service = await stand.start(service_of("deals"), "services.deals", "serve")
    key_file = service.state / "operator.key"
    await until(lambda: _exists(key_file), "deals has written the operator's key")
    key = key_file.read_text().strip()
    await post_all(service.port, [contact(key) for _ in range(1000)], o.connections)
    requests = [contact(key) for _ in range(o.n)]
    async with Counter(stand, "deals.events") as events:
        before = await _settled(events)
        with Meter(deals=service.pid, **await stand.servers()) as meter:
            late = await post_all(service.port, requests, o.connections)
        await events.reaches(before + o.n)
    return meter.result("http", o.n, late)


async def _exists(path: Path) -> str | None:
    return None if await asyncio.to_thread(path.exists) else str(path)


async def _settled(counter: Counter) -> int:
    """When nothing more is said for half a second."""
    before = -1
    while (found := await counter.now()) != before:
        before = found
        await asyncio.sleep(0.5)
    return found


# --------------------------------------------------------------------------------------------------------------- timers
def _timer(number: int, due: datetime) -> Record:
    id = str(UUID(int=(6 << 96) + number))
    when = When(mode="at", anchor_instant=instant(due))
    body = scheduler.SetTimer(request_id=id, timer_id=id, about=id, owner="bench", when=when)
    return pair.record_of(body, str(UUID(int=(7 << 96) + number)), f"timer/{id}", source="urn:bench")


async def timers(o: argparse.Namespace, stand: Stand) -> Result:
    """Lateness: from the due time to the moment its message is given to Kafka, after the commit."""
    await stand.create_topics(*ALL)
    service = await stand.start(service_of("scheduler"), "services.scheduler", "work")
    base = datetime.fromtimestamp(int(time.time() + LEAD), UTC)
    due = [base + timedelta(milliseconds=round(i * o.seconds * 1000 / o.n)) for i in range(o.n)]
    async with Counter(stand, "scheduler.events") as events:
        await stand.say("scheduler.commands", o.n, lambda number: _timer(number, due[number]))
        await events.reaches(o.n)
        if time.time() > base.timestamp() - 1:
            raise RuntimeError(f"arming took longer than {LEAD} s: this run counts for nothing")
        await asyncio.sleep(base.timestamp() - time.time() - 0.05)
        with Meter(scheduler=service.pid, **await stand.servers()) as meter:
            await events.reaches(2 * o.n)
    return meter.result("timers", o.n, await _lateness(o, stand))


async def _lateness(o: argparse.Namespace, stand: Stand) -> list[float]:
    """Seconds, of each timer once. Raises RuntimeError when one is lost or rang twice."""
    late: dict[str, float] = {}
    rang = read = 0
    async with Reader(o.bootstrap, stand.topic("scheduler.events")) as reader:
        reader.begin()
        while read < 2 * o.n:
            async for _, records in reader.slices(wait=True):
                read += len(records)
                for r in records:
                    if dict(r.headers)["ce_type"] == scheduler.TimerFired.type.encode():
                        body, rang = orjson.loads(r.value), rang + 1
                        late[body["timer_id"]] = r.timestamp / 1000 - datetime.fromisoformat(body["due_at"]).timestamp()
    if (rang, len(late)) != (o.n, o.n):
        raise RuntimeError(f"{len(late)} of {o.n} timers rang, {rang} times")
    return list(late.values())


# ----------------------------------------------------------------------------------------------------------------- idle
async def idle(o: argparse.Namespace, stand: Stand) -> Result:
    """`cpu_share` is the part of one core, `memory_mb` the PSS, of each service."""
    await stand.create_topics(*ALL)
    for name in ALL:
        await stand.start(service_of(name), f"services.{name}", "serve")
    await asyncio.sleep(5)
    before, start = {s.name: cpu_seconds(s.pid) for s in stand.started}, time.perf_counter()
    await asyncio.sleep(o.seconds)
    seconds = time.perf_counter() - start
    share = {s.name: (cpu_seconds(s.pid) - before[s.name]) / seconds for s in stand.started}
    memory = {s.name: pss(s.pid) / 2**20 for s in stand.started}
    return Result("idle", 1, seconds, 0.0, {}, share, 0.0, 0.0, memory_mb=memory)


JOBS: dict[str, Callable[[argparse.Namespace, Stand], Coroutine[Any, Any, Result]]] = {
    "hop": hop,
    "automation": automation,
    "http": http,
    "timers": timers,
    "idle": idle,
}


async def run(o: argparse.Namespace) -> Result:
    async with a_stand(o.bootstrap, o.dsn) as stand:
        return await JOBS[o.job](o, stand)


def options(argv: Sequence[str] | None = None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("job", choices=JOBS)
    parser.add_argument("--bootstrap", default=os.environ.get("KAFKA_BOOTSTRAP_SERVERS"))
    parser.add_argument("--dsn", default=os.environ.get("DATABASE_URL"), help="an administrator's")
    parser.add_argument("--n", type=int, default=20_000)
    parser.add_argument("--rate", type=int, default=0, help="events a second, open loop; 0 is a backlog")
    parser.add_argument("--seconds", type=float, default=10.0)
    parser.add_argument("--matches", type=int, default=1)
    parser.add_argument("--connections", type=int, default=16)
    parser.add_argument("--json", type=Path)
    return parser.parse_args(argv)


def main() -> None:
    o = options()
    result = uvloop.run(run(o))
    print(shown(result))
    if o.json:
        written(o.json, {"n": o.n, "partitions": plumbing.PARTITIONS}, [result])


if __name__ == "__main__":
    main()
