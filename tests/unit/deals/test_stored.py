"""Every event of every aggregate survives being stored; random commands keep what must always be true."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise
from typing import Any

import pytest
from hypothesis import given as drawn
from hypothesis import settings
from hypothesis import strategies as st

from services.deals.domain import company
from services.deals.domain.company import COMPANY
from services.deals.domain.contact import CONTACT, ContactAbsorbed, ContactFieldsChanged
from services.deals.domain.credential import CREDENTIAL
from services.deals.domain.deal import DEAL, ChangeDealFields, CopyDeal, DealEvent, DeleteDeal, MoveDeal, RestoreDeal
from services.deals.domain.details import DETAILS
from services.deals.domain.employee import EMPLOYEE
from services.deals.domain.field_set import FIELD_SET
from services.deals.domain.fields import Change
from services.deals.domain.file import FILE
from services.deals.domain.lead import LEAD, LeadConverted
from services.deals.domain.pipeline import KINDS, PIPELINE, AddStage, PipelineEvent, RemoveStage, ReorderStages, ReplaceStage
from services.deals.domain.stay import arrival
from services.deals.domain.tenant import TENANT
from shared.es.aggregate import Aggregate
from shared.es.codec import DataclassCodec
from shared.es.errors import Rejected
from tests.unit.deals import test_contact, test_deal, test_details, test_directory, test_pipeline
from tests.unit.deals.things import ANNA_DID, DEAL_FORM, RULE_DID, STAGES, asked, created, id_of, lead_created, place, sales, stage

AGGREGATES: tuple[Aggregate[Any, Any, Any], ...] = (
    PIPELINE,
    DEAL,
    LEAD,
    CONTACT,
    COMPANY,
    DETAILS,
    FIELD_SET,
    EMPLOYEE,
    TENANT,
    CREDENTIAL,
    FILE,
)
STORED: list[tuple[Aggregate[Any, Any, Any], object]] = [
    (PIPELINE, sales()),
    (PIPELINE, test_pipeline.replaced()),
    (DEAL, created(test_deal.FULL, asked("deal"))),
    (DEAL, test_deal.moved("won", cause=asked("move"), loss_reason="x", decision_id=id_of("decision"))),
    (DEAL, test_deal.copied()),
    (LEAD, lead_created()),
    (LEAD, LeadConverted({"deal": id_of("deal")}, True, RULE_DID)),
    (CONTACT, test_contact.HERE),
    (CONTACT, ContactFieldsChanged({"custom": Change({}, {"city": "Bremen"})}, ANNA_DID)),
    (CONTACT, ContactAbsorbed(id_of("a"), (id_of("b"),), ANNA_DID)),
    (COMPANY, test_contact.COMPANY_HERE),
    (COMPANY, company.CompanyMerged(id_of("x"), ANNA_DID)),
    (DETAILS, test_details.HERE),
    (DETAILS, test_details.renewed()),
    (FIELD_SET, test_directory.FORM),
    (EMPLOYEE, test_directory.HIRED),
    (TENANT, test_directory.ACME),
    (CREDENTIAL, test_directory.ISSUED),
    (FILE, test_directory.ATTACHED),
]


@pytest.mark.parametrize(("aggregate", "event"), STORED)
def test_an_event_is_read_as_it_was_written(aggregate: Aggregate[Any, Any, Any], event: object) -> None:
    codec = DataclassCodec(AGGREGATES)
    type_name, data = codec.encode(event)

    assert codec.decode(aggregate.name, type_name, data) == event


def test_an_event_belongs_to_one_aggregate() -> None:
    names = [event.__name__ for aggregate in AGGREGATES for event in aggregate.events]

    assert len(set(names)) == len(names)


PLACES = [place("new"), place("approval"), place("won"), place("lost")]
COMMANDS = st.one_of(
    st.builds(lambda to, by: MoveDeal(to, "person", by), st.sampled_from(PLACES), st.sampled_from([ANNA_DID, RULE_DID])),
    st.builds(lambda t: ChangeDealFields({"title": t}, DEAL_FORM, ANNA_DID), st.sampled_from(["a", "b", ""])),
    st.builds(lambda n: CopyDeal(id_of(f"copy {n}"), PLACES[0], RULE_DID), st.integers(0, 3)),
    st.builds(lambda only: DeleteDeal(RULE_DID, if_untouched=only), st.booleans()),
    st.builds(lambda to: RestoreDeal(to, ANNA_DID), st.sampled_from([*PLACES, None])),
)


def after(aggregate: Aggregate[Any, Any, Any], first: Any, commands: Sequence[Any]) -> list[Any]:
    """All events of a stream to which these commands came, whatever was refused of them."""
    events = [first]
    for command in commands:
        try:
            events += aggregate.decide(aggregate.fold(events), command)
        except Rejected:
            continue
    return events


@settings(max_examples=200, deadline=None)
@drawn(st.lists(COMMANDS, max_size=20))
def test_visits_are_numbered_without_gaps(commands: list[Any]) -> None:
    events: list[DealEvent] = after(DEAL, created(), commands)
    deal = DEAL.fold(events)
    stays = [e.stay for e in events if hasattr(e, "stay")]

    assert [s.visit_number for s in stays] == list(range(1, len(stays) + 1))
    assert deal.stay == stays[-1] == arrival(deal.deal_id, place(deal.stay.stage_name.lower()), len(stays))
    assert all(a.stage_id != b.stage_id for a, b in pairwise(stays))
    assert len({copy.copy_id for copy in deal.copies}) == len(deal.copies)


MORE = [stage(f"extra{n}", kind) for n, kind in enumerate(KINDS)]
SHAPES = st.one_of(
    st.builds(lambda s, p: AddStage(s, ANNA_DID, position=p), st.sampled_from(MORE), st.sampled_from([None, 0, 1])),
    st.builds(lambda order: ReorderStages(tuple(s.stage_id for s in order), ANNA_DID), st.permutations(STAGES)),
    st.builds(
        lambda a, b: ReplaceStage(a.stage_id, b.stage_id, "on", "moved", ANNA_DID),
        st.sampled_from([*STAGES, *MORE]),
        st.sampled_from([*STAGES, *MORE]),
    ),
    st.builds(lambda s, n: RemoveStage(s.stage_id, n, ANNA_DID), st.sampled_from([*STAGES, *MORE]), st.integers(0, 1)),
)


@settings(max_examples=200, deadline=None)
@drawn(st.lists(SHAPES, max_size=20))
def test_a_pipeline_always_has_a_way_in_and_two_ways_out(commands: list[Any]) -> None:
    events: list[PipelineEvent] = after(PIPELINE, sales(), commands)
    pipeline = PIPELINE.fold(events)
    staying = [s.kind for s in pipeline.stages if not s.retiring]

    assert staying.count("success") == 1 and "process" in staying and "failure" in staying
    assert [KINDS.index(s.kind) for s in pipeline.stages] == sorted(KINDS.index(s.kind) for s in pipeline.stages)
    assert pipeline.first_stage().kind == "process"
    versions = [e.order_version for e in events if hasattr(e, "order_version")]
    assert versions == sorted(versions)
