"""The official images of PostgreSQL and Kafka, for those who have a Docker engine (DEALWRIGHT_TEST_STACK=testcontainers)."""

from __future__ import annotations

import asyncio
import secrets
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

from deploy.local.network import LOOPBACK, free_port
from deploy.local.postgres import SUPERUSER, database_url, why_no_answer
from shared.messaging import kafka

KAFKA_IMAGE = "apache/kafka:4.3.0"
POSTGRES_IMAGE = "postgres:18"
PATIENCE = 120.0


@asynccontextmanager
async def containers() -> AsyncIterator[tuple[str, str]]:
    """(administrator's URL, bootstrap servers) of two containers, ready; removed afterwards."""
    password, client = secrets.token_urlsafe(12), free_port()
    postgres, broker = _postgres(password), _kafka(client)
    try:
        await asyncio.gather(asyncio.to_thread(postgres.start), asyncio.to_thread(broker.start))
        url = database_url(user=SUPERUSER, password=password, port=int(postgres.get_exposed_port(5432)), database="postgres")
        await _until_both_answer(url, client)
        yield url, f"{LOOPBACK}:{client}"
    finally:
        await asyncio.gather(asyncio.to_thread(postgres.stop), asyncio.to_thread(broker.stop), return_exceptions=True)


def _postgres(password: str) -> Any:
    from testcontainers.core.container import DockerContainer

    settings = "-c max_locks_per_transaction=256 -c max_connections=400 -c fsync=off"
    return DockerContainer(POSTGRES_IMAGE).with_env("POSTGRES_PASSWORD", password).with_exposed_ports(5432).with_command(settings)


def _kafka(port: int) -> Any:
    """Clients come back to the advertised address, so the port outside is chosen before the start."""
    from testcontainers.core.container import DockerContainer

    settings = {
        "KAFKA_NODE_ID": "1",
        "KAFKA_PROCESS_ROLES": "broker,controller",
        "KAFKA_CONTROLLER_QUORUM_VOTERS": "1@localhost:9093",
        "KAFKA_CONTROLLER_LISTENER_NAMES": "CONTROLLER",
        "KAFKA_LISTENERS": "CLIENT://:9092,CONTROLLER://:9093",
        "KAFKA_ADVERTISED_LISTENERS": f"CLIENT://{LOOPBACK}:{port}",
        "KAFKA_INTER_BROKER_LISTENER_NAME": "CLIENT",
        "KAFKA_LISTENER_SECURITY_PROTOCOL_MAP": "CLIENT:PLAINTEXT,CONTROLLER:PLAINTEXT",
        "KAFKA_AUTO_CREATE_TOPICS_ENABLE": "false",
        "KAFKA_GROUP_INITIAL_REBALANCE_DELAY_MS": "0",
        "KAFKA_OFFSETS_TOPIC_NUM_PARTITIONS": "4",
        "KAFKA_OFFSETS_TOPIC_REPLICATION_FACTOR": "1",
        "KAFKA_TRANSACTION_STATE_LOG_REPLICATION_FACTOR": "1",
        "KAFKA_TRANSACTION_STATE_LOG_MIN_ISR": "1",
    }
    return DockerContainer(KAFKA_IMAGE).with_envs(**settings).with_bind_ports(9092, port)


async def _until_both_answer(url: str, kafka_port: int) -> None:
    async with asyncio.timeout(PATIENCE):
        while await why_no_answer(url) is not None or not await kafka.answers(f"{LOOPBACK}:{kafka_port}"):
            await asyncio.sleep(0.2)
