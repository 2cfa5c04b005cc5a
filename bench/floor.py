"""The least work with which the product's jobs can be done at all, on the same Kafka and PostgreSQL: what ratios refer to.

    python -m bench.floor hop --n 20000        event -> automation -> command -> scheduler -> result, two processes
    python -m bench.floor hop --rate 100       the same, open loop
    python -m bench.floor fused --matches 3    one process: event in, matched, run recorded, command out
    python -m bench.floor http                 one event appended per request, 16 connections, grouped
    python -m bench.floor timers               10,000 timers, due over ten seconds

Durable is the same as in the product: an inbox row, an event row with a unique stream version and an outbox row per
message and service, deleted after Kafka's acknowledgement; one commit per batch. Left out: contracts, decisions, views,
replicas, parking, traces, metrics, consumer groups."""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import gc
import os
import socket
import subprocess
import sys
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine, Sequence
from pathlib import Path
from typing import Any
from uuid import uuid4

import asyncpg
import orjson
import uvicorn
import uvloop
from aiokafka import AIOKafkaProducer

from bench import plumbing
from bench.meter import Meter, Result, shown, written
from bench.plumbing import Parcel, Reader, Sender, arrival, fresh_tables, fresh_topics, id_of, matching, record
from bench.processes import kafka_pid, postgres_pid

ROLES = ("automation", "scheduler")
LOG = [
    """create table {r}_inbox (id uuid primary key, at timestamptz not null default now())""",
    """create table {r}_event (stream uuid, version int, id uuid not null, type text not null, data json not null,
       at timestamptz not null default now(), primary key (stream, version))""",
    """create table {r}_outbox (batch int, n int, key text not null, message text not null, primary key (batch, n))""",
    """create table {r}_offset (lane int primary key, next bigint not null)""",
]
APPEND = """
with o as (insert into {r}_offset select * from unnest($1::int[], $2::bigint[]) on conflict (lane) do update set next = excluded.next),
     d as (delete from {r}_outbox where batch = any($3::int[])),
     i as (insert into {r}_inbox (id) select unnest($4::uuid[])),
     m as (insert into {r}_outbox select $5, n, k, v from unnest($6::text[], $7::text[]) with ordinality as t(k, v, n))
insert into {r}_event (stream, version, id, type, data)
select * from unnest($8::uuid[], $9::int[], $10::uuid[], $11::text[], $12::json[])"""
VERSIONS = "select s::text, coalesce((select max(version) from {r}_event e where e.stream = s), 0) as v from unnest($1::uuid[]) as t(s)"
RUNS = """create table run (id uuid primary key, event uuid not null, rule text not null, deal uuid not null,
          status text not null default 'started', body json not null, at timestamptz not null default now())"""
RUN_OFFSETS = "create table run_offset (lane int primary key, next bigint not null)"
RECORD_RUNS = """
with o as (insert into run_offset select * from unnest($1::int[], $2::bigint[]) on conflict (lane) do update set next = excluded.next)
insert into run (id, event, rule, deal, body) select * from unnest($3::uuid[], $4::uuid[], $5::text[], $6::uuid[], $7::json[])
on conflict do nothing"""
TIMERS = [
    "create table timer (id uuid primary key, due float8 not null, body json not null)",
    "create index on timer (due)",
    """create table fired (id uuid primary key, due float8 not null, data json not null,
       at timestamptz not null default clock_timestamp())""",
    "create table timer_outbox (batch int, id uuid, message text not null, primary key (batch, id))",
]
ARM = "insert into timer select i, d, $3::json from unnest($1::uuid[], $2::float8[]) as t(i, d)"
FIRE = """
with due as (delete from timer where id in (select id from timer where due <= $1 order by due limit $2 for update skip locked)
             returning id, due, body),
     d as (delete from timer_outbox where batch = any($3::int[])),
     m as (insert into timer_outbox select $4, id, body from due)
insert into fired (id, due, data) select id, due, body from due returning id::text, due"""
REQUESTS = [
    """create table http_event (stream uuid, version int, id uuid not null, type text not null, data json not null,
       at timestamptz not null default now(), primary key (stream, version))""",
    "create table http_outbox (batch int, n int, key text not null, message text not null, primary key (batch, n))",
]
ANSWER = """
with d as (delete from http_outbox where batch = any($4::int[])),
     m as (insert into http_outbox select $5, n, s, v::text from unnest($1::text[], $3::json[]) with ordinality as t(s, v, n))
insert into http_event (stream, version, id, type, data)
select s::uuid, 1, i::uuid, 'DealMoved', v from unnest($1::text[], $2::text[], $3::json[]) as t(s, i, v)"""


