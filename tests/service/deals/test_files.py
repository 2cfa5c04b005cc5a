"""Files over HTTP: they arrive as a stream, are kept once, and are given back as attachments. (F28, D39, T16)"""

from __future__ import annotations

import asyncio
import errno
import json
import os
from collections.abc import Callable, Iterator
from hashlib import sha256
from pathlib import Path
from typing import Any
from urllib.parse import unquote
from uuid import UUID, uuid4

import httpx
import pytest

from services.automation import replicas as automation
from services.deals import settings as own
from services.deals.asks.asker import Asker
from services.deals.asks.files import remove_file
from services.deals.asks.unreferenced import Unreferenced
from services.deals.domain.field_set import form_id
from services.deals.domain.origin import Origin
from services.deals.storage import Incoming
from services.notifications import replicas as notifications
from shared.contracts import deals as says
from shared.es.errors import Unavailable
from shared.es.recorded import Context
from shared.messaging.batch import Item, handle_batch
from shared.messaging.replica import Replica
from tests.kit.http.listening import listening
from tests.service.deals.conftest import (
    ANNA,
    INSTALLATION,
    MUSTER,
    PETRA,
    SALES,
    TENANT,
    Asked,
    Furnished,
    id_of,
    key,
    made,
    roof,
    stage,
    tenant,
)
from tests.service.house import House

OFFER = b"%PDF-1.7\nan offer for a roof\n%%EOF"
MUCH = 25 * 1024 * 1024


async def sent(client: httpx.AsyncClient, data: bytes = OFFER, name: str = "offer.pdf", *, key: str | None = None, **own: Any) -> Any:
    headers = {"Idempotency-Key": key} if key else {}
    return await client.post("/v1/files", files={"file": (name, data, "application/octet-stream")}, data=own, headers=headers)


async def attached(client: httpx.AsyncClient, data: bytes = OFFER, name: str = "offer.pdf", **own: Any) -> dict[str, Any]:
    answer = await sent(client, data, name, **own)
    assert answer.status_code == 201, answer.text
    return answer.json()  # type: ignore[no-any-return]


def on(deal: dict[str, Any]) -> dict[str, Any]:
    return {"owner_type": "deal", "owner_id": deal["id"]}


def contents(folder: Path) -> list[Path]:
    """Everything that lies in the storage, also what is on its way."""
    return sorted(path for path in folder.rglob("*") if path.is_file())


async def removed(client: httpx.AsyncClient, id: str, version: int = 1, **query: str) -> httpx.Response:
    return await client.delete(f"/v1/files/{id}", params=query, headers={"If-Match": f'"{version}"'})


async def names(client: httpx.AsyncClient, path: str) -> list[str]:
    answer = await client.get(path)
    assert answer.status_code == 200, answer.text
    return [item["name"] for item in answer.json()["items"]]


