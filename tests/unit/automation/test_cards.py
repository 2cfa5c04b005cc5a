"""What hangs on an element, from the rows that were found."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from services.automation import replicas
from services.automation.facts.cards import card_of
from services.automation.replicas import Element, EmployeeRow, PipelineRow

OLAF, ROBOT, ANNA, STRANGER = (f"01a20d0c-0000-7000-8000-00000000000{n}" for n in range(4))
DEAL, SALES = "01a20d0c-0000-7000-8000-0000000000aa", "01a20d0c-0000-7000-8000-0000000000bb"


class Found:
    """Rows by finder and key; what was not looked for raises, as among messages."""

    def __init__(self, rows: Mapping[tuple[str, str], Sequence[Any]]) -> None:
        self._rows = rows

    def all(self, finder: Any, key: str) -> Sequence[Any]:
        return self._rows[finder.name, key]

    def one(self, finder: Any, key: str) -> Any:
        found = self.all(finder, key)
        return found[0] if found else None


def employee(code: str) -> EmployeeRow:
    return EmployeeRow(code, code.title(), f"{code}@acme.test", None, "Europe/Berlin", "de", True, None, [])


def rows() -> Found:
    deal = Element("deal", SALES, "stage", "process", "visit", 1, "2026-03-02T08:00:00.000Z", {"responsible_id": ANNA}, False)
    pipeline = PipelineRow("sales", "deal", "Sales", None, "de", OLAF, ROBOT, True, "earliest", 1, [])
    people = {OLAF: "olaf", ROBOT: "robot", ANNA: "anna"}
    return Found(
        {
            (replicas.ELEMENTS.name, DEAL): [deal],
            (replicas.PIPELINES.name, SALES): [pipeline],
            (replicas.INVOICES_OF_DEAL.name, DEAL): [{"id": "i", "status": "paid", "number": "1", "total": None}],
            **{(replicas.EMPLOYEES.name, id): [employee(code)] for id, code in people.items()},
        }
    )


def test_a_person_is_called_by_code_whom_the_element_or_its_pipeline_names() -> None:
    card = card_of(DEAL, rows())
    assert card is not None
    called = [card.links.person_called(code) for code in ("anna", "olaf", "robot")]

    assert [person.id if person else None for person in called] == [ANNA, OLAF, ROBOT]
    assert card.links.person_called("nobody") is None
    assert card.links.person(STRANGER) is None


def test_what_hangs_on_an_element_is_shaped_once() -> None:
    card = card_of(DEAL, rows())
    assert card is not None

    assert [invoice["invoice_id"] for invoice in card.links.invoices] == ["i"]
    assert card.links.invoices is card.links.invoices