def calm() -> None:
    """Collections become rare: their pauses show in a p99."""
    gc.collect()
    gc.freeze()
    gc.set_threshold(50_000, 20, 100)


# ------------------------------------------------------------------------------------------------------------------ hop
class Batch:
    """What one poll brought, as the columns of one statement and a parcel of answers."""

    def __init__(self, parcel: Parcel) -> None:
        self.parcel = parcel
        self.offsets: dict[int, int] = {}
        self.inbox: list[str] = []
        self.outbox: tuple[list[str], list[str]] = ([], [])
        self.events: tuple[list[Any], ...] = ([], [], [], [], [])

    def answer(self, stream: str, version: int, headers: dict[str, bytes], deal: str, body: bytes, kind: str) -> None:
        cause = headers["ce_id"].decode()
        id = id_of(cause, kind)
        said = record(id, f"floor.{kind}.v1", deal, version, headers["ce_correlationid"], headers["ce_id"], body)
        self.inbox.append(cause)
        for column, value in zip(self.events, (stream, version, id, kind, body.decode()), strict=True):
            column.append(value)
        self.outbox[0].append(deal)
        self.outbox[1].append(orjson.dumps({k: v.decode() for k, v in said.headers} | {"data": orjson.Fragment(body)}).decode())
        self.parcel.add(said)


async def serve_role(role: str, o: argparse.Namespace) -> None:
    connection = await asyncpg.connect(o.dsn, server_settings={"search_path": o.schema})
    async with Reader(o.bootstrap, o.incoming) as reader, Sender(o.bootstrap, o.outgoing) as sender:
        step = _automation if role == "automation" else _scheduler
        calm()
        print("ready", flush=True)
        await asyncio.to_thread(sys.stdin.readline)
        reader.begin()
        await _pump(reader, sender, lambda records, batch: step(connection, records, batch), _append(connection, role, sender), o.n)
        await sender.settled()
        print("done", flush=True)
        await asyncio.Event().wait()


def _append(connection: asyncpg.Connection, role: str, sender: Sender) -> Callable[[int, Batch], Coroutine[Any, Any, None]]:
    statement = APPEND.format(r=role)

    async def append(number: int, b: Batch) -> None:
        await connection.fetch(statement, [*b.offsets], [*b.offsets.values()], sender.acknowledged(), b.inbox, number, *b.outbox, *b.events)

    return append


async def _automation(connection: Any, records: Sequence[Any], batch: Batch) -> None:
    for r in records:
        headers, data = dict(r.headers), orjson.loads(r.value)
        for rule in [*matching(data)][:1]:
            body = orjson.dumps({"deal_id": data["deal_id"], "rule": rule, "kind": "plan_call", "amount": data["amount"]})
            batch.answer(id_of(headers["ce_id"].decode(), rule), 1, headers, data["deal_id"], body, "PlanCall")