async def test_a_deals_file_from_its_upload_to_its_removal(house: House, anna: httpx.AsyncClient, folder: Path) -> None:
    deal = await roof(anna)
    answer = await sent(anna, **on(deal))
    file = answer.json()

    assert (answer.status_code, answer.headers["Location"], answer.headers["ETag"]) == (201, f"/v1/files/{file['id']}", '"1"')
    sha = sha256(OFFER).hexdigest()
    assert {name: file[name] for name in ("name", "size", "content_type", "sha256", "owner_type", "owner_id", "state")} == {
        "name": "offer.pdf",
        "size": len(OFFER),
        "content_type": "application/pdf",
        "sha256": sha,
        "owner_type": "deal",
        "owner_id": deal["id"],
        "state": "attached",
    }
    assert contents(folder) == [folder / str(house.tenant) / sha[:2] / sha]
    assert (await anna.get(f"/v1/files/{file['id']}")).json() == file
    assert (await anna.get(f"/v1/deals/{deal['id']}")).json()["file_ids"] == [file["id"]]
    assert await names(anna, f"/v1/deals/{deal['id']}/files") == ["offer.pdf"]
    lines = (await anna.get(f"/v1/deals/{deal['id']}/timeline?kinds=file")).json()["items"]
    assert [line["title"] for line in lines] == ["Datei offer.pdf angehängt"]
    said = await house.one("FileAttached")
    assert (said["sha256"], said["size"], said["owner_id"], said["origin"]["kind"]) == (sha, len(OFFER), deal["id"], "person")
    assert (folder / said["content_ref"]).read_bytes() == OFFER

    assert (await removed(anna, file["id"])).status_code == 204
    assert (await house.one("FileRemoved"))["file_id"] == file["id"]
    assert (await anna.get(f"/v1/files/{file['id']}")).json()["state"] == "removed"
    assert (await anna.get(f"/v1/files/{file['id']}/content")).status_code == 404
    assert await names(anna, f"/v1/deals/{deal['id']}/files") == await names(anna, "/v1/files") == []
    assert (await anna.get(f"/v1/deals/{deal['id']}")).json()["file_ids"] == []
    events = (await anna.get(f"/v1/files/{file['id']}/events")).json()["items"]
    assert [event["type"] for event in events] == ["FileAttached", "FileRemoved"]
    assert "content_ref" not in events[0]["data"]
    assert (await anna.get(f"/v1/files/{file['id']}?version=1")).json()["state"] == "attached"


async def test_what_deals_says_of_a_file_is_heard_by_its_neighbours(house: House, anna: httpx.AsyncClient, folder: Path) -> None:
    file = await attached(anna)
    await removed(anna, file["id"])
    added = says.FileAttached.model_validate_json(json.dumps(await house.one("FileAttached")))
    gone = says.FileRemoved.model_validate_json(json.dumps(await house.one("FileRemoved")))
    replicas: tuple[Replica[Any], ...] = (automation.FILES, notifications.FILES)
    for replica in replicas:
        row = replica.hears[says.FileAttached](None, added)
        assert row is not None and (row.name, row.removed) == ("offer.pdf", False)
        after = replica.hears[says.FileRemoved](row, gone)
        assert after is not None and after.removed
    assert (folder / added.content_ref).read_bytes() == OFFER


async def test_a_file_is_given_back_as_an_attachment_whatever_it_is(anna: httpx.AsyncClient) -> None:
    file = await attached(anna, b"alert(1)", "x.html")
    answer = await anna.get(f"/v1/files/{file['id']}/content")

    assert (answer.content, answer.headers["content-type"]) == (b"alert(1)", "text/plain")
    assert answer.headers["content-disposition"] == 'attachment; filename="x.html"'
    assert answer.headers["x-content-type-options"] == "nosniff"
    assert answer.headers["content-security-policy"].startswith("default-src 'none'")
    etag = answer.headers["etag"]
    assert etag == f'"{file["sha256"]}"'
    again = await anna.get(f"/v1/files/{file['id']}/content", headers={"If-None-Match": etag})
    assert (again.status_code, again.content) == (304, b"")


@pytest.mark.parametrize("name", ['a"b;c.txt', "Angebot Müller €.txt", "zeile\\neu.txt", "100%.txt", "'; rm -rf.txt", "日本.txt"])
async def test_any_name_is_safe_in_the_header(anna: httpx.AsyncClient, name: str) -> None:
    form = b'--b\r\nContent-Disposition: form-data; name="file"; filename="%s"\r\n\r\nx\r\n--b--\r\n'
    quoted = name.replace("\\", "\\\\").replace('"', '\\"').encode()
    answer = await anna.post("/v1/files", content=form % quoted, headers={"Content-Type": "multipart/form-data; boundary=b"})
    assert answer.status_code == 201, answer.text
    kept = answer.json()["name"]
    disposition = (await anna.get(f"/v1/files/{answer.json()['id']}/content")).headers["content-disposition"]

    assert kept == name.rpartition("\\")[2]
    assert disposition.isascii() and disposition.isprintable() and disposition.startswith("attachment; ")
    told = disposition.partition("filename*=utf-8''")[2] or disposition.partition('filename="')[2].removesuffix('"')
    assert unquote(told) == kept


