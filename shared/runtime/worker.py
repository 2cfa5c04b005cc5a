"""Puts a service together and runs it: the API, the consumer, the relay and all loops, from the first start to the last goodbye.

Start order is free: the process is alive at once and becomes ready when database and broker are there. SIGTERM: not ready
any more, a second's notice, no new requests and no new polls, what runs is finished, leases go back; a second one ends it now (R18)."""

from __future__ import annotations

import asyncio
import contextlib
import gc
import os
import signal
import socket
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Sequence
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field
from datetime import timedelta
from typing import TYPE_CHECKING, Any

import structlog
import uvicorn

from shared.es.errors import Conflict, Unavailable
from shared.http.app import build_app, figures_of
from shared.messaging.consumer import Consumer, Patience, SilentConsumer, consumer_of, topics_of
from shared.messaging.effects_loop import EffectLoop
from shared.messaging.handling import prepare
from shared.messaging.kafka import Cluster, Producer, create_topics
from shared.messaging.parking import Drainer
from shared.messaging.relay import Relay, back_off
from shared.messaging.topics import Topic, declared
from shared.runtime import metrics
from shared.runtime.clock import monotonic, new_id
from shared.runtime.database import Database
from shared.runtime.failpoints import afp
from shared.runtime.health import OK, Check, Figures, Health, database_is_writable
from shared.runtime.migrate import migrate, schema_is_ready
from shared.runtime.service import Kit, Loop, Service
from shared.runtime.upkeep import Upkeep

if TYPE_CHECKING:
    from shared.messaging.batch import BatchResult
    from shared.messaging.records import KafkaRecord
    from shared.runtime.settings import Settings

log = structlog.get_logger("worker")

EXIT_RESTART = 75
"""The consumer could not be trusted any more: start the process again."""
NOTICE = 1.0
"""Seconds between 'not ready' and the end of accepting, for whoever balances the load."""


class PortTaken(Exception):
    """Somebody else listens there."""


class LoopRunner:
    """Calls a loop's `step` until told to stop, and sleeps as long as it says unless woken."""

    def __init__(self, loop: Loop) -> None:
        self.name = loop.name
        self._loop = loop
        self._woken, self._stopping = asyncio.Event(), asyncio.Event()
        self._failures = 0
        self.last_error: str | None = None

    def wake(self) -> None:
        self._woken.set()

    def stop(self) -> None:
        """`run` ends after the step that is under way; a step is never cancelled."""
        self._stopping.set()
        self._woken.set()

    async def run(self) -> None:
        while not self._stopping.is_set():
            self._woken.clear()
            pause = await self._step()
            if not self._stopping.is_set():
                with suppress(TimeoutError):
                    async with asyncio.timeout(pause):
                        await self._woken.wait()

    async def _step(self) -> float:
        try:
            pause = (await self._loop.step()).total_seconds()
        except Exception as error:
            return self._step_back(error)
        self._failures, self.last_error = 0, None
        return pause

    def _step_back(self, error: Exception) -> float:
        self._failures += 1
        said = f"{type(error).__name__}: {error}"
        if said != self.last_error or self._failures % 20 == 0:
            away = isinstance(error, Unavailable | Conflict)
            log.error("loop_waits", loop=self.name, tries=self._failures, error=said, exc_info=None if away else error)
        self.last_error = said
        return back_off(self._failures)


@dataclass(eq=False)
class Wakes:
    """Who is woken when a batch has committed: handed to the kit before those who wait exist."""

    messages: list[Callable[[], None]] = field(default_factory=list)
    effects: list[Callable[[], None]] = field(default_factory=list)
    events: list[Callable[[], None]] = field(default_factory=list)

    def __call__(self, done: BatchResult) -> None:
        for number, woken in ((done.messages, self.messages), (done.effects, self.effects), (done.events, self.events)):
            if number:
                for wake in woken:
                    wake()


def kit_of(service: Service, settings: Settings, wake: Callable[[BatchResult], None] = lambda done: None) -> Kit:
    """A service made ready; nothing is connected yet. Raises Miswired."""
    url, reader = settings.database_of(service.name), settings.reader_database_of(service.name)
    return Kit(service, Database(url, service.name, reader_url=reader, pool=settings.pool), prepare(service), wake)


def cluster_of(settings: Settings) -> Cluster:
    kafka = settings.kafka
    return Cluster(
        settings.kafka_bootstrap_servers,
        kafka.prefix,
        kafka.security,
        kafka.mechanism,
        kafka.username,
        kafka.password.get_secret_value() if kafka.password else None,
        str(kafka.ca_file) if kafka.ca_file else None,
    )


