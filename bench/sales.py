"""A company whose deals arrive on a stage with ten rules, in messages as the service deals says them."""

from __future__ import annotations

import asyncio
import json
import urllib.error
import urllib.request
from typing import Any
from uuid import NAMESPACE_URL, UUID, uuid4, uuid5

from bench.pair import TENANT, record_of
from bench.plumbing import Record
from bench.stand import PEPPER, until
from shared.contracts import deals
from shared.contracts.common import Money, Origin
from shared.http.auth import format_key, hmac_of, new_secret
from shared.messaging.envelope import instant
from shared.runtime.clock import now

ORIGIN = Origin(kind="api")
PIPELINE, BEFORE, RULED, OWNER = (str(uuid5(NAMESPACE_URL, name)) for name in ("pipeline", "before", "ruled", "owner"))
SCOPES = ("rules:read", "rules:write", "rules:activate", "runs:read", "activities:write")


def deal_of(number: int) -> str:
    return str(UUID(int=(4 << 96) + number))


def visit_of(number: int, visit: int) -> str:
    return str(UUID(int=(visit + 10 << 96) + number))


def company() -> tuple[list[Record], str]:
    """Tenant, key, employee and pipeline; and the key's text."""
    id, secret = str(uuid4()), new_secret()
    tenant = deals.TenantRegistered(origin=ORIGIN, tenant_id=str(TENANT), name="Acme", language="de", zone="Europe/Berlin", rehearsal=False)
    issued = deals.CredentialIssued(
        origin=ORIGIN, credential_id=id, tenant_id=str(TENANT), hmac=hmac_of(secret, PEPPER), scopes=SCOPES, actor=f"user:{OWNER}"
    )
    facts = (
        (tenant, f"tenant/{TENANT}"),
        (issued, f"credential/{id}"),
        (_employee(), f"employee/{OWNER}"),
        (_pipeline(), f"pipeline/{PIPELINE}"),
    )
    return [record_of(fact, str(uuid4()), subject) for fact, subject in facts], format_key("dev", id, secret)


def _employee() -> deals.EmployeeAdded:
    return deals.EmployeeAdded(
        origin=ORIGIN,
        employee_id=OWNER,
        code="ada",
        name="Ada",
        email="ada@acme.test",
        zone="Europe/Berlin",
        language="de",
        roles=(),
        active=True,
    )


def _pipeline() -> deals.PipelineCreated:
    stages = ((BEFORE, "before"), (RULED, "ruled"))
    return deals.PipelineCreated(
        origin=ORIGIN,
        pipeline_id=PIPELINE,
        code="sales",
        element_type="deal",
        name="Sales",
        zone="Europe/Berlin",
        language="de",
        owner_id=OWNER,
        is_default=True,
        trigger_choice="first",
        expire_links_on_lost=False,
        order_version=1,
        stages=tuple(
            deals.Stage(stage_id=id, code=code, name=code, kind="process", position=n, required_fields=(), retiring=False)
            for n, (id, code) in enumerate(stages)
        ),
    )


def created(number: int) -> Record:
    """The n-th deal, on the stage without rules."""
    fact = deals.DealCreated(
        origin=ORIGIN,
        deal_id=deal_of(number),
        pipeline_id=PIPELINE,
        stage_id=BEFORE,
        stage_kind="process",
        visit_id=visit_of(number, 1),
        visit_number=1,
        arrived_at=instant(now()),
        automation="on",
        fields=deals.DealFields(
            title="Acme renewal and expansion of the annual contract",
            responsible_id=OWNER,
            observer_ids=(),
            contact_ids=(),
            currency="EUR",
            amount=f"{12_500 + number % 7}.00",
            amount_mode="manual",
            prices_include_tax=False,
            lines=(),
            repeat_customer=True,
            created_by_copy=False,
            custom={},
            created_at=instant(now()),
        ),
    )
    return record_of(fact, str(UUID(int=(1 << 96) + number)), f"deal/{deal_of(number)}", 1)


def moved(number: int) -> Record:
    """The n-th deal arrives where ten rules wait."""
    fact = deals.StageChanged(
        origin=ORIGIN,
        element_type="deal",
        element_id=deal_of(number),
        from_pipeline_id=PIPELINE,
        from_stage_id=BEFORE,
        from_visit_id=visit_of(number, 1),
        pipeline_id=PIPELINE,
        stage_id=RULED,
        stage_kind="process",
        visit_id=visit_of(number, 2),
        visit_number=2,
        arrived_at=instant(now()),
        automation="on",
        reason="person",
        amount=Money(amount=f"{12_500 + number % 7}.00", currency="EUR"),
        responsible_id=OWNER,
    )
    return record_of(fact, str(UUID(int=(2 << 96) + number)), f"deal/{deal_of(number)}", 2)


def rules(matches: int) -> str:
    """Ten rules with conditions on three fields, of which so many hold."""
    return json.dumps([{"stage": "sales/ruled", "rules": [_rule(n, holds=n < matches) for n in range(10)]}])


def _rule(number: int, *, holds: bool) -> dict[str, Any]:
    return {
        "id": f"call_{number}",
        "type": "plan_activity",
        "name": f"Call {number}",
        "condition": {
            "all": [
                {"field": "deal.currency", "op": "eq", "value": "EUR"},
                {"field": "deal.amount", "op": "gte" if holds else "lt", "value": 10_000 + number},
                {"field": "deal.title", "op": "contains", "value": "renewal"},
            ]
        },
        "settings": {
            "name": "Call customer",
            "description": "About {{deal.title}}",
            "deadline": {"day": "tomorrow", "time": "14:00", "zone": "assignee"},
        },
    }


async def publish_rules(port: int, key: str, text: str) -> None:
    """Over HTTP, as a person would: planned, then applied. Raises RuntimeError with the findings."""
    found: dict[str, Any] = {}

    async def planned() -> str | None:
        status, body = await asyncio.to_thread(_post, port, key, "/v1/rule-sets/plans", {"text": text})
        found.update(body)
        return None if status == 201 else json.dumps(body)[:2000]

    await until(planned, "automation knows the pipeline")
    status, body = await asyncio.to_thread(_post, port, key, "/v1/rule-sets/applications", {"plan_id": found["plan_id"]})
    if status != 200:
        raise RuntimeError(f"the rules were not applied: {body}")


def _post(port: int, key: str, path: str, body: dict[str, Any]) -> tuple[int, dict[str, Any]]:
    headers = {"Authorization": f"Bearer {key}", "Content-Type": "application/json", "Idempotency-Key": str(uuid4())}
    asked = urllib.request.Request(f"http://127.0.0.1:{port}{path}", json.dumps(body).encode(), headers, method="POST")
    try:
        with urllib.request.urlopen(asked, timeout=30) as answer:
            return int(answer.status), json.loads(answer.read())
    except urllib.error.HTTPError as error:
        return error.code, json.loads(error.read() or b"{}")