@pytest.mark.parametrize(
    ("asked", "status", "expected"),
    [("bytes=0-3", 206, OFFER[:4]), ("bytes=-5", 206, OFFER[-5:]), ("bytes=9-", 206, OFFER[9:]), ("bytes=900-", 416, None)],
)
async def test_a_part_may_be_asked_for(anna: httpx.AsyncClient, asked: str, status: int, expected: bytes | None) -> None:
    file = await attached(anna)
    answer = await anna.get(f"/v1/files/{file['id']}/content", headers={"Range": asked})
    assert answer.status_code == status
    assert expected is None or answer.content == expected


async def test_the_same_bytes_are_stored_once_and_stay_until_nobody_refers_to_them(
    house: House, anna: httpx.AsyncClient, folder: Path
) -> None:
    one, two = await attached(anna, name="one.pdf", **on(await roof(anna))), await attached(anna, name="two.pdf")
    [path] = contents(folder)
    await removed(anna, one["id"])
    later = path.stat().st_mtime + 1

    assert await Unreferenced(house.kit).tidy(later) == 0
    assert (await anna.get(f"/v1/files/{two['id']}/content")).content == OFFER
    await removed(anna, two["id"])
    assert await Unreferenced(house.kit).tidy(later - 2) == 0
    assert await Unreferenced(house.kit).tidy(later) == 1
    assert contents(folder) == []


async def test_nothing_goes_while_the_rows_of_files_are_incomplete(house: House, anna: httpx.AsyncClient, folder: Path) -> None:
    await attached(anna)
    [path] = contents(folder)
    async with house.kit.database.raw() as raw:
        await raw.execute("delete from files_v1")
    assert await Unreferenced(house.kit).tidy(path.stat().st_mtime + 1) == 0
    assert contents(folder) == [path]


async def test_bytes_of_tenants_of_another_deployment_are_left_alone(house: House, folder: Path) -> None:
    path = folder / str(uuid4()) / "00" / ("0" * 64)
    path.parent.mkdir(parents=True)
    path.write_bytes(b"theirs")
    assert await Unreferenced(house.kit).tidy(path.stat().st_mtime + 1) == 0
    assert path.exists()


async def test_a_copy_refers_to_the_same_file_until_it_is_taken_off_both(anna: httpx.AsyncClient) -> None:
    deal = await roof(anna)
    file = await attached(anna, **on(deal))
    target = {"pipeline_id": INSTALLATION, "stage_id": stage("installation", "planning")}
    copy = await made(anna, f"/v1/deals/{deal['id']}/copies", **target)
    second = await made(anna, f"/v1/deals/{copy['id']}/copies", **target)

    assert (await removed(anna, file["id"], deal_id=deal["id"])).status_code == 204
    assert await names(anna, f"/v1/deals/{deal['id']}/files") == []
    assert await names(anna, f"/v1/deals/{copy['id']}/files") == await names(anna, f"/v1/deals/{second['id']}/files") == ["offer.pdf"]
    assert (await removed(anna, file["id"], deal_id=deal["id"])).status_code == 404
    assert (await removed(anna, file["id"], deal_id=copy["id"])).status_code == 204
    assert (await anna.get(f"/v1/files/{file['id']}/content")).content == OFFER
    assert (await removed(anna, file["id"], deal_id=second["id"])).status_code == 204
    assert (await anna.get(f"/v1/files/{file['id']}")).json()["state"] == "removed"


async def test_a_file_is_taken_off_a_deal_and_all_its_copies(anna: httpx.AsyncClient) -> None:
    deal = await roof(anna)
    file = await attached(anna, **on(deal))
    copy = await made(anna, f"/v1/deals/{deal['id']}/copies", pipeline_id=INSTALLATION)
    assert (await removed(anna, file["id"])).status_code == 204
    assert [(await anna.get(f"/v1/deals/{each['id']}")).json()["file_ids"] for each in (deal, copy)] == [[], []]