def topics_from(settings: Settings, services: Iterable[str]) -> Sequence[Topic]:
    """The declared topics of these services, as the settings want them."""
    kafka = settings.kafka
    retention = timedelta(days=kafka.retention_days)
    return declared(sorted(services), partitions=kafka.partitions, retention=retention, replication=kafka.replication)


class Process:
    """One process of a service: `api` answers HTTP, `work` consumes, publishes and runs the loops.

    The probes are answered in both roles."""

    def __init__(self, service: Service, settings: Settings, *, api: bool = True, work: bool = True) -> None:
        self.service, self.settings = service, settings
        self._has_api, self._has_work = api, work
        self._wakes = Wakes()
        self.kit = kit_of(service, settings, self._wakes)
        self.cluster = cluster_of(settings)
        self.health, self.figures = Health(), figures_of(self.kit)
        self.app = build_app(self.kit, settings, health=self.health, figures=self.figures, cluster=self.cluster, only_operations=not api)
        self._work: Work | None = None
        self._schema_ready = self._broker_seen = self._settled_once = False
        self._told = asyncio.Event()
        self._exit = 0
        self.port = settings.port

    # --------------------------------------------------------------------------------------------- from start to end

    async def run(self) -> int:
        """Until SIGTERM or SIGINT. Returns the exit code. Raises PortTaken."""
        self._listen_to_signals()
        self._add_checks()
        server, serving = await self._serve()
        beginning = asyncio.create_task(self._begin(), name="begin")
        log.info("started", service=self.service.name, port=self.port, api=self._has_api, work=self._has_work)
        await self._told.wait()
        await self._end(server, serving, beginning)
        return self._exit

    def stop(self, code: int = 0) -> None:
        """The same as SIGTERM."""
        self._exit = self._exit or code
        self._told.set()

    def _listen_to_signals(self) -> None:
        loop = asyncio.get_running_loop()
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(number, self._signalled)

    def _signalled(self) -> None:
        if self._told.is_set():
            log.warning("ended_now", reason="a second signal")
            os._exit(130)
        self.stop()

    async def _serve(self) -> tuple[Server, asyncio.Task[None]]:
        s = self.settings
        taken = _bound(s.host, s.port)
        self.port = taken.getsockname()[1]
        config = uvicorn.Config(
            self.app,
            log_config=None,
            access_log=False,
            server_header=False,
            date_header=False,
            lifespan="off",
            proxy_headers=s.tls.proxy,
            timeout_graceful_shutdown=int(s.drain_seconds),
            ssl_certfile=s.tls.certificate,
            ssl_keyfile=s.tls.key,
        )
        server = Server(config)
        serving = asyncio.create_task(server.serve([taken]), name="http")
        serving.add_done_callback(self._ended_unasked)
        return server, serving

    async def _begin(self) -> None:
        """Database first, then the work; both as often as it takes."""
        await self._until_done("database", self._ready_database)
        if self._has_work and not self._told.is_set():
            self._work = Work(self.kit, self.settings, self.cluster, self._wakes, self._ended_unasked)
            self._work.start(self.figures)
            await self._until_done("topics", self._ready_topics)
            self._work.consume()
        gc.collect()
        gc.freeze()
        gc.set_threshold(20_000, 20, 50)
        log.info("ready", service=self.service.name)

    async def _until_done(self, what: str, attempt: Callable[[], Awaitable[None]]) -> None:
        failures, said = 0, ""
        while not self._told.is_set():
            try:
                await attempt()
                return
            except Exception as error:
                failures += 1
                if str(error) != said or failures % 20 == 0:
                    bug = None if isinstance(error, Unavailable | OSError) else error
                    log.warning("waits", what=what, tries=failures, error=f"{type(error).__name__}: {error}", exc_info=bug)
                said = str(error)
            with suppress(TimeoutError):
                async with asyncio.timeout(back_off(failures, first=0.2)):
                    await self._told.wait()

    async def _ready_database(self) -> None:
        url = self.settings.owner_database_of(self.service.name)
        if self.settings.migrate:
            for line in await migrate(url, self.service):
                log.info("migrated", what=line)
        elif not await schema_is_ready(url, self.service):
            raise Unavailable("the schema is not what this code needs: run `migrate`")
        self._schema_ready = True

    async def _ready_topics(self) -> None:
        if not self.settings.kafka.create_topics:
            self._broker_seen = True
            return
        names = {self.service.name, *(topic.partition(".")[0] for topic in topics_of(self.service))}
        for line in await create_topics(self.cluster, topics_from(self.settings, names)):
            log.info("topics", what=line)
        self._broker_seen = True

    async def _end(self, server: Server, serving: asyncio.Task[None], beginning: asyncio.Task[None]) -> None:
        log.info("ending", service=self.service.name)
        self.health.drain()
        await afp("sd.after_ready_off")
        if self._has_api:
            await asyncio.sleep(NOTICE)
        self.app.state.feed.stop()
        server.should_exit = True
        await asyncio.wait([serving, beginning], timeout=self.settings.drain_seconds + 2)
        await self.app.state.rooms.commands.drain()
        await self.app.state.rooms.refusals.settle()
        await afp("sd.mid_drain")
        if self._work is not None:
            await self._work.stop(self.settings.drain_seconds)
        with suppress(TimeoutError):
            async with asyncio.timeout(5):
                await self.kit.database.close()
        log.info("ended", service=self.service.name, code=self._exit)

    def _ended_unasked(self, task: asyncio.Task[Any]) -> None:
        """A part that ends before it was told to takes the process with it; whoever started it starts it again."""
        error = None if task.cancelled() else task.exception()
        if not self._told.is_set():
            log.error("part_ended", part=task.get_name(), exc_info=error)
            self.stop(EXIT_RESTART if isinstance(error, SilentConsumer) else 1)

    # -------------------------------------------------------------------------------------------------------- health

    def _add_checks(self) -> None:
        self.health.add("database", lambda: database_is_writable(self.kit.database))
        self.health.add("schema", self._schema)
        if self._has_work:
            self.health.add("broker", self._broker)
            self.health.add("consumer", self._consumer)
        self.health.add("outbox", self._when_ready(self.figures.outbox_is_young))
        self.health.add("dead_letters", self._when_ready(self.figures.nothing_is_dead))

    def _when_ready(self, check: Callable[[], Awaitable[Check]]) -> Callable[[], Awaitable[Check]]:
        async def checked() -> Check:
            return await check() if self._schema_ready else OK

        return checked

    async def _schema(self) -> Check:
        return OK if self._schema_ready else Check("failed", "the database has not been brought up to date yet")

    async def _broker(self) -> Check:
        if not self._broker_seen:
            return Check("failed", "Kafka has not answered since the start")
        relay = self._work.relay if self._work else None
        return Check("degraded", relay.last_error) if relay and relay.last_error else OK

    async def _consumer(self) -> Check:
        consumer = self._work.consumer if self._work else None
        if consumer is None:
            return OK if not topics_of(self.service) else Check("failed", "not started yet")
        if not consumer.settled and not self._settled_once:
            return Check("failed", consumer.last_error or "the group has not told it its partitions yet")
        self._settled_once = True
        if consumer.lost:
            return Check("degraded", f"records were deleted before they were handled: {', '.join(map(str, consumer.lost[:5]))}")
        return Check("degraded", consumer.last_error) if consumer.last_error else OK