async def _scheduler(connection: Any, records: Sequence[Any], batch: Batch) -> None:
    asked = [(dict(r.headers), orjson.loads(r.value), r.value) for r in records]
    streams = list({data["deal_id"] for _, data, _ in asked})
    versions = {row["s"]: row["v"] for row in await connection.fetch(VERSIONS.format(r="scheduler"), streams)}
    for headers, data, value in asked:
        deal = data["deal_id"]
        versions[deal] += 1
        batch.answer(deal, versions[deal], headers, deal, value, "CallPlanned")


Take = Callable[[Sequence[Any], Batch], Awaitable[None]]
Write = Callable[[int, Batch], Coroutine[Any, Any, None]]


async def _pump(reader: Reader, sender: Sender, take: Take, write: Write, n: int) -> None:
    """Decode the next batch while PostgreSQL writes this one. Without `n`: for ever."""
    done = number = 0
    writing: asyncio.Task[None] | None = None
    written_batch: Batch | None = None
    while writing is not None or not n or done < n:
        batch, before = Batch(sender.parcel()), done
        records: list[Any] = []
        if not n or done < n:
            async for lane, some in reader.slices(wait=writing is None):
                batch.offsets[lane] = some[-1].offset + 1
                records += some
                done += len(some)
        if writing is not None and written_batch is not None:
            await writing
            sender.hand(number, written_batch.parcel)
            writing = None
        if done > before:
            await take(records, batch)
            number += 1
            writing, written_batch = asyncio.create_task(write(number, batch)), batch
            await asyncio.sleep(0)


class Child:
    """This file once more, as a process of its own: it says ready, goes on a line, may say done."""

    def __init__(self, role: str, o: argparse.Namespace, **own: Any) -> None:
        given = {"bootstrap": o.bootstrap, "dsn": o.dsn, "role": role, **own}
        options = [f"--{name}={value}" for name, value in given.items()]
        self.process = subprocess.Popen(
            [sys.executable, "-m", "bench.floor", o.job, *options], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        )

    async def says(self, word: str) -> None:
        said = await asyncio.to_thread(self.process.stdout.readline) if self.process.stdout else ""
        if said.strip() != word:
            raise RuntimeError(f"the child was to say {word!r} and said {said!r}")

    def go(self) -> None:
        if self.process.stdin:
            self.process.stdin.write("go\n")
            self.process.stdin.flush()

    def end(self) -> None:
        self.process.kill()
        self.process.wait()


async def hop(o: argparse.Namespace) -> Result:
    tables = [statement.format(r=role) for role in ROLES for statement in LOG]
    n = 0 if o.rate else o.n
    async with fresh_topics(o.bootstrap, "in", "cmd", "out") as (events, commands, results), fresh_tables(o.dsn, *tables) as db:
        schema = await db.fetchval("select current_schema()")
        await plumbing.fill(o.bootstrap, events, n)
        pair = [
            Child("automation", o, schema=schema, n=n, incoming=events, outgoing=commands),
            Child("scheduler", o, schema=schema, n=n, incoming=commands, outgoing=results),
        ]
        try:
            for child in pair:
                await child.says("ready")
            meter = Meter(automation=pair[0].process.pid, scheduler=pair[1].process.pid, **await servers(o, db))
            if o.rate:
                return await _open_loop(o, meter, pair, events, results)
            with meter:
                for child in pair:
                    child.go()
                for child in pair:
                    await child.says("done")
            _exactly(await db.fetchval("select count(*) from scheduler_event"), n)
            return meter.result("hop", n)
        finally:
            for child in pair:
                child.end()


async def _open_loop(o: argparse.Namespace, meter: Meter, pair: Sequence[Child], events: str, results: str) -> Result:
    for child in pair:
        child.go()
    load = Load(o.bootstrap)
    async with load.running(events, results):
        await load.offer(o.rate, 3)
        with meter:
            late = await load.offer(o.rate, o.seconds)
    return meter.result(f"hop at {o.rate}/s", len(late), late)