async def test_of_two_who_take_it_off_at_once_the_second_removes_it(house: House, anna: httpx.AsyncClient) -> None:
    """Also when they come in one batch."""
    deal = await roof(anna)
    file = await attached(anna, **on(deal))
    copy = await made(anna, f"/v1/deals/{deal['id']}/copies", pipeline_id=INSTALLATION)
    asker = Asker(house.tenant, f"user:{ANNA}", Origin("person"))
    off = [remove_file(asker, UUID(file["id"]), [], UUID(each["id"])) for each in (deal, copy)]
    items = [Item(f"off {n}", "test", f"{house.tenant}/{n}", Context(house.tenant, "off", "off"), each) for n, each in enumerate(off)]
    while items:
        done = await handle_batch(house.kit, Asked(items))
        decided = {result.item.id for result in done.results}
        assert decided and {result.outcome for result in done.results} == {"handled"}
        items = [item for item in items if item.id not in decided]

    assert (await anna.get(f"/v1/files/{file['id']}")).json()["state"] == "removed"


async def test_files_of_customers_and_leads(anna: httpx.AsyncClient) -> None:
    lead = await made(anna, "/v1/leads", title="A roof", contact_ids=[PETRA])
    await attached(anna, name="lead.pdf", owner_type="lead", owner_id=lead["id"])
    await attached(anna, name="company.pdf", owner_type="company", owner_id=MUSTER)
    old = await made(anna, "/v1/contacts", last_name="Muster", emails=["p@example.org"])
    await attached(anna, name="before.pdf", owner_type="contact", owner_id=old["id"])
    await made_by_merging(anna, old["id"])
    after = await attached(anna, b"some words", "after.txt", owner_type="contact", owner_id=old["id"])

    assert await names(anna, f"/v1/leads/{lead['id']}/files") == ["lead.pdf"]
    assert await names(anna, f"/v1/files?owner_id={MUSTER}") == ["company.pdf"]
    assert after["owner_id"] == PETRA
    assert await names(anna, f"/v1/files?owner_id={PETRA}&sort=name") == ["after.txt", "before.pdf"]
    assert await names(anna, f"/v1/files?owner_id={PETRA}&content_type=text/plain") == ["after.txt"]
    assert await names(anna, "/v1/files?sort=-size&limit=1&owner_type=lead,contact") != []


async def made_by_merging(client: httpx.AsyncClient, merged: str) -> None:
    answer = await client.post(f"/v1/contacts/{PETRA}/merges", json={"merged_id": merged})
    assert answer.status_code == 200, answer.text


async def test_a_repeated_upload_is_answered_as_the_first(anna: httpx.AsyncClient, folder: Path) -> None:
    """The boundary of the form is another each time; what counts is what stands in it."""
    first, again = await sent(anna, key="k"), await sent(anna, key="k")
    assert (again.status_code, again.json(), again.headers["Idempotency-Replayed"]) == (201, first.json(), "true")
    for other in (
        await sent(anna, b"other", key="k"),
        await sent(anna, name="other.pdf", key="k"),
        await sent(anna, id=str(uuid4()), key="k"),
    ):
        assert (other.status_code, other.json()["code"]) == (422, "idempotency_key_reused")
    assert len(await names(anna, "/v1/files")) == len(contents(folder)) == 1


async def test_an_id_of_the_senders_choice_is_taken_once(anna: httpx.AsyncClient) -> None:
    deal, id = await roof(anna), str(uuid4())
    first = await attached(anna, id=id, **on(deal))
    again = await sent(anna, id=id, **on(deal))
    assert (again.status_code, again.json()) == (200, first)
    other = await sent(anna, b"other words", id=id, **on(deal))
    assert (other.status_code, other.json()["code"]) == (409, "id_taken")
    await removed(anna, id)
    late = await sent(anna, id=id, **on(deal))
    assert (late.status_code, late.json()["state"]) == (200, "removed")
    assert (await anna.get(f"/v1/deals/{deal['id']}")).json()["file_ids"] == []