class Work:
    """Everything that goes on beside HTTP, each in a task of its own."""

    def __init__(
        self, kit: Kit, settings: Settings, cluster: Cluster, wakes: Wakes, ended_unasked: Callable[[asyncio.Task[Any]], None]
    ) -> None:
        owner = f"{kit.service.name}-{new_id()}"
        self._kit, self._wakes, self._ended_unasked = kit, wakes, ended_unasked
        self._producer = Producer(cluster, compression="gzip" if settings.kafka.compression == "gzip" else None)
        self.relay = Relay(kit.database, self._producer)
        patience = Patience(session=settings.session)
        hears = topics_of(kit.service)
        self.consumer: Consumer | None = _measured(consumer_of(kit, cluster, settings.state_dir, patience)) if hears else None
        self._effects = [LoopRunner(EffectLoop(kit, kind, owner)) for kind in kit.service.effects]
        self._tickers = [LoopRunner(make(kit)) for make in kit.service.loops]
        self._others = [LoopRunner(Drainer(kit)), LoopRunner(Upkeep(kit, settings.owner_database_of(kit.service.name)))]
        self._tasks: dict[str, asyncio.Task[None]] = {}

    @property
    def loops(self) -> list[LoopRunner]:
        return [*self._effects, *self._tickers, *self._others]

    def start(self, figures: Figures) -> None:
        self._wakes.messages.append(self.relay.wake)
        self._wakes.effects.extend(loop.wake for loop in self._effects)
        self._wakes.events.extend(loop.wake for loop in self._tickers)
        self._go_on("relay", self.relay.run())
        for loop in self.loops:
            self._go_on(loop.name, loop.run())
        figures.add(Observer(self.relay, self.consumer))

    def consume(self) -> None:
        """Once its topics are there."""
        if self.consumer is not None:
            self._go_on("consumer", self.consumer.run())

    def _go_on(self, name: str, running: Any) -> None:
        task = self._tasks[name] = asyncio.create_task(running, name=name)
        task.add_done_callback(self._ended_unasked)

    async def stop(self, within: float) -> None:
        """Polling ends, what runs is finished and its offsets are committed; the relay goes last and sends what that left."""
        if self.consumer is not None:
            self.consumer.stop()
        for loop in self.loops:
            loop.stop()
        before = [task for name, task in self._tasks.items() if name != "relay"]
        await _waited(before, within + 5)
        self.relay.stop()
        await _waited([self._tasks["relay"]], 5)
        await self._producer.stop()