class Load:
    """Events leave at times fixed beforehand; latency counts from the intended time to the result being read."""

    def __init__(self, bootstrap: str, make: Callable[[int], plumbing.Record] = arrival, start: int = 0) -> None:
        self._bootstrap, self._make = bootstrap, make
        self._due: dict[bytes, float] = {}
        self._late: list[float] = []
        self._sent = start

    @contextlib.asynccontextmanager
    async def running(self, events: str, results: str) -> AsyncIterator[None]:
        self._events = events
        self._producer = AIOKafkaProducer(bootstrap_servers=self._bootstrap, linger_ms=0)
        await self._producer.start()
        async with Reader(self._bootstrap, results) as reader:
            reader.begin()
            listener = asyncio.create_task(self._listen(reader))
            yield
            listener.cancel()
        await self._producer.stop()

    async def _listen(self, reader: Reader) -> None:
        while True:
            async for _, records in reader.slices(wait=True):
                seen = time.perf_counter()
                for r in records:
                    if due := self._due.pop(dict(r.headers)["ce_correlationid"], None):
                        self._late.append(seen - due)

    async def offer(self, rate: int, seconds: float) -> list[float]:
        self._late, start = [], time.perf_counter()
        for k in range(int(rate * seconds)):
            await asyncio.sleep(max(0.0, start + k / rate - time.perf_counter()))
            event, self._sent = self._make(self._sent), self._sent + 1
            self._due[dict(event.headers)["ce_correlationid"]] = start + k / rate
            await self._producer.send(self._events, event.value, key=event.key, headers=event.headers)
        async with asyncio.timeout(30):
            while self._due:
                await asyncio.sleep(0.01)
        return self._late


# ---------------------------------------------------------------------------------------------------------------- fused
async def fused(o: argparse.Namespace) -> Result:
    async with fresh_topics(o.bootstrap, "in", "out") as (events, commands), fresh_tables(o.dsn, RUNS, RUN_OFFSETS) as db:
        await plumbing.fill(o.bootstrap, events, o.n)
        async with Reader(o.bootstrap, events) as reader, Sender(o.bootstrap, commands) as sender:
            rows: dict[int, list[tuple[str, ...]]] = {}

            async def take(records: Sequence[Any], batch: Batch) -> None:
                rows[id(batch)] = [row for r in records for row in _runs(r, batch, o.matches)]

            async def write(number: int, b: Batch) -> None:
                columns = map(list, zip(*rows.pop(id(b)), strict=True))
                await db.fetch(RECORD_RUNS, [*b.offsets], [*b.offsets.values()], *columns)

            calm()
            with Meter(app=os.getpid(), **await servers(o, db)) as meter:
                reader.begin()
                await _pump(reader, sender, take, write, o.n)
                await sender.settled()
        _exactly(await db.fetchval("select count(*) from run"), o.n * o.matches)
    return meter.result("fused", o.n)


def _runs(r: Any, batch: Batch, matches: int) -> list[tuple[str, ...]]:
    headers, data = dict(r.headers), orjson.loads(r.value)
    event, deal = headers["ce_id"].decode(), data["deal_id"]
    rows: list[tuple[str, ...]] = []
    for rule in [*matching(data)][:matches]:
        run = id_of(event, rule)
        body = orjson.dumps({"deal_id": deal, "rule": rule, "kind": "plan_call", "amount": data["amount"]})
        rows.append((run, event, rule, deal, body.decode()))
        batch.parcel.add(record(run, "floor.PlanCall.v1", deal, 1, headers["ce_correlationid"], headers["ce_id"], body))
    return rows


