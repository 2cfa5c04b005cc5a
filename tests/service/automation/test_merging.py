"""A contact that was merged lives on in the survivor: for what waits already, and for details (D65)."""

from __future__ import annotations

from services.automation.domain.visit import timer_id
from shared.contracts import deals
from tests.service.automation.conftest import PETRA, Office, created, fired, id_of, visit
from tests.service.house import origin

PAULA = id_of("paula")
WAITS = """
stage: sales/new
rules:
  - id: addr
    type: get_details
    timing: { after: arrival, offset: 10d }
    settings: { element: contact, template: person, address_type: delivery }
  - id: mail
    type: send_email
    execution: after_previous
    settings: { subject: "{{contact.first_name}}", body: "To {{steps.addr.address}}" }
"""
FIX = """
stage: sales/new
rules:
  - id: fix
    type: change_details
    settings: { element: contact, template: person, fields: { tax_number: "7" } }
"""


def paula() -> deals.ContactCreated:
    fields = deals.ContactFields(
        first_name="Paula", last_name="Muster", emails=("paula@example.org",), phones=(), company_ids=(), custom={"city": "Kiel"}
    )
    return deals.ContactCreated(origin=origin(), contact_id=PAULA, fields=fields)


def details_of(owner: str, street: str, name: str) -> deals.DetailsCreated:
    return deals.DetailsCreated(
        origin=origin(),
        details_id=id_of(name),
        owner_type="contact",
        owner_id=owner,
        template_code="person",
        is_default=True,
        fields={},
        addresses={"delivery": {"street": street, "house": "1", "city": "Kiel"}},
    )


def merged() -> deals.ContactsMerged:
    return deals.ContactsMerged(origin=origin(), survivor_id=PAULA, merged_id=PETRA, moved_details=(id_of("details"),))


async def ring(office: Office) -> None:
    await office.hear(fired(timer_id(visit(1), await office.rule_id("addr"), "delay")))


async def test_what_waits_goes_to_the_survivor_and_uses_her_details(office: Office) -> None:
    await office.publish(WAITS)
    await office.hear(created("sales/new"), paula(), details_of(PAULA, "Neuweg", "of paula"))
    await office.hear(merged())
    await office.said()
    await ring(office)
    (mail,) = await office.said("SendEmail")
    assert (mail.body["to"], mail.body["subject"], mail.body["body_text"]) == ("paula@example.org", "Paula", "To Neuweg 1, Kiel")


async def test_details_that_came_along_are_the_survivors_but_never_the_default(office: Office) -> None:
    await office.publish(WAITS)
    await office.hear(created("sales/new"), paula())
    await office.hear(merged())
    await office.said()
    await ring(office)
    (mail,) = await office.said("SendEmail")
    assert mail.body["body_text"] == "To Hafenstr. 12, 24103 Kiel, Germany", "she has no other"
    run = (await office.http.get(f"/v1/runs/{(await office.runs())['addr']['run_id']}")).json()
    assert run["outputs"]["details_id"] == id_of("details")


async def test_a_rule_changes_the_survivors_details(office: Office) -> None:
    await office.publish(FIX)
    await office.hear(paula(), merged())
    await office.hear(created("sales/new"))
    (asked,) = await office.said("ChangeDetails")
    assert asked.body["owner_id"] == PAULA
