"""What is asked of files. A deal and its copies refer to one file; it goes when none of them does any more. (D39, F28)"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal
from uuid import UUID

from services.deals import views
from services.deals.asks import references
from services.deals.asks.asker import Asker
from services.deals.asks.elements import must_be_the_same
from services.deals.domain.company import COMPANY
from services.deals.domain.contact import CONTACT
from services.deals.domain.deal import DEAL, AttachToDeal, DetachFromDeal
from services.deals.domain.file import FILE, AttachFile, RemoveFile
from shared.es.addressed import Addressed, Facts
from shared.es.errors import Fault, NotFound, Rejected

OwnerType = Literal["deal", "lead", "contact", "company"]
ALL_FILES = "files"
"""The set of a tenant's files: whoever adds to it sees what it takes by then."""


@dataclass(frozen=True, slots=True)
class NewFile:
    """Bytes that lie in the file storage under `content_ref`, and whose they are. `quota`: bytes a tenant's files may take."""

    file_id: UUID
    content_ref: str
    sha256: str
    name: str
    size: int
    content_type: str
    owner: tuple[OwnerType, UUID] | None
    quota: int


def attach_file(asker: Asker, new: NewFile) -> tuple[Addressed[Any], ...]:
    """A deal is told in the same transaction. The same file once more, under the same id, is no second one."""
    id = str(new.file_id)

    def attach(seen: Facts) -> AttachFile | None:
        owner_id = _owner(seen, new)
        known = seen.state(FILE, id)
        if known.exists:
            before = {"sha256": known.sha256, "name": known.name, "owner_type": known.owner_type, "owner_id": known.owner_id}
            must_be_the_same(before, {"sha256": new.sha256, "name": new.name, "owner_type": _type_of(new), "owner_id": owner_id})
            return None
        used = seen.one(views.BYTES_OF_FILES, ALL_FILES) or 0
        told = (new.content_ref, new.sha256, new.name, new.size, new.content_type)
        return AttachFile(new.file_id, *told, asker.cause(seen), _type_of(new), owner_id, used, new.quota)

    reads, finds = _reads(new)
    finds = ((views.BYTES_OF_FILES, ALL_FILES), *finds)
    return (Addressed(FILE, id, attach, reads=reads, exclusive=ALL_FILES, finds=finds), *_on_deal(asker, new))


def _on_deal(asker: Asker, new: NewFile) -> tuple[Addressed[Any], ...]:
    if new.owner is None or new.owner[0] != "deal":
        return ()

    def attach(seen: Facts) -> AttachToDeal | None:
        removed = seen.state(FILE, str(new.file_id)).removed
        return None if removed else AttachToDeal(new.file_id, asker.cause(seen))

    return (Addressed(DEAL, str(new.owner[1]), attach),)


def _type_of(new: NewFile) -> str | None:
    return new.owner[0] if new.owner else None


def _reads(new: NewFile) -> tuple[references.Reads, references.Finds]:
    match new.owner:
        case ("contact", id):
            return ((CONTACT, str(id)),), ((views.SURVIVING_CONTACT, str(id)),)
        case ("company", id):
            return ((COMPANY, str(id)),), ((views.SURVIVING_COMPANY, str(id)),)
        case ("lead", id):
            return (), ((views.IS_LEAD_DELETED, str(id)),)
        case _:
            return (), ()


def _owner(seen: Facts, new: NewFile) -> UUID | None:
    """Raises Rejected: `unknown_reference` (422) for an owner who is not there, `deal_deleted`, `lead_deleted`."""
    match new.owner:
        case None:
            return None
        case ("contact" | "company" as whom, id):
            there = references.who_is(seen, whom, str(id))
        case ("lead", id):
            there = _lead(seen, str(id))
        case (_, id):
            there = str(id) if seen.state(DEAL, str(id)).exists else None
    if there is None:
        fault = Fault("#/owner_id", "unknown_reference", f"There is no such {_type_of(new)}.")
        raise Rejected("unknown_reference", fault.detail, status=422, errors=[fault])
    return UUID(there)


def _lead(seen: Facts, id: str) -> str | None:
    deleted = seen.one(views.IS_LEAD_DELETED, id)
    if deleted:
        raise Rejected("lead_deleted", "The lead is deleted.")
    return None if deleted is None else id


def remove_file(asker: Asker, file_id: UUID, deals: Sequence[UUID], only: UUID | None) -> tuple[Addressed[Any], ...]:
    """Takes the file off `deals`, which refer to it, and removes it; or off the deal `only`, and removes it if that was the last.

    A copy made in between keeps the id of a removed file, which no list shows. File first: its version counts."""
    id = str(file_id)

    def remove(seen: Facts) -> RemoveFile | None:
        refer = set(seen.all(views.DEALS_WITH_FILE, id))
        if only is not None and only not in refer:
            raise NotFound("This deal has no such file.")
        return RemoveFile(asker.cause(seen)) if only is None or refer == {only} else None

    from_whom = deals if only is None else [only]
    return (
        Addressed(FILE, id, remove, exclusive=f"file/{id}", finds=((views.DEALS_WITH_FILE, id),)),
        *(Addressed(DEAL, str(deal), lambda seen: DetachFromDeal(file_id, asker.cause(seen))) for deal in from_whom),
    )
