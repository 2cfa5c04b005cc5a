"""Ids that a body names, also in custom fields: they must exist in this tenant; a merged contact or company stands for its
survivor. (D65)"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import Any, Literal
from uuid import UUID

from services.deals import views
from services.deals.domain.company import COMPANY
from services.deals.domain.contact import CONTACT
from services.deals.domain.employee import EMPLOYEE
from services.deals.domain.field_set import FieldSet
from services.deals.domain.file import FILE
from shared.es.addressed import Facts, Finder
from shared.es.aggregate import Aggregate
from shared.es.errors import Fault, Rejected

Reads = tuple[tuple[Aggregate[Any, Any, Any], str], ...]
Finds = tuple[tuple[Finder[Any], str], ...]
Whom = Literal["contact", "company", "employee", "file"]

NAMED: Mapping[str, Whom] = {
    "responsible_id": "employee",
    "observer_ids": "employee",
    "owner_id": "employee",
    "automation_user_id": "employee",
    "manager_id": "employee",
    "contact_ids": "contact",
    "primary_contact_id": "contact",
    "company_id": "company",
    "company_ids": "company",
}
"""Which fields name whom. Ids of employees elsewhere (created_by) are ours already."""
OF_FIELD_TYPE: Mapping[str, Whom] = {"user": "employee", "file": "file"}
"""Types of custom fields that name somebody or something."""


OF_CUSTOMERS = ("contact_ids", "primary_contact_id", "company_id")


def has_bought(seen: Facts, values: Mapping[str, Any]) -> bool:
    """Whether one of the contacts or the company that the values name has an earlier won deal."""
    named = _every({name: values[name] for name in OF_CUSTOMERS if name in values})
    return any((seen.state(CONTACT, id) if whom == "contact" else seen.state(COMPANY, id)).has_bought for whom, id in named)


def reads(values: Mapping[str, Any]) -> Reads:
    """The streams of everybody named."""
    return tuple(dict.fromkeys((_aggregate(whom), id) for whom, id in _every(values)))


def finds(values: Mapping[str, Any]) -> Finds:
    """Survivors of what may have been merged."""
    survivors = {"contact": views.SURVIVING_CONTACT, "company": views.SURVIVING_COMPANY}
    return tuple(dict.fromkeys((survivors[whom], id) for whom, id in _every(values) if whom in survivors))


def resolved(seen: Facts, values: Mapping[str, Any], at: str = "", *, form: FieldSet | None = None) -> dict[str, Any]:
    """The values with survivors in place of those merged into them. `form` says which custom fields name somebody.

    Raises Rejected `unknown_reference` (422) with a pointer for each id that is nobody's or a deleted one's."""
    faults: list[Fault] = []
    result = dict(values)
    for name, whom in NAMED.items():
        if (value := values.get(name)) is not None:
            result[name] = _resolved(seen, whom, value, f"{at}/{name}", faults)
    for code, value in _custom_of(values).items():
        field = form.field(code) if form else None
        if field is not None and (of_type := OF_FIELD_TYPE.get(field.field_type)):
            _resolved(seen, of_type, value, f"{at}/custom/{code}", faults)
    if faults:
        raise Rejected("unknown_reference", "; ".join(f"{f.pointer}: {f.detail}" for f in faults), status=422, errors=faults)
    return result


def _resolved(seen: Facts, whom: Whom, value: Any, pointer: str, faults: list[Fault]) -> Any:
    if isinstance(value, list):
        return [_resolved(seen, whom, one, f"{pointer}/{n}", faults) for n, one in enumerate(value)]
    id = _id(value)
    if id is None:
        return value
    there = who_is(seen, whom, id)
    if there is None:
        faults.append(Fault(pointer, "unknown_reference", f"There is no such {whom}."))
    return there or id


def who_is(seen: Facts, whom: Whom, id: str) -> str | None:
    """The id of the one that is meant: the survivor of a merged one, None for nobody's id."""
    match whom:
        case "employee":
            return id if seen.state(EMPLOYEE, id).exists else None
        case "contact":
            contact = seen.state(CONTACT, id)
            return (_survivor(seen, views.SURVIVING_CONTACT, id) if contact.merged_into else id) if contact.usable else None
        case "file":
            file = seen.state(FILE, id)
            return id if file.exists and not file.removed else None
        case "company":
            company = seen.state(COMPANY, id)
            return (_survivor(seen, views.SURVIVING_COMPANY, id) if company.merged_into else id) if company.usable else None


def _survivor(seen: Facts, finder: Finder[UUID], id: str) -> str:
    found = seen.one(finder, id)
    return id if found is None else str(found)


def _aggregate(whom: Whom) -> Aggregate[Any, Any, Any]:
    match whom:
        case "contact":
            return CONTACT
        case "company":
            return COMPANY
        case "employee":
            return EMPLOYEE
        case "file":
            return FILE


def _every(values: Mapping[str, Any]) -> Iterator[tuple[Whom, str]]:
    """Whom the values name. What is no id is left to the reading of the fields. An id in a custom field may be of either kind:
    which it is, the field set says later."""
    for name, whom in NAMED.items():
        for value in _listed(values.get(name)):
            if (id := _id(value)) is not None:
                yield whom, id
    for content in _custom_of(values).values():
        for value in _listed(content):
            if (id := _id(value)) is not None:
                yield from ((whom, id) for whom in OF_FIELD_TYPE.values())


def _custom_of(values: Mapping[str, Any]) -> Mapping[str, Any]:
    custom = values.get("custom")
    return custom if isinstance(custom, dict) else {}


def _listed(value: Any) -> Iterable[Any]:
    return value if isinstance(value, list) else (value,)


def _id(value: Any) -> str | None:
    try:
        return str(UUID(value)) if isinstance(value, str) else None
    except ValueError:
        return None