async def test_a_removal_needs_the_version_it_rests_on(anna: httpx.AsyncClient) -> None:
    file = await attached(anna)
    assert (await anna.delete(f"/v1/files/{file['id']}")).status_code == 428
    stale = await removed(anna, file["id"], version=7)
    assert (stale.status_code, stale.headers["ETag"]) == (412, '"1"')
    assert (await removed(anna, str(uuid4()))).status_code == 404


async def test_scopes(house: House, folder: Path) -> None:
    async with house.client(await key(house, "deals:read")) as reader:
        refused = await sent(reader)
        assert (refused.status_code, refused.json()["code"]) == (403, "forbidden")
        assert await names(reader, "/v1/files") == []
    async with house.client() as stranger:
        assert (await sent(stranger)).status_code == 401
    assert contents(folder) == []


async def test_another_tenant_sees_nothing_and_shares_nothing(house: House, anna: httpx.AsyncClient, folder: Path) -> None:
    deal = await roof(anna)
    file = await attached(anna, **on(deal))
    other = uuid4()
    await tenant(house, other)
    async with house.client(await key(house, of=other, actor="key:theirs")) as theirs:
        for path in ("", "/content", "/events", "?version=1"):
            assert (await theirs.get(f"/v1/files/{file['id']}{path}")).status_code == 404
        assert (await theirs.get(f"/v1/files/{file['sha256']}/content")).status_code == 422
        assert (await removed(theirs, file["id"])).status_code == 404
        assert (await theirs.get(f"/v1/deals/{deal['id']}/files")).status_code == 404
        assert await names(theirs, f"/v1/files?owner_id={deal['id']}") == []
        foreign = await sent(theirs, **on(deal))
        assert (foreign.status_code, foreign.json()["code"]) == (422, "unknown_reference")
        assert (await attached(theirs))["sha256"] == file["sha256"]
    assert [path.parts[-3] for path in contents(folder)] == sorted([str(house.tenant), str(other)])
    assert (await anna.get(f"/v1/files/{file['id']}")).json()["state"] == "attached"


@pytest.mark.parametrize(
    ("element", "path", "new"),
    [
        ("deal", "deals", {"pipeline_id": SALES, "title": "x"}),
        ("lead", "leads", {"title": "x"}),
        ("contact", "contacts", {"last_name": "x"}),
        ("company", "companies", {"name": "x"}),
    ],
)
async def test_custom_fields_name_files_and_people_that_are_there(
    anna: httpx.AsyncClient, element: str, path: str, new: dict[str, Any]
) -> None:
    fields = [
        {"code": "plan", "label": "Plan", "field_type": "file", "multiple": True},
        {"code": "by", "label": "By", "field_type": "user"},
    ]
    answer = await anna.patch(f"/v1/field-sets/{form_id(TENANT, element)}", json={"fields": fields}, headers={"If-Match": "*"})
    if answer.status_code == 404:
        await made(anna, "/v1/field-sets", kind="form", element_type=element, fields=fields)
    file, gone = (await attached(anna))["id"], (await attached(anna))["id"]
    await removed(anna, gone)

    good = await made(anna, f"/v1/{path}", **new, custom={"plan": [file], "by": ANNA})
    assert good["custom"] == {"plan": [file], "by": ANNA}
    wrong = {"plan": [file, gone], "by": file}
    places = [("#/custom/plan/1", "unknown_reference"), ("#/custom/by", "unknown_reference")]
    created = await anna.post(f"/v1/{path}", json={**new, "custom": wrong})
    changed = await anna.patch(f"/v1/{path}/{good['id']}", json={"custom": wrong}, headers={"If-Match": '"1"'})
    for refused in (created, changed):
        assert refused.status_code == 422
        assert [("#" + fault["pointer"].lstrip("#"), fault["code"]) for fault in refused.json()["errors"]] == places