# ----------------------------------------------------------------------------------------------------------------- http
class Append:
    """Whoever waits when the connection is free is written next, together."""

    def __init__(self, connection: asyncpg.Connection, sender: Sender) -> None:
        self._connection, self._sender = connection, sender
        self._waiting: list[tuple[bytes, asyncio.Future[None]]] = []
        self._someone = asyncio.Event()

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        body, more = b"", True
        while more:
            part = await receive()
            body, more = body + part["body"], part["more_body"]
        done: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._waiting.append((body, done))
        self._someone.set()
        await done
        await send({"type": "http.response.start", "status": 201, "headers": [(b"content-length", b"2")]})
        await send({"type": "http.response.body", "body": b"{}"})

    async def write(self) -> None:
        number = 0
        while True:
            await self._someone.wait()
            self._someone.clear()
            now, self._waiting, number = self._waiting, [], number + 1
            parcel, streams, ids, bodies = self._sender.parcel(), [], [], []
            for body, _ in now:
                deal, id = orjson.loads(body)["deal_id"], str(uuid4())
                parcel.add(record(id, "deals.StageChanged.v1", deal, 1, id.encode(), id.encode(), body))
                streams.append(deal)
                ids.append(id)
                bodies.append(body.decode())
            await self._connection.fetch(ANSWER, streams, ids, bodies, self._sender.acknowledged(), number)
            for _, done in now:
                if not done.done():
                    done.set_result(None)
            self._sender.hand(number, parcel)


async def serve_http(o: argparse.Namespace) -> None:
    connection = await asyncpg.connect(o.dsn, server_settings={"search_path": o.schema})
    async with Sender(o.bootstrap, o.outgoing) as sender:
        app = Append(connection, sender)
        writer = asyncio.create_task(app.write())
        server = uvicorn.Server(uvicorn.Config(app, port=o.port, log_level="error", access_log=False, lifespan="off", http="httptools"))
        serving = asyncio.create_task(server.serve())
        while not server.started:
            await asyncio.sleep(0.01)
        calm()
        print("ready", flush=True)
        await serving
        writer.cancel()


class Connection(asyncio.Protocol):
    """One of the closed loop: the next request leaves when the last one is answered."""

    def __init__(self, requests: list[bytes], late: list[float]) -> None:
        self._requests, self._late = requests, late

    def connection_made(self, transport: Any) -> None:
        self._transport, self._got = transport, b""
        self._ask()

    def _ask(self) -> None:
        if self._requests:
            self._asked = time.perf_counter()
            self._transport.write(self._requests.pop())

    def data_received(self, data: bytes) -> None:
        self._got += data
        head, _, body = self._got.partition(b"\r\n\r\n")
        if not body or len(body) < _length(head):
            return
        if not head.startswith(b"HTTP/1.1 2"):
            raise RuntimeError(self._got[:500])
        self._late.append(time.perf_counter() - self._asked)
        self._got = b""
        self._ask()


def _length(head: bytes) -> int:
    return int(head.lower().partition(b"content-length:")[2].partition(b"\r\n")[0])


async def post_all(port: int, requests: list[bytes], connections: int) -> list[float]:
    """Latencies in seconds of a closed loop over kept-alive connections."""
    total, late, loop = len(requests), list[float](), asyncio.get_running_loop()
    clients = [await loop.create_connection(lambda: Connection(requests, late), "127.0.0.1", port) for _ in range(connections)]
    async with asyncio.timeout(300):
        while len(late) < total:
            await asyncio.sleep(0.005)
    for transport, _ in clients:
        transport.close()
    return late


def _request() -> bytes:
    deal = str(uuid4())
    body = arrival(1).value.replace(arrival(1).key, deal.encode())
    return b"POST /append HTTP/1.1\r\nhost: floor\r\ncontent-type: application/json\r\ncontent-length: %d\r\n\r\n%s" % (len(body), body)


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as probe:
        return int(probe.getsockname()[1])


async def http(o: argparse.Namespace) -> Result:
    port = free_port()
    async with fresh_topics(o.bootstrap, "out") as (out,), fresh_tables(o.dsn, *REQUESTS) as db:
        server = Child("http", o, schema=await db.fetchval("select current_schema()"), port=port, outgoing=out)
        try:
            await server.says("ready")
            await post_all(port, [_request() for _ in range(1000)], o.connections)
            requests = [_request() for _ in range(o.n)]
            with Meter(app=server.process.pid, **await servers(o, db)) as meter:
                late = await post_all(port, requests, o.connections)
        finally:
            server.end()
        _exactly(await db.fetchval("select count(*) from http_event"), o.n + 1000)
    return meter.result("http", o.n, late)


