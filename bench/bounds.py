"""What no code of ours can undercut while the libraries and the contracts stay: beside the floors, what they leave to be reached.

    python -m bench.bounds http         the web framework with the body of POST /v1/contacts, and nothing behind it
    python -m bench.bounds automation   the messages of one arrival read and written and its one text filled in, and nothing decided

Loopback only, no Kafka, no PostgreSQL. Compare with `python -m bench.floor http|fused` in the same minutes."""

from __future__ import annotations

import argparse
import asyncio
import sys
import time
from pathlib import Path
from typing import Annotated
from uuid import UUID

import orjson
import uvicorn
import uvloop
from fastapi import Depends, FastAPI, Header
from liquid import Environment
from starlette.responses import Response

from bench.floor import free_port, post_all
from bench.meter import Meter, shown
from bench.product import contact
from bench.stand import until
from services.deals.asks.bodies import NewContact
from shared.contracts import deals, scheduler
from shared.es.recorded import Context
from shared.messaging.contract import Contract
from shared.messaging.envelope import from_kafka, pack
from shared.messaging.inbox import item_of
from shared.messaging.publishing import cause_id, publication
from shared.messaging.translating import read_body
from shared.runtime.clock import now

EXAMPLES = Path(__file__).parents[1] / "shared/contracts/examples"
CREATED = orjson.dumps({"id": str(UUID(int=1))})


# ----------------------------------------------------------------------------------------------------------------- http
def key_of(authorization: Annotated[str, Header()], idempotency_key: Annotated[str, Header()]) -> str:
    return authorization + idempotency_key


def bare() -> FastAPI:
    """The route's shape: a validated body, a key, an answer with headers."""
    app = FastAPI(openapi_url=None)

    @app.post("/v1/contacts", status_code=201)
    async def create(body: NewContact, caller: Annotated[str, Depends(key_of)]) -> Response:
        return Response(CREATED, 201, {"location": "/v1/contacts/1", "etag": '"1"'}, "application/json")

    return app


def serve(port: int) -> None:
    uvicorn.run(bare(), host="127.0.0.1", port=port, log_config=None, access_log=False, loop="uvloop", http="httptools")


async def http(n: int) -> str:
    port = free_port()
    words = (sys.executable, "-m", "bench.bounds", "serve", "--port", str(port))
    server = await asyncio.create_subprocess_exec(*words)
    try:
        await until(lambda: _refuses(port), "the framework listens")
        await post_all(port, [contact("x") for _ in range(1000)], 16)
        requests = [contact("x") for _ in range(n)]
        with Meter(app=server.pid) as meter:
            late = await post_all(port, requests, 16)
        return shown(meter.result("framework alone", n, late))
    finally:
        server.kill()
        await server.wait()


async def _refuses(port: int) -> str | None:
    try:
        _, writer = await asyncio.open_connection("127.0.0.1", port)
    except OSError as error:
        return str(error)
    writer.close()
    return None


# ----------------------------------------------------------------------------------------------------------- automation
def _example(contract: type[Contract]) -> Contract:
    golden = orjson.loads((EXAMPLES / f"{contract.type}.json").read_bytes())
    return contract.read(orjson.dumps(golden["value"]))


def arrivals(n: int) -> float:
    """Microseconds for one arrival: StageChanged read, a text with two placeholders filled in, PlanActivity written. The rows, the
    rules with their traces, the visit and its events come on top."""
    context = Context(UUID(int=7), "c", "c", 1, "user:42")
    said, text = _example(scheduler.PlanActivity), Environment().from_string("Call {{ deal.title }} about {{ deal.amount }}")
    heard = publication("urn:dealwright:deals", _example(deals.StageChanged), UUID(int=1), "deal/1", 1, context, now())
    began = time.process_time()
    for _ in range(n):
        envelope = from_kafka(heard.key.encode(), heard.headers, heard.value)
        item = item_of(envelope)
        read_body(deals.StageChanged, envelope)
        text.render(deal={"title": "Acme renewal", "amount": "12500.00"})
        id = cause_id(item.source, item.id, "visit", 1)
        pack(publication("urn:dealwright:automation", said, id, "visit/1", 1, item.context, envelope.time).headers)
    return (time.process_time() - began) / n * 1e6


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("job", choices=("http", "automation", "serve"))
    parser.add_argument("--n", type=int, default=8_000)
    parser.add_argument("--port", type=int, default=0, help=argparse.SUPPRESS)
    o = parser.parse_args()
    if o.job == "serve":
        serve(o.port)
    elif o.job == "http":
        print(uvloop.run(http(o.n)))
    else:
        micros = arrivals(o.n)
        print(f"messages and text alone: {micros:.0f} us of CPU an arrival, {1e6 / micros:,.0f}/s on one core")


if __name__ == "__main__":
    main()