# ------------------------------------------------------------------------------------------------------------- bad input
@pytest.mark.parametrize(
    ("data", "name", "own", "status", "code", "place"),
    [
        (b"MZ\x90\x00\x03", "offer.pdf", {}, 422, "type_not_allowed", None),
        (b"<html><script>", "page.txt", {}, 422, "type_not_allowed", None),
        (b"", "offer.pdf", {}, 422, "validation_failed", ("file", "empty")),
        (OFFER, "..", {}, 422, "validation_failed", ("file", "required")),
        (OFFER, "x" * 256, {}, 422, "validation_failed", ("file", "too_long")),
        (OFFER, "\u202egpj.exe", {}, 422, "validation_failed", ("file", "control_character")),
        (OFFER, "a.pdf", {"id": "7"}, 422, "validation_failed", ("id", "wrong_type")),
        (OFFER, "a.pdf", {"colour": "red"}, 422, "validation_failed", ("colour", "unknown_field")),
        (OFFER, "a.pdf", {"id": [str(uuid4()), str(uuid4())]}, 422, "validation_failed", ("id", "too_many")),
        (OFFER, "a.pdf", {"id": "x" * 20_000}, 422, "validation_failed", ("id", "too_long")),
        (OFFER, "a.pdf", {"owner_type": "deal"}, 422, "validation_failed", ("owner_id", "required")),
        (OFFER, "a.pdf", {"owner_id": id_of("x")}, 422, "validation_failed", ("owner_type", "required")),
        (OFFER, "a.pdf", {"owner_type": "planet", "owner_id": id_of("x")}, 422, "validation_failed", ("owner_type", "unknown_value")),
        (OFFER, "a.pdf", {"owner_type": "deal", "owner_id": id_of("x")}, 422, "unknown_reference", ("owner_id", "unknown_reference")),
        (OFFER, "a.pdf", {"owner_type": "lead", "owner_id": id_of("x")}, 422, "unknown_reference", ("owner_id", "unknown_reference")),
        (OFFER, "a.pdf", {"owner_type": "contact", "owner_id": ANNA}, 422, "unknown_reference", ("owner_id", "unknown_reference")),
        (MUCH + 1, "a.txt", {}, 413, "too_large", None),
        (MUCH + 100_000, "a.txt", {}, 413, "too_large", None),
    ],
)
async def test_a_bad_file_is_refused_at_its_place_and_leaves_nothing(
    anna: httpx.AsyncClient, folder: Path, data: bytes | int, name: str, own: dict[str, Any], status: int, code: str, place: Any
) -> None:
    """A number instead of bytes is how many."""
    answer = await sent(anna, b"x" * data if isinstance(data, int) else data, name, **own)
    assert (answer.status_code, answer.json()["code"]) == (status, code), answer.text
    found = [(fault["pointer"].lstrip("#/"), fault["code"]) for fault in answer.json()["errors"]]
    assert found == ([place] if place else [])
    assert contents(folder) == []
    assert (await sent(anna)).status_code == 201


PART = b'--b\r\nContent-Disposition: form-data; name="file"; filename="a.txt"\r\n\r\nwords\r\n'
OF_B = "multipart/form-data; boundary=b"