# --------------------------------------------------------------------------------------------------------------- timers
async def timers(o: argparse.Namespace) -> Result:
    async with fresh_topics(o.bootstrap, "fired") as (fired,), fresh_tables(o.dsn, *TIMERS) as db, Sender(o.bootstrap, fired) as sender:
        base, late, number = time.time() + 3, list[float](), 0
        for start in range(0, o.n, 1000):
            numbers = range(start, min(o.n, start + 1000))
            due = [base + i * o.seconds / o.n for i in numbers]
            await db.execute(ARM, [id_of("timer", str(i)) for i in numbers], due, arrival(1).value.decode())
        await asyncio.sleep(max(0.0, base - time.time() - 0.05))
        fire, following = await db.prepare(FIRE), await db.prepare("select min(due) from timer")
        with Meter(app=os.getpid(), **await servers(o, db)) as meter:
            while len(late) < o.n:
                number += 1
                rows = await fire.fetch(time.time(), plumbing.MOST, sender.acknowledged(), number)
                seen = time.time()
                late += [seen - row["due"] for row in rows]
                parcel = sender.parcel()
                for row in rows:
                    parcel.add(arrival(1)._replace(key=row["id"].encode()))
                sender.hand(number, parcel)
                if len(rows) < plumbing.MOST and (due_next := await following.fetchval()) is not None:
                    await asyncio.sleep(max(0.005, due_next - time.time()))
            await sender.settled()
        _exactly(await db.fetchval("select count(*) from fired"), o.n)
    return meter.result("timers", o.n, late)


async def servers(o: argparse.Namespace, db: asyncpg.Connection) -> dict[str, int]:
    """PostgreSQL's and Kafka's processes, where they run on this machine."""
    found = {"postgres": await postgres_pid(db), "kafka": kafka_pid(o.bootstrap)}
    return {name: pid for name, pid in found.items() if pid}


def _exactly(found: int, expected: int) -> None:
    if found != expected:
        raise RuntimeError(f"{found} rows instead of {expected}: this run counts for nothing")


JOBS: dict[str, Callable[[argparse.Namespace], Coroutine[Any, Any, Result]]] = {"hop": hop, "fused": fused, "http": http, "timers": timers}


def options(argv: Sequence[str] | None = None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("job", choices=JOBS)
    parser.add_argument("--bootstrap", default=os.environ.get("KAFKA_BOOTSTRAP_SERVERS"))
    parser.add_argument("--dsn", default=os.environ.get("DATABASE_URL"))
    parser.add_argument("--n", type=int, default=20_000)
    parser.add_argument("--rate", type=int, default=0, help="events a second, open loop; 0 is a backlog")
    parser.add_argument("--seconds", type=float, default=10.0)
    parser.add_argument("--matches", type=int, default=1)
    parser.add_argument("--connections", type=int, default=16)
    parser.add_argument("--json", type=Path)
    for internal in ("role", "schema", "incoming", "outgoing"):
        parser.add_argument(f"--{internal}", default="", help=argparse.SUPPRESS)
    parser.add_argument("--port", type=int, default=0, help=argparse.SUPPRESS)
    return parser.parse_args(argv)


def main() -> None:
    o = options()
    if o.role:
        uvloop.run(serve_http(o) if o.role == "http" else serve_role(o.role, o))
        return
    result = uvloop.run(JOBS[o.job](o))
    print(shown(result))
    if o.json:
        written(o.json, {"n": o.n, "partitions": plumbing.PARTITIONS, "batch": plumbing.MOST}, [result])


if __name__ == "__main__":
    main()