async def _waited(tasks: list[asyncio.Task[None]], within: float) -> None:
    if not tasks:
        return
    _, late = await asyncio.wait(tasks, timeout=within)
    for task in late:
        log.warning("not_finished_in_time", part=task.get_name(), seconds=within)


def _measured(consumer: Consumer) -> Consumer:
    """Counts what it handles."""
    handle = consumer.handle

    async def measured(records: Sequence[KafkaRecord]) -> object:
        began = monotonic()
        try:
            return await handle(records)
        finally:
            metrics.consumed(consumer.group, [record.topic for record in records], monotonic() - began)

    consumer.handle = measured
    return consumer


class Observer:
    """Gauges of what only this process knows, set when somebody asks."""

    def __init__(self, relay: Relay, consumer: Consumer | None) -> None:
        self._relay, self._consumer = relay, consumer
        self._published: dict[str, int] = {}

    def __call__(self) -> None:
        for topic, total in self._relay.published.items():
            metrics.published(topic, total - self._published.get(topic, 0))
            self._published[topic] = total
        if self._consumer is not None:
            self._lags(self._consumer)

    def _lags(self, consumer: Consumer) -> None:
        group, found = consumer.group, dict(consumer.partitions)
        for gauge in (metrics.LAG, metrics.LAG_SECONDS, metrics.GROUP_OFFSET, metrics.SUM_LAG, metrics.PROJECTION_LAG_SECONDS):
            gauge.clear()
        for p, state in found.items():
            metrics.LAG.labels(group, p.topic, p.partition).set(state.lag)
            metrics.LAG_SECONDS.labels(group, p.topic, p.partition).set(state.oldest)
            metrics.GROUP_OFFSET.labels(group, p.topic, p.partition).set(state.handled or 0)
            metrics.LATEST_OFFSET.labels(p.topic, p.partition).set(state.end or 0)
        for topic in {p.topic for p in found}:
            states = [state for p, state in found.items() if p.topic == topic]
            metrics.SUM_LAG.labels(group, topic).set(sum(state.lag for state in states))
            metrics.PROJECTION_LAG_SECONDS.labels(topic).set(max(state.oldest for state in states))
        metrics.MAX_LAG.labels(group).set(max((state.lag for state in found.values()), default=0))
        metrics.MAX_LAG_SECONDS.labels(group).set(max((state.oldest for state in found.values()), default=0))
        metrics.CONSUMER_SILENT_SECONDS.labels(group).set(max((state.silent for state in found.values()), default=0))


class Server(uvicorn.Server):
    """Signals are the process's own business."""

    @contextlib.contextmanager
    def capture_signals(self) -> Any:
        yield


def _bound(host: str, port: int) -> socket.socket:
    found = socket.socket(socket.AF_INET6 if ":" in host else socket.AF_INET)
    found.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        found.bind((host, port))
    except OSError as error:
        found.close()
        raise PortTaken(f"{host}:{port} cannot be listened on: {error.strerror}. DEALWRIGHT_PORT names another one.") from None
    found.listen(1024)
    found.setblocking(False)
    return found


@asynccontextmanager
async def opened(service: Service, settings: Settings) -> AsyncIterator[Kit]:
    """A kit for one command of an operator, closed afterwards."""
    kit = kit_of(service, settings)
    try:
        yield kit
    finally:
        await kit.database.close()