@pytest.mark.parametrize(
    ("form", "kind", "status", "code"),
    [
        (PART, OF_B, 400, "malformed_request"),
        (b"nothing of the kind", OF_B, 400, "malformed_request"),
        (b"", OF_B, 400, "malformed_request"),
        (PART + b"--b--\r\n", "multipart/form-data", 400, "malformed_request"),
        (PART + b"--b--\r\n", f"multipart/form-data; boundary={'b' * 71}", 400, "malformed_request"),
        (PART.replace(b"form-data; name", b"form-data; nome") + b"--b--\r\n", OF_B, 400, "malformed_request"),
        (PART.replace(b"a.txt", b"\xff\xfe.txt") + b"--b--\r\n", OF_B, 400, "malformed_request"),
        (PART.replace(b"a.txt", b"a" * 5000) + b"--b--\r\n", OF_B, 400, "malformed_request"),
        (PART * 2 + b"--b--\r\n", OF_B, 422, "validation_failed"),
        (PART.replace(b'; filename="a.txt"', b"") + b"--b--\r\n", OF_B, 422, "validation_failed"),
        (b"--b--\r\n", OF_B, 422, "validation_failed"),
        (PART.replace(b"a.txt", b"a\x00.txt") + b"--b--\r\n", OF_B, 422, "validation_failed"),
        (PART + b"--b--\r\n", "multipart/mixed; boundary=b", 415, "unsupported_media_type"),
        (b'{"file": "words"}', "application/json", 415, "unsupported_media_type"),
        (b"words", "application/pdf", 415, "unsupported_media_type"),
    ],
)
async def test_a_form_that_cannot_be_read(anna: httpx.AsyncClient, folder: Path, form: bytes, kind: str, status: int, code: str) -> None:
    answer = await anna.post("/v1/files", content=form, headers={"Content-Type": kind})
    assert (answer.status_code, answer.json()["code"]) == (status, code), answer.text
    assert contents(folder) == []
    good = await anna.post("/v1/files", content=PART + b"--b--\r\n", headers={"Content-Type": OF_B})
    assert good.status_code == 201


async def test_a_deleted_deal_takes_no_files_and_no_deal_more_than_a_hundred(anna: httpx.AsyncClient, folder: Path) -> None:
    deal = await roof(anna)
    for n in range(100):
        await attached(anna, b"file %d" % n, **on(deal))
    full = await sent(anna, **on(deal))
    assert (full.status_code, [fault["code"] for fault in full.json()["errors"]]) == (422, ["too_many"])
    version = (await anna.get(f"/v1/deals/{deal['id']}")).json()["version"]
    await anna.delete(f"/v1/deals/{deal['id']}", headers={"If-Match": f'"{version}"'})
    deleted = await sent(anna, **on(deal))
    assert (deleted.status_code, deleted.json()["code"]) == (409, "deal_deleted")
    assert len(contents(folder)) == 100


async def test_a_lead_that_is_deleted_takes_no_files(anna: httpx.AsyncClient) -> None:
    lead = await made(anna, "/v1/leads", title="A roof")
    await anna.delete(f"/v1/leads/{lead['id']}", headers={"If-Match": '"1"'})
    answer = await sent(anna, owner_type="lead", owner_id=lead["id"])
    assert (answer.status_code, answer.json()["code"]) == (409, "lead_deleted")


@pytest.fixture
def small_quota(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.setenv("DEALWRIGHT_DEALS__FILE_QUOTA", "100")
    own.settings.cache_clear()
    yield
    own.settings.cache_clear()


async def test_files_of_a_tenant_do_not_grow_beyond_their_quota(small_quota: None, anna: httpx.AsyncClient, folder: Path) -> None:
    """Also not when many come at once."""
    answers = await asyncio.gather(*(sent(anna, b"%030d" % n, f"{n}.txt") for n in range(8)))
    assert sorted(answer.status_code for answer in answers) == [201] * 3 + [409] * 5
    assert {answer.json()["code"] for answer in answers if answer.status_code == 409} == {"quota_exceeded"}
    assert len(contents(folder)) == 3
    [one, *_] = (answer.json() for answer in answers if answer.status_code == 201)
    await removed(anna, one["id"])
    assert (await sent(anna, b"x" * 30)).status_code == 201


def failing(error: BaseException) -> Callable[..., Any]:
    def fail(*_: Any, **__: Any) -> None:
        raise error

    return fail


@pytest.mark.parametrize(("number", "said"), [(errno.ENOSPC, "full"), (errno.EROFS, "cannot be written")])
async def test_a_disk_that_is_full_or_read_only_is_told(
    anna: httpx.AsyncClient, folder: Path, monkeypatch: pytest.MonkeyPatch, number: int, said: str
) -> None:
    with monkeypatch.context() as broken:
        broken.setattr("services.deals.storage.os.fsync", failing(OSError(number, os.strerror(number))))
        answer = await sent(anna)
    assert (answer.status_code, answer.json()["code"], answer.headers["Retry-After"]) == (503, "unavailable", "60")
    assert said in answer.json()["detail"] and str(folder) not in answer.text
    assert contents(folder) == []
    assert (await sent(anna)).status_code == 201


async def test_bytes_that_are_gone_are_told(anna: httpx.AsyncClient, folder: Path) -> None:
    file = await attached(anna)
    for path in contents(folder):
        path.unlink()
    answer = await anna.get(f"/v1/files/{file['id']}/content")
    assert (answer.status_code, answer.json()["detail"]) == (503, "The bytes of this file are not in the file storage.")


async def test_an_upload_whose_commit_is_not_known_keeps_its_bytes(
    anna: httpx.AsyncClient, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("shared.http.commands.handle_batch", failing(Unavailable("gone during the commit")))
    assert (await sent(anna)).status_code == 503
    assert len(contents(folder)) == 1


# ----------------------------------------------------------------------------------------------------------- on the wire
async def until(holds: Callable[[], bool]) -> None:
    async with asyncio.timeout(10):
        while not holds():
            await asyncio.sleep(0.01)


async def test_an_upload_that_is_cut_leaves_nothing_behind(house: House, furnished: Furnished, folder: Path) -> None:
    head = f"POST /v1/files HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {furnished.key}\r\nIdempotency-Key: k\r\n"
    head += f"Content-Type: {OF_B}\r\nContent-Length: 5000000\r\n\r\n"
    async with listening(house.app) as port:
        _, writer = await asyncio.open_connection("127.0.0.1", port)
        writer.write(head.encode() + PART + b"x" * 1_000_000)
        await until(lambda: any(path.stat().st_size for path in contents(folder)))
        writer.close()
        await until(lambda: contents(folder) == [])
    assert await house.said("FileAttached") == []


async def test_an_upload_that_stands_still_is_given_up(
    house: House, furnished: Furnished, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("shared.http.forms.SECONDS", 0.3)
    head = f"POST /v1/files HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {furnished.key}\r\nIdempotency-Key: k\r\n"
    head += f"Content-Type: {OF_B}\r\nContent-Length: 5000000\r\n\r\n"
    async with listening(house.app) as port:
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        writer.write(head.encode() + PART)
        try:
            async with asyncio.timeout(10):
                answer = await reader.readuntil(b"\r\n")
        finally:
            writer.close()
    assert answer.startswith(b"HTTP/1.1 408")
    assert contents(folder) == []


async def test_a_large_file_is_never_whole_in_memory(house: House, furnished: Furnished, monkeypatch: pytest.MonkeyPatch) -> None:
    """Its bytes are handed on in pieces, both ways."""
    pieces: list[int] = []
    write = Incoming.write

    def counted(self: Incoming, data: bytes) -> None:
        pieces.append(len(data))
        write(self, data)

    monkeypatch.setattr(Incoming, "write", counted)
    async with listening(house.app) as port, httpx.AsyncClient(base_url=f"http://127.0.0.1:{port}", timeout=60) as client:
        client.headers = httpx.Headers({"Authorization": f"Bearer {furnished.key}", "Idempotency-Key": "k"})
        file = await attached(client, b"x" * MUCH, "much.txt")
        async with client.stream("GET", f"/v1/files/{file['id']}/content") as answer:
            sizes = [len(piece) async for piece in answer.aiter_raw()]
    assert (file["size"], sum(pieces), sum(sizes)) == (MUCH, MUCH, MUCH)
    assert max(pieces) <= 1024 * 1024 and max(sizes) <= 1024 * 1024
    assert UUID(file["id"])


async def test_the_document_says_how_a_file_is_sent(anna: httpx.AsyncClient) -> None:
    document = (await anna.get("/openapi.json")).json()["paths"]["/v1/files"]["post"]
    schema = document["requestBody"]["content"]["multipart/form-data"]["schema"]
    assert sorted(schema["properties"]) == ["file", "id", "owner_id", "owner_type"]
    assert schema["required"] == ["file"]
